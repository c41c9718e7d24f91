"""Heads and logits that the renderings are compared on, and how closely they must agree."""

import math

import torch

from simko.token_stats import fused_token_stats

HEADS = {
    "plain": {},
    "temperature": {"temperature": 0.7},
    "bias": {"bias": True},
    "softcap": {"softcap": 5.0},
    "scale": {"scale": 0.3},
    "all": {"temperature": 1.3, "bias": True, "softcap": 8.0, "scale": 1.7},
}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-3, torch.float16: 1e-3}


def head(name="plain", N=23, V=97, d=12, dtype=torch.float64, seed=0, spread=1.0):
    """hidden, weight, tokens (the first five on rank 1) and the options of a head."""
    g = torch.Generator().manual_seed(seed)
    hidden = (spread * torch.randn(N, d, generator=g, dtype=torch.float64)).to(dtype)
    weight = torch.randn(V, d, generator=g, dtype=torch.float64).to(dtype)
    tokens = torch.randint(V, (N,), generator=g)
    options = dict(HEADS[name])
    if options.get("bias"):
        options["bias"] = torch.randn(V, generator=g, dtype=torch.float64).to(dtype)
    tokens[:5] = fused_token_stats(hidden, weight, tokens, top_k=1, impl="eager", **options).topk_ids[:5, 0]
    return hidden, weight, tokens, options


def outputs_and_gradients(hidden, weight, tokens, options, dtype, impl, seed=1, only=None, **more):
    """TokenStats and the gradients of a fixed random combination of its outputs, worked in `dtype`."""
    options = {k: v.to(dtype) if torch.is_tensor(v) else v for k, v in options.items()}
    leaves = [hidden.to(dtype).clone().requires_grad_(), weight.to(dtype).clone().requires_grad_()]
    if "bias" in options:
        options["bias"] = options["bias"].clone().requires_grad_()
        leaves.append(options["bias"])
    stats = fused_token_stats(leaves[0], leaves[1], tokens, impl=impl, **options, **more)
    g = torch.Generator().manual_seed(seed)
    loss = 0.0
    for name in ("logp", "entropy", "topk_logp"):
        value = getattr(stats, name)
        weights = torch.randn(value.shape, generator=g, dtype=torch.float64).to(value.dtype)
        if only in (None, name):
            loss = loss + (weights * value).sum()
    return stats, torch.autograd.grad(loss, leaves)


def agrees(found, twin, exact, dtype, rounding=0.0):
    """Within the twin's own error against float64 plus the tolerance and `rounding`, relative to the largest value."""
    size = exact.abs().max().clamp(min=1)
    budget = (twin.double() - exact).abs().max() + (TOLERANCE[dtype] + rounding) * size
    assert (found.double() - exact).abs().max() <= budget


def logits_case(kind, dtype=torch.float32, N=9, V=53):
    g = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn(N, V, generator=g)
    tokens = torch.randint(V, (N,), generator=g)
    if kind == "negative":
        logits = -logits.abs() - 1
    elif kind == "forbidden":
        logits[:, 2:50] = -math.inf
        tokens = tokens % 2
    elif kind == "ties":
        logits = logits.round().clamp(-2, 2)
    elif kind == "offset":
        logits = logits + 10_000
    elif kind == "strided":
        logits = torch.stack([logits, -logits], -1)[..., 0]
    return logits.to(dtype), tokens
