"""One of two processes that share a vocabulary; checks itself against the whole and exits 0. Run by torchrun."""

import math

import torch
import torch.distributed as dist

from simko.token_stats import token_stats, vocab_parallel_token_stats

dist.init_process_group("gloo")
rank = dist.get_rank()
calls = []
for name in [n for n in dir(dist) if n.startswith(("all_", "broadcast", "reduce", "gather", "barrier"))]:
    if callable(original := getattr(dist, name)):
        setattr(dist, name, lambda *a, _o=original, _n=name, **k: (calls.append(_n), _o(*a, **k))[1])

N, V, cut = 40, 101, 37
g = torch.Generator().manual_seed(0)
for kind in ("plain", "ties", "forbidden", "offset"):
    logits = 3 * torch.randn(4, N // 4, V, generator=g)
    tokens = torch.randint(V, (4, N // 4), generator=g)
    if kind == "ties":
        logits = logits.round().clamp(-2, 2)
    elif kind == "forbidden":
        logits[..., :cut] = -math.inf
        tokens = tokens.clamp(min=cut)
    elif kind == "offset":
        logits = logits + 10_000
    upstream = [torch.randn(4, N // 4, generator=g) for _ in range(3)]

    def loss(s):
        return (upstream[0] * s.logp + upstream[1] * s.entropy + upstream[2] * s.topk_logp.sum(-1)).sum()  # noqa: B023

    whole = logits.clone().requires_grad_()
    expected = token_stats(whole, tokens, top_k=3, temperature=0.5, impl="eager")
    (d_expected,) = torch.autograd.grad(loss(expected), whole)
    first, last = (0, cut) if rank == 0 else (cut, V)
    shard = logits[..., first:last].clone().requires_grad_()
    calls.clear()
    found = vocab_parallel_token_stats(shard, tokens, first, top_k=3, temperature=0.5)
    assert calls == ["all_gather"], calls
    (d_found,) = torch.autograd.grad(loss(found), shard)
    assert calls == ["all_gather"], calls
    atol = 2e-3 if kind == "offset" else 1e-5  # float32 has three digits left at 20,000
    for a, b in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=atol)
    torch.testing.assert_close(d_found, d_expected[..., first:last], rtol=1e-5, atol=atol)
    assert d_found.abs().max() > 1e-3 or kind == "forbidden"
    assert torch.equal(found.topk_ids, expected.topk_ids)
    assert torch.equal(found.is_top1, expected.is_top1)

alone = [dist.new_group([r]) for r in range(2)][rank]  # a group of one process has the whole vocabulary
found = vocab_parallel_token_stats(logits, tokens, 0, top_k=3, temperature=0.5, group=alone)
torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-3)
try:
    vocab_parallel_token_stats(torch.zeros(1, 2), torch.tensor([0]), 2 * rank, top_k=5)
except ValueError:
    pass
else:
    raise AssertionError("5 candidates of 4 ids were not refused")
dist.destroy_process_group()
