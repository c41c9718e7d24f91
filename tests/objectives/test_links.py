"""Single links: effective log-probabilities, surrogate, reduction."""

import math
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from simko.objectives import (
    METHODS,
    candidate_gap,
    clipped_surrogate,
    penalised_advantages,
    penalised_old_logp,
    penalised_tokens,
    reduce_loss,
    spread_shift,
)
from simko.objectives.surrogate import sequence_ratio


@pytest.mark.parametrize("weights", ["uniform", "softmax"])
def test_candidate_gap_of_logits_is_that_of_log_probabilities(weights):
    z = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    y = torch.randn(5, dtype=torch.float64)
    gap = candidate_gap(z, y, weights)
    torch.testing.assert_close(candidate_gap(z - 3.7, y - 3.7, weights), gap)
    w = z.detach().softmax(-1) if weights == "softmax" else torch.full_like(z, 0.25)
    torch.testing.assert_close(gap, (w * z).sum(-1) - y)
    torch.testing.assert_close(torch.autograd.grad(gap.sum(), z)[0], w)  # the weights carry no gradient


def test_candidate_gap_without_a_candidate():
    z = torch.tensor([[-1.0, -2.0, -torch.inf]], requires_grad=True)
    uniform, softmax = candidate_gap(z, torch.zeros(1)), candidate_gap(z, torch.zeros(1), "softmax")
    assert uniform.item() == pytest.approx(-1.0)
    p = 1 / (1 + math.exp(-1))
    assert softmax.item() == pytest.approx(-p - 2 * (1 - p))
    assert torch.isfinite(torch.autograd.grad((uniform + softmax).sum(), z)[0]).all()


def test_candidate_gap_refuses_other_weights():
    unchecked = getattr(candidate_gap, "__wrapped__", candidate_gap)
    with pytest.raises(ValueError, match="softmin"):
        unchecked(torch.zeros(1, 2), torch.zeros(1), "softmin")


def test_spread_shift_has_no_value_and_a_gradient_on_raised_tokens_alone():
    gap = torch.tensor([[1.0, torch.inf, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], requires_grad=True)
    gate = torch.tensor([[True, False, True], [True, True, False], [True, True, True]])
    shift = spread_shift(gap, torch.tensor([[2.0], [-1.0], [0.0]]), gate, 0.1)
    assert torch.equal(shift, torch.zeros(3, 3))
    found = torch.autograd.grad(shift.sum(), gap)[0]
    torch.testing.assert_close(found, torch.tensor([[0.1, 0.0, 0.1], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))


def test_penalty():
    top1 = torch.tensor([[True, True, False, True]])
    gate = torch.tensor([[True, False, True, True]])
    A = torch.tensor([[-2.0, -2.0, -2.0, 3.0]])
    penalised = penalised_tokens(top1, A, gate)
    assert penalised.tolist() == [[True, False, False, False]]
    old = penalised_old_logp(torch.zeros(1, 4), penalised, 1.5)
    torch.testing.assert_close((0.0 - old).exp(), torch.tensor([[1.5, 1.0, 1.0, 1.0]]))
    torch.testing.assert_close(penalised_advantages(A, penalised, 1.5), torch.tensor([[-3.0, -2.0, -2.0, 3.0]]))
    one_a_response = penalised_advantages(torch.tensor([[-2.0]]), penalised, 1.5)
    torch.testing.assert_close(one_a_response, torch.tensor([[-3.0, -2.0, -2.0, -2.0]]))


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.19, 2.0, -2.38, -2.0),
        (1.5, 2.0, -2.6, 0.0),  # above 1 + 0.3: no more reward
        (0.5, 2.0, -1.0, -2.0),
        (0.5, -2.0, 1.6, 0.0),  # below 1 - 0.2: no more punishment
        (0.81, -2.0, 1.62, 2.0),
        (5.0, -2.0, 10.0, 2.0),
        (1.7, 0.0, 0.0, 0.0),
    ],
)
def test_clipped_surrogate(ratio, advantage, loss, slope):
    r = torch.tensor([[ratio]], dtype=torch.float64, requires_grad=True)
    found = clipped_surrogate(r, torch.tensor([[advantage]], dtype=torch.float64), 0.2, 0.3)
    assert found.item() == pytest.approx(loss)
    assert torch.autograd.grad(found.sum(), r)[0].item() == pytest.approx(slope)


