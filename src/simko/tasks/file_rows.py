"""Local files as tasks: rows of JSONL, CSV or Parquet, and the problems that are made of them."""

import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from simko.records import Problem
from simko.tasks.task import Split, Task, check_request

FILE_SUFFIXES = (".jsonl", ".csv", ".parquet")

Row = dict[str, Any]
Reader = Callable[[Row, int], Problem]
"""(row, its number from 1) -> problem; KeyError for a missing column, ValueError for what does not fit."""


def problems_task(path: Path | str, read: Reader, **fields: Any) -> Task:
    """The task over a file's rows, bound to the file's sha256; `fields` are those of `Task` that the file does not decide.

    The file is one set: both splits read it. Loading fails as `read_problems` does.
    """
    path = Path(path)

    def load(split: Split, limit: int | None = None) -> list[Problem]:
        check_request(str(path), split, limit)
        return read_problems(path, read)[:limit]

    return Task(
        name=path.stem,
        load=load,
        source=str(path),
        licence="the file's own",
        sizes={"train": None, "test": None},
        version=lambda: f"sha256:{_digest(path)}",
        **fields,
    )


def read_problems(path: Path, read: Reader) -> list[Problem]:
    """All problems of a file.

    ValueError naming the file and row where one does not fit, is no Unicode, or an id comes a second time.
    """
    problems: dict[str, Problem] = {}
    for place, number, row in file_rows(path):
        try:
            problem = read(row, number)
            _check_characters(problem)
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


def file_rows(path: Path) -> Iterator[tuple[str, int, Row]]:
    """(place for messages, number, row) of each row that is not blank, numbers from 1: in a JSONL file the line's.

    ValueError naming the place where there is no row to be read.
    """
    readers = {".jsonl": _jsonl_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise ValueError(f"{path}: cannot read files that end in {suffix!r}; give one of: {', '.join(FILE_SUFFIXES)}")
    _check_is_file(path)
    try:
        yield from readers[suffix](path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the file is not UTF-8 ({error})") from error


def text_of(row: Row, column: str) -> str:
    """The text in a column; KeyError where it is missing, ValueError where it is no text."""
    value = row[column]
    if not isinstance(value, str):
        raise ValueError(f"the column {column!r} must be a text, not {type(value).__name__}")
    return value


def _check_characters(problem: Problem) -> None:
    """JSON can spell half of a surrogate pair, which neither a tokenizer nor a database takes."""
    for part in ("id", "prompt", "answer"):
        text = getattr(problem, part)
        half = next((c for c in text if "\ud800" <= c <= "\udfff"), None)
        if half is not None:
            raise ValueError(f"the {part} holds {half!a}, half of a surrogate pair, which is no character")


def _digest(path: Path) -> str:
    _check_is_file(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"{path}: no such file")


def _jsonl_rows(path: Path) -> Iterator[tuple[str, int, Row]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{place}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"{place}: expected an object, not {type(row).__name__}")
            yield place, number, row


def _csv_rows(path: Path) -> Iterator[tuple[str, int, Row]]:
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


def _parquet_rows(path: Path) -> Iterator[tuple[str, int, Row]]:
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
