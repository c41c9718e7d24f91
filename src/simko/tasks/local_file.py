"""A task from a JSONL file of one's own."""

import json
from pathlib import Path
from typing import Any

from simko.records import Problem
from simko.tasks.task import Split, Task, check_request
from simko.verifiers import get_verifier


def file_task(
    path: Path | str,
    verifier: str,
    *,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 1024,
    stop: tuple[str, ...] = (),
) -> Task:
    """A task over a UTF-8 JSONL file: on each line an object with prompt and answer, texts, and perhaps id.

    Without an id the line number is it; further columns become metadata. The file is one set: both splits read it.
    Loading raises ValueError naming the file and line where a line does not fit.
    """
    get_verifier(verifier)
    path = Path(path)

    def load(split: Split, limit: int | None = None) -> list[Problem]:
        check_request(str(path), split, limit)
        return read_problems(path)[:limit]

    return Task(
        name=path.stem,
        description=f"the problems of {path}",
        verifier=verifier,
        load=load,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        stop=stop,
        source=str(path),
        licence="the file's own",
    )


def read_problems(path: Path) -> list[Problem]:
    """All problems of a JSONL file; blank lines are passed over. ValueError as in `file_task`."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    problems: dict[str, Problem] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the file is not UTF-8 ({error})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        problem = _problem(line, number, f"{path}, line {number}")
        if problem.id in problems:
            raise ValueError(f"{path}, line {number}: the id {problem.id!r} occurs twice")
        problems[problem.id] = problem
    if not problems:
        raise ValueError(f"{path}: the file holds no problems")
    return list(problems.values())


def _problem(line: str, number: int, place: str) -> Problem:
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: not JSON ({error.msg} at column {error.colno})") from error
    if not isinstance(row, dict):
        raise ValueError(f"{place}: expected an object with the columns prompt and answer")
    for column in ("prompt", "answer"):
        if column not in row:
            raise ValueError(f"{place}: the column {column!r} is missing")
        if not isinstance(row[column], str):
            raise ValueError(f"{place}: the column {column!r} must be a text, not {type(row[column]).__name__}")
    metadata = {key: value for key, value in row.items() if key not in ("prompt", "answer", "id")}
    return Problem(str(row.get("id", number)), row["prompt"], row["answer"], metadata)
