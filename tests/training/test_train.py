"""Recipes trained for a few real steps on a tiny model: what is left on disk, and how a run continues."""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from simko.adapters.trl import MethodConfig, may_skip_rows
from simko.evaluate import SampleStore
from simko.objectives import METHODS
from simko.tasks import get_task
from simko.training.recipe import TrainingConfig, find_recipe, read_recipe
from simko.training.run import train

RECIPE = """
method: simko
task: operator_puzzle
train_problems: 40
dtype: float32
num_generations: 4
per_device_train_batch_size: 16
steps_per_generation: 2
max_completion_length: 9
max_steps: 6
save_steps: 2
logging_steps: 1
learning_rate: 1.0e-2
probe_every: 2
skip_zero_advantage: true
reward_function: {reward}
bf16: false
gradient_checkpointing: false
use_cpu: true
report_to: none
disable_tqdm: true
"""


def operators(completions, **_):
    """A reward an untrained model can earn."""
    return [float(sum(c.count(o) for o in "+-*/")) for c in completions]


def plus(completions, **_):
    """Right where there is a plus."""
    return [float("+" in c) for c in completions]


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(reward=f"{__name__}:operators"))
    return path


def recipe(path, base, out, *overrides):
    return read_recipe(path, ["--model_name_or_path", str(base), "--output_dir", str(out), *overrides])


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("method", ["grpo", "simko", "nsr", "gspo"])
def test_a_run_directory_holds_the_run(recipe_file, tiny_base, tmp_path, method):
    out = tmp_path / "run"
    words = ["--reward_function", f"{__name__}:plus"] if method == "nsr" else []
    words += ["--skip_zero_advantage", "false"] if method == "gspo" else []
    checkpoint = train(recipe(recipe_file, tiny_base, out, "--method", method, *words))
    assert checkpoint == out / "checkpoint-6"
    assert (checkpoint / "model.safetensors").is_file()
    config = json.loads((out / "config.json").read_text())
    assert config["method"] == method
    assert config["learning_rate"] == 0.01
    objective = {
        "grpo": "GRPO on dapo",
        "simko": "SimKO on dapo",
        "nsr": "nsr (clip_high=0.2",
        "gspo": "gspo (clip_high=",
    }
    assert config["objective"].startswith(objective[method])
    assert ("simko_alpha" in config) == (method == "simko")
    assert config["loss_type"] == ("grpo" if method == "gspo" else "dapo")
    assert json.loads((out / "versions.json").read_text())["torch"] == version("torch")
    steps = [row["step"] for row in lines(out / "metrics.jsonl") if "loss" in row]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in lines(out / "diagnostics.jsonl")] == [0, 2, 4]
    logged = lines(out / "metrics.jsonl")[0]
    assert ("simko/gated" in logged) == (method == "simko")
    assert ("nsr/kept" in logged) == (method == "nsr")
    assert logged["groups/all_right"] + logged["groups/mixed"] + logged["groups/all_wrong"] == pytest.approx(1)


def test_methods_differ_and_share_their_first_rollout(recipe_file, tiny_base, tmp_path):
    runs = {m: train(recipe(recipe_file, tiny_base, tmp_path / m, "--method", m)) for m in ("grpo", "simko")}
    first = [lines(tmp_path / m / "metrics.jsonl")[0]["reward"] for m in runs]
    assert first[0] == first[1]
    weights = [load_file(path / "model.safetensors") for path in runs.values()]
    assert any(not torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_what_cannot_be_read_is_named(recipe_file, tiny_base, tmp_path):
    for text in ("method: [", "- a", "simko_alpha: [1]", "num_generations: 0", "method: null"):
        path = tmp_path / "bad.yaml"
        path.write_text(text if text == "- a" else f"{recipe_file.read_text()}\n{text}\n")
        with pytest.raises(ValueError, match=r"bad\.yaml|method"):
            recipe(path, tiny_base, tmp_path / "run")
    with pytest.raises(ValueError, match="max_steps is 0"):
        recipe(recipe_file, tiny_base, tmp_path / "run", "--max_steps", "0")


def raising(completions, **_):
    raise KeyError("gold")


def not_a_number(completions, **_):
    return [0.0, float("nan"), *[1.0] * (len(completions) - 2)]


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("raising", "raising raised KeyError"),
        ("not_a_number", "not_a_number gave nan to sample 1"),
    ],
)
def test_rewards_that_fail_stop_the_run_and_free_the_directory(recipe_file, tiny_base, tmp_path, reward, said):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=said):
        train(recipe(recipe_file, tiny_base, out, "--reward_function", f"{__name__}:{reward}"))
    assert train(recipe(recipe_file, tiny_base, out, "--max_steps", "2")).name == "checkpoint-2"


