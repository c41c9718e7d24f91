"""The hub's datasets in small: snapshots in the layout of the hub's cache, in the columns of the hub's files.

Rows come from the benchmark files, which have other columns, or are made here where there are none. Where a file holds
a few of a benchmark's problems, they are repeated until there are as many as on the hub.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from simko.tasks import TASKS
from simko.tasks.logic import BBH_SUBTASKS

Row = dict[str, Any]
UNPINNED = "c0ffee" + "0" * 34


def rows_of(bench_data: Path, name: str) -> list[Row]:
    return [json.loads(line) for line in (bench_data / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def hub_rows(bench_data: Path, name: str) -> list[Row]:
    """A benchmark's rows, as many as the hub has, no id twice."""
    rows, size = rows_of(bench_data, name), TASKS[name].sizes["test"]
    assert size is not None
    return [_row(rows, number) for number in range(size)]


def bbh_rows(bench_data: Path) -> list[Row]:
    """The rows of all subtasks, as many of each as the hub has."""
    found = []
    for name, (_, size) in BBH_SUBTASKS.items():
        few = bench_data / "bbh.jsonl"
        rows = rows_of(bench_data, "bbh") if few.exists() else rows_of(bench_data / "bbh", name)
        rows = [row for row in rows if row["task"] == name]
        found += [_row(rows, number) | {"id": f"bbh/{name}/{number:03d}"} for number in range(size)]
    return found


def _row(rows: list[Row], number: int) -> Row:
    row = rows[number % len(rows)]
    return row if number < len(rows) else row | {"id": f"{row['id'].rpartition('/')[0]}/{10_000 + number}"}


def snapshot(cache: Path, hub_id: str, commit: str) -> Path:
    """An empty snapshot folder; `main` points to it."""
    repository = cache / f"datasets--{hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True)
    return folder


def write(path: Path, rows: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_card(folder: Path, configs: dict[str, dict[str, str]]) -> None:
    """README.md with the dataset's configurations: {config: {split: file}}."""
    lines = ["---", "configs:"]
    for config, files in configs.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        lines += [line for split, file in files.items() for line in (f"  - split: {split}", f"    path: {file}")]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))


def aime24(folder: Path, rows: list[Row]) -> None:
    file = "data/train-00000-of-00001.parquet"
    write_card(folder, {"default": {"train": "data/train-*"}})
    made = [
        {
            "id": 60 + i,
            "problem": r["problem"],
            "solution": "-",
            "answer": r.get("answer_raw", r["answer"]),
            "year": "2024",
        }
        for i, r in enumerate(rows)
    ]
    write(folder / file, made)


def aime25(folder: Path, rows: list[Row]) -> None:
    made = [
        {"problem": r["problem"], "answer": r.get("answer_raw", r["answer"]), "id": str(i)} for i, r in enumerate(rows)
    ]
    write(folder / "test.jsonl", made)


def amc23(folder: Path, rows: list[Row]) -> None:
    made = [
        {"id": i, "answer": f"{r['answer']}.0" if i < 5 else r["answer"], "url": r["url"], "question": r["problem"]}
        for i, r in enumerate(rows)
    ]
    write(folder / "test-00000-of-00001.parquet", made)


def math500(folder: Path, rows: list[Row]) -> None:
    columns = ("problem", "answer", "subject", "level")
    made = [{c: r[c] for c in columns} | {"solution": "-", "unique_id": r["id"][8:] + ".json"} for r in rows]
    write(folder / "test.jsonl", made)


def minerva(folder: Path, rows: list[Row]) -> None:
    write(folder / "test.jsonl", [{"question": r["problem"], "answer": r["answer"]} for r in rows])


def olympiadbench(folder: Path, rows: list[Row]) -> None:
    file = "OlympiadBench/OE_TO_maths_en_COMP/OE_TO_maths_en_COMP.parquet"
    write_card(
        folder, {"OE_MM_physics_en_COMP": {"train": "not/fetched.parquet"}, "OE_TO_maths_en_COMP": {"train": file}}
    )
    made = [
        {
            "id": int(r["id"].split("/")[1]),
            "question": r["problem"],
            "final_answer": [r["answer"]],
            "context": "Let $n = 3$." if i == 1 else None,
            "is_multiple_answer": r["is_multiple_answer"],
            "unit": r["unit"],
            "answer_type": r["answer_type"],
            "error": r["tolerance"],
            "subfield": r["subject"],
        }
        for i, r in enumerate(rows)
    ]
    write(folder / file, made)


def gsm8k(folder: Path, rows: list[Row]) -> None:
    write_card(folder, {name: {s: f"{name}/{s}-*" for s in ("train", "test")} for name in ("main", "socratic")})
    made = [{"question": r["problem"], "answer": f"<<1+1=2>> so\n#### {int(r['answer']):,}"} for r in rows]
    write(folder / "main/test-00000-of-00001.parquet", made)
    train = [{"question": f"{i}?", "answer": f"#### {i:,}"} for i in range(7473)]
    write(folder / "main/train-00000-of-00001.parquet", train)


