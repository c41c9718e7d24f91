"""An evaluation of real problems by a stand-in whose chances are known: pass@K must come out as it was put in."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from simko.evaluate import SampleStore, pass_at_k_curve
from simko.evaluate.run import evaluate
from simko.records import Problem, Sample
from simko.sampling import SamplingSettings, Wanted, block_seed
from simko.tasks import file_task

RIGHT = ("So it is \\boxed{%s}.", "Thus $x$ works.\nThe answer is $%s$.", "\\fbox{7} no: \\boxed{ %s }")
WRONG = (
    "\\boxed{-918273}",
    "The answer is 0.918273",
    "\\boxed{1=2=%s}",
    "\\boxed{\\text{none of these}}",
    "\\boxed{%s + 918273}",
)
MALFORMED = ("I do not know", "\\boxed{%s", "", "\\boxed{}", "\ud800" * 50)
HOSTILE = ("\\boxed{9^{9^{9^{9}}}}", "\\boxed{\\frac{10^{10^{10}}!}{7}}")
HOSTILE_PROBLEMS = 6


class StandIn:
    """Answers problem i right with chance p_i, and else wrong, malformed or (for a few problems) hostile."""

    identity = {"backend": "stand-in", "model": "mixture"}  # noqa: RUF012

    def __init__(self, problems: Sequence[Problem]) -> None:
        rng = np.random.default_rng(0)
        self.chance = dict(zip((p.id for p in problems), rng.beta(0.4, 1.2, len(problems)), strict=True))
        self.hostile = {p.id for p in problems[:HOSTILE_PROBLEMS]}
        self.right: dict[tuple[str, int], bool] = {}

    def sample(
        self, problems: Sequence[Problem], wanted: Wanted, settings: SamplingSettings, *, seed: int
    ) -> Iterator[list[Sample]]:
        for problem in problems:
            for first in wanted.get(problem.id, ()):
                own = block_seed(seed, problem.id, first)
                rng = random.Random(own)
                right = self.right[problem.id, first] = rng.random() < self.chance[problem.id]
                others = (*WRONG, *MALFORMED, *(HOSTILE if problem.id in self.hostile else ()))
                form = rng.choice(RIGHT if right else others)
                text = form % problem.answer if "%s" in form else form
                yield [Sample(problem.id, first, text, 9, "stop", 5, own)]


def check(files: Sequence[Path], n: int, store_path: Path) -> None:
    template = "{problem}\nPlease reason step by step, and put your final answer within \\boxed{}."
    problems = [p for file in files for p in file_task(file, "math", template=template).load("test")]
    model = StandIn(problems)
    settings = SamplingSettings(0.6, 0.95, max_new_tokens=64)
    with SampleStore(store_path / "samples.db") as store:
        setting = evaluate(store, model, problems, "math", n, settings, task="both", progress=False)
        mistaken = [
            (sample, verdict)
            for sample, verdict in store.rows(setting)
            if (verdict.outcome == "correct") != model.right[sample.problem_id, sample.index]
        ]
        counts, outcomes = store.counts(setting), store.tally(setting).outcomes
    assert mistaken == []
    assert set(outcomes) >= {"correct", "wrong", "unparsed"}
    assert "error" not in outcomes
    curve = pass_at_k_curve(counts, [1, 2, 4, n // 4, n // 2])
    chances = np.array(list(model.chance.values()))
    for point in curve.points:
        known = float(np.mean(1 - (1 - chances) ** point.k))
        assert point.low <= known <= point.high, (point, known)


def test_known_chances_come_out_of_an_evaluation(bench_data: Path, tmp_path: Path) -> None:
    names = ("math500",) if (bench_data / "bbh.jsonl").exists() else ("math500", "aime24", "aime25")
    check([bench_data / f"{name}.jsonl" for name in names], 16, tmp_path)
