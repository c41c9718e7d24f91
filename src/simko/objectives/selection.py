"""Which tokens of a whole update batch a method treats apart.

Each takes the Tokens of the batch and a generator, and answers two [B, T] masks: counted, the tokens that stay in the
denominator, and marked, those that the method's other links look for. The order of tokens is row by row. How the batch
is split into micro-batches later makes no difference.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from simko.objectives.surrogate import clipped_tokens, token_ratio
from simko.objectives.tokens import Tokens

Selected = tuple[Bool[Tensor, "B T"], Bool[Tensor, "B T"]]


def top_entropy_tokens(tokens: Tokens, generator: torch.Generator | None, *, top_share: float) -> Selected:
    """The ceil(top_share n) tokens of largest entropy among the n counted ones; only they stay counted.

    Exactly as many, equal entropies in order of tokens. Source: "80/20", arXiv 2506.01939, and its code.
    """
    n = int(tokens.mask.sum())
    chosen = _largest(tokens.entropy, tokens.mask, math.ceil(round(top_share * n, 9)))  # 0.07 x 100 is 7.000...01
    return chosen, chosen


def random_covariant_tokens(
    tokens: Tokens,
    generator: torch.Generator | None,
    *,
    cov_share: float,
    cov_low: float,
    cov_high: float,
    clip_low: float,
    clip_high: float,
) -> Selected:
    """A random set of the tokens with cov_low < covariance < cov_high that PPO does not clip.

    Its size is int(cov_share n) of the n counted tokens, at least 1, at most what there is. The draw depends on the
    order of the batch. ValueError without a generator. Source: Clip-Cov, arXiv 2505.22617, and its code.
    """
    if generator is None:
        raise ValueError("this selection draws tokens at random: give a torch.Generator, seeded alike on every process")
    if not cov_low < cov_high:
        raise ValueError(f"cov_low must be less than cov_high, got {cov_low} and {cov_high}")
    clipped = clipped_tokens(
        token_ratio(tokens.logp, tokens.old_logp, tokens.mask), tokens.advantages, clip_low, clip_high
    )
    cov = covariance(tokens)
    eligible = (tokens.mask & ~clipped & (cov > cov_low) & (cov < cov_high)).flatten().nonzero().squeeze(1)
    size = _share_of(cov_share, tokens.mask)
    order = torch.randperm(len(eligible), generator=generator, device=generator.device)
    marked = torch.zeros_like(tokens.mask).flatten()
    marked[eligible[order.to(eligible.device)[:size]]] = True
    return tokens.mask, marked.view_as(tokens.mask)


def top_covariant_tokens(tokens: Tokens, generator: torch.Generator | None, *, cov_share: float) -> Selected:
    """The int(cov_share n) tokens of largest covariance, at least 1, equal ones in order of tokens.

    Source: KL-Cov, arXiv 2505.22617, and its code.
    """
    return tokens.mask, _largest(covariance(tokens), tokens.mask, _share_of(cov_share, tokens.mask))


def covariance(tokens: Tokens) -> Float[Tensor, "B T"]:
    """(A - mean A) (logp - mean logp), means over all counted tokens. Source: Clip-Cov and KL-Cov, arXiv 2505.22617."""
    advantages = tokens.advantages.expand_as(tokens.logp)
    return _centred(advantages, tokens.mask) * _centred(tokens.logp, tokens.mask)


def _centred(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    return x - torch.where(mask, x, 0.0).sum() / mask.sum().clamp(min=1)


def _share_of(share: float, mask: Bool[Tensor, "B T"]) -> int:
    return max(1, int(round(share * int(mask.sum()), 9)))


def _largest(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], size: int) -> Bool[Tensor, "B T"]:
    order = x.masked_fill(~mask, -torch.inf).flatten().sort(descending=True, stable=True).indices
    chosen = torch.zeros_like(mask).flatten()
    chosen[order[:size]] = True
    return chosen.view_as(mask) & mask
