"""Evaluations as logs of inspect_ai: their form, and that nothing of an evaluation is lost in one."""

import json
import os
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest
from hostile import IDS, RESPONSES, WORDS, hostile_evaluation
from hypothesis import given
from hypothesis import strategies as st

from simko import __version__
from simko.cli.main import main
from simko.evaluate import SampleStore, pass_at_k_curve
from simko.evaluate.inspect_export import _file_names, export_inspect
from simko.generations.inspect_log import _unpacked
from simko.records import Problem, Sample, Verdict

FIXTURE = Path(__file__).parents[1] / "data" / "generations" / "inspect_sums.eval"
OURS = {"seed", "stop_seqs", "metadata"}
"""Fields of inspect_ai's that the log in the tests' data happens not to have."""


def exported(run: Path) -> list[Path]:
    assert main(["export", str(run), "--to", "inspect"]) == 0
    return sorted((run / "inspect").glob("*.eval"))


def content(log: Path) -> dict[str, object]:
    with zipfile.ZipFile(log) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(set(names)) == len(names)
        return {name: json.loads(archive.read(name)) for name in names}


def samples(log: Path) -> dict[tuple[str, int], dict]:
    """{(problem's id, epoch): sample}."""
    found = [s for name, s in content(log).items() if name.startswith("samples/")]
    return {(s["metadata"]["problem_id"], s["epoch"]): s for s in found}


def stored(run: Path) -> dict[str, dict[tuple[str, int], tuple]]:
    """{task and setting: {(problem's id, index): sample, verdict and the problem's metadata}}."""
    with SampleStore(run / "samples.db", read_only=True) as store:
        found = {}
        for setting in store.settings():
            about = {p.id: (p.prompt, p.answer, p.metadata) for p in store.problems(setting)}
            rows = {(s.problem_id, s.index): (s, v, about[s.problem_id]) for s, v in store.rows(setting)}
            found[f"{setting.task} {setting.name}"] = rows
        return found


@pytest.mark.parametrize("verifier", ["math", "judge"])
def test_a_log_is_graded_to_the_same_verdicts(verifier, tmp_path):
    run = hostile_evaluation(tmp_path / "run", verifier)
    logs = exported(run)
    name = f"{Path(__file__).parent / 'hostile.py'}:judge" if verifier == "judge" else verifier
    assert main(["grade", *map(str, logs), "--out", str(tmp_path / "again"), "--verifier", name, "--quiet"]) == 0
    first, again = stored(run), stored(tmp_path / "again")
    assert first == again
    outcomes = {v.outcome for rows in first.values() for _, v, _ in rows.values()}
    assert outcomes == {"correct", "wrong", "failed"} | ({"unparsed"} if verifier == "math" else set())


def test_the_archive_has_the_form_of_inspect_ais(tmp_path):
    with SampleStore(tmp_path / "samples.db") as store:
        record = {"model": "hf/tiny", "temperature": 1.0, "top_p": 0.95, "max_new_tokens": 6, "stop": ["x"], "seed": 1}
        setting = store.begin("sums", "T=1", record, "includes", [Problem("1", "1+0=", "1")], 1)
        store.add(setting, [Sample("1", 0, "1", 6, "stop", 6, 5)], [Verdict("correct", "1")])
        (log,) = export_inspect(store, tmp_path)
    found = content(log)
    assert found.keys() == {"_journal/start.json", "header.json", "summaries.json", "samples/1_epoch_1.json"}
    with zipfile.ZipFile(FIXTURE) as archive:
        for name, ours in found.items():
            assert_form(ours, json.loads(_unpacked(FIXTURE, archive.getinfo(name))))


def assert_form(ours: object, theirs: object) -> None:
    """Every field of ours is one of theirs, and holds the same kind of value."""
    if isinstance(ours, dict):
        assert isinstance(theirs, dict)
        assert set(ours) - set(theirs) - OURS == set()
        for key in set(ours) & set(theirs) - {"metadata", "packages", "task_args", "task_args_passed"}:
            assert_form(ours[key], theirs[key])
    elif isinstance(ours, list):
        assert isinstance(theirs, list)
        for one, other in zip(ours, theirs, strict=False):
            assert_form(one, other)
    elif ours is not None:
        numbers = (int, float)
        ids = isinstance(ours, str) and isinstance(theirs, int)  # both are ids to inspect_ai
        assert type(ours) is type(theirs) or ids or (type(ours) in numbers and type(theirs) in numbers)


