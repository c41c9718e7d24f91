"""GSM8K as the files of problems that studies/head_to_head/gsm8k.yaml reads, in runs/gsm8k.

    python benchmarks/gsm8k_files.py                          # from the hub's cache, or the hub
    python benchmarks/gsm8k_files.py --file problems.jsonl    # from a carried file (id, problem, answer), split in two

Without a network, carry the hub's cache (HF_HUB_CACHE) or a file.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from simko.evaluate.files import write_whole
from simko.tasks import read_file
from simko.tasks.hub import HubSource

COMMIT = "740312add88f781978c0658806c59bc2815b9866"
HELD_OUT = 350  # of a single file


def of_hub(split: str, rows: int) -> list[tuple[str, str, str]]:
    """(id, problem, answer) of each row."""
    table = HubSource("openai/gsm8k", split, COMMIT, rows, config="main").read()
    golds = [row["answer"].rpartition("####")[2].replace(",", "").strip() for row in table]
    return [(f"{split}/{i:04d}", row["question"], gold) for i, (row, gold) in enumerate(zip(table, golds, strict=True))]


def of_file(path: Path) -> list[tuple[str, str, str]]:
    """(id, problem, answer) of each row."""
    return [(p.id, p.prompt, p.answer or "") for p in read_file(path, "last_integer").load("test")]


def write(path: Path, rows: Iterable[tuple[str, str, str]]) -> None:
    """A line for each problem. run_on: a response counts up to where it asks the next question itself."""
    lines = [json.dumps({"id": i, "problem": p, "answer": a, "run_on": True}, ensure_ascii=False) for i, p, a in rows]
    write_whole(path, "\n".join(lines) + "\n")
    print(f"{path}: {len(lines)} problems")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/gsm8k"))
    args = parser.parse_args()
    if args.file:
        rows = of_file(args.file)
        train, test = rows[:-HELD_OUT], rows[-HELD_OUT:]
    else:
        train, test = of_hub("train", 7473), of_hub("test", 1319)
    write(args.out / "train.jsonl", train)
    write(args.out / "test.jsonl", test)


if __name__ == "__main__":
    main()
