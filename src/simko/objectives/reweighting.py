"""Links that change rewards before the estimator, or advantages after it.

They depend on the group's rewards, or on how likely a response was. Rewards are 1 (correct) and 0 (incorrect).
mean_logp [B] is the mean of log pi_old over a response's counted tokens, in nats, without gradient. N responses are in a
group, c of them correct.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from simko.objectives.groups import Groups

LEAST_SHARE = 1e-6  # UCPO's code clamps q here


def mean_over_response(x: Float[Tensor, "B T"], mask: Shaped[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """Mean of x over each response's counted tokens, without gradient. 0 for a response that has none."""
    counted = mask != 0
    return x.detach().masked_fill(~counted, 0.0).sum(-1) / counted.sum(-1).clamp(min=1)


def unlikely_rewards(
    rewards: Float[Tensor, " B"], group: Groups, mean_logp: Float[Tensor, " B"], *, rank_penalty: float
) -> Float[Tensor, " B"]:
    """r (1 - rank_penalty rank / N), with rank 0 for the least likely response of the group and N - 1 for the most likely.

    Equally likely responses get the mean of their ranks, so that the order of the batch does not matter.
    Source: arXiv 2506.02355.
    """
    same = group.index[:, None] == group.index
    below = (same & (mean_logp < mean_logp[:, None])).sum(1)
    level = (same & (mean_logp == mean_logp[:, None])).sum(1)
    rank = below + (level - 1) / 2
    return rewards * (1 - rank_penalty * rank.to(rewards.dtype) / group.size)


def focal(
    advantages: Float[Tensor, " B"],
    rewards: Float[Tensor, " B"],
    group: Groups,
    mean_logp: Float[Tensor, " B"] | None,
    *,
    focal_exponent: float,
) -> Float[Tensor, " B"]:
    """A (1 - c / N)^focal_exponent: easy prompts count less. Source: F-GRPO, arXiv 2602.06717.

    Args:
        advantages: A, [B].
        rewards: [B], 1 or 0.
        group: the groups of the B responses.
        mean_logp: not used.
        focal_exponent: 0 leaves the advantages as they are.
    """
    return advantages * (1 - group.mean(rewards)) ** focal_exponent


def uniform_over_right(
    advantages: Float[Tensor, " B"],
    rewards: Float[Tensor, " B"],
    group: Groups,
    mean_logp: Float[Tensor, " B"],
    *,
    tau: float,
) -> Float[Tensor, " B"]:
    """A [(1 - tau) + tau c (1 / q) / sum(1 / q)] for correct responses, A for incorrect ones.

    q is the softmax of mean_logp over the group's correct responses, clamped from below at 1e-6. The sum of their
    advantages stays the same, so a single correct response keeps its own. Source: UCPO, arXiv 2605.00365, and its code.

    Args:
        advantages: A, [B].
        rewards: [B], 1 or 0.
        group: the groups of the B responses.
        mean_logp: [B], nats.
        tau: 0 leaves the advantages as they are; 1 makes those of correct responses proportional to 1 / q.
    """
    correct = rewards == 1
    most = group.highest(mean_logp.masked_fill(~correct, -torch.inf))
    weight = torch.where(correct, (mean_logp - most).exp(), 0.0)
    q = (weight / torch.where(correct, group.total(weight), 1.0)).clamp(min=LEAST_SHARE)
    inverse = torch.where(correct, 1 / q, 0.0)
    count = group.total(correct.to(advantages.dtype))
    factor = 1 - tau + tau * count * inverse / torch.where(correct, group.total(inverse), 1.0)
    return torch.where(correct, advantages * factor, advantages)


def differential_smoothing(
    advantages: Float[Tensor, " B"],
    rewards: Float[Tensor, " B"],
    group: Groups,
    mean_logp: Float[Tensor, " B"],
    *,
    gamma_right: float,
    gamma_wrong: float,
) -> Float[Tensor, " B"]:
    """A - gamma_right mean_logp for correct responses, A + gamma_wrong mean_logp for incorrect ones.

    Where A is 0 the second term remains, as in a group of one. Source: DS-GRPO, arXiv 2511.19942, as written in the code
    of one of its authors (tajwarfahim/maxrl).

    Args:
        advantages: A, [B].
        rewards: [B], 1 or 0.
        group: not used.
        mean_logp: [B], nats.
        gamma_right: weight of the term for correct responses.
        gamma_wrong: weight of the term for incorrect responses.
    """
    return advantages + torch.where(rewards == 1, -gamma_right * mean_logp, gamma_wrong * mean_logp)
