"""skip_zero_advantage: responses that train nothing are not scored, and the trained gradient stays the paper's."""

import pytest
import torch
from paper import GradientCheck
from tiny import digit_share, fixed_rollout, make_trainer, tiny_model
from transformers import GPT2Config, GPT2LMHeadModel

from simko.adapters.trl.aids import only_rows, rows_to_score


def some_groups_alike(completions, prompts, **_):
    return [0.5 if "x" in p else d for p, d in zip(prompts, digit_share(completions), strict=True)]


def rows_scored(trainer):
    """How many responses each pass of the loss scores, as a list that fills while training."""
    rows, original = [], trainer._get_per_token_logps_and_entropies

    def score(model, ids, *args, **kwargs):
        rows.append(len(ids))
        return original(model, ids, *args, **kwargs)

    trainer._get_per_token_logps_and_entropies = score
    return rows


def positions_from_zero():
    """A model with absolute positions, which sees how much padding stands left of its prompt."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=35,
            n_embd=32,
            n_layer=2,
            n_head=2,
            n_positions=64,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            eos_token_id=1,
            bos_token_id=1,
        )
    )
    with torch.no_grad():
        model.transformer.wpe.weight.mul_(30)
    return model


SKIPPING = {
    "dapo": {"per_device_train_batch_size": 16},
    "accumulated": {"gradient_accumulation_steps": 4},
    "cispo": {"loss_type": "cispo", "epsilon_high": 3.0, "per_device_train_batch_size": 16, "num_iterations": 2},
    "tool tokens": {"per_device_train_batch_size": 16, "trainer": {"rollout_func": fixed_rollout(env_mask=True)}},
    "absolute positions": {"per_device_train_batch_size": 16},
}


@pytest.mark.parametrize("name", SKIPPING)
def test_skipping_zero_advantages_keeps_the_gradient(tmp_path, name):
    model = positions_from_zero() if name == "absolute positions" else tiny_model()
    trainer = make_trainer(
        tmp_path,
        model=model,
        reward=some_groups_alike,
        skip_zero_advantage=True,
        max_steps=2,
        max_grad_norm=0.0,
        **SKIPPING[name],
    )
    rows, check = rows_scored(trainer), GradientCheck.watch(trainer)
    trainer.train()
    assert min(rows) < trainer.args.per_device_train_batch_size
    assert check.raised > 0
    assert max(check.errors) < 1e-6


@pytest.mark.parametrize("loss_type", ["dapo", "cispo"])
def test_skipping_a_batch_of_zero_advantages_trains_nothing(tmp_path, loss_type):
    trainer = make_trainer(
        tmp_path,
        reward=lambda completions, **_: [1.0] * len(completions),
        skip_zero_advantage=True,
        max_steps=1,
        loss_type=loss_type,
        epsilon_high=3.0,
    )
    check = GradientCheck.watch(trainer)
    trainer.train()
    assert check.applied[0].eq(0).all()


def test_skipping_leaves_evaluation_whole(tmp_path):
    trainer = make_trainer(
        tmp_path,
        reward=some_groups_alike,
        skip_zero_advantage=True,
        max_steps=1,
        num_generations=4,
        trainer={"eval_dataset": make_trainer(tmp_path).train_dataset},
        per_device_eval_batch_size=8,
    )
    rows = rows_scored(trainer)
    trainer.evaluate()
    assert set(rows) == {8}


def test_skipping_keeps_as_many_responses_on_every_process(tmp_path, monkeypatch):
    """TRL gathers a number for each response: a process with fewer fills up with others, which train nothing."""
    trainer = make_trainer(tmp_path, skip_zero_advantage=True)
    advantages = torch.tensor([0.0, 1.0, 0.0, 0.0, -1.0])
    assert rows_to_score(advantages, trainer.accelerator).tolist() == [False, True, False, False, True]
    monkeypatch.setattr(trainer.accelerator, "gather", lambda mine: torch.cat([mine, mine + 2]))
    keep = rows_to_score(advantages, trainer.accelerator)
    assert keep.sum() == 4
    assert keep[[1, 4]].all()
    monkeypatch.setattr(trainer.accelerator, "gather", lambda mine: mine)
    assert rows_to_score(torch.zeros(5), trainer.accelerator).sum() == 1


def test_rows_without_tokens_are_not_mistaken_for_one_number_a_response():
    """TRL's means take a width of 1 so. On one of several processes all that is kept may be masked out."""
    inputs = {
        "advantages": torch.tensor([0.0, 0.0]),
        "completion_ids": torch.ones(2, 5, dtype=torch.long),
        "completion_mask": torch.zeros(2, 5, dtype=torch.long),
    }
    kept = only_rows(inputs, torch.tensor([True, False]))
    assert kept["completion_mask"].shape == kept["tool_mask"].shape == kept["completion_ids"].shape == (1, 2)
