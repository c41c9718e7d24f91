"""Rewards of a group of responses to one prompt -> one advantage a response."""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


def group_advantages(
    rewards: Shaped[Tensor, " B"], groups: Int[Tensor, " B"], *, eps: float = 1e-6
) -> Float[Tensor, " B"]:
    """Group-relative advantages of GRPO (arXiv 2402.03300).

        A_i = (r_i - mean(r)) / (std(r) + eps)      over the responses of i's group, std with ddof = 1

    rewards [B]; groups [B]: integers, equal for responses to the same prompt, in any order; eps: 1e-6 in verl and in
    the SimKO authors' code, 1e-4 in TRL. A group of one, or of equal rewards, gets 0.
    """
    if not torch.is_floating_point(rewards):
        rewards = rewards.to(torch.get_default_dtype())
    if not torch.isfinite(rewards).all():
        bad = int((~torch.isfinite(rewards)).nonzero()[0])
        raise ValueError(f"reward of sample {bad} is {rewards[bad].item()}: rewards must be finite")
    index = torch.unique(groups, return_inverse=True)[1]
    zeros = rewards.new_zeros(int(index.max()) + 1 if len(index) else 0)
    size = zeros.index_add(0, index, torch.ones_like(rewards))
    mean = zeros.index_add(0, index, rewards) / size
    centred = rewards - mean[index]
    variance = zeros.index_add(0, index, centred**2) / (size - 1).clamp(min=1)
    high = zeros.scatter_reduce(0, index, rewards, "amax", include_self=False)
    low = zeros.scatter_reduce(0, index, rewards, "amin", include_self=False)
    # the mean of equal rewards may be off by a rounding error, which the division by eps would blow up
    return torch.where((high == low)[index], 0.0, centred / (variance.sqrt()[index] + eps))
