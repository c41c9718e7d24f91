"""The formats of files of rows: JSONL, CSV, each also as .gz, and Parquet -> rows of JSON values."""

import base64
import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

FILE_SUFFIXES = (".jsonl", ".csv", ".parquet", ".jsonl.gz", ".csv.gz")

Row = dict[str, Any]
_LONGEST_CELL = 1 << 30


def file_rows(path: Path) -> Iterator[tuple[str, int, Row]]:
    """(place for messages, number, row) of each row that is not blank. Numbers start at 1; in a JSONL file they are the lines'.

    Parquet's decimals are numbers, and its bytes texts if they are UTF-8; times and other bytes stay as they are (see `as_json`).
    ValueError names the place of an unreadable row, and the column.
    """
    check_file(path)
    readers = {".jsonl": _jsonl_rows, ".csv": _csv_rows, ".parquet": _parquet_rows}
    try:
        yield from readers[suffix_of(path).removesuffix(".gz")](path)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the file is not UTF-8 ({error})") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzip file ({error})") from error


def check_file(path: Path) -> None:
    """ValueError unless the file exists and is of a kind that can be read."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give one file of problems in it ({', '.join(FILE_SUFFIXES)})")
    if path.suffix.lower() == ".json" and path.is_file():
        raise ValueError(f"{path} cannot be read: write a JSON object a line, for each problem, into a .jsonl file")
    if suffix_of(path) not in FILE_SUFFIXES:
        raise ValueError(
            f"{path}: cannot read files that end in {path.suffix!r}; give one of: {', '.join(FILE_SUFFIXES)}"
        )
    if not path.is_file():
        raise ValueError(f"{path}: no such file")


def suffix_of(path: Path) -> str:
    """The suffix in lower case, with the one before .gz."""
    return "".join(path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:]).lower()


def as_json(value: Any) -> Any:
    """A cell as JSON can hold it: times in ISO form, durations in seconds, bytes in base64, other values as text."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): as_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


class LiteralFloat(float):
    """A number that is printed as in its file: 5e-1 or 0.50, not 0.5."""

    def __new__(cls, text: str) -> "LiteralFloat":
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str

    def __str__(self) -> str:
        return self.text


def _open(path: Path, **options: Any) -> IO[str]:
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", **options)


def _jsonl_rows(path: Path) -> Iterator[tuple[str, int, Row]]:
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            place = f"{path}, line {number}"
            try:
                row = json.loads(line, parse_float=LiteralFloat)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{place}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"{place}: expected an object, not {type(row).__name__}")
            yield place, number, row


def _csv_rows(path: Path) -> Iterator[tuple[str, int, Row]]:
    csv.field_size_limit(_LONGEST_CELL)  # 128 KiB, the default, is less than a long response
    with _open(path, newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            _check_names(path, list(reader.fieldnames or ()))
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
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a Parquet file ({error})") from error
    _check_names(path, table.column_names)
    for i, field in enumerate(table.schema):
        if field.type == pa.float32():  # by its shortest form: 0.1, not 0.10000000149011612
            table = table.set_column(i, field.name, table.column(i).cast(pa.string()).cast(pa.float64()))
    for number, cells in enumerate(zip(*table.columns, strict=True), start=1):
        place = f"{path}, row {number}"
        row: Row = {}
        for column, cell in zip(table.column_names, cells, strict=True):
            try:
                row[column] = _plain(cell.as_py())
            except (ValueError, OverflowError, KeyError, NotImplementedError, pa.ArrowException) as error:
                raise ValueError(
                    f"{place}: the column {column!r} ({cell.type}) cannot be read ({error}): write it as text"
                ) from error
        yield place, number, row


def _check_names(path: Path, names: list[str]) -> None:
    """ValueError for a name that two columns have: one of them would be read, and none would know which."""
    if len(set(names)) != len(names):
        raise ValueError(f"{path}: two columns are called {max(names, key=names.count)!r}: rename one")


def _plain(value: Any) -> Any:
    """Decimals as numbers with their digits, and bytes that are UTF-8 as text, at any depth."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Decimal):
        text = format(value, "f")
        return LiteralFloat(text) if "." in text else int(text)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value
