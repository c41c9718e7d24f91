"""A task from a file of one's own: JSONL, CSV or Parquet."""

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simko.records import Problem
from simko.tasks.task import Split, Task, check_request, fill
from simko.verifiers import get_verifier

FILE_SUFFIXES = (".jsonl", ".csv", ".parquet")
PROMPT_COLUMNS = ("prompt", "problem", "question")


def file_task(
    path: Path | str,
    verifier: str,
    *,
    template: str = "{problem}",
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 1024,
    stop: tuple[str, ...] = (),
) -> Task:
    r"""A task over a UTF-8 JSONL or CSV file (with a header line) or a Parquet file.

    Columns: prompt (or else problem, or question) and answer, texts, and perhaps id; further ones become metadata.
    Without an id the row's number is it, which in a JSONL file is the line's. A prompt is the template with the text in
    place of {problem}, e.g. "{problem}\nPlease put your final answer within \boxed{}."; by default it stands as it is.
    The file is one set: both splits read it. Loading raises ValueError naming the file and row where one does not fit.
    """
    get_verifier(verifier)
    if "{problem}" not in template:
        raise ValueError(f"the template {template!r} has no {{problem}} to put a problem's text in")
    path = Path(path)

    def load(split: Split, limit: int | None = None) -> list[Problem]:
        check_request(str(path), split, limit)
        return read_problems(path, template)[:limit]

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
        sizes={"train": None, "test": None},
        version=lambda: f"sha256:{_digest(path)}",
    )


def read_problems(path: Path, template: str = "{problem}") -> list[Problem]:
    """All problems of a file; blank lines are passed over. ValueError as in `file_task`."""
    problems: dict[str, Problem] = {}
    for place, number, row in _rows(path):
        problem = _problem(row, number, place, template)
        if problem.id in problems:
            raise ValueError(f"{place}: the id {problem.id!r} occurs twice")
        problems[problem.id] = problem
    if not problems:
        raise ValueError(f"{path}: the file holds no problems")
    return list(problems.values())


def _digest(path: Path) -> str:
    _check_is_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")


def _rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(place for messages, number, row) of each row, numbers from 1."""
    readers = {".jsonl": _jsonl_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise ValueError(f"{path}: cannot read files that end in {suffix!r}; give one of: {', '.join(FILE_SUFFIXES)}")
    _check_is_file(path)
    try:
        yield from readers[suffix](path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the file is not UTF-8 ({error})") from error


def _jsonl_rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{place}: not JSON ({error.msg} at column {error.colno})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{place}: expected an object with the columns prompt and answer")
        yield place, number, row


def _csv_rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for number, row in enumerate(reader, start=1):
                place = f"{path}, row {number}"
                if None in row or None in row.values():
                    raise ValueError(f"{place}: it has not as many cells as the header has columns")
                yield place, number, row
        except csv.Error as error:
            raise ValueError(f"{path}, line {reader.line_num}: not CSV ({error})") from error


def _parquet_rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as missing:
        raise RuntimeError("reading Parquet needs the package datasets: pip install datasets") from missing
    try:
        rows = pq.read_table(path).to_pylist()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file ({error})") from error
    for number, row in enumerate(rows, start=1):
        yield f"{path}, row {number}", number, row


def _problem(row: dict[str, Any], number: int, place: str, template: str) -> Problem:
    prompt = next((column for column in PROMPT_COLUMNS if column in row), None)
    if prompt is None:
        raise ValueError(f"{place}: there is no column {', '.join(PROMPT_COLUMNS[:-1])} or {PROMPT_COLUMNS[-1]}")
    if "answer" not in row:
        raise ValueError(f"{place}: the column 'answer' is missing")
    for column in (prompt, "answer"):
        if not isinstance(row[column], str):
            raise ValueError(f"{place}: the column {column!r} must be a text, not {type(row[column]).__name__}")
    metadata = {key: value for key, value in row.items() if key not in (prompt, "answer", "id")}
    id = number if row.get("id") is None else row["id"]
    return Problem(str(id), fill(template, row[prompt]), row["answer"], metadata)
