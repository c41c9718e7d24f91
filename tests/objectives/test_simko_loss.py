"""simko_loss, by its gradient in closed form. SimKO's positive part has the value of GRPO, so a value proves nothing."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from simko_cases import case, gradient_of, grpo_loss, loss_of, one_hot

from simko.objectives import simko_loss
from simko.token_stats import token_stats

GOLDEN = np.load(Path(__file__).parent / "golden" / "reference_loss.npz")  # see README.md beside it
EXTREME = float("inf"), float("-inf"), float("nan")


@pytest.mark.parametrize("i", range(int(GOLDEN["n_cases"])))
def test_the_authors_own_loss_is_reproduced(i):
    c = {name: GOLDEN[f"c{i}_{name}"].item() for name in ("K", "alpha", "tau", "clip", "lam", "loss", "clipfrac")}
    logits, old_logits, tokens, mask, advantages, expected = (
        torch.from_numpy(GOLDEN[f"c{i}_{name}"])
        for name in ("logits", "old_logits", "tokens", "mask", "advantages", "grad_logits")
    )
    logits.requires_grad_()
    old = token_stats(old_logits, tokens, top_k=1, impl="eager").logp
    loss, metrics = loss_of(
        logits, tokens, old, advantages, mask, top_k=c["K"], alpha=c["alpha"], top_penalty=c["lam"],
        gate_quantile=c["tau"], clip_low=c["clip"], clip_high=c["clip"], penalty="advantage",
    )  # fmt: skip
    loss.backward()
    assert loss.item() == pytest.approx(c["loss"], rel=0, abs=1e-8)
    assert metrics["clipped"].item() == pytest.approx(c["clipfrac"], abs=1e-12)
    assert (logits.grad - expected).abs().max() < 1e-7 * expected.abs().max()


@pytest.mark.parametrize("penalty", ["ratio", "advantage"])
@pytest.mark.parametrize("quantile", [0.8, 0.3, None])
def test_without_its_two_parts_it_is_grpo_bit_for_bit(penalty, quantile):
    args = case()
    loss, _ = loss_of(*args, alpha=0.0, top_penalty=1.0, penalty=penalty, gate_quantile=quantile)
    expected = grpo_loss(*args)
    assert torch.equal(loss, expected)
    assert torch.equal(torch.autograd.grad(loss, args[0])[0], torch.autograd.grad(expected, args[0])[0])


@pytest.mark.parametrize("weights", ["uniform", "softmax"])
@pytest.mark.parametrize("K", [1, 3, 9])
def test_positive_part_is_a_label_smoothed_cross_entropy(weights, K):
    """dL/dz = -A gamma (target - p) / D, target = (1 - alpha) e_y + alpha sum_n w_n e_(n); 0 where clipped."""
    alpha, (logits, tokens, old, _, mask) = 0.3, case(B=6, T=7, spread=0.25)
    advantages = torch.linspace(0.3, 2, 6).double()
    p, V = logits.detach().softmax(-1), logits.shape[-1]
    top = p.topk(K).indices
    w = p.gather(-1, top) if weights == "softmax" else torch.ones_like(top).double()
    spread = (w / w.sum(-1, keepdim=True))[..., None] * one_hot(top, V)
    target = (1 - alpha) * one_hot(tokens, V) + alpha * spread.sum(-2)
    gamma = (p.gather(-1, tokens[..., None]).squeeze(-1).log() - old).exp()
    scale = advantages[:, None] * gamma * (gamma <= 1.2) * mask / mask.sum()
    inside = (top == tokens[..., None]).any(-1)
    assert ((gamma > 1.2) & mask).any()
    assert (inside & mask).any()
    assert (~inside & mask).any() == (K < V)  # both kinds are there
    found = gradient_of(
        logits, tokens, old, advantages, mask, top_k=K, alpha=alpha, weights=weights, gate_quantile=None
    )
    torch.testing.assert_close(found, -scale[..., None] * (target - p), rtol=0, atol=1e-14)


@pytest.mark.parametrize(("penalty", "cut"), [("ratio", 0.8 / 1.1), ("advantage", 0.8)])
def test_negative_part_and_where_its_lower_clip_falls(penalty, cut):
    """dL/dz = |A| lambda gamma (e_y - p) / D on rank-1 tokens down to the cut, |A| gamma (e_y - p) down to 0.8 else."""
    gamma = torch.tensor([[0.5, 0.7, 0.726, 0.728, 0.75, 0.799, 0.801, 1.0, 1.5, 9.0]]).double().repeat(2, 1)
    logits, tokens, _, _, _ = case(B=2, T=10, seed=3)
    tokens[0] = logits[0].argmax(-1)
    tokens[1] = logits[1].argmin(-1)
    p = logits.detach().softmax(-1)
    old = p.gather(-1, tokens[..., None]).squeeze(-1).log() - gamma.log()
    advantages, mask = torch.tensor([-1.0, -3.0]).double(), torch.ones(2, 10)
    factor = torch.stack([1.1 * gamma[0] * (gamma[0] >= cut), 3 * gamma[1] * (gamma[1] >= 0.8)])
    found = gradient_of(logits, tokens, old, advantages, mask, penalty=penalty, gate_quantile=None, top_penalty=1.1)
    torch.testing.assert_close(found, factor[..., None] * (one_hot(tokens, 9) - p) / 20, rtol=0, atol=1e-14)


def test_value_of_the_negative_part():
    """-min(lambda gamma A, clip(lambda gamma) A) with lambda on the ratio; lambda times GRPO's term on the advantage."""
    gamma = torch.tensor([[0.6, 0.75, 1.0, 1.5]]).double()
    logits, tokens, _, _, _ = case(B=1, T=4)
    tokens = logits.argmax(-1)
    old = logits.detach().log_softmax(-1).amax(-1) - gamma.log()
    args = logits, tokens, old, torch.tensor([-2.0]).double(), torch.ones(1, 4)
    for penalty, expected in {"ratio": [0.8, 0.825, 1.1, 1.65], "advantage": [0.88, 0.88, 1.1, 1.65]}.items():
        loss, _ = loss_of(*args, penalty=penalty, gate_quantile=None, top_penalty=1.1)
        assert loss.item() == pytest.approx(2 * sum(expected) / 4, abs=1e-14)


