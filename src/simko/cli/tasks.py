"""List the tasks that can be trained on and evaluated, and the verifiers, or describe one task or file of your own.
With --parquet, write its problems as the rows of a training file for verl.

example:
  simko tasks
  simko tasks bbh/snarks
  simko tasks mine.jsonl
  simko tasks math_l3_5 --split train --parquet data/math_l3_5.parquet
  simko tasks mine.jsonl --verifier math --parquet data/mine.parquet
"""

import argparse
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from simko.tasks import Split, Task

logger = logging.getLogger("simko")
_COLUMNS = ("task", "problems", "verifier", "n", "temperature", "licence", "defects", "source")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="one task, e.g. aime24 or bbh/snarks, or a file of problems")
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="write the problems to FILE, as rows for verl")
    parser.add_argument("--split", choices=("train", "test"), help="with --parquet: which problems (train)")
    parser.add_argument("--verifier", help="with --parquet: the verifier of a file of your own")
    parser.add_argument(
        "--columns",
        metavar="ROLE=NAME,...",
        help="for a file: where the parts stand, e.g. prompt=Question,answer=Final",
    )


def run(args: argparse.Namespace) -> None:
    from simko.report.text import visible
    from simko.tasks import get_task, is_file_name, parse_columns

    if args.parquet is not None:
        print(visible(write_parquet(args)))
        return
    if args.split is not None or args.verifier is not None:
        raise ValueError("--split and --verifier belong to --parquet: add it, or leave them out")
    if args.columns is not None and not (args.name and is_file_name(args.name)):
        raise ValueError("--columns is for files: name one, or leave it out")
    if args.name is not None:
        file = is_file_name(args.name)
        print(
            visible(describe(file_of_problems(args.name, parse_columns(args.columns)) if file else get_task(args.name)))
        )
        return
    from simko.cli.tables import terminal
    from simko.tasks import PREFIXES
    from simko.verifiers import VERIFIERS

    console = terminal(file_width=240)  # each task has one line
    console.print(table())
    for prefix, make in PREFIXES.items():
        console.print(f"{prefix}/NAME: {_first_line(make.__doc__)}", markup=False)
    console.print("FILE.jsonl, .csv (also .gz), .parquet: your own problems, with --verifier", markup=False)
    own = "or your own: package.module:function, ./file.py:function"
    console.print(f"verifiers: {', '.join(VERIFIERS)}, {own}", markup=False)
    console.print("simko tasks NAME says all about one task or file, and shows its first problem", markup=False)


def write_parquet(args: argparse.Namespace) -> str:
    """Write the problems that the arguments name for verl, whole or not at all, and say what was written."""
    from simko.evaluate.files import replacing
    from simko.tasks import get_task, is_file_name, parse_columns, read_file, write_verl_rows
    from simko.verifiers import VERIFIERS, check_problems, get_verifier

    if args.name is None:
        raise ValueError("--parquet needs a task or a file of problems: simko tasks NAME --parquet FILE")
    if args.parquet.suffix != ".parquet":
        raise ValueError(f"{args.parquet}: name a file that ends in .parquet")
    if not is_file_name(args.name):
        if args.verifier is not None:
            raise ValueError(f"the task {args.name} has its own verifier: leave --verifier out")
        task = get_task(args.name)
    elif args.verifier is None:
        raise ValueError(f"{args.name} needs --verifier, one of: {', '.join(VERIFIERS)}, or your own")
    else:
        get_verifier(args.verifier)
        form = args.verifier if args.verifier in VERIFIERS else None
        file, colon, function = args.verifier.partition(":")
        # A file is read wherever verl's reward workers start.
        verifier = f"{Path(file).resolve()}{colon}{function}" if file.endswith(".py") else args.verifier
        task = replace(read_file(args.name, form, columns=parse_columns(args.columns)), verifier=verifier)
    if is_file_name(args.name) and Path(args.name).resolve() == args.parquet.resolve():
        raise ValueError(f"{args.parquet} is the file of problems itself: name another one to write")
    split: Split = args.split or "train"
    problems = list(task.load(split))
    check_problems(task.verifier, problems)
    with replacing(args.parquet) as new:
        rows = write_verl_rows(task, problems, new)
    if not task.chat:
        logger.warning("%s is text for a model to continue; verl wraps it in the model's chat template", task.name)
    return f"{rows} problems of {task.name} ({split}) in {args.parquet}"


def table() -> "Table":
    """All tasks of TASKS, one line each."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from simko.tasks import TASKS

    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in _COLUMNS:
        right = column in ("n", "defects")
        shown.add_column(column, justify="right" if right else "left", no_wrap=column == "task", overflow="fold")
    for task in TASKS.values():
        cells = (
            task.name,
            sizes(task),
            task.verifier,
            str(task.samples),
            f"{task.temperature:g}/{task.top_p:g}",
            task.licence,
            str(len(task.known_defects) or ""),
            _short(task.source),
        )
        shown.add_row(*map(Text, cells))
    return shown


def describe(task: "Task") -> str:
    """Everything known about a task, and its first problem or how to fetch it."""
    chat = "a user message in the model's chat template" if task.chat else "the text that the model continues"
    stop = f", stop at {', '.join(map(repr, task.stop))}" if task.stop else ""
    sampling = f"{task.samples} per problem, temperature {task.temperature:g}, top-p {task.top_p:g}, at most "
    parts = {
        "what": task.description,
        "problems": sizes(task),
        "verifier": task.verifier,
        "samples": f"{sampling}{task.max_new_tokens} new tokens{stop}",
        "prompt": chat,
        "source": task.source,
        "licence": task.licence,
        "defects": "\n".join(task.known_defects) or "none known",
        "first": _first_problem(task),
    }
    lines = [task.name, ""]
    for name, text in parts.items():
        lines.append(f"{name + ':':10}" + text.replace("\n", "\n" + " " * 10))
    return "\n".join(lines)


def file_of_problems(path: str, columns: dict[str, str]) -> "Task":
    """The task over a file, in the first form that fits all of its rows. ValueError if none does."""
    from simko.tasks import FORMS, read_file

    refused: list[ValueError] = []
    for verifier in (None, *FORMS):
        task = read_file(path, verifier, columns=columns if verifier is None else None)
        try:
            size = len(task.load("test"))
        except ValueError as error:
            refused.append(error)
            continue
        named = "yours to name: --verifier math, another of simko tasks, or ./file.py:function"
        return replace(task, verifier=verifier or named, sizes={"test": size})
    raise refused[0]  # the error of the usual form


def sizes(task: "Task") -> str:
    """The number of problems by split, e.g. "158 train, 122 test"."""
    return ", ".join(f"{'?' if size is None else f'{size:,}'} {split}" for split, size in task.sizes.items())


def _first_problem(task: "Task") -> str:
    try:
        (problem,) = task.load("test" if "test" in task.sizes else "train", 1)
    except RuntimeError as error:
        return f"not here: {error}"
    gold = problem.answer or "none: the verifier checks the answer by the problem's rules"
    return f"{problem.id}\n{problem.prompt}\n-> {gold}"


def _short(source: str) -> str:
    """A source with commits of eight digits."""
    return re.sub(r"hub dataset (\S+) at ([0-9a-f]{8})[0-9a-f]{32}", r"\1@\2", source).replace("hub dataset ", "")


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
