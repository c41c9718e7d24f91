"""Local files as tasks: rows of JSONL, CSV or Parquet -> problems."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from simko.records import Problem
from simko.tasks.table_files import Row, as_json, check_file, file_rows, suffix_of
from simko.tasks.task import Split, Task, check_request

Reader = Callable[[Row, int], Problem]
"""(row, its number from 1) -> problem. KeyError for a missing column, ValueError for a value that does not fit."""


def problems_task(path: Path | str, read: Reader, **fields: Any) -> Task:
    """The task over a file's rows, bound to the file's sha256.

    read: makes a problem of a row. fields: the fields of `Task` that the file does not decide. Both splits are the whole file.
    Loading raises the errors of `read_problems`.
    """
    path = Path(path)

    def load(split: Split, limit: int | None = None) -> list[Problem]:
        check_request(str(path), split, limit)
        return read_problems(path, read)[:limit]

    return Task(
        name=path.name[: len(path.name) - len(suffix_of(path))],
        load=load,
        source=str(path),
        licence="the file's own",
        sizes={"train": None, "test": None},
        version=lambda: f"sha256:{_digest(path)}",
        **fields,
    )


def read_problems(path: Path, read: Reader) -> list[Problem]:
    """All problems of a file.

    ValueError, naming the file and row, for a row that does not fit or is not Unicode, and for a repeated id.
    """
    problems: dict[str, Problem] = {}
    for place, number, row in file_rows(path):
        try:
            problem = read(row, number)
            check_characters(problem)
            problem = replace(problem, metadata=as_json(problem.metadata))
        except KeyError as error:
            raise ValueError(f"{place}: the column {error} is missing") from error
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
        if problem.id in problems:
            raise ValueError(f"{place}: the id {problem.id!r} occurs twice")
        problems[problem.id] = problem
    if not problems:
        raise ValueError(f"{path}: the file holds no problems")
    return list(problems.values())


def check_characters(problem: Problem) -> None:
    """ValueError for an empty prompt, and for half of a surrogate pair, which tokenizers and databases do not accept."""
    if not problem.prompt:
        raise ValueError("the prompt is empty")
    for part in ("id", "prompt", "answer"):
        text = getattr(problem, part)
        half = next((c for c in text if "\ud800" <= c <= "\udfff"), None)
        if half is not None:
            raise ValueError(f"the {part} holds {half!a}, half of a surrogate pair, which is no character")


def _digest(path: Path) -> str:
    check_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