def test_only_gated_tokens_are_touched():
    logits, tokens, old, advantages, mask = args = case(B=5, T=20, seed=1, spread=0.1)
    strong = {"alpha": 0.4, "top_penalty": 1.5}
    changed = (gradient_of(*args, **strong) - gradient_of(*args, alpha=0.0, top_penalty=1.0)).abs().amax(-1) > 1e-12
    s = token_stats(logits.detach(), tokens, top_k=3)
    gate = torch.zeros_like(mask)
    for i in range(5):
        gate[i] = mask[i] & (s.entropy[i] > torch.quantile(s.entropy[i][mask[i]], 0.8))
    A = advantages[:, None]
    clipped = (s.logp - old).exp() > 1.2  # no gradient, nothing to spread
    assert torch.equal(changed, gate & ((A > 0) & ~clipped | (A < 0) & s.is_top1))
    assert changed.sum() >= 4


@pytest.mark.parametrize("penalty", ["ratio", "advantage"])
def test_equal_entropies_gate_nothing_and_no_gate_gates_all(penalty):
    logits, tokens, _, advantages, mask = case(B=4, T=5, V=4)
    with torch.no_grad():  # every row a permutation of the same logits
        logits.copy_(torch.stack([logits[0, 0][torch.randperm(4)] for _ in range(20)]).view(4, 5, 4))
    args = logits, tokens, logits.detach().log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1), advantages, mask
    s = token_stats(logits, tokens, top_k=2)
    flat = torch.full_like(s.entropy, 0.7)
    options = {"alpha": 0.3, "top_penalty": 1.4, "penalty": penalty}

    def gradient(entropy, quantile, **kw):
        loss, m = simko_loss(
            s.logp, args[2], entropy, s.topk_logp, s.is_top1, advantages, mask, gate_quantile=quantile, **options | kw
        )
        return torch.autograd.grad(loss, logits, retain_graph=True)[0], m

    grpo, _ = gradient(flat, 0.8, alpha=0.0, top_penalty=1.0)
    for quantile in (0.0, 0.8, 1.0):
        found, metrics = gradient(flat, quantile)
        assert torch.equal(found, grpo)
        assert metrics["gated"] == 0
    found, metrics = gradient(flat, None)
    assert metrics["gated"] == 1
    assert (found - grpo).abs().max() > 1e-3