def test_what_is_known_of_a_sample_stands_where_inspect_ai_looks_for_it(tmp_path):
    log, _ = exported(hostile_evaluation(tmp_path / "run"))
    found, header = samples(log), content(log)["header.json"]
    right, cut, wild, odd = (found["a", epoch] for epoch in (1, 2, 3, 4))
    assert (right["input"], right["target"]) == ("problem 0: a", "2")
    assert right["scores"]["math"] == {
        "value": "C",
        "answer": "2",
        "explanation": "math: correct (answer found by the rule box)",
        "metadata": {"outcome": "correct", "rule": "box"},
    }
    assert right["model_usage"] == {"m/tiny": {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13}}
    assert right["metadata"] == {"problem_id": "a", "problem_metadata": {"key": "2"}}
    ends = [s["output"]["choices"][0]["stop_reason"] for s in (right, cut, wild, odd)]
    assert ends == ["stop", "max_tokens", "unknown", "stop"]
    assert (cut["model_usage"], "usage" in cut["output"]) == ({}, False)  # unknown
    assert (cut["scores"]["math"]["value"], cut["metadata"]["seed"]) == ("I", str(2**62 + 1))
    assert wild["output"]["completion"] == RESPONSES[2].replace("\ud800", "?")
    assert odd["attachments"] == {"0" * 32: RESPONSES[3]}
    thought, failed = found["a", 5], found["a", 6]
    assert thought["messages"][1]["content"] == [
        {"type": "reasoning", "reasoning": "One and one.\x00"},
        {"type": "text", "text": r"\boxed{2}"},
    ]
    assert (failed["error"]["message"], failed["output"]["choices"], failed["scores"]["math"]["value"]) == (
        WORDS,
        [],
        "I",
    )
    assert header["eval"]["model"] == "m/tiny"
    assert (
        header["eval"]["metadata"].items()
        >= {"weights": "sha256:0", "simko": __version__, "backend": "transformers"}.items()
    )
    assert header["plan"]["config"] == {
        "temperature": 1.0, "top_p": 0.95, "seed": 3, "max_tokens": 64, "stop_seqs": ["\n\n"],
    }  # fmt: skip
    assert header["results"]["total_samples"] == len(found) == 4 * len(IDS) + 2
    assert header["results"]["completed_samples"] == len(found) - 1
    summaries = {(s["metadata"]["problem_id"], s["epoch"]): s for s in content(log)["summaries.json"]}
    assert summaries.keys() == found.keys()
    for key, one in found.items():
        assert {k: summaries[key][k] for k in ("id", "input", "target")} == {
            k: one[k] for k in ("id", "input", "target")
        }
    assert summaries["a", 6]["error"] == WORDS


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=400) | st.sampled_from([*IDS, "-0", "a-0", "a-1"])


@given(st.lists(TEXTS))
def test_file_names_are_unique_and_stay_in_their_folder(texts):
    names = _file_names(texts)
    assert len(set(names)) == len(texts) == len(names)
    for text, name in zip(texts, names, strict=True):
        assert name == text or texts.count(text) > 1 or not text.isalnum() or len(text) > 60
        assert PurePosixPath(name).name == PureWindowsPath(name).name == name not in (".", "..")
        assert name.isprintable()
        assert len(f".{name}_epoch_1000000.json.12345678".encode()) <= 255


def test_two_settings_are_never_one_log(tmp_path):
    with SampleStore(tmp_path / "samples.db") as store:
        for task, name in (("x", "step=1, T=1"), ("x_step=1", "T=1"), ("x/step=1", "T=1"), ("x step=1", "T=1")):
            setting = store.begin(task, name, {}, "v", [Problem("a", "p")], 1)
            store.add(setting, [Sample("a", 0, name, 1, "stop")], [Verdict("correct")])
        logs = export_inspect(store, tmp_path / "logs")
    found = {content(log)["header.json"]["eval"]["task"] for log in logs}
    assert (len(logs), found) == (4, {"x", "x_step=1", "x/step=1", "x step=1"})


