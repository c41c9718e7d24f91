"""Rollouts that give nothing to train on, gradients that are not finite, and what is logged of both."""

import math

import pytest
import torch
from methods import right
from safetensors.torch import load_file
from tiny import digit_share, make_trainer, tiny_dataset, tiny_model
from transformers import TrainerCallback

from simko.adapters.trl import MethodTrainer, RLVRTrainer, SimKOTrainer
from simko.diagnostics import messages


def rows(trainer):
    return [row for row in trainer.state.log_history if "loss" in row]


class Judge:
    """Gives None to every response of the rollouts whose numbers (from 0) are in `silent`."""

    __name__ = "judge"

    def __init__(self, *silent):
        self.silent, self.calls = silent, -1

    def __call__(self, completions, **_):
        self.calls += 1
        return [None] * len(completions) if self.calls in self.silent else digit_share(completions)


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()]).clone()


class Weights(TrainerCallback):
    """Before the first step and after each."""

    def __init__(self, trainer):
        self.trainer, self.seen = trainer, [weights(trainer)]
        trainer.add_callback(self)

    def on_step_end(self, args, state, control, **_):
        self.seen.append(weights(self.trainer))

    def moved(self):
        return [not torch.equal(a, b) for a, b in zip(self.seen, self.seen[1:], strict=False)]


@pytest.mark.parametrize("cls", [SimKOTrainer, RLVRTrainer])
@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_a_rollout_that_nothing_could_score_trains_nothing(tmp_path, caplog, cls, beta):
    """Neither its gradient nor the optimizer's momentum and decay act, and the run goes on."""
    tiny_model().save_pretrained(tmp_path / "model")
    model = tiny_model()
    model.config._name_or_path = str(tmp_path / "model")
    trainer = make_trainer(
        tmp_path, cls, model=model, reward=Judge(1, 2), max_steps=5, beta=beta, weight_decay=0.1, learning_rate=1e-3
    )
    after = Weights(trainer)
    with caplog.at_level("WARNING", "simko"):
        trainer.train()
    assert after.moved() == [True, False, False, True, True]
    said = [r.getMessage() for r in caplog.records if "could be scored" in r.getMessage()]
    assert len(said) == 2
    assert "judge gave None to all: it trains nothing (2 in a row)" in said[1]
    logged = rows(trainer)
    assert [row["groups/unscorable"] for row in logged] == [0, 1, 1, 0, 0]
    assert ["groups/mixed" in row for row in logged] == [True, False, False, True, True]
    assert logged[1]["reward"] is None


def test_an_update_of_which_a_part_could_be_scored_is_trained(tmp_path):
    """Four rollouts an update, one of them silent."""
    trainer = make_trainer(
        tmp_path, reward=Judge(0), max_steps=1, gradient_accumulation_steps=4, steps_per_generation=1
    )
    after = Weights(trainer)
    trainer.train()
    assert after.moved() == [True]


def test_many_silent_rollouts_in_a_row_end_the_run(tmp_path, monkeypatch):
    assert messages._UNSCORED_ROLLOUTS == 64
    monkeypatch.setattr(messages, "_UNSCORED_ROLLOUTS", 10)
    trainer = make_trainer(tmp_path, reward=Judge(*range(1, 40)), max_steps=20)
    with pytest.raises(ValueError, match="no response of 10 rollouts in a row could be scored: judge gave None"):
        trainer.train()
    assert trainer.state.global_step == 10


@pytest.mark.parametrize("cls", [SimKOTrainer, RLVRTrainer])
def test_an_evaluation_batch_that_nothing_could_score(tmp_path, caplog, cls):
    trainer = make_trainer(
        tmp_path, cls, reward=Judge(1, 2), max_steps=2, eval_strategy="steps", eval_steps=1,
        per_device_eval_batch_size=8, trainer={"eval_dataset": tiny_dataset(4)},
    )  # fmt: skip
    with caplog.at_level("WARNING", "simko"):
        trainer.train()
    assert len(rows(trainer)) == 2
    assert any("evaluation batch" in r.getMessage() for r in caplog.records)


