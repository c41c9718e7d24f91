"""Selections: which tokens of an update batch a method treats differently from the rest.

A selection takes the Tokens of the whole batch and a generator. It returns two [B, T] masks: counted, the tokens that stay
in the denominator, and marked, the tokens that the method's other links use. Tokens are ordered row by row. The result
does not depend on how the batch is later split into micro-batches.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from simko.objectives.surrogate import clipped_tokens, token_ratio
from simko.objectives.tokens import Tokens

Selected = tuple[Bool[Tensor, "B T"], Bool[Tensor, "B T"]]


def top_entropy_tokens(tokens: Tokens, generator: torch.Generator | None, *, top_share: float) -> Selected:
    """The ceil(top_share n) tokens of largest entropy, of n counted tokens. Only they stay counted.

    Among equal entropies the first tokens are taken, so the number is exact. Source: "80/20", arXiv 2506.01939, and its
    code.
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
    """Random tokens with cov_low < covariance < cov_high that PPO does not clip.

    int(cov_share n) of the n counted tokens are drawn, but at least 1, or all eligible tokens if they are fewer. The draw
    depends on the order of the batch. ValueError without a generator, and if cov_low is not less than cov_high.
    Source: Clip-Cov, arXiv 2505.22617, and its code.

    Args:
        tokens: of the whole update batch.
        generator: with the same seed on every process.
        cov_share: share of the counted tokens to draw.
        cov_low: lower bound of the covariance.
        cov_high: upper bound of the covariance.
        clip_low: PPO's lower clip.
        clip_high: PPO's upper clip.
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
    size = _number_of(cov_share, tokens.mask)
    order = torch.randperm(len(eligible), generator=generator, device=generator.device)
    marked = torch.zeros_like(tokens.mask).flatten()
    marked[eligible[order.to(eligible.device)[:size]]] = True
    return tokens.mask, marked.view_as(tokens.mask)


def top_covariant_tokens(tokens: Tokens, generator: torch.Generator | None, *, cov_share: float) -> Selected:
    """The int(cov_share n) tokens of largest covariance, but at least 1. Among equal ones the first are taken.

    Source: KL-Cov, arXiv 2505.22617, and its code.
    """
    return tokens.mask, _largest(covariance(tokens), tokens.mask, _number_of(cov_share, tokens.mask))


def covariance(tokens: Tokens) -> Float[Tensor, "B T"]:
    """(A - mean A) (logp - mean logp), with means over all counted tokens.

    Source: Clip-Cov and KL-Cov, arXiv 2505.22617.
    """
    advantages = tokens.advantages.expand_as(tokens.logp)
    return _centred(advantages, tokens.mask) * _centred(tokens.logp, tokens.mask)


def _centred(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    return x - torch.where(mask, x, 0.0).sum() / mask.sum().clamp(min=1)


def _number_of(share: float, mask: Bool[Tensor, "B T"]) -> int:
    return max(1, int(round(share * int(mask.sum()), 9)))


def _largest(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], size: int) -> Bool[Tensor, "B T"]:
    order = x.masked_fill(~mask, -torch.inf).flatten().sort(descending=True, stable=True).indices
    chosen = torch.zeros_like(mask).flatten()
    chosen[order[:size]] = True
    return chosen.view_as(mask) & mask
