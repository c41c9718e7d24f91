"""evaluate(): what it keeps, how it resumes, how a larger n goes on, what it refuses."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from simko.evaluate import Failures, SampleStore, Setting
from simko.evaluate.run import evaluate
from simko.records import Problem, Sample, Verdict
from simko.sampling import SamplingSettings, Wanted, block_seed
from simko.verifiers import VerifierError, verify_last_integer

PROBLEMS = [Problem(f"p{i}", f"{i}+1=", str(i + 1), {"level": i}) for i in range(5)]
SETTINGS = SamplingSettings(temperature=1.0, max_new_tokens=8, stop=("\n",))


class FixedSampler:
    """Sample i of problem p answers right where i < p's number; lists of at most two; stops after `stop_after` lists."""

    def __init__(self, stop_after: int | None = None, model: str = "toy", right: str = "") -> None:
        self.stop_after, self.right = stop_after, right
        self.identity = {"backend": "fixed", "model": model}
        self.drawn: list[tuple[str, int]] = []
        self.seeds: list[int] = []

    def sample(
        self, problems: Sequence[Problem], wanted: Wanted, settings: SamplingSettings, *, seed: int
    ) -> Iterator[list[Sample]]:
        lists = 0
        for problem in problems:
            indices = list(wanted.get(problem.id, ()))
            for start in range(0, len(indices), 2):
                if lists == self.stop_after:
                    raise KeyboardInterrupt
                lists += 1
                part = indices[start : start + 2]
                own = block_seed(seed, problem.id, part[0])
                self.seeds.append(own)
                self.drawn += [(problem.id, i) for i in part]
                answers = [problem.answer if i < int(problem.id[1:]) else f"{own} and -1" for i in part]
                yield [
                    Sample(problem.id, i, a + self.right, 2, "stop", 3, own) for i, a in zip(part, answers, strict=True)
                ]


def run(path: Path, sampler: Any = None, **changes: Any) -> Setting:
    given = {"task": "sums", "seed": 0, "progress": False, "verifier": verify_last_integer, "n": 4} | changes
    problems, settings = given.pop("problems", PROBLEMS), given.pop("settings", SETTINGS)
    with SampleStore(path / "samples.db") as store:
        return evaluate(
            store, sampler or FixedSampler(), problems, given.pop("verifier"), given.pop("n"), settings, **given
        )


def kept(path: Path, setting: Setting) -> list[tuple[Sample, Verdict | None]]:
    with SampleStore(path / "samples.db", read_only=True) as store:
        return list(store.rows(setting))


def test_an_evaluation_counts_and_keeps_everything(tmp_path: Path) -> None:
    setting = run(tmp_path / "new", revision="r1")
    with SampleStore(tmp_path / "new" / "samples.db", read_only=True) as store:
        assert store.settings() == [setting]
        assert store.problems(setting) == PROBLEMS
        assert store.counts(setting) == {f"p{i}": (4, i) for i in range(5)}
        tally = store.tally(setting)
    assert (tally.samples, tally.tokens, tally.truncated) == (20, 40, 0)
    assert tally.outcomes == {"correct": 10, "wrong": 10}
    assert (setting.task, setting.name, setting.verifier, setting.n) == ("sums", "T=1", "verify_last_integer", 4)
    expected = {"backend": "fixed", "model": "toy", "temperature": 1.0, "top_p": 1.0, "top_k": 0, "do_sample": True}
    expected |= {"stop": ["\n"], "seed": 0, "task_revision": "r1", "problems": 5, "chat": False}
    assert expected.items() <= setting.record.items()
    assert "n" not in setting.record
    sample, verdict = kept(tmp_path / "new", setting)[5]
    assert (sample.problem_id, sample.index, sample.finish_reason, sample.prompt_tokens) == ("p1", 1, "stop", 3)
    assert sample.seed is not None
    assert verdict is not None
    assert (verdict.outcome, verdict.extracted) == ("wrong", "-1")


