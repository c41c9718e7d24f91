"""Importance ratio and advantage -> loss a token."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor


def clipped_surrogate(
    ratio: Float[Tensor, "B T"], advantages: Shaped[Tensor, "#B #T"], clip_low: float, clip_high: float
) -> Float[Tensor, "B T"]:
    """PPO's pessimistic surrogate as a loss: -min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A).

    Source: arXiv 1707.06347, equation 7. No gradient where the clipped branch is the smaller one.
    """
    return -torch.min(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)
