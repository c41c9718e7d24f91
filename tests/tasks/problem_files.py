"""What the tests of files of problems share."""

import csv
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from simko.records import Problem
from simko.tasks import parse_columns, read_file

Rows = list[dict[str, Any]]


def write(path: Path, rows: Rows) -> Path:
    if ".jsonl" in path.name or ".csv" in path.name:
        opener: Any = gzip.open if path.suffix == ".gz" else open
        with opener(path, "wt", encoding="utf-8", newline="") as file:
            if ".jsonl" in path.name:
                file.write("".join(json.dumps(row) + "\n" for row in rows))
            else:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    else:
        table = pytest.importorskip("pyarrow").Table.from_pylist(rows)
        pytest.importorskip("pyarrow.parquet").write_table(table, path)
    return path


def load(path: Path, verifier: str | None = "math", columns: str | None = None) -> list[Problem]:
    return read_file(path, verifier, columns=parse_columns(columns)).load("test")


def refusal(path: Path, verifier: str = "math", columns: str | None = None) -> str:
    with pytest.raises(ValueError, match=re.escape(str(path))) as refused:
        load(path, verifier, columns)
    message = str(refused.value)
    assert "\n" not in message
    return message
