"""The plain rendering: every statistic from the full logits. Slow and large, and the reference for faster ones."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from simko.token_stats.head import wide

NO_PROBABILITY = -1e4  # exp of it is 0 in every float type, and times 0 it is 0, which -inf is not


class TokenStats(NamedTuple):
    """What an objective needs of each token; nats. Gradient flows through logp, entropy and topk_logp."""

    logp: Float[Tensor, "*N"]
    entropy: Float[Tensor, "*N"]
    topk_logp: Float[Tensor, "*N K"]
    topk_ids: Int[Tensor, "*N K"]
    is_top1: Bool[Tensor, "*N"]


def eager_token_stats(
    logits: Float[Tensor, "*N V"], tokens: Int[Tensor, "*N"], top_k: int, temperature: float = 1.0
) -> TokenStats:
    """The reference: token_stats by a log-softmax of all logits and autograd."""
    logits = logits.to(wide(logits.dtype)) / temperature
    all_logp = logits.log_softmax(-1)
    ids = top_candidates(logits.detach(), top_k)
    finite = all_logp.clamp(min=NO_PROBABILITY)
    return TokenStats(
        logp=all_logp.gather(-1, tokens[..., None]).squeeze(-1),
        entropy=-(all_logp.exp() * finite).sum(-1),
        topk_logp=all_logp.gather(-1, ids),
        topk_ids=ids,
        is_top1=ids[..., 0] == tokens,
    )


def top_candidates(logits: Float[Tensor, "*N V"], top_k: int) -> Int[Tensor, "*N K"]:
    """Ids of the K largest logits, descending; equal ones by id, the lowest first, which torch.topk does not promise."""
    if not 1 <= top_k <= logits.shape[-1]:
        raise ValueError(f"top_k must lie in 1..{logits.shape[-1]} (the vocabulary), got {top_k}")
    values, ids = logits.topk(min(top_k + 1, logits.shape[-1]), dim=-1)
    tied = (values[..., top_k - 1 : top_k] == values[..., top_k:]).any(-1)  # the next one equals the last taken
    values, ids = values[..., :top_k], ids[..., :top_k]
    by_id = ids.argsort(-1)
    order = values.gather(-1, by_id).argsort(dim=-1, descending=True, stable=True)
    ids = ids.gather(-1, by_id).gather(-1, order)
    if tied.any():
        ids[tied] = _lowest_ids_of_the_last(ids[tied], values[tied], (logits == values[..., -1:])[tied])
    return ids


def _lowest_ids_of_the_last(ids: Tensor, values: Tensor, equal: Tensor) -> Tensor:
    """ids [n, K] with those whose value is the K-th one's replaced by the lowest that have it; equal [n, V]: who does.

    Not by a sort of whole rows, which takes memory of several times the logits'.
    """
    V = equal.shape[-1]
    from_the_end = torch.arange(V, 0, -1, dtype=torch.int32, device=equal.device)  # the lower an id, the higher
    lowest = V - torch.where(equal, from_the_end, 0).topk(ids.shape[-1]).values.long()
    last = values == values[:, -1:]
    return torch.where(last, lowest.gather(-1, (last.cumsum(-1) - 1).clamp(min=0)), ids)
