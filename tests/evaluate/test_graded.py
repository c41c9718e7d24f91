"""Foreign generations in the store: all or none of them, equal ones judged once, and grading that continues."""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from simko.evaluate import SampleStore
from simko.evaluate.graded import grade_stored, store_generations
from simko.generations import Generations
from simko.records import Problem, Sample, Verdict
from simko.verifiers import VerifierError


class Judge:
    """Counts what it judges, and stops at a response."""

    name = "judge"

    def __init__(self, stop: str | None = None) -> None:
        self.seen: list[tuple[str, str]] = []
        self.stop = stop

    def check(self, problem: Problem) -> None:
        pass

    def grade(self, answers: Sequence[tuple[str, Problem]]) -> list[Verdict]:
        for response, problem in answers:
            if response == self.stop:
                raise VerifierError("stopped")
            self.seen.append((problem.id, response))
        return [Verdict("correct" if response == problem.answer else "wrong") for response, problem in answers]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two problems with 2,000 responses each, of which 4 and 1,500 are different."""
    path = tmp_path / "rows.jsonl.gz"
    rows = [
        {"id": id, "prompt": f"{id}?", "answer": "1", "response": str(i % distinct)}
        for i in range(2000)
        for id, distinct in (("a", 4), ("b", 1500))
    ]
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return path


def test_equal_responses_to_a_problem_are_judged_once(file: Path, tmp_path: Path) -> None:
    found, judge = Generations([file]), Judge()
    with SampleStore(tmp_path / "s.db") as store:
        setting = store_generations(store, found, found.sets[0], judge)
        grade_stored(store, setting, judge, progress=False)
        assert sorted(judge.seen) == sorted({(id, str(i)) for id, n in (("a", 4), ("b", 1500)) for i in range(n)})
        assert store.counts(setting) == {"a": (2000, 500), "b": (2000, 2)}
        grade_stored(store, setting, judge, progress=False)
    assert len(judge.seen) == 1504


def test_grading_continues_where_it_was_interrupted(file: Path, tmp_path: Path) -> None:
    found, judge = Generations([file]), Judge(stop="1499")
    with SampleStore(tmp_path / "s.db") as store:
        setting = store_generations(store, found, found.sets[0], judge)
        with pytest.raises(VerifierError):
            grade_stored(store, setting, judge, progress=False)
        assert store.counts(setting) == {"a": (2000, 500), "b": (0, 0)}
    with SampleStore(tmp_path / "s.db") as store:
        judge = Judge()
        assert store_generations(store, found, found.sets[0], judge) == setting  # nothing is stored twice
        grade_stored(store, setting, judge, progress=False)
        assert {id for id, _ in judge.seen} == {"b"}
        assert store.counts(setting) == {"a": (2000, 500), "b": (2000, 2)}


def test_responses_are_stored_all_or_none(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Generations([file])
    pairs = found.pairs

    def cut(one: object) -> Iterator[tuple[Sample, Verdict | None]]:
        for i, pair in enumerate(pairs(found.sets[0])):
            if i == 3000:
                raise OSError("the file is gone")
            yield pair

    with SampleStore(tmp_path / "s.db") as store:
        monkeypatch.setattr(found, "pairs", cut)
        with pytest.raises(OSError, match="the file is gone"):
            store_generations(store, found, found.sets[0], Judge())
        assert store.tally(store.settings()[0]).samples == 0
        monkeypatch.undo()
        assert store.tally(store_generations(store, found, found.sets[0], Judge())).samples == 4000


def test_the_order_of_the_rows_does_not_change_the_problems(file: Path, tmp_path: Path) -> None:
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()
    turned = tmp_path / "turned.jsonl"
    turned.write_text("\n".join(reversed(lines)))
    records = []
    for i, path in enumerate((file, turned)):
        found = Generations([path])
        with SampleStore(tmp_path / f"{i}.db") as store:
            records.append(store_generations(store, found, found.sets[0], Judge()).record)
    assert records[0]["problems_sha256"] == records[1]["problems_sha256"]
    assert records[0]["files"] != records[1]["files"]