@pytest.mark.parametrize("garbage", [*EXTREME, 1e300])
@pytest.mark.parametrize(("reduction", "weights"), [("token_mean", "uniform"), ("sequence_mean", "softmax")])
def test_what_is_masked_has_no_effect(garbage, reduction, weights):
    logits, tokens, old, advantages, mask = case(B=4, T=6)
    mask[1] = False  # a response without a counted token
    s = token_stats(logits.detach(), tokens, top_k=3)
    options = {"alpha": 0.2, "top_penalty": 1.3, "reduction": reduction, "weights": weights}

    def run(fill, rows):
        leaves = [x.masked_fill(~mask, fill)[rows].requires_grad_() for x in (s.logp, old, s.entropy)]
        topk = s.topk_logp.masked_fill(~mask[..., None], fill)[rows].requires_grad_()
        A = advantages.where(mask.any(-1), torch.tensor(fill).double())[rows]
        loss, metrics = simko_loss(*leaves, topk, s.is_top1[rows], A, mask[rows], **options)
        return loss, metrics, torch.autograd.grad(loss, [leaves[0], topk])

    loss, metrics, (g_logp, g_topk) = run(garbage, [0, 1, 2, 3])
    clean_loss, clean_metrics, (clean_logp, clean_topk) = run(0.0, [0, 2, 3])
    torch.testing.assert_close(loss, clean_loss, rtol=0, atol=1e-15)
    torch.testing.assert_close(g_logp[[0, 2, 3]], clean_logp, rtol=0, atol=1e-15)
    torch.testing.assert_close(g_topk[[0, 2, 3]], clean_topk, rtol=0, atol=1e-15)
    assert (g_logp[~mask] == 0).all()
    assert (g_topk[~mask] == 0).all()
    for name, value in metrics.items():
        torch.testing.assert_close(value, clean_metrics[name])


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean", "constant"])
def test_nothing_counted_gives_zero_and_no_gradient(reduction):
    logits, tokens, old, advantages, mask = case()
    loss, metrics = loss_of(logits, tokens, old, advantages, torch.zeros_like(mask), reduction=reduction)
    assert loss.item() == 0
    assert torch.autograd.grad(loss, logits)[0].eq(0).all()
    assert all(math.isfinite(value) for value in metrics.values())


def test_as_many_responses_as_tokens():
    """With B == T an implementation can mix up its axes. The loss of the batch is the sum over its rows."""
    logits, *_, mask = args = case(B=6, T=6, seed=5, spread=0.1)
    options = {"alpha": 0.3, "top_penalty": 1.5, "gate_quantile": 0.5}
    whole, _ = loss_of(*args, **options)
    rows = [loss_of(*(x[i : i + 1] for x in args), **options, denominator=float(mask.sum()))[0] for i in range(6)]
    torch.testing.assert_close(whole, sum(rows))
    a, b = torch.autograd.grad(whole, logits)[0], torch.autograd.grad(sum(rows), logits)[0]
    torch.testing.assert_close(a, b, rtol=0, atol=1e-15)
    assert (a - gradient_of(*args, alpha=0.0, top_penalty=1.0)).abs().max() > 1e-3


@pytest.mark.parametrize("weights", ["uniform", "softmax"])
def test_forbidden_tokens_leave_loss_and_gradient_finite(weights):
    """Fewer tokens are allowed than K, so that there are candidates with a logit of -inf."""
    logits, tokens, _, advantages, mask = case(B=4, T=5, V=8)
    with torch.no_grad():
        logits[..., 2:] = -torch.inf
    tokens = tokens % 2
    old = logits.detach().log_softmax(-1).gather(-1, tokens[..., None]).squeeze(-1)
    args = logits, tokens, old, advantages, mask
    loss, metrics = loss_of(*args, top_k=4, alpha=0.5, gate_quantile=None, weights=weights)
    found = torch.autograd.grad(loss, logits)[0]
    assert torch.isfinite(loss)
    assert torch.isfinite(found).all()
    assert all(math.isfinite(value) for value in metrics.values())
    assert (found[..., 2:] == 0).all()
    assert (found - gradient_of(*args, alpha=0.0, top_penalty=1.0, gate_quantile=None)).abs().max() > 1e-3


