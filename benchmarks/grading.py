"""Verdicts per second of the maths verifier, and how it fares among hostile answers.

    python benchmarks/grading.py --problems math500.jsonl [--problems aime24.jsonl] [--count 30] [--samples 256] [--distinct 20]

The files hold one JSON object a line with "id" and "answer" (or "gold"). Drawn with a fixed seed: for each of `count`
problems a pool of `distinct` answers (the gold in several forms, answers to other problems, and texts that only
math-verify can judge), and from it `samples` responses with Zipf weights, each with some reasoning of its own before it.
"""

import argparse
import json
import os
import random
import time
from collections import Counter
from pathlib import Path

from simko.records import Problem
from simko.verifiers import verify_math
from simko.verifiers.pool.pool import GradingPool

HOSTILE = Path(__file__).parent.parent / "tests/verifiers/hostile_answers.json"


def problems(paths: list[Path], count: int, seed: random.Random) -> list[Problem]:
    rows = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    return [Problem(row["id"], "", row.get("answer") or row["gold"]) for row in seed.sample(rows, count)]


def responses(chosen: list[Problem], samples: int, distinct: int, seed: random.Random) -> list[tuple[str, Problem]]:
    made = []
    for problem in chosen:
        others = [other.answer for other in seed.sample(chosen, min(distinct, len(chosen)) - 3)]
        pool = [problem.answer, f" {problem.answer} ", f"{problem.answer}+k^2", f"x^2+{problem.answer}", *others]
        weights = [1 / rank for rank in range(1, len(pool) + 1)]
        for number, answer in enumerate(seed.choices(pool, weights, k=samples)):
            made.append((f"Let me think ({number}). {'So it goes. ' * 100}Hence \\boxed{{{answer}}}.", problem))
    return made


def timed(name: str, answers: list[tuple[str, Problem]]) -> None:
    """Print what a started pool makes of the answers. CPU: of this process, and of the workers with their start."""
    before = os.times()
    with GradingPool() as pool:
        verify_math.grade([("\\boxed{x^2+1}", Problem("p", "", "1+x^2"))], pool)
        start, cpu = time.perf_counter(), time.process_time()
        verdicts = verify_math.grade(answers, pool)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    after = os.times()
    workers = after.children_user + after.children_system - before.children_user - before.children_system
    print(
        f"{name:<40}{len(answers):>6} verdicts {seconds:>7.2f} s {len(answers) / seconds:>7.0f} /s  CPU {cpu:.2f} + "
        f"{workers:.2f} s  {dict(Counter(verdict.outcome for verdict in verdicts))}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=Path, action="append", required=True)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--distinct", type=int, default=20)
    args = parser.parse_args()
    seed = random.Random(0)
    chosen = problems(args.problems, args.count, seed)
    print(f"{GradingPool().workers} workers")
    timed("nothing: the start alone", [])
    timed(f"{args.samples} x {args.count}, realistic duplicates", responses(chosen, args.samples, args.distinct, seed))
    unlike = [(f"\\boxed{{{p.answer}+k^{{{n}}}}}", p) for p in chosen for n in range(2, 12)]
    timed("all different", unlike)
    good = [(f"\\boxed{{{p.answer}}}", p) for p in problems(args.problems, 170, seed)]
    good += [("\\boxed{x^2+1}", Problem(f"p{i}", "", "1+x^2")) for i in range(30)]
    texts = ["".join(part * times for part, times in row) for row in json.loads(HOSTILE.read_text())]
    hostile = [(f"\\boxed{{{text}}}", Problem("h", "", "42")) for text in texts]
    timed(f"{len(good)} right and {len(hostile)} hostile", good + hostile)
    twice = [(text, Problem(f"{p.id}{i}", "", p.answer)) for i in range(2) for text, p in hostile]
    timed(f"{len(twice)} hostile, then 16 right", twice + good[-16:])


if __name__ == "__main__":
    main()
