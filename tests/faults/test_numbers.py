"""Numbers that are none: in the loss, the gradient and the rewards, of TRL's own trainer with and without the mix-ins.

`PYTHONPATH=src:tests/adapters:tests/faults python tests/faults/test_numbers.py` prints what becomes of TRL's own.
"""

import math
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kills import MixedIn
from tiny import digit_share, make_trainer
from trl import GRPOTrainer

from simko.adapters.trl import Guards, RLVRTrainer, SimKOTrainer
from simko.objectives import group_advantages
from simko.objectives.update import lost_in_float32


class Plain(Guards, GRPOTrainer):
    """TRL's own trainer with the guards and nothing else."""


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
    "reward 1e20": lambda found: [1e20, *found[1:]],
    "reward None": lambda found: [None, *found[1:]],
    "all rewards None": lambda found: [None] * len(found),
    "rewards too few": lambda found: found[1:],
    "reward function raises": raising,
}
RAISED = {"reward nan": "sample 0", "reward inf": "sample 0", "reward 1e20": "sample 0", "rewards too few": "returned 7 rewards for 8",
          "reward function raises": "gold"}  # fmt: skip


def run(folder, cls, fault, failures=None):
    """The weights after six updates of two micro-batches, and the log."""
    reward = moody(REWARDS[fault]) if fault in REWARDS else digit_share
    options = {"reward_failures": failures or "raise"} if cls is SimKOTrainer else {}
    options |= {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4, "weight_decay": 0.1}
    trainer = make_trainer(folder, cls, reward=reward, max_steps=6, max_completion_length=4, **options)
    if cls is MixedIn:
        trainer.reward_failures = failures or "raise"
    if fault in LOSSES:
        spoiled_loss(trainer, LOSSES[fault])
    trainer.train()
    weights = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    return weights, [row for row in trainer.state.log_history if "loss" in row]


@pytest.mark.parametrize("cls", [MixedIn, SimKOTrainer])
@pytest.mark.parametrize("fault", LOSSES)
@pytest.mark.few(4)
def test_a_bad_number_reaches_no_weight(tmp_path, cls, fault):
    weights, rows = run(tmp_path, cls, fault)
    assert weights.isfinite().all()
    assert [row["guards/skipped_updates"] for row in rows] == [0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("cls", [MixedIn, pytest.param(SimKOTrainer, marks=pytest.mark.slow)])
@pytest.mark.parametrize("fault", REWARDS)
@pytest.mark.few(3)
def test_a_reward_that_fails_stops_the_run_or_is_masked(tmp_path, cls, fault):
    if fault in RAISED:
        with pytest.raises((ValueError, KeyError), match=RAISED[fault]):
            run(tmp_path / "raise", cls, fault)
    weights, rows = run(tmp_path, cls, fault, "mask")
    assert weights.isfinite().all()
    share = {"reward 1e20": 0.5} | dict.fromkeys(("reward nan", "reward inf", "reward None"), 0.125)
    names = [[v for k, v in row.items() if k.endswith("/masked")] for row in rows]
    assert names == [[], [], [share.get(fault, 1.0)], [], [], []]


@pytest.mark.parametrize("fault", RAISED)
def test_the_guards_alone_read_the_rewards(tmp_path, fault):
    with pytest.raises((ValueError, KeyError), match=RAISED[fault]):
        run(tmp_path, Plain, fault)


def one_rollout(folder, cls, rewards, failures, functions=1, **options):
    """A trainer after one update on a rollout of two groups of four with these rewards."""
    names = [f"judge{i}" for i in range(functions)]
    given = [lambda completions, **_: list(rewards) for _ in names]
    for function, name in zip(given, names, strict=True):
        function.__name__ = name
    trainer = make_trainer(folder, cls, reward=given, max_steps=1, max_completion_length=4, **options)
    trainer.reward_failures = failures
    trainer.train()
    return trainer


TOO_LARGE = [1e9, 1e10, 1e19, 1e20, -1e25, 1e30, 3e38, -3.4e38]
WAYS = {
    "TRL": (Plain, {}),
    "simko": (RLVRTrainer, {}),
    "no scaling": (Plain, {"scale_rewards": "none"}),
    "by batch": (Plain, {"scale_rewards": "batch"}),
    "two functions": (Plain, {"functions": 2}),
    "each function standardised": (Plain, {"functions": 2, "multi_objective_aggregation": "normalize_then_sum"}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [1e20, *(pytest.param(x, marks=pytest.mark.slow) for x in TOO_LARGE if x != 1e20)])
@pytest.mark.few(2)
def test_a_reward_too_large_for_its_group(tmp_path, way, size):
    """Standardised in float32, it would leave the others of its group one advantage, mostly 0, whatever their rewards."""
    cls, options = WAYS[way]
    rewards = [0.0, 1.0, size, 1.0, 0.0, 1.0, 0.0, 1.0]
    with pytest.raises(ValueError, match=r"judge0 gave .* to sample 2 of the rollout: float32"):
        one_rollout(tmp_path, cls, rewards, "raise", **options)
    trainer = one_rollout(tmp_path, cls, rewards, "mask", **options)
    assert trainer.state.log_history[0]["rewards/judge0/masked"] == 0.5
    advantages = list(trainer._logs["advantages"])
    assert advantages[:4] == [0] * 4
    assert advantages[4] < 0 < advantages[5]


@pytest.mark.parametrize("offset", [3e6, 5e6, 1e7])
def test_a_group_that_is_lost_to_a_common_offset_is_left_out_whole(tmp_path, offset):
    """Without its largest rewards alone it would train towards the next best."""
    rewards = [*(offset + x for x in (0.0, 0.25, 0.5, 0.75)), 0.0, 1.0, 0.0, 1.0]
    trainer = one_rollout(tmp_path, Plain, rewards, "mask")
    assert trainer.state.log_history[0]["rewards/judge0/masked"] == 0.5


@pytest.mark.parametrize(
    "change", [lambda r: 1e7 * r, lambda r: r + 1000, lambda r: r * 1e-9, lambda r: 0.1 + r * 1e-8, lambda r: 1e30 * r]
)
def test_rewards_that_float32_holds_are_left_as_they_are(change):
    rewards = change(torch.tensor([[0.0, 1.0, 0.25, 1.0], [0.5, 0.5, 0.5, 0.5]], dtype=torch.float64)).float()
    expected = [bool(rewards.abs().max() > 1e20), False]  # whose squares overflow
    assert lost_in_float32(rewards).tolist() == expected


FINITE = {"allow_infinity": False, "allow_nan": False}
OFFSET = st.builds(lambda at, rewards: [at + x for x in rewards], st.floats(-1e8, 1e8, **FINITE), st.lists(st.floats(-10, 10), min_size=4, max_size=4))  # fmt: skip


@given(OFFSET | st.lists(st.floats(width=32, **FINITE), min_size=4, max_size=4))
def test_no_group_is_lost_without_a_word(rewards):
    """Standardised in float32, a group that is not said to be lost is what it is in float64."""
    rewards = torch.tensor([rewards])
    exact = rewards.double()
    if lost_in_float32(rewards).item() or exact.max() - exact.min() <= 0.01:
        return
    found, wanted = (group_advantages(x[0], torch.zeros(4, dtype=torch.long)).double() for x in (rewards, exact))
    assert (found - wanted).abs().max() < 0.15
    apart = (exact[:, :, None] - exact[:, None]).abs() > 0.01
    assert (found[:, None] != found[None])[apart[0]].all()


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
