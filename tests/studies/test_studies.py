"""The studies' machinery: jobs, the warm start, and one whole comparison in small."""

import json

import pytest

from simko.studies import run
from simko.studies.commands import Command, run_commands
from simko.studies.real_model import real_model
from simko.studies.run import StudyPlan, run_study
from simko.studies.warm_start import WarmStart, puzzle_tokenizer, warm_started_model
from simko.training.recipe import find_recipe


def test_jobs_run_in_order_and_finished_ones_are_not_started(tmp_path):
    out = tmp_path / "tasks.log"
    jobs = [
        Command("done before", ("no-such-command",), lambda: 1, 1, "unit"),
        Command("tasks", ("tasks",), lambda: int(out.is_file()), 1, "unit"),
    ]
    run_commands(jobs, tmp_path, workers=2)
    assert "operator_puzzle" in out.read_text()


def test_a_failing_job_says_why(tmp_path):
    with pytest.raises(RuntimeError, match=r"report failed with exit code 2: .*no study.*whole log"):
        run_commands([Command("report", ("report", str(tmp_path)), lambda: 0, 1, "unit")], tmp_path, workers=1)


def test_the_tokenizer_keeps_a_puzzle():
    tokenizer = puzzle_tokenizer("operator_puzzle")
    text = "6 6 5 4 1 = 10"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer(text)["input_ids"]) == 7


def test_the_warm_start_is_cached_by_content(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = WarmStart(layers=1, hidden=16, heads=2, steps=2, batch=8)
    folder = warm_started_model(settings, threads=1)
    assert (folder / "model.safetensors").is_file()
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert warm_started_model(settings, threads=1) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert warm_started_model(WarmStart(layers=1, hidden=16, heads=2, steps=3, batch=8), threads=1) != folder
    assert len(list((tmp_path / "simko").iterdir())) == 2


def test_a_comparison_from_base_to_page(tmp_path, tiny_base, monkeypatch):
    stages = []
    monkeypatch.setattr(run, "run_commands", lambda jobs, *rest: stages.append(jobs) or run_commands(jobs, *rest))
    plan = StudyPlan(
        title="Two methods",
        task="operator_puzzle",
        setting="a test",
        command="simko test",
        recipe=find_recipe("quickstart.yaml"),
        base_model=str(tiny_base),
        base_label="a tiny model",
        methods=("simko", "entropy_bonus"),  # the last may not skip responses, as the recipe has it
        seeds=(1,),
        steps=(2,),
        headline_step=2,
        samples=4,
        ks=(1, 2, 4),
        other_temperatures=(),
        samples_there=2,
        batch_size=64,
        problems=6,
        overrides=("--per_device_train_batch_size", "16", "--save_steps", "2"),
    )
    page = run_study(plan, tmp_path / "study", workers=2)
    assert "SimKO" in page.read_text(encoding="utf-8")
    assert [{job.name.split()[0] for job in jobs} for jobs in stages] == [{"train"}, {"evaluate"}]
    study = json.loads((tmp_path / "study" / "study.json").read_text())
    assert [e["name"] for e in study["evaluations"]] == [
        "base", "simko-seed1-step2", "entropy_bonus-seed1-step2",
    ]  # fmt: skip
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "study" / "runs").rglob("*.safetensors")}
    run_study(plan, tmp_path / "study", workers=2)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "study" / "runs").rglob("*.safetensors")}
    with pytest.raises(ValueError, match="another samples"):
        run_study(StudyPlan(**{**vars(plan), "samples": 8}), tmp_path / "study", workers=2)


def test_real_model_refuses_odd_lengths(tmp_path):
    with pytest.raises(ValueError, match="even"):
        real_model(tmp_path, ("grpo",), (1,), "", steps=5)
