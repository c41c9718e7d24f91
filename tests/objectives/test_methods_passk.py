"""pass@k: expectations by enumerating every group that a small softmax policy can draw, to 1e-12."""

import itertools
import math

import pytest
import torch

from simko.objectives import METHODS

Z = torch.tensor([0.4, -0.7, 1.1], dtype=torch.float64)
RIGHT = torch.tensor([True, False, False])
TWO_RIGHT = torch.tensor([True, True, False])
KN = [(k, N) for N in (2, 3, 5) for k in range(1, N + 1)]


class Enumerated:
    """Every group of N responses of one token from softmax(z): its probability, rewards, and grad log pi."""

    def __init__(self, N, right, z=Z):
        p = z.softmax(0)
        self.N, self.p = N, p[right].sum().item()
        self.draws = torch.tensor(list(itertools.product(range(3), repeat=N)))
        self.chance = p[self.draws].prod(1)
        self.rewards = right[self.draws].double()
        self.score = torch.eye(3, dtype=torch.float64)[self.draws] - p  # [groups, N, 3]
        self.slope = p * (right.double() - self.p)  # of p itself, with respect to z

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
    """The plain one: k for right, k pass@(k-1) of the others for wrong (again times N under a mean)."""
    e = Enumerated(N, RIGHT)
    plain = k * torch.where(e.rewards == 1, 1.0, e.pass_of_others(k - 1))
    close(e.expected(plain), e.pass_at_k(k))

    def variance(A):
        estimate = (A[..., None] * e.score).mean(1)
        return (e.chance[:, None] * (estimate - e.pass_at_k(k)) ** 2).sum()

    assert variance(e.advantages(pkpo(k))) < variance(plain) or k == 1


@pytest.mark.parametrize(("k", "N"), KN)
def test_leave_one_out_on_top_of_the_plain_transform_is_biased(k, N):
    """It shrinks the expectation by (N - k) / (N - 1), to nothing at k = N."""
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
    """k/N sum s A grad log pi has the expectation (1 - k/N) grad pass@k: the baseline R holds the response itself."""
    e = Enumerated(N, right)
    c = e.rewards.sum(1)
    R = torch.tensor([1 - math.comb(N - int(x), k) / math.comb(N, k) for x in c], dtype=torch.float64)
    s = (R * (1 - R)).sqrt()[:, None]
    close(k * e.expected(e.advantages(passk_training(k)) * s), (1 - k / N) * e.pass_at_k(k))


@pytest.mark.parametrize(("k", "N"), KN)
def test_passk_training_averages_grpo_over_subsets(k, N):
    """Rewards of all C(N, k) subsets, standardised (ddof 0), averaged over those a response is in."""
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
