"""Every row of METHODS in TRL: three steps, its metrics, accumulation, gradients, TRL's own way, two processes."""

import math

import pytest
import torch
from methods import (
    BY_ADVANTAGE,
    IN_TRL,
    OPTIONS,
    OWN,
    SELECTING,
    SIMKO,
    PlainLoss,
    assert_same_weights,
    log,
    method_trainer,
    trained,
)
from paper import relative_error
from ranks import train
from test_method_trainer import Rollouts, in_both_ways, row
from test_trl_distributed import launch
from tiny import digit_share

from simko.objectives import METHODS

pytestmark = pytest.mark.slow


def own_metrics(name):
    """The row's own: all of policy_loss's, or those of the token links that act in TRL's loss."""
    names = METHODS[name].metrics
    if name in OWN:
        return [f"{name}/{metric}" for metric in names]
    prefix = "simko" if name in SIMKO else name
    links = [metric for metric in names if metric not in ("ratio", "clipped")]
    return [f"{prefix}/{metric}" for metric in [*links, "raised"]] if METHODS[name].token_links else []


@pytest.mark.parametrize("name", METHODS)
def test_three_steps_with_accumulation_1_and_4(tmp_path, name):
    whole, split = (trained(tmp_path / str(n), name, accumulate=n, **moving(name)) for n in (1, 4))
    promised = ["entropy", "clip_ratio/region_mean", *own_metrics(name)]
    for trainer in (whole, split):
        assert len(log(trainer)) == 3
        assert all(math.isfinite(r["loss"]) for r in log(trainer))
        assert all(math.isfinite(r[metric]) for r in log(trainer) for metric in promised)
    assert_same_weights(whole, split)
    for a, b in zip(log(whole), log(split), strict=True):
        assert [a[m] for m in promised] == pytest.approx([b[m] for m in promised], rel=1e-4, abs=1e-6)


def moving(name):
    """A reward under which the row trains: the other one ties at the top of most groups."""
    return {"reward": digit_share} if name == "best_of_k" else {}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", OWN + BY_ADVANTAGE)
def test_own_gradient_on_and_off_policy(tmp_path, name, accumulate):
    trainer = method_trainer(
        tmp_path, name, accumulate=accumulate, num_iterations=2, max_steps=4, learning_rate=0.05, temperature=0.7,
        **moving(name),
    )  # fmt: skip
    check = PlainLoss(trainer, row(name))
    trainer.train()
    assert max(check.errors) < 1e-5
    assert check.drift[0] < 1e-5 < check.drift[1]


@pytest.mark.parametrize("name", OWN + BY_ADVANTAGE)
def test_own_advantages_of_sampled_responses(tmp_path, name):
    trainer = method_trainer(tmp_path, name, max_steps=2, fixed=False)
    rollouts = Rollouts(trainer, row(name))
    trainer.train()
    assert len(rollouts.seen) == 2
    for seen, expected in zip(rollouts.seen, rollouts.expected, strict=True):
        torch.testing.assert_close(seen, expected, rtol=1e-3, atol=1e-4)
    assert any(seen.ne(0).any() for seen in rollouts.seen)


@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("name", IN_TRL)
def test_trl_s_way_and_the_row_s_agree(tmp_path, monkeypatch, name, iterations):
    theirs, ours = in_both_ways(
        tmp_path, monkeypatch, name, accumulate=2, num_iterations=iterations, max_steps=2 * iterations
    )
    assert_same_weights(theirs, ours)
    assert (max(r[f"{name}/clipped"] for r in log(ours)) > 0) == (iterations > 1 and name != "cispo")


@pytest.mark.parametrize("name", [n for n in OWN + BY_ADVANTAGE if METHODS[n].inert_zero_rows])
def test_skipping_keeps_the_gradient(tmp_path, name):
    whole, skipped = (
        trained(tmp_path / str(skip), name, accumulate=2, num_iterations=2, max_steps=2, skip_zero_advantage=skip)
        for skip in (False, True)
    )
    assert_same_weights(whole, skipped)


def test_a_run_of_several_updates_a_rollout(tmp_path):
    """Each window has its own denominator and selection."""
    for name in ("psr", "forking_tokens"):
        trainer = method_trainer(
            tmp_path / name, name, accumulate=2, steps_per_generation=4, max_steps=2, learning_rate=0.05,
            per_device_train_batch_size=4,
        )  # fmt: skip
        check = PlainLoss(trainer, row(name))
        check.first_of_rollout = lambda step: step % 2 == 0
        trainer.train()
        assert max(check.errors) < 1e-5


RUNS = {
    name: {"method": name, "method_options": OPTIONS.get(name), "num_iterations": 2, "learning_rate": 0.3} | extra
    for name, extra in {
        **{key: {} for key in SELECTING},
        "unlikeliness": {"num_iterations": 1},
        "ucpo": {},
        "psr": {"drop_one_outcome_groups": True, "num_generations": 2},
        "entropy_bonus": {"gradient_accumulation_steps": 2, "num_generations": 2},
    }.items()
}


@pytest.fixture(scope="module")
def replicated(tmp_path_factory):
    return dict(zip(RUNS, launch(tmp_path_factory.mktemp("ddp"), RUNS.values()), strict=True))


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_what_one_trains(replicated, name):
    alone, both = train(dict(RUNS[name])), replicated[name]
    assert (alone["processes"], both["processes"]) == (1, 2)
    assert len(both["gradients"]) == 2
    for x, y in zip(alone["gradients"], both["gradients"], strict=True):
        assert relative_error(y, x) < 1e-5
    assert relative_error(both["weights"], alone["weights"]) < 1e-6
    assert len(alone["metrics"]) == len(both["metrics"]) == 2
    for a, b in zip(alone["metrics"], both["metrics"], strict=True):
        assert set(a) == set(own_metrics(name))
        assert b == pytest.approx(a, rel=1e-4, abs=1e-6)
