"""The three selections."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from method_cases import SELECTING, case, ready

from simko.objectives import METHODS

ALL = torch.ones(2, 5)
A = torch.tensor([1.0, -1.0], dtype=torch.float64)
LOGP = torch.tensor([[-1.0, -2.0, -3.0, -4.0, -5.0], [-1.0, -2.0, -3.0, -4.0, -5.0]], dtype=torch.float64)
ENTROPY = torch.tensor([[0.1, 0.9, 0.3, 0.7, 0.2], [0.8, 0.4, 0.9, 0.0, 0.6]], dtype=torch.float64)


def select(method, logp=LOGP, old=LOGP, entropy=ENTROPY, advantages=A, mask=ALL, seed=0):
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    counted, marked = method.select(logp, old, entropy, advantages, mask, generator=generator)
    return counted, marked


def at(*places, shape=(2, 5)):
    out = torch.zeros(shape, dtype=torch.bool)
    for place in places:
        out[place] = True
    return out


def test_forking_tokens_by_hand():
    counted, marked = select(METHODS["forking_tokens"], seed=None)  # ceil(0.2 x 10) = 2
    assert torch.equal(marked, at((0, 1), (1, 2)))
    assert torch.equal(counted, marked)
    mask = ALL.clone()
    mask[0, 1] = 0  # 9 tokens: ceil(1.8) = 2
    assert torch.equal(select(METHODS["forking_tokens"], mask=mask)[1], at((1, 2), (1, 0)))


@pytest.mark.parametrize(("share", "n", "size"), [(0.2, 5, 1), (0.2, 6, 2), (0.07, 100, 7), (1.0, 9, 9), (0.2, 1, 1)])
def test_forking_tokens_takes_exactly_so_many(share, n, size):
    """0.07 x 100 is 7.000000000000001 in floating point. Among equal entropies the first tokens are taken."""
    x = torch.zeros(1, n, dtype=torch.float64)
    found = METHODS["forking_tokens"].with_options(top_share=share).select(
        x, x, x, torch.ones(1), torch.ones(1, n), generator=None
    )  # fmt: skip
    assert found[1].sum() == size
    assert found[1][0, :size].all()


def test_kl_cov_by_hand():
    """A - mean is 1 and -1, logp - mean 2, 1, 0, -1, -2: covariance +2 at the first token of row 0 and the last of row 1."""
    row = METHODS["kl_cov"]
    counted, marked = select(row.with_options(cov_share=0.2), seed=None)
    assert torch.equal(marked, at((0, 0), (1, 4)))
    assert counted.all()
    assert torch.equal(select(row.with_options(cov_share=0.3))[1], at((0, 0), (1, 4), (0, 1)))
    assert torch.equal(select(row)[1], at((0, 0)))  # int(0.002 x 10) = 0, but at least one
    mask = ALL.clone()
    mask[0] = 0  # one advantage only: no covariance, the first counted token
    assert torch.equal(select(row, mask=mask)[1], at((1, 0)))


def test_clip_cov_by_hand():
    """Only covariances of 1 lie between 0.5 and 1.5. int(share n) of these tokens are drawn, but at least 1."""
    row = METHODS["clip_cov"].with_options(cov_low=0.5, cov_high=1.5, cov_share=0.2)
    counted, marked = select(row)
    assert torch.equal(marked, at((0, 1), (1, 3)))
    assert counted.all()
    assert not select(row.with_options(cov_low=1.0))[1].any()  # the window is open at both ends
    assert not select(row.with_options(cov_high=1.0))[1].any()
    assert select(row.with_options(cov_low=-9.0, cov_high=9.0, cov_share=0.3))[1].sum() == 3
    assert select(METHODS["clip_cov"].with_options(cov_low=0.5))[1].sum() == 1  # int(2e-4 x 10) = 0


def test_clip_cov_leaves_alone_what_ppo_clips():
    row = METHODS["clip_cov"].with_options(cov_low=0.5, cov_high=1.5, cov_share=0.2)
    old = LOGP.clone()
    old[0, 1] -= math.log(2.1)  # ratio 2.1 under A > 0, above 1 + clip_high = 2
    assert torch.equal(select(row, old=old)[1], at((1, 3)))
    assert torch.equal(select(row.with_options(clip_high=1.2), old=old)[1], at((0, 1), (1, 3)))
    old[1, 3] += 50  # ratio 0 under A < 0: clip_low = 1 never clips, 0.9 does
    assert torch.equal(select(row, old=old)[1], at((1, 3)))
    assert not select(row.with_options(clip_low=0.9), old=old)[1].any()


def test_clip_cov_draws_evenly_and_reproducibly():
    row = METHODS["clip_cov"].with_options(cov_low=-9.0, cov_high=9.0, cov_share=0.2)
    drawn = torch.stack([select(row, seed=seed)[1] for seed in range(400)])
    assert drawn.sum((1, 2)).eq(2).all()
    rate = drawn.double().mean(0)
    assert (rate - 0.2).abs().max() < 4.5 * math.sqrt(0.16 / 400)
    assert torch.equal(select(row, seed=7)[1], drawn[7])


def test_clip_cov_refuses():
    row = METHODS["clip_cov"]
    with pytest.raises(ValueError, match=r"give a torch\.Generator"):
        select(row, seed=None)
    with pytest.raises(ValueError, match="cov_low must be less than cov_high"):
        select(row.with_options(cov_low=5.0))


@pytest.mark.parametrize("name", SELECTING)
def test_edges(name):
    row = ready(name)
    nothing = select(row, mask=torch.zeros(2, 5))
    assert not any(x.any() for x in nothing)
    empty = torch.zeros(0, 5, dtype=torch.float64)
    assert select(row, empty, empty, empty, A[:0], torch.zeros(0, 5))[1].shape == (0, 5)
    one = torch.zeros(2, 5)
    one[1, 2] = 1
    counted, marked = select(row, mask=one)
    assert (counted | marked).sum() == 1
    wide = A[:, None].expand(2, 5).contiguous()
    assert torch.equal(select(row, advantages=wide)[1], select(row)[1])
    leaf = LOGP.clone().requires_grad_()
    assert not any(x.requires_grad for x in select(row, logp=leaf, entropy=leaf * 2))


@pytest.mark.parametrize("name", SELECTING)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_against_a_loop(name, seed):
    """Sizes and members, token by token."""
    method, c = ready(name), case(seed=seed, groups=3)
    adv = c.advantages(method)
    logp, old, H, _, _ = c.stats(method)
    places = [(i, t) for i, t in c.mask.nonzero().tolist()]
    mean_A = sum(adv[i].item() for i, _ in places) / len(places)
    mean_logp = sum(logp[i, t].item() for i, t in places) / len(places)
    cov = {(i, t): (adv[i].item() - mean_A) * (logp[i, t].item() - mean_logp) for i, t in places}
    found = {(i, t) for i, t in c.marked(method, adv).nonzero().tolist()}
    if name == "forking_tokens":
        assert found == set(sorted(places, key=lambda p: -H[p].item())[: math.ceil(len(places) / 5 - 1e-9)])
    elif name == "kl_cov":
        assert found == set(sorted(places, key=lambda p: -cov[p])[: max(1, int(len(places) * 0.2 + 1e-9))])
    else:
        ratio = {p: math.exp(logp[p].item() - old[p].item()) for p in places}
        eligible = {p for p in places if 0 < cov[p] < 5 and not (ratio[p] > 2 and adv[p[0]] > 0)}
        assert found <= eligible
        assert len(found) == min(len(eligible), max(1, int(len(places) * 0.2 + 1e-9)))
