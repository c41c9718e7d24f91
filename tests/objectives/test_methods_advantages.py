"""Advantages of every row, compared with numbers worked out by hand."""

import math

import pytest
import torch
from method_cases import NAMES, ready

from simko.objectives import METHODS, group_advantages

EPS = 1e-6
LN3 = math.log(3)
GRPO_1_OF_4 = [0.75 / (0.5 + EPS), *[-0.25 / (0.5 + EPS)] * 3]  # mean 1/4, std (3/4 (1/4)^2 + (3/4)^2 / 3)^(1/2) = 1/2
GRPO_2_OF_4 = 0.5 / (math.sqrt(1 / 3) + EPS)
UNLIKELY = math.sqrt((0.390625**2 + 0.453125**2 + 2 * 0.421875**2) / 3) + EPS  # rewards 13/16, 14/16, 0, 0
ONE, TWO = [1, 0, 0, 0], [1, 1, 0, 0]
LIKELY = [-1, -2, -3, -4]

GOLDEN = {
    "dr_grpo": (ONE, None, [0.75, -0.25, -0.25, -0.25]),
    "rloo": (ONE, None, [1, -1 / 3, -1 / 3, -1 / 3]),
    "psr": (ONE, None, [1, 0, 0, 0]),
    "nsr": (ONE, None, [0, -1, -1, -1]),
    "w_reinforce": (ONE, None, [0.1, -1, -1, -1]),
    # R = 1 - C(3, 2) / C(4, 2) = 1/2, s = 1/2; incorrect: 1/2 - C(2, 1) / C(3, 1)
    "passk_training": (ONE, None, [0.5 / (0.5 + EPS), *[(0.5 - 2 / 3) / (0.5 + EPS)] * 3]),
    "pkpo": (TWO, None, [4 / 3, 4 / 3, 0, 0]),  # 2 C(2, 1) / C(3, 1)
    "ordergrad": (ONE, None, [2, *[-2 / 3] * 3]),  # 2 (1 - 0) and 2 (1/3 - 2/3): pass@1 and pass@2 of the others
    "maxrl": (ONE, None, [0.75 / (0.25 + EPS), *[-0.25 / (0.25 + EPS)] * 3]),
    "f_grpo": (ONE, None, [math.sqrt(0.75) * a for a in GRPO_1_OF_4]),
    "best_of_k": (ONE, None, [1, 0, 0, 0]),
    # ranks 3, 2, 1, 0: rewards 1 - 3/16, 1 - 2/16, 0, 0, mean 0.421875
    "unlikeliness": (TWO, LIKELY, [x / UNLIKELY for x in (0.390625, 0.453125, -0.421875, -0.421875)]),
    # q = 3/4, 1/4; c (1/q) / sum = 1/2, 3/2
    "ucpo": (TWO, [-1, -1 - LN3, -9, -9], [0.5 / (math.sqrt(1 / 3) + 1e-8) * f for f in (0.9, 1.1, -1, -1)]),
    # std with ddof 0 is 1/2
    "ds_grpo": (TWO, LIKELY, [0.5 / (0.5 + EPS) * s + d for s, d in ((1, 0.05), (1, 0.1), (-1, -0.06), (-1, -0.08))]),
}


def of(method, rewards, groups=None, mean_logp=None):
    """Advantages of responses with two counted tokens and a masked one. mean_logp: of the counted tokens."""
    rewards = torch.tensor(rewards, dtype=torch.float64)
    groups = torch.zeros(len(rewards), dtype=torch.long) if groups is None else torch.tensor(groups)
    mean = torch.tensor([-1.0] * len(rewards) if mean_logp is None else mean_logp, dtype=torch.float64)
    old = mean[:, None] + torch.tensor([[0.5, -0.5, float("nan")]], dtype=torch.float64)
    return method.advantages(rewards, groups, old_logp=old, mask=torch.tensor([[1, 1, 0]] * len(rewards)))


def same(found, expected, **tolerance):
    tolerance = tolerance or {"rtol": 0, "atol": 1e-13}
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), **tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_by_hand(name):
    rewards, mean_logp, expected = GOLDEN.get(name, (ONE, None, GRPO_1_OF_4))
    same(of(ready(name), rewards, mean_logp=mean_logp), expected)


