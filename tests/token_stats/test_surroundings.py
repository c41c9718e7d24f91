"""What stands around a call: autocast, checkpointing, padding labels, logits that are views, rows of NaN. Every rendering."""

import math

import pytest
import torch
from heads import head, outputs_and_gradients
from torch.utils.checkpoint import checkpoint

from simko.token_stats import fused_candidate_gap, fused_token_stats, token_stats, vocab_parallel_token_stats
from simko.token_stats.vocab_parallel import merge_parts, shard_part


@pytest.fixture(params=["eager", "chunked", "triton"])
def impl(request):
    if request.param == "triton":
        pytest.importorskip("triton")
    return request.param


def unchecked(function):
    return getattr(function, "__wrapped__", function)


@pytest.mark.parametrize("name", ["plain", "all"])
def test_autocast_changes_nothing(impl, name):
    """Forward and backward, but for eager's, whose backward pass is torch's own: float32 inputs mean float32 logits."""
    hidden, weight, tokens, options = head(name, dtype=torch.float32)
    case = (hidden, weight, tokens, options, torch.float32, impl)
    stats, gradients = outputs_and_gradients(*case, top_k=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        within, of_within = outputs_and_gradients(*case, top_k=3)
    assert all(torch.equal(a, b) for a, b in zip(stats, within, strict=True))
    assert impl == "eager" or all(torch.equal(a, b) for a, b in zip(gradients, of_within, strict=True))


@pytest.mark.parametrize("impl", ["chunked", "triton"], indirect=True)
def test_autocast_leaves_the_gated_gap_alone(impl):
    hidden, weight, tokens, _ = head(dtype=torch.float32)
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]

    def gradients():
        gap = fused_candidate_gap(*leaves, tokens, tokens % 2 == 0, top_k=3, impl=impl)
        return gap, *torch.autograd.grad(gap.square().sum(), leaves)

    plain = gradients()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(plain, gradients(), strict=True))


@pytest.mark.parametrize("store_bytes", [0, 10**6])
def test_activation_checkpointing(impl, store_bytes):
    hidden, weight, tokens, _ = head(dtype=torch.float32)
    leaf = hidden.requires_grad_()

    def logp(hidden):
        return fused_token_stats(hidden, weight, tokens, top_k=2, impl=impl, store_bytes=store_bytes).logp

    (plain,) = torch.autograd.grad(logp(leaf).sum(), leaf)
    (again,) = torch.autograd.grad(checkpoint(logp, leaf, use_reentrant=False).sum(), leaf)
    assert torch.equal(plain, again)


@pytest.mark.parametrize("id_", [-100, -1, 97])
def test_ids_outside_the_vocabulary(impl, id_):
    hidden, weight, tokens, _ = head(dtype=torch.float32)
    tokens[3] = id_
    with pytest.raises(ValueError, match=rf"tokens must lie in 0\.\.96, got {id_}"):
        unchecked(fused_token_stats)(hidden, weight, tokens, top_k=1, impl=impl)
    with pytest.raises(ValueError, match="mask it in the loss"):
        unchecked(token_stats)(hidden @ weight.t(), tokens, top_k=1, impl=impl)


def test_ids_that_are_no_integers(impl):
    hidden, weight, tokens, _ = head(dtype=torch.float32)
    for wrong in (tokens.float(), tokens.bool()):
        with pytest.raises(ValueError, match="int64 or int32"):
            unchecked(fused_token_stats)(hidden, weight, wrong, top_k=1, impl=impl)
    with pytest.raises(ValueError, match="int64 or int32"):
        unchecked(vocab_parallel_token_stats)(hidden @ weight.t(), tokens.float(), 0, top_k=1)
    short = fused_token_stats(hidden, weight, tokens.int(), top_k=1, impl=impl)
    assert torch.equal(short.logp, fused_token_stats(hidden, weight, tokens, top_k=1, impl=impl).logp)


def test_inputs_of_the_wrong_kind():
    hidden, weight, tokens, _ = head()
    with pytest.raises(ValueError, match="must have two axes"):
        unchecked(fused_token_stats)(hidden, weight[0], tokens, top_k=1)
    with pytest.raises(ValueError, match="logits must be of a float type"):
        unchecked(token_stats)((hidden @ weight.t()).long(), tokens, top_k=1)


def test_scale_must_be_finite():
    hidden, weight, tokens, _ = head()
    with pytest.raises(ValueError, match="scale must be finite"):
        unchecked(fused_token_stats)(hidden, weight, tokens, top_k=1, scale=math.nan)


