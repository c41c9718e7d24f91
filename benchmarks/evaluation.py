"""What an evaluation costs beside the model and the grader: time a sample, rows a second on disk, and memory.

python benchmarks/evaluation.py --samples 100000
python benchmarks/evaluation.py --samples 1000000
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from simko.evaluate import SampleStore
from simko.evaluate.run import evaluate
from simko.records import Problem, Sample, Verdict
from simko.sampling import SamplingSettings, Wanted

RESPONSE = "We multiply step by step and carry the tens. " * 20


class Instant:
    """A sampler that takes no time: lists of 64, about 900 characters a response."""

    identity = {"backend": "instant", "model": "none"}  # noqa: RUF012

    def sample(
        self, problems: Sequence[Problem], wanted: Wanted, settings: SamplingSettings, *, seed: int
    ) -> Iterator[list[Sample]]:
        for problem in problems:
            indices = wanted.get(problem.id, ())
            for start in range(0, len(indices), 64):
                yield [Sample(problem.id, i, f"{RESPONSE}{i}", 200, "stop", 50, i) for i in indices[start : start + 64]]


def instant(response: str, problem: Problem) -> Verdict:
    return Verdict("correct" if response.endswith("7") else "wrong", response[-2:])


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--batch", type=int, default=64, help="rows a transaction, for the store alone")
    args = parser.parse_args()
    n = args.samples // args.problems
    problems = [Problem(f"problem/{i}", f"What is {i}?", str(i)) for i in range(args.problems)]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        before, start = megabytes(), time.perf_counter()
        with SampleStore(Path(folder) / "samples.db") as store:
            setting = evaluate(store, Instant(), problems, instant, n, SamplingSettings(), task="none", progress=False)
            seconds = time.perf_counter() - start
            rows = store.tally(setting).samples
            counted = time.perf_counter()
            store.counts(setting)
            counted = time.perf_counter() - counted
        print(f"evaluate: {rows} samples, {1000 * seconds / rows:.3f} ms a sample, {rows / seconds:.0f} a second")
        print(f"memory: {before:.0f} MiB before, {megabytes():.0f} MiB at most; counts in {counted:.2f} s")
    with tempfile.TemporaryDirectory(dir=".") as folder, SampleStore(Path(folder) / "samples.db") as store:
        setting = store.begin("none", "T=1", {}, "none", problems, 1)
        lists = [
            [Sample("problem/0", first + i, RESPONSE, 200, "stop", 50, i) for i in range(args.batch)]
            for first in range(0, 10_000, args.batch)
        ]
        start = time.perf_counter()
        for samples in lists:
            store.add(setting, samples)
        rows_per_second = len(lists) * args.batch / (time.perf_counter() - start)
        print(f"store: {rows_per_second:.0f} durable rows a second, {args.batch} a transaction")


if __name__ == "__main__":
    main()