def test_more_by_hand():
    same(of(ready("grpo", eps=1e-4), TWO), [s * 0.5 / (math.sqrt(1 / 3) + 1e-4) for s in (1, 1, -1, -1)])
    same(of(ready("best_of_k"), [0.9, 0.2, 0.5, 0.5]), [0.4, 0, 0, 0])
    same(of(ready("best_of_k"), [0.9, 0.9, 0.5, 0.5]), [0, 0, 0, 0])
    same(of(ready("best_of_k", divide_by_std=True), ONE), [1 / (0.5 + EPS), 0, 0, 0])  # verl's grpo_passk
    same(of(ready("f_grpo", focal_exponent=2), TWO), [s * 0.25 * GRPO_2_OF_4 for s in (1, 1, -1, -1)])
    same(of(ready("passk_training", k=1), ONE), [3**0.5, *[-(3**-0.5)] * 3], rtol=1e-5, atol=0)  # ddof 0
    same(of(ready("passk_training", k=4), ONE), [0, 0, 0, 0])
    same(of(ready("pkpo", k=4), ONE), [4, 0, 0, 0])
    same(of(ready("pkpo", k=4), TWO), [0, 0, 0, 0])
    same(of(ready("pkpo", k=1), TWO), [1, 1, 0, 0])
    same(of(ready("ordergrad", k=1), TWO), [2 / 3, 2 / 3, -2 / 3, -2 / 3])
    same(of(ready("ordergrad", k=3), TWO), [0, 0, 0, 0])
    # best of 0.9 and one other 0.9, of two others 0.5; best of 0.2 or 0.5 and one other 1.9/3, of two others 2.3/3
    same(of(ready("ordergrad"), [0.9, 0.2, 0.5, 0.5]), [0.8, *[-0.8 / 3] * 3])
    same(of(ready("ucpo", tau=1.0), TWO, mean_logp=[-1, -1 - LN3, 0, 0]), [s * GRPO_2_OF_4 for s in (0.5, 1.5, -1, -1)],
         rtol=1e-5, atol=0)  # fmt: skip
    same(of(ready("ucpo", tau=1.0), ONE), GRPO_1_OF_4, rtol=1e-5, atol=0)  # one correct response: GRPO
    far = of(ready("ucpo", tau=1.0), TWO, mean_logp=[0, -100, 0, 0])  # q clamped at 1e-6: weights 2e-6, 2
    same(far[:2] / GRPO_2_OF_4, [2e-6, 2 - 2e-6], rtol=1e-4, atol=0)


def test_equally_likely_responses_share_their_rank():
    """Ranks 0.5, 0.5, 2.5, 2.5 for r = 1: rewards 1 - 0.25 / 4 (0.5 or 2.5)."""
    found = of(ready("unlikeliness"), [1, 1, 1, 1], mean_logp=[-2, -2, -1, -1])
    same(found, [s * 0.0625 / (0.125 * math.sqrt(1 / 3) + EPS) for s in (1, 1, -1, -1)], rtol=1e-9, atol=0)
    # ranks 1.5, 1.5, 3, 0: rewards 0.90625, 0.90625, 0.8125, 0, mean 0.65625
    found = of(ready("unlikeliness"), [1, 1, 1, 0], mean_logp=[-2, -2, -1, -3])
    std = math.sqrt((2 * 0.25**2 + 0.15625**2 + 0.65625**2) / 3) + EPS
    same(found, [x / std for x in (0.25, 0.25, 0.15625, -0.65625)])


EDGES = {  # groups of one correct, one incorrect, three correct, three incorrect; all 0 for rows not listed
    "psr": ([1], [0], [1, 1, 1], [0, 0, 0]),
    "nsr": ([0], [-1], [0, 0, 0], [-1, -1, -1]),
    "w_reinforce": ([0.1], [-1], [0.1, 0.1, 0.1], [-1, -1, -1]),
    "pkpo": ([1], [0], [1, 1, 1], [0, 0, 0]),  # with k = 1
    "unlikeliness": ([0], [0], [-1, 0, 1], [0, 0, 0]),
    "ds_grpo": ([0.05], [-0.02], [0.05, 0.1, 0.15], [-0.02, -0.04, -0.06]),
}


@pytest.mark.parametrize("name", NAMES)
def test_edges(name):
    """Groups of one, all correct, all incorrect. Two groups do not mix, in any order of the batch."""
    method = ready(name, **({"k": 1} if "k" in METHODS[name].options else {}))
    nothing = [0], [0], [0, 0, 0], [0, 0, 0]
    one_right, one_wrong, right, wrong = EDGES.get(name, nothing)
    mean_logp = [-1, -2, -3]
    if name == "ordergrad":
        with pytest.raises(ValueError, match="k = 1 needs 2 responses a prompt, a group has 1"):
            of(method, [1])
    else:
        same(of(method, [1]), one_right)
        same(of(method, [0]), one_wrong)
    same(of(method, [1, 1, 1], mean_logp=mean_logp), right, rtol=1e-4, atol=1e-12)
    same(of(method, [0, 0, 0], mean_logp=mean_logp), wrong)
    both = of(method, [1, 0, 1, 0, 1, 0], groups=[8, -3] * 3, mean_logp=[-1, -1, -2, -2, -3, -3])
    same(both[::2], right, rtol=1e-4, atol=1e-12)
    same(both[1::2], wrong)
    nothing_drawn = torch.zeros(0, dtype=torch.long), torch.zeros(0, 3), torch.zeros(0, 3)
    assert method.advantages(
        torch.zeros(0), nothing_drawn[0], old_logp=nothing_drawn[1], mask=nothing_drawn[2]
    ).shape == (0,)


@pytest.mark.parametrize("k", [2, 3])
def test_pass_at_k_on_groups_with_one_outcome(k):
    for name in ("passk_training", "pkpo"):
        same(of(ready(name, k=k), [1, 1, 1]), [0, 0, 0])
        same(of(ready(name, k=k), [0, 0, 0]), [0, 0, 0])


