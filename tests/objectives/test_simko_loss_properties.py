"""simko_loss on random batches: its gradient, and the arguments that it refuses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from simko_cases import case, gradient_of, grpo_loss, loss_of

from simko.objectives import check_simko_options, simko_loss

sizes = st.integers(1, 5)


@settings(max_examples=25, deadline=None)
@given(B=sizes, T=st.integers(3, 8), pad=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_padding_changes_nothing(B, T, pad, seed):
    logits, tokens, old, advantages, mask = case(B=B, T=T, seed=seed)
    options = {"alpha": 0.3, "top_penalty": 1.5}
    plain = gradient_of(logits, tokens, old, advantages, mask, **options)
    wider = torch.cat([logits.detach(), torch.randn(B, pad, 9).double()], 1).requires_grad_()
    more = torch.zeros(B, pad)
    found = gradient_of(
        wider, torch.cat([tokens, more.long()], 1), torch.cat([old, more + 3.0], 1), advantages,
        torch.cat([mask, more.bool()], 1), **options,
    )  # fmt: skip
    torch.testing.assert_close(found[:, :T], plain, rtol=0, atol=1e-14)
    assert (found[:, T:] == 0).all()


@settings(max_examples=25, deadline=None)
@given(B=sizes, T=st.integers(3, 8), seed=st.integers(0, 10**6), q=st.sampled_from([None, 0.0, 0.5, 0.8]))
def test_permuted_responses_give_permuted_gradients(B, T, seed, q):
    args = case(B=B, T=T, seed=seed)
    order = torch.randperm(B, generator=torch.Generator().manual_seed(seed))
    options = {"alpha": 0.3, "top_penalty": 1.5, "gate_quantile": q}
    logits = args[0].detach()[order].requires_grad_()
    found = gradient_of(logits, *(x[order] for x in args[1:]), **options)
    torch.testing.assert_close(found, gradient_of(*args, **options)[order], rtol=0, atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(B=sizes, T=st.integers(3, 12), seed=st.integers(0, 10**6), q=st.floats(0, 1).map(lambda q: round(q, 6)))
def test_share_of_gated_tokens(B, T, seed, q):
    """Of n distinct entropies, n - 1 - floor(q (n - 1)) lie strictly above the linearly interpolated quantile."""
    *args, mask = case(B=B, T=T, seed=seed)
    _, metrics = loss_of(*args, mask, gate_quantile=q)
    gated = sum(n - 1 - math.floor(q * (n - 1)) for n in mask.sum(-1).tolist())
    assert metrics["gated"].item() == pytest.approx(gated / mask.sum().item(), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), shift=st.floats(-50, 50))
def test_logits_up_to_a_constant(seed, shift):
    logits, *rest = case(seed=seed)
    moved = (logits.detach() + shift).requires_grad_()
    torch.testing.assert_close(gradient_of(moved, *rest), gradient_of(logits, *rest), rtol=0, atol=1e-11)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), alpha=st.floats(0, 1), q=st.sampled_from([None, 0.8]))
def test_value_is_grpos_whatever_alpha(seed, alpha, q):
    args = case(seed=seed)
    loss, _ = loss_of(*args, alpha=alpha, top_penalty=1.0, gate_quantile=q)
    torch.testing.assert_close(loss, grpo_loss(*args), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("alpha", [-0.1, 1.1, float("nan")]),
        ("top_penalty", [0.0, -1.0, 0.6, 0.999999, float("inf"), float("nan")]),
        ("gate_quantile", [-0.1, 1.5, float("nan")]),
        ("weights", ["softmin", ""]),
        ("penalty", ["both", ""]),
    ],
)
def test_options_out_of_range(option, values):
    good = {"alpha": 0.01, "top_penalty": 1.1, "gate_quantile": 0.8, "weights": "uniform", "penalty": "ratio"}
    for value in values:
        with pytest.raises(ValueError, match=option):
            check_simko_options(**good | {option: value})
        unchecked = getattr(simko_loss, "__wrapped__", simko_loss)  # without the type checks of the tests
        x = torch.zeros(2, 3)
        with pytest.raises(ValueError, match=option):
            unchecked(x, x, x, torch.zeros(2, 3, 2), x > 0, torch.ones(2), torch.ones(2, 3), **{option: value})


@pytest.mark.parametrize(
    ("name", "shape"),
    [("old_logp", [3, 1]), ("entropy", [3]), ("is_top1", [1, 3]), ("mask", [3]), ("topk_logp", [3, 1, 2]),
     ("advantages", [4]), ("advantages", [1, 3]), ("advantages", [3, 3, 1])],
)  # fmt: skip
def test_shapes_that_broadcast_silently_are_refused(name, shape):
    x = torch.zeros(3, 3)
    args = {"logp": x, "old_logp": x, "entropy": x, "topk_logp": torch.zeros(3, 3, 2), "is_top1": x > 0, "mask": x + 1,
            "advantages": torch.ones(3)}  # fmt: skip
    args[name] = torch.zeros(shape, dtype=args[name].dtype)
    unchecked = getattr(simko_loss, "__wrapped__", simko_loss)
    with pytest.raises(ValueError, match=name):
        unchecked(**args)
    with pytest.raises((ValueError, TypeError)):
        simko_loss(**args)