@pytest.mark.parametrize("penalty", ["ratio", "advantage"])
def test_old_logp_may_be_logp_itself(penalty):
    """On a first update an engine uses logp itself as old_logp. That cancels neither part of SimKO."""
    logits, tokens, _, advantages, mask = case(B=5, T=8)
    s = token_stats(logits, tokens, top_k=3)
    options = {"alpha": 0.3, "top_penalty": 1.5, "penalty": penalty, "gate_quantile": None}

    def gradient(old, **kw):
        rest = s.entropy, s.topk_logp, s.is_top1, advantages, mask
        loss, _ = simko_loss(s.logp, old, *rest, **options | kw)
        return torch.autograd.grad(loss, logits, retain_graph=True)[0]

    assert torch.equal(gradient(s.logp), gradient(s.logp.detach()))
    for part in ({"alpha": 0.0}, {"top_penalty": 1.0}):
        without_both = gradient(s.logp, alpha=0.0, top_penalty=1.0)
        assert (gradient(s.logp, **part) - without_both).abs().max() > 0.1 * without_both.abs().max()


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.int64, torch.float32, torch.float64])
def test_types_of_mask_and_advantages(dtype):
    logits, tokens, old, _, mask = case(B=4)
    advantages = torch.tensor([1, 0, 1, 1] if dtype == torch.bool else [2, -1, 0, -3])
    options = {"alpha": 0.3, "top_penalty": 1.5, "gate_quantile": None}
    expected = gradient_of(logits, tokens, old, advantages.double(), mask, **options)
    found = gradient_of(logits, tokens, old, advantages.to(dtype), mask.to(dtype), **options)
    assert torch.equal(found, expected)
    assert found.dtype == torch.float64


def test_advantages_per_response_or_per_token():
    logits, tokens, old, advantages, mask = args = case(B=5)
    wide = advantages[:, None].expand_as(mask).contiguous()
    assert torch.equal(gradient_of(*args), gradient_of(logits, tokens, old, wide, mask))
    mixed = wide.clone()
    mixed[:, ::2] *= -1
    options = {"alpha": 0.3, "top_penalty": 1.5, "gate_quantile": None}
    mixed_gradient = gradient_of(logits, tokens, old, mixed, mask, **options)
    flipped = gradient_of(logits, tokens, old, -advantages, mask, **options)
    assert torch.equal(mixed_gradient[:, ::2], flipped[:, ::2])


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean", "constant"])
@pytest.mark.parametrize("sizes", [[2, 3, 1], [1] * 6])
def test_micro_batches_with_a_global_denominator_add_up(reduction, sizes):
    logits, *_, mask = args = case(B=6, T=7, seed=2)
    mask[4] = False
    options = {"alpha": 0.3, "top_penalty": 1.5, "reduction": reduction}
    D = {"token_mean": mask.sum(), "sequence_mean": mask.any(-1).sum(), "constant": mask.numel()}[reduction]
    parts = zip(*(x.split(sizes) for x in args), strict=True)
    split = sum(loss_of(*part, **options, denominator=float(D))[0] for part in parts)
    whole, _ = loss_of(*args, **options)
    torch.testing.assert_close(whole, split, rtol=0, atol=1e-14)
    a, b = torch.autograd.grad(whole, logits)[0], torch.autograd.grad(split, logits)[0]
    torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