@pytest.mark.parametrize(("name", "k"), [("passk_training", 3), ("pkpo", 3), ("ordergrad", 2)])
def test_groups_smaller_than_k(name, k):
    """A group drawn too small is refused. One with too few scored responses gets 0: a failed grader must not end a run."""
    nan = float("nan")
    with pytest.raises(ValueError, match=f"k = {k} needs 3 responses a prompt, a group has 2"):
        of(ready(name, k=k), [1, 0, 0, 1, 0], groups=[0, 0, 0, 1, 1])
    found = of(ready(name, k=k), [1, 0, nan, 1, 0, 0], groups=[0, 0, 0, 1, 1, 1])
    assert found[:3].eq(0).all()
    assert of(ready(name, k=2), [1, 0, nan], groups=[0, 0, 0]).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [n for n in NAMES if not METHODS[n].binary])
def test_equal_rewards_get_exactly_0(name, dtype):
    """The mean of seven rewards of 0.3 is not 0.3 in float32, and SimKO uses the sign of the advantage."""
    for value in (0.1, 0.3, 1 / 3, 97.3, -0.7):
        for size in (3, 7, 29) if name == "ordergrad" else (1, 3, 7, 29):
            rewards = torch.full((size,), value, dtype=dtype)
            assert ready(name).advantages(rewards, torch.zeros(size, dtype=torch.long)).eq(0).all()


@pytest.mark.parametrize("name", NAMES)
def test_other_rewards_than_right_or_wrong(name):
    """Shaped and negative rewards. Rows that are defined for correct and incorrect responses refuse them."""
    for shaped in ([1, 0.5, 0], [1, -1, 0]):
        if METHODS[name].binary:
            with pytest.raises(
                ValueError, match=f"{name} is defined for correct .1. and incorrect .0. only, sample 1 has"
            ):
                of(ready(name), shaped)
        else:
            found = of(ready(name), shaped)
            assert found[0] > 0
            assert found.isfinite().all()
            moved = of(ready(name), [r - 5.0 for r in shaped])  # no baseline depends on where 0 lies
            same(moved, found.tolist(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_unscorable_responses(name):
    """A reward of nan gets 0, and the group is as without it. An infinite reward is refused and named."""
    rewards, groups = [1, 0, 0, 1, 1, 0, 0], [5, 5, 5, 5, 2, 2, 2]
    mean_logp = [-1, -2, -3, -1.5, -1, -0.5, -2]
    clean = of(ready(name), rewards, groups, mean_logp)
    nan = float("nan")
    spoilt = of(ready(name), [1, nan, *rewards[1:], nan], [5, 5, *groups[1:], 2], [-1, 9, *mean_logp[1:], -0.1])
    kept = [0, 2, 3, 4, 5, 6, 7]
    same(spoilt[kept], clean.tolist())
    assert spoilt[[1, 8]].eq(0).all()
    alone = of(ready(name), [*rewards, nan, nan], [*groups, 1, 1], [*mean_logp, -1, -1])
    same(alone[:7], clean.tolist())
    assert alone[7:].eq(0).all()
    for bad in (float("inf"), -float("inf")):
        with pytest.raises(ValueError, match=f"sample 2 is {bad}"):
            of(ready(name), [1, 0, bad, 0])


@pytest.mark.parametrize("name", ["unlikeliness", "ucpo", "ds_grpo"])
def test_truncated_responses(name):
    """The mean log-probability is over counted tokens. It is 0 for a response that has none."""
    rewards, groups = torch.tensor([1.0, 1.0, 0.0, 0.0]).double(), torch.zeros(4, dtype=torch.long)
    old = torch.tensor([[-1.0, -3.0, -8.0], [-1.0, -1.0, -1.0], [-2.0, -2.0, -2.0], [-5.0, -5.0, -5.0]]).double()
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 0]])
    found = ready(name).advantages(rewards, groups, old_logp=old, mask=mask)
    same(found, of(ready(name), [1, 1, 0, 0], mean_logp=[-2, -1, -2, 0]).tolist())
    assert not found.requires_grad


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
@pytest.mark.parametrize("name", NAMES)
def test_types_of_reward(name, dtype):
    rewards, groups = torch.tensor([1, 0, 1, 1]), torch.tensor([0, 0, 0, 0])
    kw = {"old_logp": torch.tensor([[-1.0], [-2.0], [-3.0], [-1.5]]), "mask": torch.ones(4, 1)}
    found = ready(name).advantages(rewards.to(dtype), groups, **kw)
    assert found.dtype == torch.float32
    expected = ready(name).advantages(rewards.double(), groups, **kw)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


def test_grpo_is_group_advantages():
    g = torch.Generator().manual_seed(0)
    rewards, groups = torch.randn(20, generator=g), torch.randint(4, (20,), generator=g)
    assert torch.equal(METHODS["grpo"].advantages(rewards, groups), group_advantages(rewards, groups))
