"""pass@k and max@k: exact expectations over every group that a small softmax policy can draw."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.objectives import METHODS

Z = torch.tensor([0.4, -0.7, 1.1], dtype=torch.float64)
RIGHT = torch.tensor([True, False, False])
TWO_RIGHT = torch.tensor([True, True, False])
SHAPED = torch.tensor([0.3, -1.2, 2.5], dtype=torch.float64)
SHAPED_WITH_A_TIE = torch.tensor([0.3, 0.3, -1.2], dtype=torch.float64)
KN = [(k, N) for N in (2, 3, 5) for k in range(1, N + 1)]
K_OF_OTHERS = [(k, N) for k, N in KN if k < N]


class Enumerated:
    """Every group of N responses of one token from softmax(z): its probability, rewards, and grad log pi."""

    def __init__(self, N, values, z=Z):
        """values: the reward of each of the three tokens; True is 1."""
        p, values = z.softmax(0), values.double()
        self.N, self.p = N, (p * values).sum().item()
        self.draws = torch.tensor(list(itertools.product(range(3), repeat=N)))
        self.chance = p[self.draws].prod(1)
        self.rewards = values[self.draws]
        self.score = torch.eye(3, dtype=torch.float64)[self.draws] - p  # [groups, N, 3]
        self.slope = p * (values - self.p)  # of p itself, with respect to z

    def advantages(self, method):
        groups = torch.arange(len(self.draws)).repeat_interleave(self.N)
        return method.advantages(self.rewards.flatten(), groups).view_as(self.rewards)

    def expected(self, A):
        """E[mean_i A_i grad log pi(y_i)]."""
        return (self.chance[:, None] * (A[..., None] * self.score).mean(1)).sum(0)

    def pass_at_k(self, k):
        """The exact gradient of 1 - (1 - p)^k."""
        return k * (1 - self.p) ** (k - 1) * self.slope

    def pass_of_others(self, j):
        """pass@j of the other N - 1, for each response, by counting subsets."""
        wrong = (self.rewards == 0).sum(1, keepdim=True) - (self.rewards == 0).long()
        share = [[math.comb(w, j) / math.comb(self.N - 1, j) for w in row] for row in wrong.tolist()]
        return 1 - torch.tensor(share, dtype=torch.float64)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def max_at_k(values, k):
    """The exact gradient of E[max of k rewards]."""
    z, values = Z.clone().requires_grad_(), values.double()
    draws = torch.tensor(list(itertools.product(range(3), repeat=k)))
    (z.softmax(0)[draws].prod(1) * values[draws].amax(1)).sum().backward()
    return z.grad


def ordergrad(k):
    return METHODS["ordergrad"].with_options(k=k)


def pkpo(k):
    return METHODS["pkpo"].with_options(k=k)


def passk_training(k):
    return METHODS["passk_training"].with_options(k=k, eps=0)


def leave_one_out(A):
    return A - (A.sum(1, keepdim=True) - A) / (A.shape[1] - 1)


@pytest.mark.parametrize("right", [RIGHT, TWO_RIGHT])
@pytest.mark.parametrize(("k", "N"), KN)
def test_pkpo_is_unbiased(k, N, right):
    e = Enumerated(N, right)
    close(e.expected(e.advantages(pkpo(k))), e.pass_at_k(k))


@pytest.mark.parametrize(("k", "N"), KN)
def test_pkpo_is_the_paper_transform_times_n(k, N):
    e = Enumerated(N, TWO_RIGHT)
    paper = k / N * e.rewards * (1 - e.pass_of_others(k - 1))
    close(e.advantages(pkpo(k)), N * paper)


@pytest.mark.parametrize(("k", "N"), KN)
def test_the_plain_transform_is_unbiased_and_pkpo_has_less_variance(k, N):
    """The plain transform, times N: k if correct, k pass@(k-1) of the others if incorrect."""
    e = Enumerated(N, RIGHT)
    plain = k * torch.where(e.rewards == 1, 1.0, e.pass_of_others(k - 1))
    close(e.expected(plain), e.pass_at_k(k))

    def variance(A):
        estimate = (A[..., None] * e.score).mean(1)
        return (e.chance[:, None] * (estimate - e.pass_at_k(k)) ** 2).sum()

    assert variance(e.advantages(pkpo(k))) < variance(plain) or k == 1


@pytest.mark.parametrize(("k", "N"), KN)
def test_leave_one_out_on_top_of_the_plain_transform_is_biased(k, N):
    """It multiplies the expectation by (N - k) / (N - 1), which is 0 at k = N."""
    e = Enumerated(N, RIGHT)
    plain = k * torch.where(e.rewards == 1, 1.0, e.pass_of_others(k - 1))
    close(e.expected(leave_one_out(plain)), (N - k) / (N - 1) * e.pass_at_k(k))


@pytest.mark.parametrize(("k", "N"), [(k, N) for k, N in KN if k > 1])
def test_leave_one_out_on_top_of_pkpo_is_biased_upward_depending_on_p(k, N):
    def excess(z):
        e = Enumerated(N, RIGHT, z)
        return (e.expected(leave_one_out(e.advantages(pkpo(k)))) / e.pass_at_k(k))[0].item()

    few, many = excess(Z), excess(Z + torch.tensor([2.0, 0.0, 0.0]))
    assert few > 1 + 1e-3
    assert many > 1 + 1e-3
    assert abs(few - many) > 1e-3
    assert excess(Z) == pytest.approx(excess(Z + 1), abs=1e-12)


@pytest.mark.parametrize("right", [RIGHT, TWO_RIGHT])
@pytest.mark.parametrize(("k", "N"), KN)
def test_passk_training_without_its_division_is_unbiased_up_to_a_factor(k, N, right):
    """k/N sum s A grad log pi has the expectation (1 - k/N) grad pass@k, since the baseline R includes the response."""
    e = Enumerated(N, right)
    c = e.rewards.sum(1)
    R = torch.tensor([1 - math.comb(N - int(x), k) / math.comb(N, k) for x in c], dtype=torch.float64)
    s = (R * (1 - R)).sqrt()[:, None]
    close(k * e.expected(e.advantages(passk_training(k)) * s), (1 - k / N) * e.pass_at_k(k))


@pytest.mark.parametrize(("k", "N"), KN)
def test_passk_training_averages_grpo_over_subsets(k, N):
    """The rewards of all C(N, k) subsets, standardised (ddof 0), and averaged over the subsets that hold a response."""
    e = Enumerated(N, TWO_RIGHT)
    subsets = list(itertools.combinations(range(N), k))
    best = torch.stack([e.rewards[:, list(s)].amax(1) for s in subsets], 1)
    std = best.std(1, correction=0, keepdim=True)
    scaled = torch.where(std > 1e-9, (best - best.mean(1, keepdim=True)) / std, 0.0)
    inside = torch.tensor([[i in s for s in subsets] for i in range(N)]).double()
    close(e.advantages(passk_training(k)), scaled @ inside.T / inside.sum(1))


@pytest.mark.parametrize("N", [2, 3, 5])
def test_special_cases(N):
    e = Enumerated(N, TWO_RIGHT)
    std = e.rewards.std(1, correction=0, keepdim=True)
    grpo = torch.where(std > 0, (e.rewards - e.rewards.mean(1, keepdim=True)) / std, 0.0)
    close(e.advantages(passk_training(1)), grpo)
    assert e.advantages(passk_training(N)).eq(0).all()
    close(e.expected(e.advantages(METHODS["rloo"])), e.pass_at_k(1))
    close(e.advantages(METHODS["rloo"]), leave_one_out(e.advantages(pkpo(1))))
    close(N * e.advantages(METHODS["best_of_k"]), e.advantages(pkpo(N)))
    close(N / (N - 1) * e.expected(e.advantages(METHODS["dr_grpo"])), e.pass_at_k(1))


def test_large_groups_stay_finite():
    rewards = torch.zeros(512)
    rewards[:40] = 1
    groups = torch.zeros(512, dtype=torch.long)
    for k in (1, 64, 256, 512):
        for method in (pkpo(k), METHODS["passk_training"].with_options(k=k)):
            assert method.advantages(rewards, groups).isfinite().all()
    exact = 64 * math.comb(472, 63) / math.comb(511, 63)
    assert pkpo(64).advantages(rewards.double(), groups)[0].item() == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("values", [RIGHT, TWO_RIGHT, SHAPED, SHAPED_WITH_A_TIE])
@pytest.mark.parametrize(("k", "N"), K_OF_OTHERS)
def test_ordergrad_is_unbiased(k, N, values):
    e = Enumerated(N, values)
    close(e.expected(e.advantages(ordergrad(k))), max_at_k(values, k))


@pytest.mark.parametrize(("k", "N"), K_OF_OTHERS)
def test_ordergrad_is_pkpo_less_a_baseline(k, N):
    e = Enumerated(N, TWO_RIGHT)
    less, more = e.pass_of_others(k - 1), e.pass_of_others(k)
    found = e.advantages(ordergrad(k))
    close(found, e.advantages(pkpo(k)) - k * (more - less))
    close(found, k * torch.where(e.rewards == 1, 1 - more, less - more))


def by_subsets(rewards, k):
    """OrderGrad's definition: k (E[max of a k-subset with i] - E[max of a k-subset without i]), in fractions."""
    found = []
    for i in range(len(rewards)):
        others = rewards[:i] + rewards[i + 1 :]
        with_i = [max((rewards[i], *s)) for s in itertools.combinations(others, k - 1)]
        without = [max(s) for s in itertools.combinations(others, k)]
        found.append(k * (Fraction(sum(with_i), len(with_i)) - Fraction(sum(without), len(without))))
    return found


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=7), min_size=1, max_size=4), st.data())
def test_ordergrad_averages_over_subsets(groups, data):
    """Several groups of several sizes in any order, with ties."""
    k = data.draw(st.integers(1, min(map(len, groups)) - 1))
    rewards = torch.tensor([r for group in groups for r in group]).double()
    labels = torch.tensor([g for g, group in enumerate(groups) for _ in group])
    order = torch.tensor(data.draw(st.permutations(range(len(rewards)))))
    found = ordergrad(k).advantages(rewards[order] / 7, labels[order])
    expected = torch.tensor([float(a / 7) for group in groups for a in by_subsets(group, k)], dtype=torch.float64)
    close(found, expected[order])
    same = (rewards[order, None] == rewards[order]) & (labels[order, None] == labels[order])
    assert (found[:, None] == found)[same].all()


@pytest.mark.parametrize("N", [2, 3, 5])
def test_ordergrad_at_k_1_is_rloo(N):
    e = Enumerated(N, SHAPED)
    close(e.advantages(ordergrad(1)), e.advantages(METHODS["rloo"]))


@pytest.mark.parametrize("k", [1, 2, 5, 64, 127])
def test_ordergrad_in_large_groups(k):
    """128 responses, compared with fractions: the m-th of the sorted others is the best of C(m, draw - 1) draws."""

    def best(own, others, draw):
        if draw == 0:
            return own
        return sum(
            Fraction(math.comb(m, draw - 1), math.comb(127, draw)) * max(own, r) for m, r in enumerate(sorted(others))
        )

    rewards = [i % 10 + (i > 100) for i in range(128)]
    expected = []
    for i, own in enumerate(rewards):
        others = rewards[:i] + rewards[i + 1 :]
        expected.append(float(k * (best(own, others, k - 1) - best(0, others, k))))
    found = ordergrad(k).advantages(torch.tensor(rewards).double(), torch.zeros(128, dtype=torch.long))
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-15)
