"""Importance ratios, and surrogates: the loss of each token from its ratio and advantage.

A method's surrogate takes ratio, log-probability and advantages. It returns the loss of each token, and a mask of the
tokens at which the clip acted.
"""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


def token_ratio(
    logp: Float[Tensor, "B T"], old_logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """exp(logp - old_logp) for each token."""
    return (logp - old_logp).exp()


def sequence_ratio(
    logp: Float[Tensor, "B T"], old_logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """exp(mean of logp - old_logp over the response's counted tokens), the same at each of its tokens.

    Source: GSPO, arXiv 2507.18071.
    """
    log_ratio = torch.where(mask, logp - old_logp, 0.0).sum(-1, keepdim=True)
    return (log_ratio / mask.sum(-1, keepdim=True).clamp(min=1)).exp().expand_as(logp)


def clipped_surrogate(
    ratio: Float[Tensor, "B T"], advantages: Shaped[Tensor, "#B #T"], clip_low: float, clip_high: float
) -> Float[Tensor, "B T"]:
    """PPO's clipped surrogate as a loss: -min(ratio A, clip(ratio, 1 - clip_low, 1 + clip_high) A).

    There is no gradient where the clipped term is the smaller one. Source: arXiv 1707.06347, equation 7.
    """
    return -torch.min(ratio * advantages, ratio.clamp(1 - clip_low, 1 + clip_high) * advantages)


def clipped_tokens(
    ratio: Float[Tensor, "B T"], advantages: Shaped[Tensor, "#B #T"], clip_low: float, clip_high: float
) -> Bool[Tensor, "B T"]:
    """The tokens at which clipped_surrogate has no gradient because of its clip."""
    return ((ratio < 1 - clip_low) & (advantages < 0)) | ((ratio > 1 + clip_high) & (advantages > 0))


def clip_ratio(
    ratio: Float[Tensor, "B T"],
    logp: Float[Tensor, "B T"],
    advantages: Shaped[Tensor, "#B #T"],
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """clipped_surrogate and clipped_tokens, as a method's surrogate.

    Args:
        ratio: [B, T].
        logp: not used.
        advantages: per response [B, 1] or per token [B, T].
        clip_low: the ratio is at least 1 - clip_low.
        clip_high: the ratio is at most 1 + clip_high.
    """
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
    """-sg(min(ratio, ratio_cap)) A logp, and the tokens at which the cap acted. Every token keeps a gradient.

    Source: CISPO, arXiv 2506.13585, equations 4 and 5.
    """
    return -ratio.detach().clamp(max=ratio_cap) * advantages * logp, ratio > ratio_cap


def no_clip(
    ratio: Float[Tensor, "B T"], logp: Float[Tensor, "B T"], advantages: Shaped[Tensor, "#B #T"]
) -> tuple[Float[Tensor, "B T"], None]:
    """-ratio A, and None: nothing is clipped."""
    return -ratio * advantages, None
