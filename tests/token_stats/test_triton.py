"""The Triton kernels in Triton's interpreter, which runs them on the CPU."""

import math
import os
import subprocess
import sys

import pytest
import torch
from heads import HEADS, agrees, head, logits_case, outputs_and_gradients
from memory import peak

from simko.token_stats import fused_candidate_gap, fused_token_stats, token_stats

pytest.importorskip("triton")

from simko.token_stats import triton_stats

HALVES_AND_FULL = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(params=[4096, 32], ids=["one piece", "tiles of 32"])
def pieces(request, monkeypatch):
    """Whole rows at once, and many tiles and blocks with a rest of the vocabulary's 97 columns."""
    monkeypatch.setattr(triton_stats, "_TILE", request.param)
    monkeypatch.setattr(triton_stats, "_BLOCK", request.param)


@pytest.mark.parametrize("dtype", HALVES_AND_FULL)
@pytest.mark.parametrize("name", list(HEADS))
@pytest.mark.few(9)
def test_head_agrees_with_the_eager_twin(name, dtype, pieces):
    inputs = head(name, N=6, dtype=dtype)
    exact, d_exact = outputs_and_gradients(*inputs, torch.float64, "eager", top_k=3)
    twin, d_twin = outputs_and_gradients(*inputs, dtype, "eager", top_k=3)
    found, d_found = outputs_and_gradients(*inputs, dtype, "triton", top_k=3, chunk=4)
    for a, b, c in zip(found[:3], twin[:3], exact[:3], strict=True):
        assert a.dtype == torch.float32
        agrees(a, b, c, dtype)
    for a, b, c in zip(d_found, d_twin, d_exact, strict=True):
        assert a.dtype == dtype
        agrees(a, b, c, dtype)
    assert torch.equal(found.topk_ids, exact.topk_ids)
    assert torch.equal(found.is_top1, exact.is_top1)
    assert found.is_top1[:5].all()


@pytest.mark.parametrize(
    ("dtype", "K"), [(torch.float32, 1), (torch.float32, 8), (torch.bfloat16, 4), (torch.float16, 3)]
)
@pytest.mark.parametrize("kind", ["plain", "negative", "forbidden", "ties", "offset", "strided"])
@pytest.mark.few(12)
def test_logits_agree_with_the_eager_twin(kind, K, dtype, pieces):
    logits, tokens = logits_case(kind, dtype, N=5)
    g = [torch.randn(5, generator=torch.Generator().manual_seed(i)) for i in range(3)]

    def run(logits, impl):
        logits = logits.detach().requires_grad_()
        s = token_stats(logits, tokens, top_k=K, temperature=0.8, impl=impl)
        finite = min(K, 2)
        loss = (g[0] * s.logp).sum() + (g[1] * s.entropy).sum() + (g[2][:, None] * s.topk_logp[:, :finite]).sum()
        return s, torch.autograd.grad(loss, logits)[0]

    (exact, d_exact), (twin, d_twin) = run(logits.double(), "eager"), run(logits, "eager")
    found, d_found = run(logits, "triton")
    assert torch.equal(found.topk_ids, exact.topk_ids)
    for a, b, c in zip(found[:3], twin[:3], exact[:3], strict=True):
        assert torch.equal(a > -math.inf, c > -math.inf)
        agrees(a[c > -math.inf], b[c > -math.inf], c[c > -math.inf], dtype)
    assert d_found.dtype == dtype
    cut_off = 2**-8 if dtype == torch.bfloat16 else 0.0  # the interpreter does not round to bfloat16, hardware does
    agrees(d_found, d_twin, d_exact, dtype, rounding=cut_off)


@pytest.mark.parametrize("output", ["logp", "entropy", "topk_logp"])
def test_an_output_alone(output, pieces):
    hidden, weight, tokens, options = head("all", N=6, dtype=torch.float32)
    inputs = hidden, weight, tokens, options
    _, exact = outputs_and_gradients(*inputs, torch.float64, "eager", top_k=3, only=output)
    _, twin = outputs_and_gradients(*inputs, torch.float32, "eager", top_k=3, only=output)
    _, found = outputs_and_gradients(*inputs, torch.float32, "triton", top_k=3, only=output)
    for a, b, c in zip(found, twin, exact, strict=True):
        agrees(a, b, c, torch.float32)
        assert c.abs().max() > 1e-3


