"""Rows of SimKO that set alpha themselves: the controller's law, and alpha by the group's success."""

import json
import math
from dataclasses import replace

import pytest
import torch
from method_cases import case, ready

from simko.objectives import METHODS, OPTIONS, candidate_gap
from simko.objectives.controllers import BASE_UPDATES, LEAST_ALPHA
from simko.objectives.update import Adaptation
from simko.token_stats import token_stats

ADAPTIVE = ["simko_adaptive", "simko_adaptive_by_success"]
BY_SUCCESS = ["simko_by_success", "simko_adaptive_by_success"]


def stepped(adaptation, *shares):
    for share in shares:
        adaptation.step({"rank1": share})
    return adaptation


def knobs(adaptation):
    return adaptation.method.options["alpha"], adaptation.method.options["top_penalty"]


# ---- alpha by success


@pytest.mark.parametrize("name", BY_SUCCESS)
@pytest.mark.parametrize("size", [2, 3, 8, 64])
def test_alpha_is_the_share_of_correct_responses_but_for_one_in_n(name, size):
    """The gradient of a gap, token by token, for every number of correct responses in a group."""
    method = METHODS[name].with_options(alpha=0.5, eps=0.0, gate_quantile=None)
    for correct in range(1, size):
        rewards, rho = (torch.arange(size) < correct).double(), correct / size
        A = method.advantages(rewards, torch.zeros(size, dtype=torch.long))
        nothing, gap = (
            torch.zeros(size, 1, dtype=torch.float64),
            torch.zeros(size, 1, dtype=torch.float64).requires_grad_(),
        )
        loss, _ = method.policy_loss(nothing, nothing, nothing, gap, nothing != 0, A, torch.ones(size, 1))
        found = torch.autograd.grad(loss, gap)[0][:, 0]
        alpha = 0.5 * rho / (1 - (1 - rho) / size)
        torch.testing.assert_close(found, torch.where(rewards == 1, -A * alpha / size, 0.0), rtol=1e-12, atol=1e-15)
        assert 1 <= alpha / (0.5 * rho) <= 1 + 1 / (size - 1) + 1e-12


@pytest.mark.parametrize("name", BY_SUCCESS)
@pytest.mark.parametrize("A", [0.25, 1.0, 6.0])
def test_it_is_simko_with_an_alpha_for_each_advantage(name, A):
    c = case(seed=3)
    advantages = torch.where(c.rewards == 1, A, -0.7)
    ours = c.gradient(ready(name), advantages)
    theirs = c.gradient(ready("simko", alpha=0.3 / (1 + A * A)), advantages)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-15)
    assert (ours[1] - c.gradient(ready("simko"), advantages)[1]).abs().max() > 1e-4


# ---- the controller


@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_law(name):
    row = METHODS[name]
    adaptation = stepped(Adaptation(row), *(0.1 * i for i in range(BASE_UPDATES)))  # their mean is 0.2 for 5
    base, (alpha, penalty), rate = 0.1 * (BASE_UPDATES - 1) / 2, knobs(Adaptation(row)), row.options["alpha_rate"]
    assert knobs(adaptation) == (alpha, penalty)
    for share in (base + 0.3, base + 0.1, base - 0.2):
        alpha *= math.exp(rate * (share - base))
        stepped(adaptation, share)
        slope = (row.options["top_penalty"] - 1) / row.options["alpha"]
        assert knobs(adaptation) == pytest.approx((alpha, 1 + slope * alpha), rel=1e-12)


def test_both_bounds_are_left_again():
    adaptation = stepped(Adaptation(METHODS["simko_adaptive"].with_options(alpha_rate=5.0)), *[0.5] * BASE_UPDATES)
    slope = (knobs(adaptation)[1] - 1) / knobs(adaptation)[0]
    for share, bound in ((1.0, METHODS["simko_adaptive"].options["alpha_max"]), (0.0, LEAST_ALPHA), (1.0, None)):
        stepped(adaptation, *[share] * 4)
        assert bound is None or knobs(adaptation)[0] == bound
        assert bound is not None or knobs(adaptation)[0] > LEAST_ALPHA
        assert knobs(adaptation)[1] == pytest.approx(1 + slope * knobs(adaptation)[0], rel=1e-9)


