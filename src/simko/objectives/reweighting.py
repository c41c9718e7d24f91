"""What changes a reward before the estimator, or an advantage after it, by the group or by how likely a response was.

Each takes rewards of 1 (right) and 0 (wrong), Groups, and mean_logp [B]: the mean over a response's counted tokens of
log pi_old, in nats, without gradient. N responses in the group, c of them right.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from simko.objectives.groups import Groups

LEAST_SHARE = 1e-6  # where UCPO's code clamps q


def mean_over_response(x: Float[Tensor, "B T"], mask: Shaped[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """Mean of x over each response's counted tokens, without gradient; 0 for a response without any."""
    counted = mask != 0
    return x.detach().masked_fill(~counted, 0.0).sum(-1) / counted.sum(-1).clamp(min=1)


def unlikely_rewards(
    rewards: Float[Tensor, " B"], group: Groups, mean_logp: Float[Tensor, " B"], *, rank_penalty: float
) -> Float[Tensor, " B"]:
    """r (1 - rank_penalty rank / N), rank 0 .. N - 1 from the least to the most likely response of the group.

    Equally likely responses share the mean of their ranks, so that the order of the batch does not matter.
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
    """A (1 - c / N)^focal_exponent: easy prompts count less. Source: F-GRPO, arXiv 2602.06717."""
    return advantages * (1 - group.mean(rewards)) ** focal_exponent


def uniform_over_right(
    advantages: Float[Tensor, " B"],
    rewards: Float[Tensor, " B"],
    group: Groups,
    mean_logp: Float[Tensor, " B"],
    *,
    tau: float,
) -> Float[Tensor, " B"]:
    """A [(1 - tau) + tau c (1 / q) / sum(1 / q)] for the right responses of a group: A itself where there is but one.

    q: softmax of mean_logp over the group's right responses, clamped at 1e-6. The right responses' advantages keep
    their sum. Source: UCPO, arXiv 2605.00365, and its code.
    """
    right = rewards == 1
    most = group.highest(mean_logp.masked_fill(~right, -torch.inf))
    weight = torch.where(right, (mean_logp - most).exp(), 0.0)
    q = (weight / torch.where(right, group.total(weight), 1.0)).clamp(min=LEAST_SHARE)
    inverse = torch.where(right, 1 / q, 0.0)
    count = group.total(right.to(advantages.dtype))
    factor = 1 - tau + tau * count * inverse / torch.where(right, group.total(inverse), 1.0)
    return torch.where(right, advantages * factor, advantages)


def differential_smoothing(
    advantages: Float[Tensor, " B"],
    rewards: Float[Tensor, " B"],
    group: Groups,
    mean_logp: Float[Tensor, " B"],
    *,
    gamma_right: float,
    gamma_wrong: float,
) -> Float[Tensor, " B"]:
    """Right: A - gamma_right mean_logp; wrong: A + gamma_wrong mean_logp. Never 0 as such, not even in a group of one.

    Source: DS-GRPO, arXiv 2511.19942, in the form of the code of a shared author (tajwarfahim/maxrl).
    """
    return advantages + torch.where(rewards == 1, -gamma_right * mean_logp, gamma_wrong * mean_logp)
