"""The plain rendering: every statistic from the full logits. Slow and large, and the reference for faster ones."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class TokenStats(NamedTuple):
    """What an objective needs of each token; nats. Gradient flows through logp, entropy and topk_logp."""

    logp: Float[Tensor, "*N"]
    entropy: Float[Tensor, "*N"]
    topk_logp: Float[Tensor, "*N K"]
    topk_ids: Int[Tensor, "*N K"]
    is_top1: Bool[Tensor, "*N"]


def token_stats(
    logits: Float[Tensor, "*N V"], tokens: Int[Tensor, "*N"], *, top_k: int, temperature: float = 1.0
) -> TokenStats:
    """Log-probability, entropy and top-K candidates of softmax(logits / temperature) at each position.

        logp = log p_y;  entropy = -sum_v p_v log p_v (0 log 0 = 0);  topk_logp = the K largest log p_v, descending;
        is_top1 = (y is topk_ids[0])

    logits [..., V] of any float type, worked in float32 or better; tokens [...]: the sampled ids. Equal logits rank
    by id, the lowest first. ValueError where top_k is not in 1..V, temperature not positive, or shapes differ.
    """
    if tokens.shape != logits.shape[:-1]:
        raise ValueError(
            f"tokens {list(tokens.shape)} must have the shape of logits {list(logits.shape)} less the last"
        )
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    all_logp = logits.log_softmax(-1)
    ids = top_candidates(logits.detach(), top_k)
    finite = torch.where(all_logp == -torch.inf, 0.0, all_logp)
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
    values, ids = logits.topk(top_k, dim=-1)
    by_id = ids.argsort(-1)
    values, ids = values.gather(-1, by_id), ids.gather(-1, by_id)
    ids = ids.gather(-1, values.argsort(dim=-1, descending=True, stable=True))
    tied = (logits >= values.min(-1, keepdim=True).values).sum(-1) > top_k
    if tied.any():
        ids[tied] = logits[tied].sort(dim=-1, descending=True, stable=True).indices[..., :top_k]
    return ids