@pytest.mark.parametrize(("method", "options"), [("pkpo", {"k": 2}), ("passk_training", {"k": 4})])
def test_groups_too_small_for_k_are_found_at_construction(tmp_path, method, options):
    k = options["k"]
    common = {"method": method, "method_options": options, "reward": right, "num_generations": 4}
    with pytest.raises(
        ValueError, match=rf"num_generations_eval={k - 1} does not fit {method}.*k = {k} needs {k} responses"
    ):
        make_trainer(tmp_path, MethodTrainer, num_generations_eval=k - 1, **common)
    with pytest.raises(ValueError, match=rf"num_generations=4 does not fit {method}.*k = 5 needs 5 responses"):
        make_trainer(tmp_path, MethodTrainer, **common | {"method_options": {"k": 5}})
    make_trainer(tmp_path, MethodTrainer, num_generations_eval=k, **common)


@pytest.mark.parametrize("save", ["no", "steps"])
def test_prompts_that_do_not_fill_a_rollout(tmp_path, save):
    """TRL would end at once, untrained."""
    trainer = make_trainer(tmp_path, dataset=tiny_dataset(1), max_steps=6, save_strategy=save, save_steps=2)
    with pytest.raises(ValueError, match="1 prompts do not fill one rollout of 8 responses in groups of 4"):
        trainer.train()


class Spoil(torch.autograd.Function):
    """The identity, whose gradient is not finite."""

    value = math.nan

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.full_like(gradient, Spoil.value)


@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0])
@pytest.mark.parametrize("cls", [SimKOTrainer, RLVRTrainer, MethodTrainer])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.few(4)
def test_an_update_whose_gradient_is_not_finite_is_skipped(tmp_path, monkeypatch, caplog, cls, value, max_grad_norm):
    options = {"method": "nsr", "reward": right} if cls is MethodTrainer else {}
    options |= {"weight_decay": 0.1, "max_steps": 4, "save_strategy": "steps", "save_steps": 1}
    trainer = make_trainer(tmp_path, cls, max_grad_norm=max_grad_norm, **options)
    monkeypatch.setattr(Spoil, "value", value)
    original = trainer.base_loss
    trainer.base_loss = lambda model, inputs: (
        Spoil.apply(original(model, inputs)) if trainer.state.global_step == 2 else original(model, inputs)
    )
    after = Weights(trainer)
    trainer.train()
    assert torch.equal(after.seen[3], after.seen[2])
    assert not torch.equal(weights(trainer), after.seen[3])
    assert weights(trainer).isfinite().all()
    assert "update 2 is skipped" in caplog.text
    assert [row["guards/skipped_updates"] for row in rows(trainer)] == [0, 0, 1, 0]
    last = load_file(tmp_path / "out" / "checkpoint-3" / "model.safetensors")
    assert all(weight.isfinite().all() for weight in last.values())


def test_updates_that_are_never_finite_end_the_run(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, max_steps=9, max_skipped_updates=2, save_strategy="steps", save_steps=1)
    original = trainer.base_loss
    trainer.base_loss = lambda model, inputs: (
        original(model, inputs) * (math.nan if trainer.state.global_step >= 3 else 1)
    )
    with pytest.raises(FloatingPointError, match=r"loss is not finite .* at step 5, after 2 skipped updates: look at"):
        trainer.train()
    assert weights(trainer).isfinite().all()


def test_every_method_logs_the_same_core_set(tmp_path):
    core = {"entropy", "clip_ratio/region_mean", "reward", "reward_std", "groups/mixed", "groups/all_right",
            "groups/all_wrong", "groups/unscorable", "grad_norm"}  # fmt: skip
    options = {"pkpo": {"k": 2}, "passk_training": {"k": 2}, "ds_grpo": {"gamma_right": 0.05, "gamma_wrong": 0.05}}
    for method in ("grpo", "cispo", "nsr", "pkpo", "kl_cov", "entropy_bonus", "simko", "forking_tokens"):
        trainer = make_trainer(
            tmp_path / method, MethodTrainer, method=method, method_options=options.get(method), reward=right,
            max_steps=2, gradient_accumulation_steps=2,
        )  # fmt: skip
        trainer.train()
        for row in rows(trainer):
            assert core <= {k for k, v in row.items() if v is not None}, method
            assert 2 < row["entropy"] < 3.6
            assert row["clip_ratio/region_mean"] == 0 or method != "kl_cov"
