"""Numbers that are none: in the loss, the gradient and the rewards, of TRL's own trainer with and without the mix-ins.

`PYTHONPATH=src:tests/adapters:tests/faults python tests/faults/test_numbers.py` prints what becomes of TRL's own.
"""

import math
import tempfile
from pathlib import Path

import pytest
import torch
from kills import MixedIn
from tiny import digit_share, make_trainer
from trl import GRPOTrainer

from simko.adapters.trl import SimKOTrainer
from simko.adapters.trl.rewards import checked_rewards


class Scaled(torch.autograd.Function):
    """The identity, whose gradient is scaled."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


def spoiled_loss(trainer, how):
    """One micro-batch of the third update has a loss or a gradient that is none."""
    original, count = trainer._compute_loss, 0

    def loss(model, inputs):
        nonlocal count
        value, count = original(model, inputs), count + 1
        return how(value) if count == 5 else value

    trainer._compute_loss = loss


def moody(fault):
    """A reward function that fails at its third call."""
    count = 0

    def reward(completions, **_):
        nonlocal count
        count += 1
        found = digit_share(completions)
        return fault(found) if count == 3 else found

    return reward


def raising(found):
    raise KeyError("gold")


LOSSES = {
    "loss nan": lambda x: x * math.nan,
    "loss inf": lambda x: x + math.inf,
    "gradient nan": lambda x: Scaled.apply(x, math.nan),
    "gradient inf": lambda x: Scaled.apply(x, math.inf),
    "gradient 1e38": lambda x: Scaled.apply(x, 1e38),  # whose norm is inf
}
REWARDS = {
    "reward nan": lambda found: [math.nan, *found[1:]],
    "reward inf": lambda found: [math.inf, *found[1:]],
    "reward None": lambda found: [None, *found[1:]],
    "all rewards None": lambda found: [None] * len(found),
    "rewards too few": lambda found: found[1:],
    "reward function raises": raising,
}
RAISED = {"reward nan": "sample 0", "reward inf": "sample 0", "rewards too few": "returned 7 rewards for 8",
          "reward function raises": "gold"}  # fmt: skip


def run(folder, cls, fault, failures=None):
    """The weights after six updates of two micro-batches, and the log."""
    reward = moody(REWARDS[fault]) if fault in REWARDS else digit_share
    if cls is MixedIn:
        reward = checked_rewards(reward, failures=failures or "raise")
    options = {"reward_failures": failures or "raise"} if cls is SimKOTrainer else {}
    options |= {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4, "weight_decay": 0.1}
    trainer = make_trainer(folder, cls, reward=reward, max_steps=6, max_completion_length=4, **options)
    if fault in LOSSES:
        spoiled_loss(trainer, LOSSES[fault])
    trainer.train()
    weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    return weights, [row for row in trainer.state.log_history if "loss" in row]


@pytest.mark.parametrize("cls", [MixedIn, SimKOTrainer])
@pytest.mark.parametrize("fault", LOSSES)
def test_a_bad_number_reaches_no_weight(tmp_path, cls, fault):
    weights, rows = run(tmp_path, cls, fault)
    assert weights.isfinite().all()
    assert [row["guards/skipped_updates"] for row in rows] == [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("cls", [MixedIn, pytest.param(SimKOTrainer, marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", REWARDS)
def test_a_reward_that_fails_stops_the_run_or_is_masked(tmp_path, cls, fault):
    if fault in RAISED:
        with pytest.raises((ValueError, KeyError), match=RAISED[fault]):
            run(tmp_path / "raise", cls, fault)
    weights, rows = run(tmp_path, cls, fault, "mask")
    assert weights.isfinite().all()
    share = 0.125 if fault in ("reward nan", "reward inf", "reward None") else 1.0
    names = [[v for k, v in row.items() if k.endswith("/masked")] for row in rows]
    assert names == [[], [], [share], [], [], []]


def main() -> None:
    for fault in (*LOSSES, *REWARDS):
        with tempfile.TemporaryDirectory() as folder:
            try:
                weights, rows = run(Path(folder), GRPOTrainer, fault)
            except Exception as error:  # the table says which
                print(f"{fault}: ends with {type(error).__name__}: {str(error)[:60]}", flush=True)
                continue
        finite = "finite" if weights.isfinite().all() else "nan"
        print(f"{fault}: weights {finite}, logged loss {rows[2]['loss']}", flush=True)


if __name__ == "__main__":
    main()
