"""Advantages: one number a response, from the rewards of all responses to the same prompt.

Notation: r is a reward; N responses are in a group, c of them correct (r = 1); mean and std are over the group.
An estimator takes finite rewards [B] and their Groups, and returns advantages [B]. An estimator whose docstring speaks
of correct and incorrect responses needs rewards of 1 and 0. Method.advantages refuses other rewards.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from simko.objectives.arguments import check_tensors
from simko.objectives.groups import Groups, groups_of


def group_advantages(
    rewards: Shaped[Tensor, " B"], groups: Int[Tensor, " B"], *, eps: float = 1e-6
) -> Float[Tensor, " B"]:
    """Group-relative advantages of GRPO (arXiv 2402.03300).

        A_i = (r_i - mean(r)) / (std(r) + eps)      over the responses of i's group, std with ddof = 1

    A group of one response gets 0, and so does a group of equal rewards. A reward of nan means that the response could
    not be scored: it gets 0 and does not count in its group. ValueError for an infinite reward.

    Args:
        rewards: [B].
        groups: [B] integers, equal for responses to the same prompt, in any order.
        eps: 1e-6 in verl and in the SimKO authors' code, 1e-4 in TRL.
    """
    return over_scorable(lambda r, group: standardised(r, group, eps=eps), rewards, groups)


def over_scorable(
    estimate: Callable[..., Tensor], rewards: Shaped[Tensor, " B"], groups: Int[Tensor, " B"], *others: Tensor | None
) -> Float[Tensor, " B"]:
    """estimate(rewards, Groups, *others) on the responses whose reward is not nan; 0 for the rest.

    others: further arguments of estimate, each [B] or None. They are cut to the same responses. Integer and bool rewards
    become floats. ValueError for an infinite reward, naming the sample, and where rewards and groups are not both [B].
    """
    check_tensors(rewards=rewards, groups=groups)
    if rewards.shape != groups.shape or rewards.dim() != 1:
        raise ValueError(f"rewards and groups must both be [B], got {list(rewards.shape)} and {list(groups.shape)}")
    if not torch.is_floating_point(rewards):
        rewards = rewards.to(torch.get_default_dtype())
    if rewards.isinf().any():
        bad = int(rewards.isinf().nonzero()[0])
        raise ValueError(f"reward of sample {bad} is {rewards[bad].item()}: rewards must be finite, or nan: unscorable")
    scorable = ~rewards.isnan()
    here = (None if x is None else x[scorable] for x in others)
    found = estimate(rewards[scorable], groups_of(groups, scorable), *here)
    return torch.zeros_like(rewards).masked_scatter(scorable, found.to(rewards.dtype))


def standardised(rewards: Float[Tensor, " B"], group: Groups, *, eps: float, ddof: int = 1) -> Float[Tensor, " B"]:
    """(r - mean) / (std + eps). Source: GRPO, arXiv 2402.03300."""
    return group.centred(rewards) / (group.std(rewards, ddof) + eps)


def centred(rewards: Float[Tensor, " B"], group: Groups) -> Float[Tensor, " B"]:
    """r - mean. Source: Dr. GRPO, arXiv 2503.20783."""
    return group.centred(rewards)


def leave_one_out(rewards: Float[Tensor, " B"], group: Groups) -> Float[Tensor, " B"]:
    """r - mean of the others, which is N / (N - 1) (r - mean). 0 in a group of one. Source: RLOO, arXiv 2402.14740."""
    return group.centred(rewards) * group.size / (group.size - 1).clamp(min=1)


def over_mean(rewards: Float[Tensor, " B"], group: Groups, *, eps: float) -> Float[Tensor, " B"]:
    """(r - mean) / (mean + eps), for rewards of 1 and 0. 0 if none is correct. Source: MaxRL, arXiv 2602.02710."""
    return group.centred(rewards) / (group.mean(rewards) + eps)


def signs(rewards: Float[Tensor, " B"], group: Groups, *, right: float, wrong: float) -> Float[Tensor, " B"]:
    """`right` for a correct response, `wrong` for an incorrect one. The group does not matter.

    Source: PSR and NSR, arXiv 2506.01347.
    """
    return torch.where(rewards == 1, torch.full_like(rewards, right), wrong)


def weighted_signs(rewards: Float[Tensor, " B"], group: Groups, *, positive_weight: float) -> Float[Tensor, " B"]:
    """positive_weight for a correct response, -1 for an incorrect one. Source: W-REINFORCE, arXiv 2506.01347."""
    return signs(rewards, group, right=positive_weight, wrong=-1.0)


def none_right(wrong: Float[Tensor, "*B"], n: Float[Tensor, "*B"], k: int) -> Float[Tensor, "*B"]:
    """C(wrong, k) / C(n, k): the share of the k-subsets of n responses that hold none but the `wrong` ones.

    It is 1 at k = 0. It is 0 where wrong < k, and so where n < k.
    """
    share = torch.ones_like(wrong)
    for j in range(k):
        share = share * (wrong - j).clamp(min=0) / (n - j).clamp(min=1)
    return share


def subset_advantages(rewards: Float[Tensor, " B"], group: Groups, *, k: int, eps: float) -> Float[Tensor, " B"]:
    """The mean GRPO advantage (ddof 0) of the k-subsets that hold a response. A subset is correct if any member is.

        R = 1 - C(N - c, k) / C(N, k)       s = sqrt(R (1 - R))
        correct: (1 - R) / (s + eps)        incorrect: (1 - R - C(N - c - 1, k - 1) / C(N - 1, k - 1)) / (s + eps)

    Every response gets 0 if all subsets have the same outcome: if none is correct, or fewer than k are incorrect. At
    k = N that is always so. k = 1 is `standardised` with ddof = 0. A group with fewer than k scored responses gets 0.
    ValueError where fewer than k were drawn. Source: Pass@k Training, arXiv 2508.10751, and its code.
    """
    _check_k(k, group)
    n, correct = group.size.double(), rewards == 1
    incorrect = n - group.total(correct.double())
    failure = none_right(incorrect, n, k)
    scale = (failure * (1 - failure)).sqrt() + eps
    found = torch.where(correct, failure, failure - none_right(incorrect - 1, n - 1, k - 1)) / scale
    return torch.where((failure > 0) & (failure < 1), found, 0.0).to(rewards.dtype)


def pass_at_k_gradient(rewards: Float[Tensor, " B"], group: Groups, *, k: int) -> Float[Tensor, " B"]:
    """Advantages whose mean over the group of A grad log pi estimates the gradient of pass@k without bias.

        correct: k (1 - pass@(k-1) of the other N - 1) = k C(N - c, k - 1) / C(N - 1, k - 1)       incorrect: 0

    This is N times the paper's leave-one-out-minus-one transform, its estimator of least variance: the paper sums over
    the group, and losses here are means. k = N is allowed. At k = 1 nothing is subtracted. A group with fewer than k
    scored responses gets 0. ValueError where fewer than k were drawn. Source: PKPO, arXiv 2505.15201.
    """
    _check_k(k, group)
    n, correct = group.size.double(), rewards == 1
    found = k * none_right(n - group.total(correct.double()), n - 1, k - 1)
    return torch.where(correct, found, 0.0).to(rewards.dtype)


def max_at_k_gradient(rewards: Float[Tensor, " B"], group: Groups, *, k: int) -> Float[Tensor, " B"]:
    """Advantages whose mean over the group of A grad log pi estimates the gradient of E[max of k rewards] without bias.

        A_i = k (E[max of r_i and k - 1 of the others] - E[max of k of the others])

    The expectations are over the subsets of the other N - 1 responses. The second one does not depend on response i: it
    is a baseline. For rewards of 1 and 0 this is

        correct: k (1 - pass@k of the others)        incorrect: k (pass@(k-1) of the others - pass@k of the others)

    which is `pass_at_k_gradient` minus k (pass@k - pass@(k-1)) of the others. k = 1 is `leave_one_out`. Equal rewards
    get 0. A group with k or fewer scored responses gets 0. ValueError where k or fewer were drawn.
    Source: OrderGrad, arXiv 2606.06096, with the maximum as its L-statistic.
    """
    _check_k(k, group, others=True)
    ascending, place = group.ascending(rewards.double())
    # E[max] = highest - integral over t of P(max <= t), and P is constant between neighbouring rewards. Below the m-th
    # gap lie m others of a response above it, and m - 1 of one below it. The gap between equal rewards is 0.
    gap = ascending.diff(dim=1)
    n = (group.index.bincount().double()[:, None] - 1).expand_as(gap)
    m = torch.arange(1.0, ascending.shape[1], dtype=n.dtype, device=n.device).minimum(n)
    if_above = gap * none_right(m, n, k)
    if_below = gap * (none_right(m - 1, n, k) - none_right(m - 1, n, k - 1))
    is_above = torch.ones(ascending.shape[1], gap.shape[1], dtype=torch.bool, device=gap.device).tril(-1)
    found = k * torch.where(is_above, if_above[:, None], if_below[:, None]).sum(-1)
    return found.flatten()[place].to(rewards.dtype)


def best_of_group(
    rewards: Float[Tensor, " B"], group: Groups, *, divide_by_std: bool, eps: float
) -> Float[Tensor, " B"]:
    """For the best response, its reward minus the second highest; 0 for the others.

    A tie for the best gives 0, and so does a group of one. divide_by_std divides by std + eps (ddof 1), as verl's
    grpo_passk does. Source: arXiv 2503.19595.
    """
    best = rewards == group.highest(rewards)
    alone = group.total(best.to(rewards.dtype)) == 1
    second = group.highest(rewards.masked_fill(best, -torch.inf))
    lead = torch.where(best & alone & (group.size > 1), rewards - second, 0.0)
    return lead / (group.std(rewards, 1) + eps) if divide_by_std else lead


def _check_k(k: int, group: Groups, *, others: bool = False) -> None:
    """ValueError if a group was drawn with fewer than k responses, or than k beside each one (others)."""
    needed = k + others
    if (group.drawn < needed).any():
        least = int(group.drawn.min())
        raise ValueError(f"k = {k} needs {needed} responses a prompt, a group has {least}: draw more, or lower k")
