"""Statistics of logits whose vocabulary is split over processes (tensor parallelism), by one all-gather.

Legend: P shards, N positions, V_r columns of this process's shard, K candidates.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from simko.token_stats.choice import default_chunk
from simko.token_stats.chunked import RowStats, gradient_of_logits, load_outputs, row_chunks, save_outputs
from simko.token_stats.eager import LOG_ZERO, TokenStats, top_candidates
from simko.token_stats.head import stats_dtype
from simko.token_stats.stats import as_token_stats, check_temperature, check_tokens

_NO_ID = 2**31 - 1


def vocab_parallel_token_stats(
    logits: Float[Tensor, "*N V_r"],
    tokens: Int[Tensor, "*N"],
    first_id: int,
    *,
    top_k: int,
    temperature: float = 1.0,
    group: Any = None,
) -> TokenStats:
    """token_stats of the concatenated logits of all processes of `group`, the same on each process.

    One all-gather sends 4 + 2K float32 numbers (float64 for float64 logits) per position. The backward pass communicates
    nothing. It assumes, like Megatron, that every process has the same loss of these outputs, and gives each process the
    gradient of its own columns.

    Args:
        logits: [..., V_r], this process's columns.
        tokens: [...], ids of the whole vocabulary, the same on every process. An id that no process has, such as a padding
            label, gets a logp of nan.
        first_id: this process has the ids first_id .. first_id + V_r - 1, which no other process has.
        top_k: the number of candidates K.
        temperature: divides the logits.
        group: the process group; None for the default one.

    ValueError as in token_stats, and for a process without columns.
    """
    check_tokens(tokens, "logits", logits, None)
    if logits.shape[-1] == 0:
        raise ValueError("this process has no columns of the vocabulary: every process of the group needs at least one")
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    check_temperature(temperature)
    rows = logits.reshape(-1, logits.shape[-1])
    stats = _VocabParallelStats.apply(rows, tokens.reshape(-1), first_id, top_k, temperature, group)
    return as_token_stats(tokens, *stats)


def shard_part(
    logits: Float[Tensor, "n V_r"], tokens: Int[Tensor, " n"], first_id: int, top_k: int
) -> Float[Tensor, "n m"]:
    """What a shard sends to the others, [n, 4 + 2K]. Overwrites `logits`.

        m = max z;  s = sum exp(z - m);  t = sum (z - m) exp(z - m);  the token's z or nan;  K values;  K ids

    The bits of the last K floats are int32 ids. The gather copies bits.
    """
    local, width = tokens - first_id, logits.shape[-1]
    here = (local >= 0) & (local < width)
    token_logit = torch.where(here, logits.gather(-1, torch.where(here, local, 0)[:, None])[:, 0], torch.nan)
    ids = top_candidates(logits, min(top_k, width))
    padding = (0, top_k - ids.shape[-1])
    values = torch.nn.functional.pad(logits.gather(-1, ids), padding, value=-torch.inf)
    ids = torch.nn.functional.pad(ids + first_id, padding, value=_NO_ID)
    highest = values[:, 0].clamp(min=torch.finfo(values.dtype).min)  # finite even if all tokens are forbidden
    weights = torch.exp(logits.sub_(highest[:, None]))
    total = weights.sum(-1)
    shifted_sum = weights.mul_(logits.clamp_(min=LOG_ZERO)).sum(-1)
    bits = ids.to(torch.int32 if logits.dtype == torch.float32 else torch.int64).view(logits.dtype)
    return torch.cat([torch.stack([highest, total, shifted_sum, token_logit], -1), values, bits], -1)


def merge_parts(parts: Float[Tensor, "P n m"], top_k: int) -> RowStats:
    """The parts of all shards -> the statistics of the whole rows.

    m = max m_i;  a_i = exp(m_i - m);  s = sum a_i s_i;  t = sum a_i (t_i + (m_i - m) s_i)
    """
    highest, total, shifted_sum, token_logit = parts[..., :4].unbind(-1)
    m = highest.max(0).values
    moved = (highest - m).clamp(min=LOG_ZERO)
    a = moved.exp()
    s, t = (a * total).sum(0), (a * (shifted_sum + moved * total)).sum(0)
    values, bits = parts[..., 4:].transpose(0, 1).split(top_k, -1)
    ids = bits.contiguous().view(torch.int32 if parts.dtype == torch.float32 else torch.int64).flatten(1).long()
    ids, by_id = ids.sort(-1)
    values, order = values.flatten(1).gather(-1, by_id).sort(dim=-1, descending=True, stable=True)
    values, ids = values[:, :top_k], ids.gather(-1, order)[:, :top_k]
    elsewhere = token_logit.isnan()
    token_logit = token_logit.masked_fill(elsewhere & ~elsewhere.all(0), -torch.inf).max(0).values
    logp = token_logit - m - s.log()
    return RowStats(logp, s.log() - t / s, (values - m[:, None]) - s.log()[:, None], ids, m, s)


class _VocabParallelStats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, tokens: Tensor, first_id: int, top_k: int, temperature: float, group: Any
    ) -> Any:
        part = logits.new_empty(len(logits), 4 + 2 * top_k, dtype=stats_dtype(logits.dtype))
        for rows, buffer in row_chunks(logits, logits.shape[-1], default_chunk(logits.device, logits.shape[-1])):
            part[rows] = shard_part(buffer.copy_(logits[rows]).div_(temperature), tokens[rows], first_id, top_k)
        stats = merge_parts(_gather(part, group), top_k)
        if top_k > logits.shape[-1] and (stats.topk_ids == _NO_ID).any():  # on every process or on none
            raise ValueError(f"top_k must be at most the vocabulary of all processes together, got {top_k}")
        ctx.first_id, ctx.temperature = first_id, temperature
        return save_outputs(ctx, stats, logits, tokens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        (logits, tokens), stats, output_gradients = load_outputs(ctx, gradients)
        out, chunk = torch.empty_like(logits), default_chunk(logits.device, logits.shape[-1])
        gradient_of_logits(out, logits, tokens, stats, output_gradients, ctx.temperature, chunk, ctx.first_id)
        return out, *[None] * 5


def _gather(part: Tensor, group: Any) -> Tensor:
    """[n, m] of each process -> [P, n, m]; P is 1 without a process group."""
    if not dist.is_initialized():
        return part[None]
    parts = [torch.empty_like(part) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, part, group=group)
    return torch.stack(parts)
