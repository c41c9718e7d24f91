"""Tasks: problems at a revision or from a seed, a prompt, and a verifier's name. TASKS and PREFIXES list them all."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path

from simko.tasks.code_file import code_task
from simko.tasks.columns import parse_columns
from simko.tasks.countdown import COUNTDOWN, countdown_traces
from simko.tasks.deepcoder import DEEPCODER
from simko.tasks.graph_paths import GRAPH_PATHS, graph_paths_traces
from simko.tasks.ifeval_file import ifeval_task
from simko.tasks.local_file import file_task
from simko.tasks.logic import LOGIC, bbh_task
from simko.tasks.maths import MATHS
from simko.tasks.mini_sudoku import MINI_SUDOKU, mini_sudoku_traces
from simko.tasks.multiplication import MULTIPLICATION
from simko.tasks.operator_puzzle import OPERATOR_PUZZLE, operator_puzzle_traces
from simko.tasks.reasoning_gym import reasoning_gym_task
from simko.tasks.table_files import check_file
from simko.tasks.task import Loader, Split, Task
from simko.tasks.verl_rows import verl_rows, write_verl_rows

__all__ = [
    "FORMS",
    "PREFIXES",
    "TASKS",
    "Loader",
    "Split",
    "Task",
    "check_file",
    "countdown_traces",
    "file_task",
    "get_task",
    "graph_paths_traces",
    "is_file_name",
    "mini_sudoku_traces",
    "operator_puzzle_traces",
    "parse_columns",
    "read_file",
    "verl_rows",
    "write_verl_rows",
]

TASKS: dict[str, Task] = {
    task.name: task
    for task in (OPERATOR_PUZZLE, COUNTDOWN, GRAPH_PATHS, MINI_SUDOKU, MULTIPLICATION, *MATHS, *LOGIC, DEEPCODER)
}
"""{name: `Task`}: all of simko's own but the families in PREFIXES."""

PREFIXES: dict[str, Callable[[str], Task]] = {"bbh": bbh_task, "reasoning_gym": reasoning_gym_task}
"""Families: {the name before the slash: a function from the name after it to the task}. Users see the docstrings."""

FORMS: dict[str, Callable[[Path | str, bool], Task]] = {
    "code": code_task,
    "instructions": lambda path, chat: ifeval_task(path),
}
"""Files whose rows are more than a prompt and an answer: {the verifier that reads them: (path, chat) -> the task}."""


def get_task(name: str) -> Task:
    """The task called `name`, from TASKS or, as in bbh/snarks, from a family in PREFIXES.

    ValueError, with similar names, if there is none. For files see `file_task`.
    """
    if name in TASKS:
        return TASKS[name]
    prefix, slash, rest = name.partition("/")
    if slash and prefix in PREFIXES:
        return PREFIXES[prefix](rest)
    if is_file_name(name):
        check_file(Path(name))
        raise ValueError(f"{name} is a file and not a task of simko's: it needs a verifier (--verifier, or file_task)")
    close = get_close_matches(name, [*TASKS, *PREFIXES])
    hint = f"did you mean {' or '.join(close)}?" if close else f"choose one of: {', '.join(TASKS)}"
    raise ValueError(f"no task is called {name!r}; {hint} (simko tasks lists all; file_task takes a file)")


def is_file_name(name: str) -> bool:
    """Whether `name` is a file's and not a task's: it has a suffix, or exists."""
    return bool(Path(name).suffix) or Path(name).exists()


def read_file(
    path: Path | str,
    verifier: str | None,
    template: str | None = None,
    *,
    chat: bool | None = None,
    columns: Mapping[str, str] | None = None,
) -> Task:
    """The task over a file in the form that its verifier reads.

    The form is programs for "code", IFEval's rows for "instructions", and otherwise prompts and answers (see `file_task`).

    Args:
        path: the file.
        verifier: the verifier's name, or None: see `file_task`.
        template: the text around each prompt. ValueError if the form takes none, as for columns.
        chat: write the prompts for a chat model, if the form has prompts for base models too; None for the form's usual.
        columns: where prompts, answers and ids stand, if not under their usual names: see `file_task`.
    """
    if verifier not in FORMS:
        return file_task(path, verifier, template="{problem}" if template is None else template, columns=columns)
    if template is not None:
        raise ValueError(f"the prompts of a file for the verifier {verifier!r} take no template")
    if columns:
        raise ValueError(f"a file for the verifier {verifier!r} has columns of its own: rename those in it")
    return FORMS[verifier](path, chat is not False)
