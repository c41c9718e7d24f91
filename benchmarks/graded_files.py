"""Time and memory of `simko grade` on a JSONL file of 100,000 responses, half of them repeated.

    python benchmarks/graded_files.py [--rows 100000] [--verifier math]

The verifier last_box reads text alone: its time is that of reading, storing and grading once what is equal. With math the
difference is the grader's own time.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROBLEMS = 100
WORDS = [
    "so",
    "the",
    "sum",
    "of",
    "all",
    "terms",
    "is",
    "then",
    "at",
    "most",
    "twice",
    "what",
    "we",
    "had",
    "before",
    "and",
    "thus",
    "equal",
    "to",
]


def write(path: Path, rows: int) -> None:
    """Rows of 100 problems, with about 1,500 characters of text before the answer."""
    draw = random.Random(0)
    with path.open("w") as file:
        for i in range(rows // 2):
            problem = i % PROBLEMS
            text = " ".join(draw.choices(WORDS, k=400))
            response = f"{text} \\boxed{{{problem + draw.randrange(8)}}}"
            row = json.dumps({"problem": f"Problem {problem}?", "answer": problem, "response": response})
            file.write(f"{row}\n{row}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--verifier", nargs="+", default=["last_box", "math"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "responses.jsonl"
        write(path, args.rows)
        print(f"{args.rows:,} rows, {path.stat().st_size / 2**20:.0f} MiB; load {os.getloadavg()[0]:.1f}")
        for verifier in args.verifier:
            out = Path(folder) / verifier
            words = ["grade", str(path), "--verifier", verifier, "--out", str(out), "--quiet"]
            start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-m", "simko.cli", *words], check=True, stdout=subprocess.DEVNULL)
            now = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
            print(
                f"{verifier}: {time.perf_counter() - start:.1f} s ({cpu:.1f} s of CPU), at most {now.ru_maxrss >> 10:,} MiB"
            )


if __name__ == "__main__":
    main()
