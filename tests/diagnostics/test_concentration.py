import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.diagnostics import concentration_summary
from simko.token_stats import token_stats


def record(B=4, T=9, V=20, K=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(B, T, V, generator=g, dtype=torch.float64)
    s = token_stats(logits, torch.randint(V, (B, T), generator=g), top_k=K)
    mask = torch.rand(B, T, generator=g) < 0.7
    mask[:, 0] = True
    return s.logp, s.entropy, s.topk_logp, mask


def test_against_a_loop():
    logp, entropy, topk, mask = record()
    mask[2] = False  # left out of the means, not counted as zero
    found = concentration_summary(logp, entropy, topk, mask, ranks=3, gate_quantile=0.5)
    rows, gated, hist = [], [], [0] * 7
    edges = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
    for i in (0, 1, 3):
        counted = [t for t in range(9) if mask[i, t]]
        rows.append([topk[i, counted].mean(0), logp[i, counted].mean(), entropy[i, counted]])
        cut = torch.quantile(entropy[i, counted], 0.5)
        gated += [topk[i, t].exp() for t in counted if entropy[i, t] > cut]
        for t in counted:
            hist[max(j for j, e in enumerate(edges) if float(entropy[i, t]) >= e)] += 1
    assert found["concentration"] == pytest.approx((sum(r[0] for r in rows) / 3).tolist())
    assert found["sampled"] == pytest.approx(float(sum(r[1] for r in rows) / 3))
    assert found["entropy"] == pytest.approx(float(torch.cat([r[2] for r in rows]).mean()))
    assert found["gated_rank_probability"] == pytest.approx(torch.stack(gated).mean(0)[:3].tolist())
    assert found["entropy_histogram"]["edges"] == [*edges, None]
    assert found["entropy_histogram"]["share"] == pytest.approx([h / sum(hist) for h in hist])


def test_every_response_weighs_the_same_however_long():
    topk = torch.tensor([[[-1.0], [-1.0], [-1.0]], [[-5.0], [0.0], [0.0]]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    found = concentration_summary(topk[..., 0], torch.rand(2, 3), topk, mask, ranks=1)
    assert found["concentration"] == pytest.approx([-3.0])
    assert found["sampled"] == pytest.approx(-3.0)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), float("-inf")])
def test_what_is_masked_has_no_effect(garbage):
    logp, entropy, topk, mask = record()
    mask[1] = False
    clean = concentration_summary(logp, entropy, topk, mask)
    spoilt = concentration_summary(
        logp.masked_fill(~mask, garbage),
        entropy.masked_fill(~mask, garbage),
        topk.masked_fill(~mask[..., None], garbage),
        mask.long(),
    )
    assert spoilt == clean
    assert not math.isnan(clean["sampled"])


@settings(max_examples=30, deadline=None)
@given(B=st.integers(1, 4), T=st.integers(2, 9), seed=st.integers(0, 10**6))
def test_bounds(B, T, seed):
    """Histogram shares sum to 1; ranks come in order; no token beats rank 1."""
    found = concentration_summary(*record(B=B, T=T, seed=seed), ranks=6, gate_quantile=None)
    assert sum(found["entropy_histogram"]["share"]) == pytest.approx(1, abs=1e-5)
    ranks, probability = found["concentration"], found["gated_rank_probability"]
    assert ranks == sorted(ranks, reverse=True)
    assert probability == sorted(probability, reverse=True)
    assert sum(probability) <= 1 + 1e-9
    assert found["sampled"] <= ranks[0]


def test_edges_belong_to_the_bin_above():
    entropy = torch.tensor([[0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 100.0, 0.049]])
    zeros = torch.zeros_like(entropy)
    found = concentration_summary(zeros, entropy, zeros[..., None], zeros + 1, ranks=1)
    assert found["entropy_histogram"]["share"] == pytest.approx([n / 9 for n in (2, 1, 1, 1, 1, 1, 2)])


def test_impossible_candidates_are_floored():
    topk = torch.tensor([[[0.0, -torch.inf]]])
    found = concentration_summary(topk[..., 1], torch.zeros(1, 1), topk, torch.ones(1, 1), ranks=2, gate_quantile=None)
    assert found["concentration"] == [0.0, -100.0]
    assert found["sampled"] == -100.0
    assert found["gated_rank_probability"] == [1.0, 0.0]


def test_nothing_counted_is_nan_everywhere():
    logp, entropy, topk, mask = record()
    found = concentration_summary(logp, entropy, topk, torch.zeros_like(mask))
    numbers = [found["entropy"], found["sampled"], *found["concentration"], *found["gated_rank_probability"],
               *found["entropy_histogram"]["share"]]  # fmt: skip
    assert all(math.isnan(x) for x in numbers)


def test_too_few_candidates():
    logp, entropy, topk, mask = record(K=2)
    with pytest.raises(ValueError, match="ranks 4"):
        concentration_summary(logp, entropy, topk, mask)


def test_plain_numbers_without_gradient():
    logp, entropy, topk, mask = (x.requires_grad_() if x.is_floating_point() else x for x in record())
    found = concentration_summary(logp, entropy, topk, mask)
    assert all(isinstance(x, float) for x in [found["entropy"], found["sampled"], *found["concentration"]])