def test_another_configuration_is_refused_and_nothing_overwritten(recipe_file, tiny_base, tmp_path):
    out = tmp_path / "run"
    train(recipe(recipe_file, tiny_base, out))
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match=r"learning_rate=0\.01, this one has 0\.5"):
        train(recipe(recipe_file, tiny_base, out, "--learning_rate", "0.5"))
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_recipes_that_do_not_fit_together(recipe_file, tiny_base):
    for words, message in (
        (["--task", "operator_puzzle", "--train_file", "x.jsonl"], "either task"),
        (["--verifier", "last_integer"], "verifier or reward_function"),
        (["--method", "ppo"], "invalid choice: 'ppo'"),
        (["--no_such_option", "1"], "no_such_option"),
        (["--simko_alpha", "much"], "invalid float value"),
        (["--method", "nsr", "--simko_alpha", "0.2"], "simko_alpha belongs to method simko"),
        (["--method", "grpo", "--simko_alpha=0.2"], "simko_alpha belongs to method simko"),
        (["--method", "grpo", "--grpo_warmup_steps", "2"], "grpo_warmup_steps"),
        (["--method_options", '{"alpha": 0.2}'], "set simko_alpha"),
        (["--method", "grpo", "--method_options", '{"clip_low": 0.1}'], "TRL's epsilon"),
        (["--method", "pkpo"], "pkpo has no default for k"),
        (["--method", "nsr", "--method_options", '{"k": 2}'], "nsr has no option 'k'"),
        (["--method", "pkpo", "--method_options", "{k: 2}"], "method_options must be JSON"),
        (["--method", "nsr", "--beta", "0.1"], "does not know beta"),
        (["--method", "entropy_bonus"], "set skip_zero_advantage to False"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe(recipe_file, tiny_base, "out", *words)
    with pytest.raises(ValueError, match="names no model"):
        read_recipe(recipe_file)


def test_a_recipe_of_another_method_than_simko(recipe_file, tiny_base):
    text = recipe_file.read_text().replace("method: simko", "method: pkpo\nmethod_options:\n  k: 2")
    recipe_file.write_text(text)
    assert recipe(recipe_file, tiny_base, "out").training.method_options == {"k": 2}
    recipe_file.write_text(text + "simko_alpha: 0.1\n")
    with pytest.raises(ValueError, match="simko_alpha belongs to method simko: leave it out, or give pkpo its"):
        recipe(recipe_file, tiny_base, "out")


def test_a_recipe_of_simko_runs_with_another_method(recipe_file, tiny_base):
    recipe_file.write_text(recipe_file.read_text() + "simko_alpha: 0.1\n")
    for method in ("grpo", "nsr", "simko_softmax"):
        assert recipe(recipe_file, tiny_base, "out", "--method", method).training.method == method


def test_grpo_is_the_row_grpo(recipe_file, tiny_base, tmp_path, monkeypatch):
    """TRL's own objective under TRL's options, and the row that sets them, end on the same weights."""
    face = recipe(recipe_file, tiny_base, tmp_path / "face", "--method", "grpo")
    weights = [load_file(train(face) / "model.safetensors")]
    monkeypatch.setattr(TrainingConfig, "row", MethodConfig.row)
    row = recipe(recipe_file, tiny_base, tmp_path / "row", "--method", "grpo")
    weights.append(load_file(train(row) / "model.safetensors"))
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


OPTIONS = {
    **{name: {"k": 2} for name in ("passk_training", "pkpo", "ordergrad")},
    "ds_grpo": {"gamma_right": 0.05, "gamma_wrong": 0.05},
}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_the_operator_puzzle(recipe_file, tiny_base, tmp_path, method):
    words = ["--method", method, "--max_steps", "3", "--save_steps", "3", "--num_iterations", "3"]
    words += ["--steps_per_generation", "1", "--reward_function", f"{__name__}:plus"]
    words += ["--skip_zero_advantage", str(may_skip_rows(method))]
    if method in OPTIONS:
        words += ["--method_options", json.dumps(OPTIONS[method])]
    train(recipe(recipe_file, tiny_base, tmp_path / "run", *words))
    rows = [row for row in lines(tmp_path / "run" / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(row["loss"] is not None for row in rows)
    assert any(row["loss"] != 0 for row in rows)


def test_every_shipped_recipe_parses():
    for name in ("quickstart.yaml", "smollm2.yaml", "qwen2.5-math-7b.yaml"):
        words = ["--use_cpu", "true", "--bf16", "false", "--use_vllm", "false"]
        assert read_recipe(find_recipe(name), words).training.method == "simko"
    with pytest.raises(ValueError, match=r"quickstart\.yaml"):
        find_recipe("no-such-recipe.yaml")


def test_pass_at_k_beside_the_training(recipe_file, tiny_base, tmp_path, monkeypatch):
    """The same weights, a run directory that continues with or without it, and what it measured."""
    words = ["--passk_every", "3", "--passk_samples", "4", "--passk_problems", "5"]
    without = train(recipe(recipe_file, tiny_base, tmp_path / "without"))
    train(recipe(recipe_file, tiny_base, tmp_path / "with", *words, "--max_steps", "6"))
    shutil.rmtree(tmp_path / "with" / "checkpoint-6")
    ends = train(recipe(recipe_file, tiny_base, tmp_path / "with", *words))
    ours, theirs = load_file(ends / "model.safetensors"), load_file(without / "model.safetensors")
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    measured = [row for row in lines(tmp_path / "with" / "metrics.jsonl") if "eval_pass@4" in row]
    assert [row["step"] for row in measured] == [0, 3, 6]
    with SampleStore(tmp_path / "with" / "held-out" / "samples.db", read_only=True) as store:
        assert [store.tally(setting).samples for setting in store.settings()] == [20, 20, 20]
        held_out = store.problems(store.settings()[0])
        assert store.settings()[0].verifier == "operator_puzzle"
    assert held_out == get_task("operator_puzzle").load("test", 5)


def test_held_out_problems_of_a_file(recipe_file, tiny_base, tmp_path):
    file = tmp_path / "held-out.jsonl"
    file.write_text('{"Text": "1+1=", "gold": ["2"]}\n{"Text": "1+2=", "gold": ["3"]}\n')
    words = [
        "--passk_verifier",
        "last_integer",
        "--passk_task",
        str(file),
        "--columns",
        "prompt=Text,answer=gold.0",
        "--passk_samples",
        "2",
        "--passk_every",
        "9",
    ]
    train(recipe(recipe_file, tiny_base, tmp_path / "run", *words, "--max_steps", "2"))
    measured = [row for row in lines(tmp_path / "run" / "metrics.jsonl") if "eval_pass@2" in row]
    assert [row["step"] for row in measured] == [0, 2]
    with SampleStore(tmp_path / "run" / "held-out" / "samples.db", read_only=True) as store:
        assert [p.answer for p in store.problems(store.settings()[0])] == ["2", "3"]


def test_held_out_options_that_do_not_fit_together(recipe_file, tiny_base):
    unset = recipe_file.read_text().replace("task: operator_puzzle", "train_file: mine.jsonl")
    for text, words, message in (
        ("", ["--passk_task", "math500"], "set it, e.g. to 20"),
        ("", ["--passk_samples", "4"], "set it, e.g. to 20"),
        ("", ["--passk_every", "-1"], "passk_every must be a whole number of at least 0"),
        ("", ["--passk_every", "1", "--passk_samples", "0"], "passk_samples must be a whole number of at least 1"),
        ("", ["--passk_every", "1", "--passk_task", "mine.jsonl"], "set passk_verifier"),
        (unset, ["--passk_every", "1"], "set passk_task"),
    ):
        recipe_file.write_text(text or recipe_file.read_text())
        with pytest.raises(ValueError, match=message):
            recipe(recipe_file, tiny_base, "out", *words)
