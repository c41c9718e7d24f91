import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from heads import HEADS, TOLERANCE, agrees, head, logits_case, outputs_and_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import LiveBytes, peak
from torch.utils._python_dispatch import TorchDispatchMode

from simko.objectives import candidate_gap
from simko.token_stats import fused_candidate_gap, fused_token_stats, token_stats
from simko.token_stats.choice import choose


@pytest.mark.parametrize("chunk", [1, 5, 23, 100])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("name", list(HEADS))
def test_agrees_with_its_eager_twin(name, dtype, chunk):
    hidden, weight, tokens, options = head(name, dtype=dtype)
    inputs = hidden, weight, tokens, options
    exact, d_exact = outputs_and_gradients(*inputs, torch.float64, "eager", top_k=4)
    twin, d_twin = outputs_and_gradients(*inputs, dtype, "eager", top_k=4)
    found, d_found = outputs_and_gradients(*inputs, dtype, "chunked", top_k=4, chunk=chunk)
    for a, b, c in zip(found[:3], twin[:3], exact[:3], strict=True):
        assert a.dtype == torch.promote_types(dtype, torch.float32)
        agrees(a, b, c, dtype)
    for a, b, c, leaf in zip(d_found, d_twin, d_exact, (hidden, weight, weight), strict=False):
        assert a.dtype == leaf.dtype
        agrees(a, b, c, dtype)
    assert torch.equal(found.topk_ids, exact.topk_ids)
    assert torch.equal(found.is_top1, exact.is_top1)
    assert found.is_top1[:5].all()
    assert not found.is_top1.all()


@pytest.mark.parametrize("name", ["plain", "all"])
@pytest.mark.parametrize("output", ["logp", "entropy", "topk_logp", None])
def test_gradcheck_of_each_output_alone(name, output):
    hidden, weight, tokens, options = head(name, N=5, V=17, d=4)
    leaves = [x.requires_grad_() for x in (hidden, weight, options.pop("bias", None)) if x is not None]

    def outputs(hidden, weight, bias=None):
        stats = fused_token_stats(hidden, weight, tokens, top_k=3, bias=bias, chunk=2, impl="chunked", **options)
        return stats[:3] if output is None else getattr(stats, output)

    assert torch.autograd.gradcheck(outputs, leaves, atol=1e-8)


@pytest.mark.parametrize("output", ["logp", "entropy", "topk_logp"])
def test_an_output_alone_has_the_gradient_of_the_eager_twin(output):
    inputs = head("all")
    _, expected = outputs_and_gradients(*inputs, torch.float64, "eager", top_k=3, only=output)
    _, found = outputs_and_gradients(*inputs, torch.float64, "chunked", top_k=3, only=output, chunk=7)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
        assert b.abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["plain", "negative", "forbidden", "ties", "offset", "strided"])
def test_logits_in_chunks_agree_with_the_eager_twin(kind, dtype):
    logits, tokens = logits_case(kind, dtype)
    g = [torch.randn(9, generator=torch.Generator().manual_seed(i)) for i in range(2)]

    def run(logits, impl):
        logits = logits.clone().requires_grad_() if kind != "strided" else logits.detach().requires_grad_()
        s = token_stats(logits, tokens, top_k=4, temperature=0.8, impl=impl)
        loss = (g[0] * s.logp).sum() + (g[1] * s.entropy).sum() + s.topk_logp[:, :2].sum()
        return s, torch.autograd.grad(loss, logits)[0]

    (exact, d_exact), (twin, d_twin), (found, d_found) = (
        run(logits.double(), "eager"),
        run(logits, "eager"),
        run(logits, "chunked"),
    )
    assert torch.equal(found.topk_ids, exact.topk_ids)
    for a, b, c in zip(found[:3], twin[:3], exact[:3], strict=True):
        finite = c > -math.inf
        assert torch.equal(a > -math.inf, finite)
        agrees(a[finite], b[finite], c[finite], dtype)
    assert d_found.dtype == dtype
    agrees(d_found, d_twin, d_exact, dtype)


