"""A task of each kind that `simko evaluate` takes, small, with problems that the suite's tiny model sometimes solves."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from simko.tasks import TASKS

Row = dict[str, Any]

SUMS = [{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a, b in ((1, 0), (1, 1), (0, 2))]
OPTIONS = "Which?\nOptions:\n(A) one\n(B) two"
BBH = [{"problem": OPTIONS, "answer": a, "answer_type": "multiple_choice", "choices": 2} for a in ("(A)", "(B)", "(A)")]
SYNLOGIC = [
    {"id": f"b{i}", "problem": f"Which are true? {i}", "answer": a, "task": "boolean_expressions", "metadata": None}
    for i, a in enumerate(("A", "B", "A,B"))
]
HUMANEVAL = [
    {
        "task_id": f"HumanEval/{i}",
        "prompt": f'def one{i}() -> int:\n    """ {i} """\n',
        "entry_point": f"one{i}",
        "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
    }
    for i in range(3)
]
IFEVAL = [
    {"key": key, "prompt": f"Write {key}.", "instruction_id_list": [name], "kwargs": [arguments]}
    for key, name, arguments in (
        (1, "punctuation:no_comma", {}),
        (2, "length_constraints:number_words", {"relation": "at least", "num_words": 2}),
        (3, "change_case:english_lowercase", {}),
    )
]


def write_rows(path: Path, rows: Sequence[Row]) -> str:
    """The path, as text, of the rows in the form that its suffix names."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def hub_copy(cache: Path) -> Path:
    """The hub's local cache with AIME 2025 in it, thirty sums in its stead."""
    commit = TASKS["aime25"].source.split("math-ai/aime25 at ")[1][:40]
    repository = cache / "datasets--math-ai--aime25"
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    write_rows(folder / "test.jsonl", [{"problem": f"{i}?", "answer": str(1 + i % 2), "id": str(i)} for i in range(30)])
    return cache


KINDS: dict[str, Callable[[Path], list[str]]] = {
    "operator_puzzle": lambda _: ["operator_puzzle"],
    "graph_paths": lambda _: ["graph_paths"],
    "mini_sudoku": lambda _: ["mini_sudoku"],
    "multiplication": lambda _: ["multiplication"],
    "maths": lambda folder: [write_rows(folder / "sums.jsonl", SUMS), "--verifier", "math"],
    "csv": lambda folder: [
        write_rows(folder / "sums.csv", SUMS),
        "--verifier",
        "last_integer",
        "--template",
        "{problem}\n",
    ],
    "parquet": lambda folder: [write_rows(folder / "sums.parquet", SUMS), "--verifier", "last_box"],
    "bbh": lambda folder: [write_rows(folder / "bbh.jsonl", BBH), "--verifier", "bbh"],
    "choice": lambda folder: [write_rows(folder / "options.jsonl", BBH), "--verifier", "choice", "--chat"],
    "synlogic": lambda folder: [write_rows(folder / "logic.jsonl", SYNLOGIC), "--verifier", "synlogic"],
    "reasoning_gym": lambda _: ["reasoning_gym/simple_equations"],
    "code": lambda folder: [write_rows(folder / "programs.jsonl", HUMANEVAL), "--verifier", "code", "--no-chat"],
    "instructions": lambda folder: [write_rows(folder / "asked.parquet", IFEVAL), "--verifier", "instructions"],
    "hub": lambda _: ["aime25"],
}
"""{kind: what makes its files in a folder and gives the words after --task}."""
