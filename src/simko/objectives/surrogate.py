"""Importance ratio and advantage -> loss a token.

The links of a method take the ratio, the log-probability and the advantages, and return the loss with the tokens at
which the clip acted.
"""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


def token_ratio(
    logp: Float[Tensor, "B T"], old_logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """exp(logp - old_logp), token by token."""
    return (logp - old_logp).exp()


def sequence_ratio(
    logp: Float[Tensor, "B T"], old_logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """exp(mean over the response's counted tokens of logp - old_logp), the same at each token.

    Source: GSPO, arXiv 2507.18071.
    """
    log_ratio = torch.where(mask, logp - old_logp, 0.0).sum(-1, keepdim=True)
    return (log_ratio / mask.sum(-1, keepdim=True).clamp(min=1)).exp().expand_as(logp)


def clipped_surrogate(
    ratio: Float[Tensor, "B T"], advantages: Shaped[Tensor, "#B #T"], clip_low: float, clip_high: float
) -> Float[Tensor, "B T"]:
    """PPO's pessimistic surrogate as a loss: -min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A).

    Source: arXiv 1707.06347, equation 7. No gradient where the clipped branch is the smaller one.
    """
    return -torch.min(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)


def clipped_tokens(
    ratio: Float[Tensor, "B T"], advantages: Shaped[Tensor, "#B #T"], clip_low: float, clip_high: float
) -> Bool[Tensor, "B T"]:
    """Where clipped_surrogate has no gradient."""
    return ((ratio < 1 - clip_low) & (advantages < 0)) | ((ratio > 1 + clip_high) & (advantages > 0))


def clip_ratio(
    ratio: Float[Tensor, "B T"],
    logp: Float[Tensor, "B T"],
    advantages: Shaped[Tensor, "#B #T"],
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """clipped_surrogate and clipped_tokens."""
    return (
        clipped_surrogate(ratio, advantages, clip_low, clip_high),
        clipped_tokens(ratio, advantages, clip_low, clip_high),
    )


def cap_weight(
    ratio: Float[Tensor, "B T"],
    logp: Float[Tensor, "B T"],
    advantages: Shaped[Tensor, "#B #T"],
    *,
    ratio_cap: float,
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """-sg(min(ratio, ratio_cap)) A logp, and where the cap acted: every token keeps a gradient.

    Source: CISPO, arXiv 2506.13585, equations 4 and 5.
    """
    return -ratio.detach().clamp(max=ratio_cap) * advantages * logp, ratio > ratio_cap


def no_clip(
    ratio: Float[Tensor, "B T"], logp: Float[Tensor, "B T"], advantages: Shaped[Tensor, "#B #T"]
) -> tuple[Float[Tensor, "B T"], None]:
    """-ratio A."""
    return -ratio * advantages, None