def bbh(folder: Path, rows: list[Row]) -> None:
    write_card(folder, {name: {"test": f"{name}/test-*"} for name in BBH_SUBTASKS})
    for name in BBH_SUBTASKS:
        made = [{"input": r["problem"], "target": r["answer"]} for r in rows if r["task"] == name]
        write(folder / name / "test-00000-of-00001.parquet", made)


def math(folder: Path) -> None:
    sizes = {"Level 1": 564, "Level 2": 1348, "Level 3": 1592, "Level 4": 1690, "Level 5": 2304, "Level ?": 2}
    levels = [level for level, size in sizes.items() for _ in range(size)]
    made = [
        {"problem": f"{i}?", "level": level, "solution": f"$\\boxed{{{i}}}$", "type": "Algebra"}
        for i, level in enumerate(levels)
    ]
    write(folder / "data/train-00000-of-00001.parquet", made)


def synlogic(folder: Path, rows: list[Row]) -> None:
    splits = ("train", "validation")
    write_card(folder, {name: {s: f"synlogic_{name}/{s}.parquet" for s in splits} for name in ("easy", "hard")})
    for split, prefix in (("train", ""), ("validation", "val/")):
        made = []
        for i, r in enumerate(rows):
            game = {"question": r["problem"], "answer": r["answer"], "difficulty": 1, "metadata": r["metadata"]}
            made.append(
                {
                    "data_source": prefix + r["task"],
                    "prompt": [{"role": "user", "content": r["problem"]}],
                    "ability": "logic",
                    "reward_model": {"style": "rule", "answer": ""},
                    "extra_info": {"game_data_str": json.dumps(game), "index": i},
                }
            )
        write(folder / f"synlogic_easy/{split}.parquet", made)


_STARTER = "class Solution:\n    def swap(self, a: int, b: List[int]) -> List[int]:\n        "
DEEPCODER_FORMS: dict[str, Row] = {
    "stdin_stdout": {"tests": [{"type": "stdin_stdout", "fn_name": None, "input": "1 2\n", "output": "3\n"}]},
    "function_call": {"tests": [{"type": "function_call", "fn_name": "add", "input": [1, 2], "output": [3]}]},
    "taco": {"tests": {"inputs": ["1 2\n", ["3", "4"]], "outputs": ["3\n", ["7"]]}},
    "taco_function": {"tests": {"fn_name": "add", "inputs": [[1, 2], [[1], [2]]], "outputs": [[3], [[1, 2]]]}},
    "stdin": {"tests": [{"testtype": "stdin", "input": "1 2\n", "output": "3\n"}], "metadata": {"func_name": None}},
    "functional": {
        "tests": [{"testtype": "functional", "input": "1\n[2, 3]", "output": "[[2, 3], 1]"}],
        "starter_code": _STARTER,
        "metadata": {"func_name": "swap"},
    },
}
"""A row of each form of tests that DeepCoder's hub set has, without its statement."""
_DEEPCODER = {
    "train": {
        "primeintellect": (16252, ("stdin_stdout", "function_call")),
        "taco": (7436, ("taco", "taco_function")),
        "lcbv5": (9, ("stdin", "functional")),
    },
    "test": {"codeforces": (5, ("stdin",)), "lcbv5": (4, ("stdin", "functional"))},
}


def deepcoder_rows(split: str) -> list[tuple[str, Row]]:
    """(configuration, row) of a split, in the task's order."""
    return [
        (config, deepcoder_row(DEEPCODER_FORMS[forms[i % len(forms)]]))
        for config, (size, forms) in _DEEPCODER[split].items()
        for i in range(size)
    ]


def deepcoder_row(form: Row) -> Row:
    return {"problem": "Add.\n", **form, "tests": json.dumps(form["tests"])}


def deepcoder(folder: Path) -> None:
    for split, configs in _DEEPCODER.items():
        for config in configs:
            rows = [row for other, row in deepcoder_rows(split) if other == config]
            write(folder / config / f"{split}-00000-of-00001.parquet", rows)


BENCHMARKS: dict[str, tuple[Callable[[Path, list[Row]], None], str]] = {
    "aime24": (aime24, "HuggingFaceH4/aime_2024"),
    "aime25": (aime25, "math-ai/aime25"),
    "amc23": (amc23, "math-ai/amc23"),
    "math500": (math500, "HuggingFaceH4/MATH-500"),
    "minerva": (minerva, "math-ai/minervamath"),
    "olympiadbench": (olympiadbench, "Hothan/OlympiadBench"),
    "gsm8k": (gsm8k, "openai/gsm8k"),
}
"""{task and benchmark file: (what lays its snapshot, the hub's id)}."""