VIEWS = {
    "one row for all": lambda z: z[:1, :53].expand(9, 53),
    "windows that overlap": lambda z: z.flatten().unfold(0, 53, 1)[:9],
    "first columns": lambda z: z[:, :53],
    "later columns": lambda z: z[:9, 3:56],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_overwriting_logits_that_are_a_view(impl, view):
    """Rows that are one memory cannot hold their gradients: they get others."""
    g = torch.Generator().manual_seed(0)
    base, tokens = torch.randn(9, 60, generator=g), torch.randint(53, (9,), generator=g)
    upstream = torch.randn(9, generator=g)
    found = []
    for how in ({"impl": impl, "overwrite_logits": True}, {"impl": "eager"}):
        leaf = base.clone().requires_grad_()
        stats = token_stats(view(leaf * 1), tokens, top_k=3, **how)
        found.append(torch.autograd.grad((upstream * (stats.logp + stats.entropy)).sum(), leaf)[0])
    torch.testing.assert_close(*found)


def test_a_row_of_nan_harms_no_other(impl):
    hidden, weight, tokens, _ = head(dtype=torch.float32)
    clean = fused_token_stats(hidden, weight, tokens, top_k=3, impl=impl)
    hidden[1] = math.nan
    stats = fused_token_stats(hidden, weight, tokens, top_k=3, impl=impl)
    assert stats.logp[1].isnan()
    assert stats.entropy[1].isnan()
    others = torch.arange(len(tokens)) != 1
    assert torch.equal(stats.logp[others], clean.logp[others])
    assert torch.equal(stats.topk_ids[others], clean.topk_ids[others])
    assert ((stats.topk_ids >= 0) & (stats.topk_ids < len(weight))).all()  # so that looking them up does not end a run


def test_a_temperature_that_leaves_one_candidate(impl):
    hidden, weight, tokens, _ = head(dtype=torch.float32)
    stats = fused_token_stats(hidden, weight, tokens, top_k=1, temperature=1e-30, impl=impl)
    assert torch.equal(stats.entropy, torch.zeros_like(stats.entropy))
    assert torch.equal(stats.topk_logp, torch.zeros_like(stats.topk_logp))


STRIDED = {
    "tokens": lambda h, w, t: (h, w, torch.stack([t, t + 1], 1)[:, 0]),
    "one token for all": lambda h, w, t: (h, w, t[:1].expand(len(t))),
    "hidden": lambda h, w, t: (torch.stack([h, -h], -1)[..., 0], w, t),
    "weight": lambda h, w, t: (h, w.t().contiguous().t(), t),
}


@pytest.mark.parametrize("name", STRIDED)
@pytest.mark.few(4)
def test_inputs_that_are_not_contiguous(impl, name):
    hidden, weight, tokens, _ = head(dtype=torch.float32)
    strided = STRIDED[name](hidden, weight, tokens)
    assert not all(x.is_contiguous() for x in strided)
    plain = [x.contiguous() for x in strided]
    for made in (outputs_and_gradients, logits_and_gradient):
        found, expected = (made(*inputs, {}, torch.float32, impl, top_k=3) for inputs in (strided, plain))
        for a, b in zip((*found[0], *found[1]), (*expected[0], *expected[1]), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def logits_and_gradient(hidden, weight, tokens, _, dtype, impl, **more):
    logits = (hidden @ weight.t()).requires_grad_()
    stats = token_stats(logits, tokens, impl=impl, **more)
    return stats, torch.autograd.grad((stats.logp - stats.entropy).sum(), logits)


@pytest.mark.parametrize("weights", ["uniform", "softmax"])
def test_gap_over_fewer_logits_than_candidates(impl, weights):
    """A candidate at -inf adds no term, whether logits or log-probabilities are compared."""
    hidden, weight, tokens, _ = head(dtype=torch.float64 if impl == "chunked" else torch.float32)
    bias = torch.full((len(weight),), -math.inf, dtype=hidden.dtype).index_fill(0, torch.tensor([0, 1]), 0.0)
    tokens, where, leaf = tokens % 2, torch.ones_like(tokens, dtype=torch.bool), hidden.clone().requires_grad_()
    gap = fused_candidate_gap(leaf, weight, tokens, where, top_k=4, bias=bias, weights=weights, impl=impl)
    (gradient,) = torch.autograd.grad(gap.sum(), leaf)
    z = leaf @ weight[:2].t()
    share = torch.full_like(z, 0.25) if weights == "uniform" else z.detach().softmax(-1)
    expected = (share * (z - z.gather(-1, tokens[:, None]))).sum(-1)
    torch.testing.assert_close(gap, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), leaf)[0], rtol=1e-5, atol=1e-5)


def test_a_position_off_the_gate_reaches_nothing(impl):
    hidden, weight, tokens, _ = head(dtype=torch.float32)
    where = torch.arange(len(tokens)) != 2
    hidden[2] = math.nan
    leaf = hidden.clone().requires_grad_()
    gap = fused_candidate_gap(leaf, weight, tokens, where, top_k=2, impl=impl)
    (gradient,) = torch.autograd.grad(gap.sum(), leaf)
    assert gap[2] == 0
    assert not gradient.isnan().any()
    assert not gradient[2].any()


def test_gradient_of_entropy_beside_masked_logits(impl):
    lowest = torch.finfo(torch.float32).min
    logits = torch.tensor([[3.0, 1.0, lowest, lowest], [lowest, lowest, lowest, -1.0]], requires_grad=True)
    stats = token_stats(logits, torch.tensor([0, 3]), top_k=2, impl=impl)
    (gradient,) = torch.autograd.grad(-1.3 * stats.entropy.sum(), logits)
    log_p = torch.tensor([3.0, 1.0]).log_softmax(0)
    entropy = -(log_p.exp() * log_p).sum()
    expected = torch.zeros(2, 4)
    expected[0, :2] = 1.3 * log_p.exp() * (log_p + entropy)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("low", [-10_000.0, -1e30, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("others", [None, 0.0])
def test_logits_as_low_as_masks_make_them(impl, low, others):
    """A whole row, or all but two of it. The second shard of two has no more than masked ones."""
    logits, tokens = torch.full((3, 64), low), torch.tensor([0, 1, 1])
    if others is not None:
        logits[:, :2] = others
    whole = token_stats(logits, tokens, top_k=2, impl=impl)
    parts = [shard_part(logits[:, at].clone(), tokens, at.start, 2) for at in (slice(0, 32), slice(32, 64))]
    logp = -math.log(64 if others is None else 2) * torch.ones(3)
    for stats in (whole, merge_parts(torch.stack(parts), 2)):
        torch.testing.assert_close(stats.logp, logp)
        torch.testing.assert_close(stats.entropy, -logp)
        assert stats.topk_ids.tolist() == [[0, 1]] * 3