def test_scores_are_simkos_own(tmp_path):
    log, _ = exported(hostile_evaluation(tmp_path / "run"))
    header = content(log)["header.json"]
    with SampleStore(tmp_path / "run" / "samples.db", read_only=True) as store:
        setting = next(s for s in store.settings() if s.name == "T=1")
        counts = store.counts(setting)
    assert {n for n, _ in counts.values()} == {4, 6}
    curve = pass_at_k_curve(counts, [1, 2, 4])
    scores = {score["reducer"]: score["metrics"] for score in header["results"]["scores"]}
    assert list(scores) == ["mean", "pass_at_2", "pass_at_4"]
    for reducer, point in zip(scores.values(), curve.points, strict=True):
        assert reducer["accuracy"]["value"] == pytest.approx(point.estimate, abs=1e-12)
    means = [c / n for n, c in counts.values()]
    assert scores["mean"]["stderr"]["value"] == pytest.approx(np.std(means, ddof=1) / len(means) ** 0.5)
    assert header["status"] == "success"


@pytest.mark.parametrize("lacking", ["verdict", "sample", "problem"])
def test_an_unfinished_evaluation_is_no_success(lacking, tmp_path, capsys):
    problems = [Problem("a", "p", "2"), Problem("b", "q", "2")]
    with SampleStore(tmp_path / "samples.db") as store:
        setting = store.begin("t", "T=unknown", {"model": "unknown", "temperature": "unknown"}, "v", problems, 2)
        for problem in problems[: 1 if lacking == "problem" else 2]:
            store.add(setting, [Sample(problem.id, 0, "2", 0, "unknown")], [Verdict("correct")])
            if lacking == "verdict":
                store.add(setting, [Sample(problem.id, 1, "2", 0, "unknown")])
        (log,) = export_inspect(store, tmp_path / "logs")
    header = content(log)["header.json"]
    assert header["status"] == "cancelled"
    assert bool(header["results"]["scores"]) == (lacking != "problem")
    assert (header["eval"]["model"], header["plan"]["config"]) == ("unknown", {})
    assert header["stats"]["model_usage"] == {"unknown": {}}
    if lacking == "verdict":
        assert "scores" not in samples(log)["a", 2]
    again = main(["grade", str(log), "--out", str(tmp_path / "again"), "--verifier", "last_integer", "--quiet"])
    assert again == (2 if lacking == "problem" else 0)
    assert ("finish the evaluation (simko evaluate, and export it again)" in capsys.readouterr().err) == bool(again)


@pytest.mark.parametrize("broken", ["replace", "rows"])
def test_a_log_is_whole_or_not_there(broken, tmp_path, monkeypatch):
    run = hostile_evaluation(tmp_path / "run")
    logs = exported(run)
    before = {log: log.read_bytes() for log in logs}

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(*((os, "replace") if broken == "replace" else (zipfile.ZipFile, "writestr")), fail)
    assert main(["export", str(run), "--to", "inspect"]) == 2
    assert {log: log.read_bytes() for log in (run / "inspect").iterdir()} == before


def test_what_has_no_responses_is_refused(tmp_path, capsys):
    counts = tmp_path / "counts.csv"
    counts.write_text("id,c,n\na,1,2\n")
    assert main(["grade", str(counts), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    with SampleStore(tmp_path / "samples.db"):
        pass
    for run, said in ((tmp_path / "run", "counts, which have no responses"), (tmp_path, "no samples")):
        capsys.readouterr()
        assert main(["export", str(run), "--to", "inspect"]) == 2
        assert said in capsys.readouterr().err
        assert not (run / "inspect").exists()
    assert main(["export", str(tmp_path / "run"), "--to", "run.eval"]) == 2
    assert "inspect" in capsys.readouterr().err


def test_memory_does_not_grow_with_responses(tmp_path):
    peaks = []
    for problems in (10, 100):
        run = tmp_path / str(problems)
        run.mkdir()
        with SampleStore(run / "samples.db") as store:
            setting = store.begin("t", "T=1", {}, "v", [Problem(str(i), "p" * 1000, "2") for i in range(problems)], 10)
            one = Sample("", 0, "r" * 20_000, 9, "stop")
            pairs = [replace(one, problem_id=str(i), index=j) for i in range(problems) for j in range(10)]
            store.load(setting, ((s, Verdict("wrong")) for s in pairs))
            tracemalloc.start()
            export_inspect(store, run)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] - peaks[0] < 900 * 2500  # responses, prompts and summaries are 24 MB more