def test_an_interrupted_evaluation_ends_as_a_whole_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", FixedSampler(stop_after=7))
    resumed = FixedSampler()
    setting = run(tmp_path / "a", resumed)
    assert len(resumed.drawn) == 5 * 4 - 2 * 7
    assert kept(tmp_path / "a", setting) == kept(tmp_path / "b", run(tmp_path / "b"))
    again = FixedSampler()
    run(tmp_path / "a", again)
    assert again.drawn == []


def test_a_larger_n_draws_the_missing_alone_and_never_repeats_a_draw(tmp_path: Path) -> None:
    first, second = FixedSampler(), FixedSampler()
    run(tmp_path, first, n=3)
    setting = run(tmp_path, second, n=8)
    assert sorted(second.drawn) == [(p.id, i) for p in PROBLEMS for i in range(3, 8)]
    assert not set(first.seeds) & set(second.seeds)
    assert setting.n == 8
    assert run(tmp_path, n=2).n == 2
    with SampleStore(tmp_path / "samples.db") as store:
        assert store.counts(setting)["p4"] == (8, 4)


def test_tasks_temperatures_and_run_seeds_have_seeds_of_their_own(tmp_path: Path) -> None:
    samplers = [FixedSampler() for _ in range(4)]
    run(tmp_path / "a", samplers[0])
    run(tmp_path / "a", samplers[1], task="other")
    run(tmp_path / "a", samplers[2], settings=SamplingSettings(0.5, max_new_tokens=8, stop=("\n",)))
    run(tmp_path / "b", samplers[3], seed=1)
    seeds = [s for sampler in samplers for s in sampler.seeds]
    assert len(set(seeds)) == len(seeds) == 40
    with SampleStore(tmp_path / "a" / "samples.db") as store:
        assert [(s.task, s.name) for s in store.settings()] == [("sums", "T=1"), ("other", "T=1"), ("sums", "T=0.5")]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"sampler": FixedSampler(model="other")}, "model is 'toy' there and 'other' here"),
        ({"settings": SamplingSettings(1.0, max_new_tokens=9, stop=("\n",))}, "max_new_tokens is 8 there and 9 here"),
        ({"settings": SamplingSettings(1.0, max_new_tokens=8, stop=("\n",), chat=True)}, "chat is False there"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"problems": [Problem("p4", "6+1=", "7")]}, "problems is 5 there and 1 here"),
        ({"verifier": "last_box"}, "verifier is 'verify_last_integer' there and 'last_box' here"),
    ],
)
def test_another_configuration_is_refused_and_nothing_changes(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    setting = run(tmp_path)
    before = kept(tmp_path, setting)
    with pytest.raises(ValueError, match=key):
        run(tmp_path, n=8, **changes)
    assert kept(tmp_path, setting) == before
    with SampleStore(tmp_path / "samples.db") as store:
        assert store.settings() == [setting]


def test_a_verifier_that_raises_stops_the_run_and_keeps_the_samples(tmp_path: Path) -> None:
    def raising(response: str, problem: Problem) -> Verdict:
        if response and problem.id == "p3":
            raise KeyError("boom")
        return verify_last_integer(response, problem)

    raising.__name__ = "verify_last_integer"
    stopped, mended = FixedSampler(), FixedSampler()
    with pytest.raises(VerifierError, match=r"KeyError on .*p3"):
        run(tmp_path, stopped, verifier=raising)
    setting = run(tmp_path, mended)
    assert sorted(stopped.drawn + mended.drawn) == [(p.id, i) for p in PROBLEMS for i in range(4)], "none twice"
    with SampleStore(tmp_path / "samples.db") as store:
        assert store.counts(setting) == {f"p{i}": (4, i) for i in range(5)}


def test_errors_count_as_not_correct_and_are_graded_again(tmp_path: Path) -> None:
    def failing(response: str, problem: Problem) -> Verdict:
        return Verdict("error") if problem.id == "p4" else verify_last_integer(response, problem)

    failing.__name__ = "verify_last_integer"
    setting = run(tmp_path, verifier=failing)
    with SampleStore(tmp_path / "samples.db") as store:
        assert store.counts(setting)["p4"] == (4, 0)
        assert store.errors(setting) == {"p4": 4}
    again = FixedSampler()
    run(tmp_path, again)
    assert again.drawn == []
    with SampleStore(tmp_path / "samples.db") as store:
        assert store.counts(setting)["p4"] == (4, 4)
        assert store.errors(setting) == {}


def test_what_is_drawn_never_waits_for_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simko.evaluate.run._MAX_UNGRADED", 100)
    drawn, in_time = Event(), []

    class Telling(FixedSampler):
        def sample(self, *args: Any, **kwargs: Any) -> Iterator[list[Sample]]:
            yield from super().sample(*args, **kwargs)
            drawn.set()

    def slow(response: str, problem: Problem) -> Verdict:
        in_time.append(drawn.wait(30))
        return verify_last_integer(response, problem)

    setting = run(tmp_path, Telling(), verifier=slow, n=150)
    assert all(in_time)
    with SampleStore(tmp_path / "samples.db") as store:
        assert sum(n for n, _ in store.counts(setting).values()) == len(in_time) == 750


def test_failed_samples_are_kept_apart_and_drawn_again(tmp_path: Path) -> None:
    class Failing(FixedSampler):
        def sample(self, *args: Any, **kwargs: Any) -> Iterator[list[Sample]]:
            for samples in super().sample(*args, **kwargs):
                bad = [s for s in samples if s.problem_id == "p4"]
                good = [s for s in samples if s.problem_id != "p4"]
                yield good + [Sample("p4", s.index, "", 0, "failed", failure="400 too long, says 5") for s in bad]

    setting = run(tmp_path, Failing())
    with SampleStore(tmp_path / "samples.db") as store:
        assert store.counts(setting)["p4"] == (4, 0)
        assert store.failures(setting) == {"p4": Failures(4, "400 too long, says 5")}
        assert store.missing(setting, 4) == {}
        assert store.missing(setting, 4, failed=True) == {"p4": range(4)}
        assert list(store.ungraded(setting)) == []
    mended = FixedSampler()
    run(tmp_path, mended)
    assert mended.drawn == [("p4", i) for i in range(4)]
    with SampleStore(tmp_path / "samples.db") as store:
        assert store.counts(setting)["p4"] == (4, 4)
        assert store.failures(setting) == {}


@pytest.mark.parametrize(("n", "most", "ends"), [(4, 0.1, True), (4, 0.39, True), (4, 0.4, False), (1, 0.0, True)])
def test_a_share_of_failures_ends_the_run(tmp_path: Path, n: int, most: float, ends: bool) -> None:
    class Failing(FixedSampler):
        def sample(self, *args: Any, **kwargs: Any) -> Iterator[list[Sample]]:
            for samples in super().sample(*args, **kwargs):
                yield [
                    replace(s, response="", finish_reason="failed", failure="no") if s.problem_id in ("p1", "p3") else s
                    for s in samples
                ]

    if ends:
        with pytest.raises(RuntimeError, match=r"samples failed, of 2 problems, 'p1' first: no\. .*limit of"):
            run(tmp_path, Failing(), n=n, max_failed=most)
    else:
        assert run(tmp_path, Failing(), n=n, max_failed=most).n == n


def test_a_sampler_that_leaves_samples_out_is_told_on(tmp_path: Path) -> None:
    class Short(FixedSampler):
        def sample(self, *args: Any, **kwargs: Any) -> Iterator[list[Sample]]:
            yield from list(super().sample(*args, **kwargs))[:-1]

    with pytest.raises(RuntimeError, match="1 problems, 'p4' first, lack samples"):
        run(tmp_path, Short())


def test_lone_surrogates_are_kept_as_question_marks(tmp_path: Path) -> None:
    setting = run(tmp_path, FixedSampler(right="\ud800"))
    assert kept(tmp_path, setting)[0][0].response.endswith("?")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"n": 0}, "n is 0"),
        ({"settings": SamplingSettings(0.0)}, "n is 4 at temperature 0"),
        ({"problems": []}, "at least one problem"),
        ({"problems": PROBLEMS[:1] * 2}, "id of its own"),
    ],
)
def test_bad_requests_are_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        run(tmp_path, **changes)
