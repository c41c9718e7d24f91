"""What a puzzle family is: its data, how its answers are read, and when an answer is right."""

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from simko.records import Problem

Read = Callable[[str], "tuple[str, Any] | None"]


@dataclass(frozen=True)
class Family:
    """A family of puzzles."""

    puzzle: Callable[[Problem], Any]
    """A problem's data as `holds` takes it; KeyError, TypeError, IndexError or ValueError where it is malformed."""
    read: Read
    """The final part of a response -> (the answer as text, its value); None where there is no answer in the form that
    the prompts ask for."""
    holds: Callable[[Any, Any], bool]
    """(an answer's value, the puzzle) -> whether the answer is correct."""


def gold(problem: Problem) -> str:
    """The gold answer, which must not be empty."""
    if not problem.answer.strip():
        raise ValueError("the gold answer is empty")
    return problem.answer.strip()


def field(problem: Problem, name: str) -> Any:
    """A field of the puzzle's own data, metadata["metadata"]; it may be stored as the text of a Python literal."""
    value = problem.metadata["metadata"][name]
    if isinstance(value, str) and value[:1] in ("[", "(", "{"):
        return ast.literal_eval(value)
    return value


def grid_field(problem: Problem, name: str) -> list[list[int | str]]:
    """A field that is a grid, cells as `cell` gives them; ValueError unless it is a rectangle."""
    grid = as_grid(field(problem, name))
    if grid is None:
        raise ValueError(f"{name} is not a rectangular grid")
    return grid


def int_list(problem: Problem, name: str) -> list[int]:
    """A field that is a list of integers."""
    return [int(value) for value in field(problem, name)]


def cell(value: Any) -> int | str:
    """A cell: an integer if it is one or reads as one, else its text in upper case. ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("a cell is an integer or a text")
    if isinstance(value, int):
        return value
    text = value.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text.upper()


def as_grid(value: Any) -> list[list[int | str]] | None:
    """A rectangle of cells from lists or tuples, or None if the value is none."""
    if not isinstance(value, list | tuple) or not value or not all(isinstance(row, list | tuple) for row in value):
        return None
    if not value[0] or len({len(row) for row in value}) != 1:
        return None
    try:
        return [[cell(entry) for entry in row] for row in value]
    except ValueError:
        return None


def same_shape(left: Sequence[Sequence[Any]], right: Sequence[Sequence[Any]]) -> bool:
    """Whether two rectangles have the same height and width."""
    return len(left) == len(right) and len(left[0]) == len(right[0])


def is_latin(grid: Sequence[Sequence[int | str]], size: int) -> bool:
    """Whether a grid is size x size and each row and column holds 1 ... size once."""
    wanted = set(range(1, size + 1))
    lines = [*grid, *zip(*grid, strict=True)]
    return len(grid) == size and all(len(line) == size and set(line) == wanted for line in lines)