@settings(max_examples=40, deadline=None)
@given(N=st.integers(0, 6), V=st.integers(2, 30), levels=st.integers(1, 4), seed=st.integers(0, 10**6), data=st.data())
def test_ties_rank_by_id_in_both(N, V, levels, seed, data):
    K = data.draw(st.integers(1, V))
    g = torch.Generator().manual_seed(seed)
    hidden, tokens = torch.eye(V)[torch.randint(V, (N,), generator=g)], torch.randint(V, (N,), generator=g)
    weight = torch.randint(levels, (V, V), generator=g).float()
    runs = [fused_token_stats(hidden, weight, tokens, top_k=K, chunk=2, impl=i) for i in ("eager", "chunked")]
    assert torch.equal(runs[0].topk_ids, runs[1].topk_ids)
    assert torch.equal(runs[0].is_top1, runs[1].is_top1)


@pytest.mark.parametrize("shape", [(0,), (1,), (2, 3), (2, 0), (2, 2, 3)])
def test_shapes(shape):
    hidden, weight = torch.randn(*shape, 6), torch.randn(11, 6)
    tokens, where = torch.randint(11, shape), torch.rand(shape) < 0.5
    for impl in ("eager", "chunked"):
        stats = fused_token_stats(hidden, weight, tokens, top_k=2, impl=impl)
        assert stats.logp.shape == stats.entropy.shape == stats.is_top1.shape == shape
        assert stats.topk_logp.shape == stats.topk_ids.shape == (*shape, 2)
        assert fused_candidate_gap(hidden, weight, tokens, where, top_k=2, impl=impl).shape == shape
        assert token_stats(hidden, tokens % 6, top_k=2, impl=impl).topk_ids.shape == (*shape, 2)


def test_frozen_parts_get_no_gradient():
    hidden, weight, tokens, _ = head()
    hidden.requires_grad_()
    stats = fused_token_stats(hidden, weight, tokens, top_k=2, impl="chunked")
    (stats.logp.sum() + stats.entropy.sum()).backward()
    assert weight.grad is None
    assert hidden.grad.abs().max() > 0
    assert not fused_token_stats(hidden.detach(), weight, tokens, top_k=2).logp.requires_grad


def test_overwriting_saves_memory_and_never_gives_garbage():
    logits, tokens = logits_case("plain")
    leaf = logits.clone().requires_grad_()
    made = leaf * 1.0
    token_stats(made, tokens, top_k=3, impl="chunked").logp.sum().backward()
    expected = leaf.grad.clone()
    leaf.grad, made = None, leaf * 1.0
    token_stats(made, tokens, top_k=3, impl="chunked", overwrite_logits=True).logp.sum().backward()
    assert torch.equal(leaf.grad, expected)
    assert torch.equal(made.detach(), expected)
    made = leaf * 1.0
    loss = token_stats(made, tokens, top_k=3, impl="chunked", overwrite_logits=True).logp.sum()
    other = made.exp().sum() + (made * made).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        other.backward()


@pytest.mark.parametrize("weights", ["uniform", "softmax"])
@pytest.mark.parametrize("name", list(HEADS))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_gap_is_that_of_the_eager_twin(name, weights, dtype):
    hidden, weight, tokens, options = head(name, dtype=dtype)
    where = torch.rand(len(tokens), generator=torch.Generator().manual_seed(5)) < 0.4
    factor = torch.randn(len(tokens), generator=torch.Generator().manual_seed(6), dtype=torch.float64)

    def run(impl, dtype):
        cast = {k: v.to(dtype).requires_grad_() if torch.is_tensor(v) else v for k, v in options.items()}
        leaves = [hidden.to(dtype).clone().requires_grad_(), weight.to(dtype).clone().requires_grad_()]
        gap = fused_candidate_gap(*leaves, tokens, where, top_k=3, weights=weights, impl=impl, chunk=4, **cast)
        leaves += [cast["bias"]] if "bias" in cast else []
        return gap, torch.autograd.grad((gap * factor.to(gap.dtype)).sum(), leaves)

    (exact, d_exact), (twin, d_twin), (found, d_found) = (
        run("eager", torch.float64), run("eager", dtype), run("chunked", dtype)
    )  # fmt: skip
    agrees(found, twin, exact, dtype)
    assert found[~where].eq(0).all()
    assert found[where].abs().min() > 0
    for a, b, c in zip(d_found, d_twin, d_exact, strict=True):
        agrees(a, b, c, dtype)
        assert c.abs().max() > 1e-3
    assert d_found[0][~where].eq(0).all()