@pytest.mark.parametrize("weights", ["uniform", "softmax"])
def test_gap(weights, pieces):
    hidden, weight, tokens, options = head("all", N=9, dtype=torch.float32)
    where = torch.arange(9) % 2 == 0
    gaps = []
    for impl in ("eager", "triton"):
        leaf = hidden.clone().requires_grad_()
        gap = fused_candidate_gap(leaf, weight, tokens, where, top_k=3, weights=weights, impl=impl, chunk=3, **options)
        gaps.append((gap.detach(), *torch.autograd.grad(gap.sum(), leaf)))
    for a, b in zip(*gaps, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("share", "dtype"), [(0.3, torch.float32), pytest.param(1.0, torch.bfloat16, marks=pytest.mark.slow)]
)
def test_stored_tiles_give_what_tiles_made_anew_give(share, dtype, pieces):
    hidden, weight, tokens, options = head("all", dtype=dtype)
    case = (hidden, weight, tokens, options, dtype, "triton")
    store = int(share * 4 * len(hidden) * len(weight))
    stats, gradients = outputs_and_gradients(*case, top_k=3, chunk=7)
    stored, of_stored = outputs_and_gradients(*case, top_k=3, chunk=7, store_bytes=store)
    assert all(torch.equal(a, b) for a, b in zip((*stats, *gradients), (*stored, *of_stored), strict=True))


@pytest.mark.parametrize("shape", [(0,), (1,), (2, 3), (2, 0)])
def test_shapes(shape):
    hidden, weight, tokens = torch.randn(*shape, 6), torch.randn(11, 6), torch.randint(6, shape)
    hidden.requires_grad_()
    stats = fused_token_stats(hidden, weight, tokens, top_k=2, impl="triton")
    stats.logp.sum().backward()
    assert hidden.grad.shape == hidden.shape
    assert stats.topk_logp.shape == (*shape, 2)
    assert token_stats(hidden, tokens, top_k=2, impl="triton").topk_ids.shape == (*shape, 2)


def test_overwriting_never_gives_garbage():
    logits, tokens = logits_case("plain")
    leaf = logits.clone().requires_grad_()
    token_stats(leaf * 1.0, tokens, top_k=3, impl="triton").logp.sum().backward()
    expected, leaf.grad = leaf.grad.clone(), None
    made = leaf * 1.0
    loss = token_stats(made, tokens, top_k=3, impl="triton", overwrite_logits=True).logp.sum()
    other = (made * made).sum()
    loss.backward(retain_graph=True)
    assert torch.equal(leaf.grad, expected)
    assert torch.equal(made.detach(), expected)
    with pytest.raises(RuntimeError, match="inplace"):
        other.backward()


def test_a_head_holds_tiles_of_a_chunk(monkeypatch):
    monkeypatch.setattr(triton_stats, "_TILE", 512)
    by_chunk = [peak(64, 2048, 16, chunk, impl="triton") for chunk in (8, 32)]
    assert 0 < by_chunk[1] - by_chunk[0] < 3 * 24 * 512 * 4  # a tile of products, and what little a row has


def test_without_an_interpreter_they_need_a_gpu():
    """In a process of its own: what runs the kernels is settled at their import."""
    code = (
        "import torch; from simko.token_stats import token_stats; "
        "token_stats(torch.zeros(1, 8), torch.zeros(1, dtype=torch.long), top_k=1, impl='triton')"
    )
    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": "0"}
    )
    assert 'ValueError: impl="triton" needs tensors on a GPU' in made.stderr


def test_what_the_kernels_do_not_do():
    logits, tokens = logits_case("plain")
    with pytest.raises(ValueError, match="top_k up to 8"):
        token_stats(logits, tokens, top_k=9, impl="triton")
    with pytest.raises(ValueError, match="float64"):
        token_stats(logits.double(), tokens, top_k=2, impl="triton")
