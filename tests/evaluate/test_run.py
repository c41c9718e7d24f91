"""evaluate(): what it writes, how it resumes, what it refuses."""

import json
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import pytest

from simko.evaluate import SampleStore
from simko.evaluate.run import evaluate
from simko.records import Problem, Sample, Verdict
from simko.sampling import SampleKey
from simko.verifiers import VerifierError, verify_last_integer

PROBLEMS = [Problem(f"p{i}", f"{i}+1=", str(i + 1), {"level": i}) for i in range(5)]
CONFIG = {"model": "toy", "temperature": 1.0, "stop": ("\n",)}


class FixedSampler:
    """Sample i of problem p answers right where i < p's number; stops after `stop_after` samples, as if interrupted."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.drawn: list[SampleKey] = []

    def sample(
        self, problems: Sequence[Problem], n: int, *, seed: int, skip: AbstractSet[SampleKey] = frozenset()
    ) -> Iterator[Sample]:
        for key in [(p, i) for p in problems for i in range(n)]:
            problem, i = key
            if (problem.id, i) in skip:
                continue
            if len(self.drawn) == self.stop_after:
                raise KeyboardInterrupt
            self.drawn.append((problem.id, i))
            right = i < int(problem.id[1:])
            yield Sample(problem.id, i, problem.answer if right else f"{seed} and -1", 2, False)


def run(out: Path, sampler: Any = None, **changes: Any) -> dict[str, tuple[int, int]]:
    arguments: dict[str, Any] = {"config": CONFIG, "seed": 0, "progress": False} | changes
    problems, n = arguments.pop("problems", PROBLEMS), arguments.pop("n", 4)
    verifier = arguments.pop("verifier", verify_last_integer)
    return evaluate(sampler or FixedSampler(), problems, verifier, n, out, **arguments)


def test_an_evaluation_counts_and_keeps_everything(tmp_path: Path) -> None:
    out = tmp_path / "new" / "evaluation"
    assert run(out) == {f"p{i}": (4, i) for i in range(5)}
    record = json.loads((out / "evaluation.json").read_text())
    assert record["model"] == "toy"
    assert (record["n"], record["seed"], record["problems"]) == (4, 0, 5)
    lines = [json.loads(line) for line in (out / "problems.jsonl").read_text().splitlines()]
    assert [Problem(**line) for line in lines] == PROBLEMS
    with SampleStore(out / "samples.db") as store:
        rows = store.rows("p1")
    assert [(s.index, s.response, v.outcome) for s, v in rows][:2] == [(0, "2", "correct"), (1, "0 and -1", "wrong")]
    assert {p.name for p in out.iterdir()} == {"evaluation.json", "problems.jsonl", "samples.db"}


def test_an_interrupted_evaluation_ends_as_a_whole_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "a", FixedSampler(stop_after=7))
    resumed = FixedSampler()
    assert run(tmp_path / "a", resumed) == run(tmp_path / "b")
    assert len(resumed.drawn) == 5 * 4 - 7
    again = FixedSampler()
    run(tmp_path / "a", again)
    assert again.drawn == []
    with SampleStore(tmp_path / "a" / "samples.db") as a, SampleStore(tmp_path / "b" / "samples.db") as b:
        assert a.rows() == b.rows()


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"config": {**CONFIG, "model": "other"}}, "model is 'toy' there and 'other' here"),
        ({"config": {"model": "toy", "temperature": 1.0}}, "stop is"),
        ({"config": {**CONFIG, "top_p": 0.9}}, "top_p is None there and 0.9 here"),
        ({"n": 8}, "n is 4 there and 8 here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"problems": PROBLEMS[:4]}, "problems is 5 there and 4 here"),
        ({"problems": [*PROBLEMS[:4], Problem("p4", "9+1=", "10")]}, "problems_sha256"),
    ],
)
def test_another_configuration_is_refused_and_nothing_changes(
    tmp_path: Path, changes: dict[str, Any], key: str
) -> None:
    run(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    sampler = FixedSampler()
    with pytest.raises(ValueError, match="choose another directory") as refusal:
        run(tmp_path, sampler, **changes)
    assert key in str(refusal.value)
    assert sampler.drawn == []
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_samples_of_unknown_origin_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "evaluation.json").unlink()
    with pytest.raises(ValueError, match=r"no evaluation\.json"):
        run(tmp_path)


def test_a_raising_verifier_is_named_and_earlier_samples_are_kept(tmp_path: Path) -> None:
    def broken(response: str, problem: Problem) -> Verdict:
        if problem.id == "p2":
            raise KeyError("level")
        return verify_last_integer(response, problem)

    with pytest.raises(VerifierError, match="KeyError on sample 0 of problem 'p2'"):
        run(tmp_path, verifier=broken)
    resumed = FixedSampler()
    assert run(tmp_path, resumed) == {f"p{i}": (4, i) for i in range(5)}
    assert resumed.drawn[0] == ("p2", 0)
    assert len(resumed.drawn) == 12


def test_an_error_verdict_is_never_counted(tmp_path: Path) -> None:
    def flaky(response: str, problem: Problem) -> Verdict:
        return Verdict("error") if problem.id == "p3" else verify_last_integer(response, problem)

    with pytest.raises(VerifierError, match="4 samples, the first being sample 0 of problem 'p3'"):
        run(tmp_path, verifier=flaky)
    resumed = FixedSampler()
    assert run(tmp_path, resumed)["p3"] == (4, 3)
    assert len(resumed.drawn) == 4


def test_a_sampler_that_leaves_samples_out_is_noticed(tmp_path: Path) -> None:
    class Short(FixedSampler):
        def sample(self, *args: Any, **kwargs: Any) -> Iterator[Sample]:
            return (s for s in super().sample(*args, **kwargs) if s.problem_id != "p1")

    with pytest.raises(RuntimeError, match="1 problems, 'p1' first"):
        run(tmp_path, Short())
    assert run(tmp_path)["p1"] == (4, 1)


def test_responses_that_no_database_takes_are_kept_readably(tmp_path: Path) -> None:
    class Odd(FixedSampler):
        def sample(self, *args: Any, **kwargs: Any) -> Iterator[Sample]:
            return (Sample(s.problem_id, s.index, "\ud800\0 7", 1, False) for s in super().sample(*args, **kwargs))

    run(tmp_path, Odd(), verifier=lambda response, _: Verdict("wrong", "\udfff" + response))
    with SampleStore(tmp_path / "samples.db") as store:
        sample, verdict = store.rows()[0]
    assert (sample.response, verdict.extracted) == ("?\0 7", "??\0 7")


def test_impossible_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="an id of its own"):
        run(tmp_path, problems=[PROBLEMS[0], PROBLEMS[0]])
    with pytest.raises(ValueError, match="at least one problem"):
        run(tmp_path, problems=[])
    with pytest.raises(ValueError, match="at least one sample"):
        run(tmp_path, n=0)
    with pytest.raises(ValueError, match="config says seed"):
        run(tmp_path, config={"seed": 3})
    assert not list(tmp_path.iterdir())


def test_progress_is_counted_from_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, FixedSampler(stop_after=10))
    run(tmp_path, progress=True)
    shown = capsys.readouterr().err
    assert "50%" in shown
    assert "20/20" in shown