def test_gap_is_candidate_gap_of_the_full_log_probabilities():
    hidden, weight, tokens, _ = head()
    logp = F.linear(hidden, weight).log_softmax(-1)
    expected = candidate_gap(logp.topk(3).values, logp.gather(-1, tokens[:, None])[:, 0])
    found = fused_candidate_gap(hidden, weight, tokens, torch.ones_like(tokens, dtype=torch.bool), top_k=3)
    torch.testing.assert_close(found, expected)


def test_never_more_than_a_few_chunks_of_logits_are_held():
    N, V, d, chunk = 512, 4096, 16, 16
    logits, parameters = 4 * chunk * V, 4 * V * d
    small = 4 * N * (8 * d + 64)  # gradients of hidden, statistics, candidates
    assert peak(N, V, d, chunk) <= 2.5 * logits + 2 * parameters + small
    assert peak(N, V, d, chunk, gated=True) <= 2.5 * logits + 2 * parameters + small
    assert peak(N, V, d, chunk, impl="eager") > 3 * 4 * N * V  # the measure sees full logits
    assert peak(N, V, d, chunk, impl="auto") == peak(N, V, d, chunk)
    assert peak(N, V, d, None) == peak(N, V, d, 128)  # the default on CPUs
    assert peak(8, V, d, 10**6) == peak(8, V, d, 8)
    assert peak(N, V, d, chunk, spread=0.0) <= 2.5 * logits + 2 * parameters + small  # all logits tied
    assert peak(N, V, d, chunk, softcap=5.0) <= 3.5 * logits + 2 * parameters + small
    by_chunk = [peak(N, V, d, chunk) for chunk in (8, 32, 128)]
    assert all(b - a > 2 * 4 * V * n for (a, b), n in zip(pairwise(by_chunk), (12, 48), strict=True))


