"""Tasks: problems at a pinned revision or from a seed, a prompt, and a verifier's name. The table is the whole list."""

from simko.tasks.hub import MATH500, MATH_L3_5
from simko.tasks.local_file import file_task
from simko.tasks.multiplication import MULTIPLICATION
from simko.tasks.operator_puzzle import OPERATOR_PUZZLE, operator_puzzle_traces
from simko.tasks.task import Loader, Split, Task

__all__ = ["TASKS", "Loader", "Split", "Task", "file_task", "get_task", "operator_puzzle_traces"]

TASKS: dict[str, Task] = {
    "operator_puzzle": OPERATOR_PUZZLE,
    "multiplication": MULTIPLICATION,
    "math_l3_5": MATH_L3_5,
    "math500": MATH500,
}


def get_task(name: str) -> Task:
    """The task called `name`; ValueError with the known names if there is none. A file is `file_task`'s business."""
    if name not in TASKS:
        raise ValueError(f"no task is called {name!r}; choose one of: {', '.join(TASKS)}, or use file_task for a file")
    return TASKS[name]
