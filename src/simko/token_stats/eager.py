"""The plain implementation, from the full logits. It is slow and large, and the reference for the faster ones."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from simko.token_stats.head import stats_dtype

LOG_ZERO = -1e4  # its exp is 0 in every float dtype, and its product with 0 is 0, unlike that of -inf


class TokenStats(NamedTuple):
    """The statistics of each token, in nats. Gradients flow through logp, entropy and topk_logp."""

    logp: Float[Tensor, "*N"]
    """log p of the sampled token."""
    entropy: Float[Tensor, "*N"]
    """Of the next-token distribution."""
    topk_logp: Float[Tensor, "*N K"]
    """The K largest log p, descending."""
    topk_ids: Int[Tensor, "*N K"]
    """The ids of these candidates."""
    is_top1: Bool[Tensor, "*N"]
    """Whether the sampled token is the first candidate."""


def eager_token_stats(
    logits: Float[Tensor, "*N V"], tokens: Int[Tensor, "*N"], top_k: int, temperature: float = 1.0
) -> TokenStats:
    """token_stats by a log-softmax of all logits and autograd."""
    logits = logits.to(stats_dtype(logits.dtype)) / temperature
    all_logp = logits.log_softmax(-1)
    ids = top_candidates(logits.detach(), top_k)
    finite = all_logp.clamp(min=LOG_ZERO)
    return TokenStats(
        logp=all_logp.gather(-1, tokens[..., None]).squeeze(-1),
        entropy=-(all_logp.exp() * finite).sum(-1),
        topk_logp=all_logp.gather(-1, ids),
        topk_ids=ids,
        is_top1=ids[..., 0] == tokens,
    )


def top_candidates(logits: Float[Tensor, "*N V"], top_k: int) -> Int[Tensor, "*N K"]:
    """Ids of the K largest logits, descending. Equal logits rank by id, lowest first, which torch.topk does not promise.

    ValueError if top_k is not in 1..V.
    """
    if not 1 <= top_k <= logits.shape[-1]:
        raise ValueError(f"top_k must lie in 1..{logits.shape[-1]} (the vocabulary), got {top_k}")
    values, ids = logits.topk(min(top_k + 1, logits.shape[-1]), dim=-1)
    tied = (values[..., top_k - 1 : top_k] == values[..., top_k:]).any(-1)  # the next one equals the last taken
    values, ids = values[..., :top_k], ids[..., :top_k]
    by_id = ids.argsort(-1)
    order = values.gather(-1, by_id).argsort(dim=-1, descending=True, stable=True)
    ids = ids.gather(-1, by_id).gather(-1, order)
    if tied.any():
        ids[tied] = _break_ties(ids[tied], values[tied], (logits == values[..., -1:])[tied])
    return ids


def _break_ties(ids: Tensor, values: Tensor, equal: Tensor) -> Tensor:
    """ids [n, K] in which those with the K-th value are the lowest ids that have it.

    equal [n, V]: whether a logit has the K-th value. A sort of whole rows would take several times the logits' memory.
    """
    V = equal.shape[-1]
    reversed_ids = torch.arange(V, 0, -1, dtype=torch.int32, device=equal.device)
    lowest = V - torch.where(equal, reversed_ids, 0).topk(ids.shape[-1]).values.long()
    last = values == values[:, -1:]
    return torch.where(last, lowest.gather(-1, (last.cumsum(-1) - 1).clamp(min=0)), ids)
