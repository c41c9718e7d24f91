"""Grade responses that you already have and print pass@k: nothing is sampled. simko report, compare, audit and export then
read the directory as one of simko evaluate.

FILES are rows in .jsonl[.gz], .csv[.gz] or .parquet (a problem, its answer and a response, or a list of responses; or counts: id, c
correct of n), or logs: lighteval's details, lm-evaluation-harness's --log_samples, inspect_ai's .eval or .json, verl's
validation dumps. What they do not say of the model and the draws is recorded as unknown, unless you say it.

example:
  simko grade vllm.jsonl --verifier math --out runs/qwen
  simko grade outputs-*.parquet --verifier math --task aime24 --columns response=texts --temperature 0.6 --out runs/qwen
  simko grade details_gsm8k.parquet --verifier math --out runs/lighteval
  simko grade counts.csv --out runs/counts
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simko.generations import Generations
    from simko.tasks import Task

_STATED = ("model", "temperature", "top_p", "top_k", "max_new_tokens", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "simko grade FILE... --out DIRECTORY --verifier VERIFIER [--task TASK] [options]"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="rows or a log; several are read together")
    parser.add_argument("--out", type=Path, required=True, help="the directory of this evaluation")
    parser.add_argument(
        "--verifier",
        help="how responses are judged: a name of simko tasks, or your own, package.module:function or "
        "./file.py:function; of counts, what judged them",
    )
    parser.add_argument(
        "--task",
        help="the problems that were answered: a task of simko's, or a .jsonl, .csv, .parquet file, found by id or by the "
        "problem's text (default: the problems in the files); or else a name for those in the files",
    )
    parser.add_argument(
        "--split", default="test", choices=("test", "train"), help="of a task of simko's (default: test)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument(
        "--columns",
        metavar="ROLE=NAME,...",
        help="where the parts of a row stand that are not recognised by their names: prompt=doc.text,answer=doc.gold,"
        "response=texts,id=uid,temperature=sampling.t; of counts c=correct,n=total",
    )
    _add_stated(
        parser.add_argument_group("what you know of the draws", "It is recorded, and must not contradict the files.")
    )


def _add_stated(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--model", help="the model's name")
    group.add_argument("--temperature", type=_number, metavar="T", help="0 is greedy")
    group.add_argument("--top-p", type=_share, metavar="P")
    group.add_argument("--top-k", type=int, metavar="K")
    group.add_argument("--max-new-tokens", type=int, metavar="N", help="the length at which responses were truncated")
    group.add_argument("--seed", type=int, metavar="SEED", help="the seed of the draws")


def run(args: argparse.Namespace) -> None:
    from simko.cli.tables import print_run
    from simko.evaluate import SampleStore
    from simko.evaluate.files import locked
    from simko.evaluate.graded import grade_stored, store_generations
    from simko.generations import UNKNOWN
    from simko.verifiers import check_problems, get_verifier

    if args.out.exists() and not args.out.is_dir():
        raise ValueError(f"--out {args.out} is a file: give the directory of the evaluation")
    judge = None if args.verifier is None else get_verifier(args.verifier)
    task = _task(args)
    found = _read(args, task)
    for one in found.sets:
        if one.counts:
            continue
        if judge is None:
            raise ValueError("the files hold responses that are not judged yet: say how, e.g. --verifier math")
        check_problems(judge, one.problems.values())
    with locked(args.out), SampleStore(args.out / "samples.db") as store:
        for one in found.sets:
            setting = store_generations(store, found, one, args.verifier, UNKNOWN if task is None else task.revision)
            if judge is not None and not one.counts:
                grade_stored(store, setting, judge, progress=not args.quiet)
    print_run(args.out)


def _read(args: argparse.Namespace, task: "Task | None") -> "Generations":
    from simko.generations import ROLES, Generations
    from simko.tasks import parse_columns

    columns = parse_columns(args.columns, ROLES)
    stated: dict[str, Any] = {key: getattr(args, key) for key in _STATED if getattr(args, key) is not None}
    name, problems = (args.task, None) if task is None else (task.name, task.load(args.split))
    return Generations(args.files, columns=columns, task=name, problems=problems, verifier=args.verifier, stated=stated)


def _task(args: argparse.Namespace) -> "Task | None":
    """The task of --task; None where it only names the problems in the files."""
    from simko.tasks import PREFIXES, TASKS, get_task, is_file_name, read_file

    if args.task is None:
        return None
    if is_file_name(args.task):
        if args.verifier is None:
            raise ValueError(f"{args.task} needs --verifier, e.g. --verifier math")
        return read_file(args.task, args.verifier)
    return get_task(args.task) if args.task in TASKS or args.task.partition("/")[0] in PREFIXES else None


def _share(text: str) -> float:
    if (number := _number(text)) > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return number


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 0")
    return number
