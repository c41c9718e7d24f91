"""Local files as tasks: rows of JSONL, CSV or Parquet -> problems."""

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from simko.records import Problem
from simko.tasks.task import Split, Task, check_request

FILE_SUFFIXES = (".jsonl", ".csv", ".parquet")

Row = dict[str, Any]
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

    ValueError, naming the file and row, for a row that does not fit or is not Unicode, and for a repeated id.
    """
    problems: dict[str, Problem] = {}
    for place, number, row in file_rows(path):
        try:
            problem = read(row, number)
            check_characters(problem)
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
    """(place for messages, number, row) of each row that is not blank. Numbers start at 1; in a JSONL file they are the lines'.

    ValueError names the place of an unreadable row.
    """
    check_file(path)
    readers = {".jsonl": _jsonl_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
    try:
        yield from readers[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the file is not UTF-8 ({error})") from error


def check_file(path: Path) -> None:
    """ValueError unless the file exists and is of a kind that can be read."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give one file of problems in it ({', '.join(FILE_SUFFIXES)})")
    if path.suffix.lower() == ".json" and path.is_file():
        raise ValueError(f"{path} cannot be read: write a JSON object a line, for each problem, into a .jsonl file")
    if path.suffix.lower() not in FILE_SUFFIXES:
        raise ValueError(
            f"{path}: cannot read files that end in {path.suffix!r}; give one of: {', '.join(FILE_SUFFIXES)}"
        )
    if not path.is_file():
        raise ValueError(f"{path}: no such file")


def text_of(row: Row, column: str) -> str:
    """The text in a column. KeyError if the column is missing, ValueError if it is not a text."""
    value = row[column]
    if not isinstance(value, str):
        raise ValueError(f"the column {column!r} must be a text, not {type(value).__name__}")
    return value


def text_or_number_of(row: Row, column: str) -> str:
    """The text in a column, or a number as the file writes it (in Parquet the shortest form). Errors as in `text_of`."""
    value = row[column]
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"the column {column!r} must be a text or a number, not {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"the column {column!r} must be a text or a finite number, not {value}")
    return repr(value).removesuffix(".0") if type(value) is float else str(value)


class _LiteralFloat(float):
    """A number that is printed as in its file: 5e-1 or 0.50, not 0.5."""

    def __new__(cls, text: str) -> "_LiteralFloat":
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str

    def __str__(self) -> str:
        return self.text


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


def _jsonl_rows(path: Path) -> Iterator[tuple[str, int, Row]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                row = json.loads(line, parse_float=_LiteralFloat)
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
        raise RuntimeError("reading Parquet needs the package datasets: pip install 'simko[eval]'") from missing
    try:
        rows = pq.read_table(path).to_pylist()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file ({error})") from error
    for number, row in enumerate(rows, start=1):
        yield f"{path}, row {number}", number, row