def test_an_update_without_a_gated_token_changes_nothing():
    """As none of its groups has two outcomes. Before the base is known it does not count either."""
    held, other = Adaptation(METHODS["simko_adaptive"]), Adaptation(METHODS["simko_adaptive"])
    for share in [0.4] * BASE_UPDATES + [0.6, 0.3]:
        other.step({"gated": 0.2})
        stepped(held, share)
        stepped(other, share)
        other.step({})
        assert other.state_dict() == held.state_dict()


@pytest.mark.parametrize("options", [{"alpha": 0.0}, {"top_penalty": 1.0}, {"alpha_rate": 0.0}])
def test_what_is_off_stays_off(options):
    row = METHODS["simko_adaptive"].with_options(**options)
    alpha, penalty = knobs(stepped(Adaptation(row), *[0.2] * BASE_UPDATES, 0.9, 0.9, 0.9))
    assert (alpha == row.options["alpha"]) == ("top_penalty" not in options)
    assert (penalty == row.options["top_penalty"]) or "top_penalty" not in options
    assert all(OPTIONS[name].valid(value) for name, value in (("alpha", alpha), ("top_penalty", penalty)))


@pytest.mark.parametrize("before", [0, 2, BASE_UPDATES, BASE_UPDATES + 2])
def test_it_continues_from_its_state(before):
    shares = [0.31, 0.42, 0.37, 0.29, 0.4, 0.5, 0.61, 0.2, 0.7]
    whole = stepped(Adaptation(METHODS["simko_adaptive"]), *shares)
    first = stepped(Adaptation(METHODS["simko_adaptive"]), *shares[:before])
    second = Adaptation(METHODS["simko_adaptive"])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert knobs(stepped(second, *shares[before:])) == knobs(whole)
    assert second.state_dict() == whole.state_dict()
    assert knobs(whole) != knobs(Adaptation(METHODS["simko_adaptive"]))


def test_rank1_does_not_depend_on_responses_that_an_engine_may_leave_out():
    c, row = case(seed=3, groups=4), ready("simko_adaptive")
    A = c.advantages(row).clone()
    A[::3] = 0.0
    kept, metrics = c[A != 0], c.loss(row, A)[1]
    found = kept.loss(row, A[A != 0])[1]
    assert (c.loss(row)[1]["rank1"] - metrics["rank1"]).abs() > 0.01
    for name in ("rank1", "gap"):
        torch.testing.assert_close(found[name], metrics[name], rtol=1e-12, atol=0)


def trained(row, updates=130, problems=24, responses=16, actions=8):
    """Shares of rank 1 over the training of one token a problem; three of its actions are correct."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(problems, actions, generator=draw).requires_grad_()
    correct = torch.rand(problems, actions, generator=draw).argsort(1) < 3
    optimizer, adaptation, shares = torch.optim.Adam([logits], 0.05), Adaptation(row), []
    groups = torch.arange(problems).repeat_interleave(responses)
    for _ in range(updates):
        method = adaptation.method
        ids = logits.detach().softmax(-1).multinomial(responses, replacement=True, generator=draw)
        A = method.advantages(correct.gather(1, ids).float().flatten(), groups)
        s = token_stats(logits[groups][:, None], ids.flatten()[:, None], top_k=3, impl="eager")
        gap = candidate_gap(s.topk_logp, s.logp)
        loss, metrics = method.policy_loss(s.logp, s.logp, s.entropy, gap, s.is_top1, A, torch.ones_like(s.logp))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shares.append(metrics["rank1"].item())
        adaptation.step({name: x.item() for name, x in metrics.items()} if A.any() else {})
    return shares


@pytest.mark.parametrize("name", ADAPTIVE)
def test_rank1_stays_nearer_to_the_base_s(name):
    row = METHODS[name].with_options(gate_quantile=None, alpha_max=1.0)
    held, fixed = trained(row), trained(replace(row, controller=None))
    assert held[:BASE_UPDATES] == fixed[:BASE_UPDATES]
    base = sum(held[:BASE_UPDATES]) / BASE_UPDATES
    above = [sum(shares[60:]) / len(shares[60:]) - base for shares in (held, fixed)]
    assert above[1] > 0.2
    assert above[0] < 0.85 * above[1]