@pytest.mark.parametrize("penalty", ["ratio", "advantage"])
@pytest.mark.parametrize("weights", ["uniform", "softmax"])
def test_finite_differences_with_every_stop_gradient_quantity_held(penalty, weights):
    """Gate, weights and the subtracted gap are held fixed: if they moved, the finite difference would be that of GRPO."""
    alpha, lam, (logits, tokens, old, advantages, mask) = 0.4, 1.3, case(B=5, T=6, seed=4, spread=0.15)
    z0 = logits.detach()
    s0 = token_stats(z0, tokens, top_k=3)
    gate = torch.zeros_like(mask)
    for i in range(5):
        gate[i] = mask[i] & (s0.entropy[i] > torch.quantile(s0.entropy[i][mask[i]], 0.3))
    A = advantages[:, None].expand_as(mask)
    w = s0.topk_logp.softmax(-1) if weights == "softmax" else torch.full_like(s0.topk_logp, 1 / 3)

    def gap(logp):
        return (w * logp.gather(-1, s0.topk_ids)).sum(-1) - logp.gather(-1, tokens[..., None]).squeeze(-1)

    gap0, lam_at = gap(z0.log_softmax(-1)), torch.where(gate & (A < 0) & s0.is_top1, lam, 1.0).double()

    def held(z):
        logp = z.log_softmax(-1)
        shift = alpha * (gate & (A > 0)) * (gap(logp) - gap0)
        r = (logp.gather(-1, tokens[..., None]).squeeze(-1) + shift - old).exp()
        B = A
        if penalty == "ratio":
            r = r * lam_at
        else:
            B = A * lam_at
        return (-torch.minimum(r * B, r.clamp(0.8, 1.2) * B) * mask).sum() / mask.sum()

    assert (lam_at != 1).any()
    found = gradient_of(
        logits, tokens, old, advantages, mask, alpha=alpha, top_penalty=lam, penalty=penalty, weights=weights,
        gate_quantile=0.3,
    )  # fmt: skip
    g = torch.Generator().manual_seed(1)
    for _ in range(20):
        direction, h = torch.randn(z0.shape, generator=g, dtype=torch.float64), 1e-5
        numeric = (held(z0 + h * direction) - held(z0 - h * direction)) / (2 * h)
        assert float((found * direction).sum()) == pytest.approx(float(numeric), rel=1e-6, abs=1e-9)


def test_no_gradient_through_old_entropy_or_advantages():
    logits, tokens, old, advantages, mask = case()
    s = token_stats(logits.detach(), tokens, top_k=3)
    leaves = [x.clone().requires_grad_() for x in (s.logp, old, s.entropy, s.topk_logp)]
    loss, _ = simko_loss(*leaves, s.is_top1, advantages, mask)
    loss.backward()
    assert leaves[0].grad is not None
    assert leaves[3].grad is not None
    assert leaves[1].grad is None
    assert leaves[2].grad is None


def test_metrics():
    logits, tokens, old, advantages, mask = args = case(B=5, T=9, seed=7)
    s = token_stats(logits.detach(), tokens, top_k=3)
    loss, m = loss_of(*args, gate_quantile=0.5, top_penalty=1.5, alpha=0.3)
    gate = torch.zeros_like(mask)
    for i in range(5):
        gate[i] = mask[i] & (s.entropy[i] > torch.quantile(s.entropy[i][mask[i]], 0.5))
    A, n = advantages[:, None], mask.sum()
    penalised = gate & (A < 0) & s.is_top1
    ratio = (s.logp - old).exp() * torch.where(penalised, 1.5, 1.0)
    clipped = ((ratio > 1.2) & (A > 0) | (ratio < 0.8) & (A < 0)) & mask
    assert penalised.any()
    trained = gate & (A != 0)
    assert trained.sum() < gate.sum()
    expected = {
        "gated": gate.sum() / n,
        "penalised": penalised.sum() / n,
        "gap": (s.topk_logp.mean(-1) - s.logp)[trained].mean(),
        "rank1": s.is_top1[trained].float().mean(),
        "clipped": clipped.sum() / n,
        "ratio": ratio[mask].mean(),
    }
    assert set(m) == set(expected)
    for name, value in expected.items():
        assert m[name].item() == pytest.approx(value.item(), rel=1e-6), name
        assert not m[name].requires_grad
    assert loss.requires_grad
