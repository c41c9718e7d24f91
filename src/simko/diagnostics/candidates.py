"""What the first candidates of a next-token distribution say: ranks, how many tokens K draws show, the candidate matrix.

Legend: T tokens, V vocabulary, K candidates, D numbers of draws.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def sampled_rank(logp: Float[Tensor, "*N"], topk_logp: Float[Tensor, "*N K"]) -> Int[Tensor, "*N"]:
    """1 + the number of candidates that are more likely than the sampled token.

    K + 1 says that the token is not among the K candidates. Tokens of equal probability share the better rank.

    Args:
        logp: [...], of the sampled tokens, nats.
        topk_logp: [..., K], of the K most likely tokens, nats.
    """
    return 1 + (topk_logp > logp[..., None]).sum(-1)


def expected_distinct(logp: Float[Tensor, "*N V"], draws: Sequence[int]) -> Float[Tensor, "*N D"]:
    """How many distinct next tokens K independent draws from one distribution show, in expectation.

        sum_v 1 - (1 - p_v)^K        K in `draws`

    It is 1 for K = 1 and goes to 1 for every K as the probability of the first candidate goes to 1: SimKO's collapse
    proposition (arXiv 2510.14807).

    Args:
        logp: [..., V], the whole distribution, nats.
        draws: the numbers of draws, at least 1.
    """
    p = logp.exp()
    return torch.stack([_seen(p, k).sum(-1) for k in draws], -1)


class DistinctBounds(NamedTuple):
    """Bounds of expected_distinct."""

    low: Float[Tensor, "*N D"]
    """The least."""
    high: Float[Tensor, "*N D"]
    """The most."""


def distinct_bounds(topk_logp: Float[Tensor, "*N K"], draws: Sequence[int]) -> DistinctBounds:
    """The sharpest bounds of expected_distinct that follow from the K most likely tokens alone.

    The rest m = 1 - sum_n p_n lies on tokens of at most p_K each. 1 - (1 - p)^k is concave in p, so the rest shows fewest
    tokens where it is gathered on as few as possible, and most, k m, where it is spread over infinitely many.

    Args:
        topk_logp: [..., K], nats.
        draws: the numbers of draws, at least 1.
    """
    p = topk_logp.exp()
    rest, last = (1 - p.sum(-1)).clamp(min=0), p[..., -1]
    full = (rest / last.clamp(min=torch.finfo(p.dtype).tiny)).floor()
    lows, highs = [], []
    for k in draws:
        known = _seen(p, k).sum(-1)
        gathered = full * _seen(last, k) + _seen((rest - full * last).clamp(min=0), k)
        lows.append(known + torch.minimum(gathered, k * rest))
        highs.append(known + k * rest)
    return DistinctBounds(torch.stack(lows, -1), torch.stack(highs, -1))


def _seen(p: Tensor, k: int) -> Tensor:
    """1 - (1 - p)^k, exact for small p too."""
    if k < 1:
        raise ValueError(f"draws must be at least 1, got {k}")
    return -torch.expm1(k * torch.log1p(-p.clamp(max=1)))


class CandidateMatrix(NamedTuple):
    """The candidates of each token of a segment, as in the paper's matrices of candidates."""

    probability: Float[Tensor, "T K"]
    """Of each candidate, by rank."""
    shown: Bool[Tensor, "T K"]
    """The first candidates that together reach the mass."""
    rest: Float[Tensor, " T"]
    """The probability of all tokens that are not shown."""
    sampled: Int[Tensor, " T"]
    """The column of the sampled token, -1 if it is not shown."""


def candidate_matrix(
    tokens: Int[Tensor, " T"],
    topk_logp: Float[Tensor, "T K"],
    topk_ids: Int[Tensor, "T K"],
    *,
    mass: float = 0.95,
) -> CandidateMatrix:
    """The candidates of a segment until they reach `mass`, with the sampled path.

        shown[t, n] = sum_{m < n} p_m < mass

    Args:
        tokens: [T], the sampled ids.
        topk_logp: [T, K], nats, descending.
        topk_ids: [T, K].
        mass: in (0, 1]. Where K candidates do not reach it, all K are shown.

    ValueError for another mass.
    """
    if not 0 < mass <= 1:
        raise ValueError(f"mass must lie in (0, 1], got {mass}")
    p = topk_logp.exp()
    shown = p.cumsum(-1) - p < mass
    shown[..., 0] = True
    at = (topk_ids == tokens[:, None]) & shown
    sampled = torch.where(at.any(-1), at.int().argmax(-1), -1)
    return CandidateMatrix(p, shown, (1 - (p * shown).sum(-1)).clamp(min=0), sampled)