class Products(TorchDispatchMode):
    """How many matrix products made logits."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.mm.out
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["plain", "all"])
@pytest.mark.parametrize(("chunks", "made_anew"), [(0, 5), (0.9, 5), (2, 3), (3.5, 2), (5, 0)])
def test_stored_logits_are_not_made_anew(name, chunks, made_anew):
    hidden, weight, tokens, options = head(name, dtype=torch.float32)
    store = int(chunks * 5 * len(weight) * 4)
    case = (hidden, weight, tokens, options, torch.float32, "chunked")
    stats, gradients = outputs_and_gradients(*case, top_k=3, chunk=5)
    with Products() as products:
        stored, of_stored = outputs_and_gradients(*case, top_k=3, chunk=5, store_bytes=store)
    assert products.count == 5 + made_anew
    assert all(torch.equal(a, b) for a, b in zip((*stats, *gradients), (*stored, *of_stored), strict=True))


def test_stored_logits_take_no_more_than_their_budget_and_serve_twice():
    N, V, d, chunk = 64, 4096, 16, 8
    without = peak(N, V, d, chunk)
    for stored in (2, 5, 8):
        more = peak(N, V, d, chunk, store_bytes=stored * chunk * V * 4) - without
        assert (stored - 1) * chunk * V * 4 < more <= stored * chunk * V * 4
    hidden, weight, tokens, _ = head(dtype=torch.float32)
    leaf = hidden.clone().requires_grad_()
    logp = fused_token_stats(leaf, weight, tokens, top_k=2, chunk=5, store_bytes=10**6).logp.sum()
    first, second = (torch.autograd.grad(logp, leaf, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_nothing_is_stored_without_a_gradient():
    hidden, weight, tokens, _ = head(V=4096, dtype=torch.float32)
    with LiveBytes() as memory:
        fused_token_stats(hidden, weight, tokens, top_k=1, chunk=2, store_bytes=10**9)
        with torch.no_grad():
            fused_token_stats(hidden.clone().requires_grad_(), weight, tokens, top_k=1, chunk=2, store_bytes=10**9)
    assert memory.peak < len(hidden) * 4096 * 4


def test_store_below_zero():
    hidden, weight, tokens, _ = head()
    unchecked = getattr(fused_token_stats, "__wrapped__", fused_token_stats)
    with pytest.raises(ValueError, match="store_bytes"):
        unchecked(hidden, weight, tokens, top_k=1, store_bytes=-1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top_k": 0}, r"top_k must lie in 1\.\.97"),
        ({"top_k": 98}, r"top_k must lie in 1\.\.97"),
        ({"temperature": 0.0}, "temperature"),
        *(({"softcap": wrong}, "softcap") for wrong in (0.0, -1.0, math.inf, math.nan)),
        ({"chunk": 0}, "chunk"),
        ({"bias": torch.zeros(3).double()}, "bias"),
    ],
)
def test_bad_options(change, message):
    hidden, weight, tokens, _ = head()
    where = torch.ones(len(tokens), dtype=torch.bool)
    for function, extra in ((fused_token_stats, ()), (fused_candidate_gap, (where,))):
        unchecked = getattr(function, "__wrapped__", function)
        with pytest.raises(ValueError, match=message):
            unchecked(hidden, weight, tokens, *extra, **({"top_k": 3} | change))


def test_unknown_implementation():
    unchecked = getattr(choose, "__wrapped__", choose)
    with pytest.raises(ValueError, match="impl must be"):
        unchecked("fast")


def test_bad_shapes():
    hidden, weight, tokens, _ = head()
    stats = getattr(fused_token_stats, "__wrapped__", fused_token_stats)
    gap = getattr(fused_candidate_gap, "__wrapped__", fused_candidate_gap)
    with pytest.raises(ValueError, match="tokens"):
        stats(hidden, weight, tokens[:-1], top_k=1)
    with pytest.raises(ValueError, match="last size"):
        stats(hidden, weight[:, :-1], tokens, top_k=1)
    for where in (torch.ones(3, dtype=torch.bool), torch.ones_like(tokens)):
        with pytest.raises(ValueError, match="where"):
            gap(hidden, weight, tokens, where, top_k=1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_eager_twin_works_half_precision_in_float32(dtype):
    """Its own error is everybody's budget."""
    hidden, weight, tokens, _ = head(dtype=dtype)
    found, exact = (
        fused_token_stats(hidden.to(t), weight.to(t), tokens, top_k=3, impl="eager") for t in (dtype, torch.float64)
    )
    for a, b in zip(found[:3], exact[:3], strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_inputs_changed_before_the_backward_pass_are_noticed(changed):
    hidden, weight, tokens, _ = head()
    inputs = [hidden.requires_grad_() * 1, weight.requires_grad_() * 1, tokens]
    loss = fused_token_stats(*inputs, top_k=2).logp.sum()
    inputs[changed].add_(1)
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


def test_a_gate_that_is_nowhere_open_gives_gradients_of_zero():
    hidden, weight, tokens, _ = head()
    leaves = [hidden.requires_grad_(), weight.requires_grad_()]
    gap = fused_candidate_gap(*leaves, tokens, torch.zeros_like(tokens, dtype=torch.bool), top_k=2)
    assert all((g == 0).all() for g in torch.autograd.grad(gap.sum(), leaves))
