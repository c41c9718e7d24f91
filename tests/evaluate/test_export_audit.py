"""Samples to files for other tools, and a second grading."""

import json
import os
from pathlib import Path

import pytest

from simko.evaluate import SampleStore, Setting
from simko.evaluate.audit import regrade_samples
from simko.evaluate.export import export
from simko.records import Problem, Sample, Verdict
from simko.verifiers import verify_last_box

PROBLEMS = [Problem("a", "1+1=", "2"), Problem("b\x1f", "say\n'é'", "3")]
RESPONSES = ["so \\boxed{2}", "it is 2", "\\boxed{\u2028}, 7"]


@pytest.fixture
def store(tmp_path: Path):
    with SampleStore(tmp_path / "samples.db") as store:
        setting = store.begin("sums", "T=1", {"model": "m", "seed": 3}, "last_integer", PROBLEMS, 3)
        samples = [Sample(p.id, i, r, 4, "length", 9, 2**62) for p in PROBLEMS for i, r in enumerate(RESPONSES)]
        store.add(
            setting,
            samples[:5],
            [Verdict("correct", "2", rule="box"), Verdict("correct", "2"), Verdict("wrong", "7")]
            + [Verdict("wrong", "2")] * 2,
        )
        store.add(setting, samples[5:])
        yield store


def only(store: SampleStore) -> Setting:
    return store.settings()[0]


@pytest.mark.parametrize("name", ["all.jsonl", "new/all.parquet"])
def test_every_sample_is_exported_with_all_that_is_known_of_it(store, tmp_path, name):
    path = tmp_path / name
    assert export(store, path) == 6
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
    else:
        from pyarrow import parquet

        rows = parquet.read_table(path).to_pylist()
    assert rows[0] == {
        "task": "sums",
        "setting": "T=1",
        "problem_id": "a",
        "sample": 0,
        "prompt": "1+1=",
        "answer": "2",
        "metadata": "{}",
        "thinking": None,
        "failure": None,
        "response": RESPONSES[0],
        "outcome": "correct",
        "extracted": "2",
        "rule": "box",
        "verifier": "last_integer",
        "tokens": 4,
        "prompt_tokens": 9,
        "finish_reason": "length",
        "seed": 2**62,
        "record": '{"model": "m", "seed": 3}',
    }
    assert [row["response"] for row in rows] == RESPONSES * 2
    assert (rows[5]["outcome"], rows[5]["extracted"], rows[5]["rule"]) == (None, None, None)


def test_an_export_is_whole_or_not_there(store, tmp_path, monkeypatch):
    (tmp_path / "x.jsonl").write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        export(store, tmp_path / "x.jsonl")
    assert (tmp_path / "x.jsonl").read_text() == "old"
    assert not list(tmp_path.glob(".x*"))
    with pytest.raises(ValueError, match=r"ends in \.jsonl or \.parquet"):
        export(store, tmp_path / "x.csv")


def test_a_second_verifier_disagrees_where_it_should(store):
    rows = list(regrade_samples(store, only(store), verify_last_box))
    assert [row.kind for row in rows] == [
        "correct -> correct",
        "correct -> unparsed",
        "wrong -> unparsed",
        "wrong -> wrong",
        "wrong -> unparsed",
    ]
    assert [row.disagrees for row in rows] == [False, True, True, False, True]
    assert store.counts(only(store))["a"] == (3, 2)


def test_a_second_grading_takes_the_first_ones_place(store):
    verdicts = ((row.sample, row.after) for row in regrade_samples(store, only(store), "last_box"))
    setting = store.regrade(only(store), "last_box", verdicts)
    assert setting.verifier == "last_box"
    assert store.counts(setting) == {"a": (3, 1), "b\x1f": (2, 0)}
    assert store.tally(setting).outcomes == {"correct": 1, "unparsed": 3, "wrong": 1, "ungraded": 1}