def test_sequence_ratio_is_a_geometric_mean_over_counted_tokens():
    logp = torch.tensor([[4.0, 0.5, 9.0], [8.0, 2.0, 4.0], [1.0, 1.0, 1.0]]).log()
    mask = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    found = sequence_ratio(logp, torch.zeros(3, 3), mask)
    torch.testing.assert_close(found, torch.tensor([[math.sqrt(2)] * 3, [4.0] * 3, [1.0] * 3]))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32, torch.float64])
def test_reductions_against_loops(dtype):
    loss = torch.randn(4, 5, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    rows = [row[m == 1] for row, m in zip(loss, mask, strict=True)]
    total = sum(row.sum() for row in rows)
    means = sum(row.mean() for row in rows if len(row))
    m = mask.to(dtype)
    torch.testing.assert_close(reduce_loss(loss, m, "token_mean"), total / 9, rtol=0, atol=1e-15)
    torch.testing.assert_close(reduce_loss(loss, m, "sequence_mean"), means / 3, rtol=0, atol=1e-15)
    torch.testing.assert_close(reduce_loss(loss, m, "constant"), total / 20, rtol=0, atol=1e-15)
    for denominator in (7.0, torch.tensor(7.0, dtype=torch.float64)):
        torch.testing.assert_close(reduce_loss(loss, m, "token_mean", denominator), total / 7)
        torch.testing.assert_close(reduce_loss(loss, m, "sequence_mean", denominator), means / 7)
        torch.testing.assert_close(reduce_loss(loss, m, "constant", denominator), total / 7)


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean", "constant"])
@pytest.mark.parametrize("garbage", [float("nan"), float("inf")])
def test_masked_losses_are_left_out(reduction, garbage):
    loss = torch.tensor([[1.0, garbage], [garbage, garbage]], requires_grad=True)
    found = reduce_loss(loss, torch.tensor([[1, 0], [0, 0]]), reduction)
    assert found.item() == (0.25 if reduction == "constant" else 1.0)
    assert torch.autograd.grad(found, loss)[0].flatten()[1:].eq(0).all()


def test_reduction_unknown():
    unchecked = getattr(reduce_loss, "__wrapped__", reduce_loss)
    with pytest.raises(ValueError, match="reduction"):
        unchecked(torch.zeros(1, 1), torch.ones(1, 1), "sum")


BATCH = {
    "logp": torch.zeros(3, 4),
    "old_logp": torch.zeros(3, 4),
    "entropy": torch.ones(3, 4),
    "mask": torch.ones(3, 4),
}


def row(link):
    return replace(METHODS["grpo"], name="mine", token_links=(link,))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda t: t, "its Tokens and a dict of metrics, got Tokens"),
        (lambda t: None, "its Tokens and a dict of metrics, got NoneType"),
        (lambda t: (t.logp, {}), "its Tokens and a dict of metrics"),
        (lambda t: (t, {"low": 0.5}), "low as a Mean, by mean_over or over_counted, got float"),
        (lambda t: (t, {"low": torch.zeros(())}), "low as a Mean.*got Tensor"),
        (lambda t: (t._replace(advantages=t.advantages[:1]), {}), r"advantages of shape \[3, 4\], got \[1, 1\]"),
        (lambda t: (t._replace(logp=t.logp[:, :1]), {}), r"logp of shape \[3, 4\], got \[3, 1\]"),
    ],
)
def test_a_link_s_answer_that_is_none_is_named(answer, said):
    """What would be an unpacking error, or be spread over other responses in silence."""

    def trim(tokens, *, alpha):
        return answer(tokens)

    with pytest.raises(ValueError, match=f"mine: the token link trim must return {said}"):
        row(partial(trim, alpha=0.1)).policy_loss(
            **BATCH, gap=None, is_top1=None, advantages=torch.tensor([1.0, -1.0, 0])
        )


def test_a_link_that_is_no_partial_is_named():
    """In a process of its own: the tests' type checker would refuse it first."""
    code = """
from dataclasses import replace
from simko.objectives import METHODS
for place, link in {"token_links": (len,), "estimator": len, "surrogate": len, "auxiliary": len}.items():
    try:
        replace(METHODS["grpo"], **{place: link})
    except ValueError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = "takes functools.partial(function, option=...), keywords alone, got <built-in function len>"
    places = ("token_links", "estimator", "surrogate", "auxiliary")
    assert done.stdout.splitlines() == [f"grpo: {place} {said}" for place in places]


def test_an_option_that_is_not_listed_says_how_to_list_it():
    with pytest.raises(
        ValueError, match=r"mine has no option 'flor'; .*; flor becomes one by a row of objectives\.OPTIONS$"
    ):
        row(partial(lambda tokens, *, flor: (tokens, {}), flor=1.0)).with_options(flor=2.0)
