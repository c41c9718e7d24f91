"""Statistics a few rows at a time, so that no more than a few tensors of `chunk` x V are held beside the inputs.

Legend: N positions, n rows of a chunk, V vocabulary, d hidden size, K candidates.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from simko.token_stats.eager import NO_PROBABILITY, top_candidates
from simko.token_stats.head import Head, LogitTransform, wide, without_autocast


class RowStats(NamedTuple):
    """Of n rows: logp, entropy [n]; topk_logp, topk_ids [n, K]; the largest logit m and sum exp(z - m) [n].

    m and the sum stay apart: log Z in one float32 number loses three digits at an offset of 1,000.
    """

    logp: Tensor
    entropy: Tensor
    topk_logp: Tensor
    topk_ids: Tensor
    highest: Tensor
    total: Tensor

    def at(self, rows: slice) -> "RowStats":
        return RowStats(*(x[rows] for x in self))


class OutputGradients(NamedTuple):
    """d loss / d logp [n], d entropy [n] or None where the loss has none, d topk_logp [n, K]."""

    logp: Tensor
    entropy: Tensor | None
    topk_logp: Tensor

    def at(self, rows: slice) -> "OutputGradients":
        return OutputGradients(*(None if x is None else x[rows].contiguous() for x in self))  # type: ignore[arg-type]


def row_stats_(logits: Float[Tensor, "n V"], tokens: Int[Tensor, " n"], top_k: int) -> RowStats:
    """Statistics of softmax(logits); overwrites `logits`.

    m = max z;  s = sum exp(z - m);  log p = z - m - log s;  entropy = log s - sum (z - m) exp(z - m) / s
    """
    ids = top_candidates(logits, top_k)
    looked_up = logits.gather(-1, torch.cat([tokens[:, None], ids], -1))
    highest = looked_up[:, 1].clone()  # the first candidate
    shifted = logits.sub_(highest[:, None])
    weights = torch.exp(shifted)
    total = weights.sum(-1)
    mean = weights.mul_(shifted.clamp_(min=NO_PROBABILITY)).sum(-1) / total  # 0 x -inf is 0
    logp = (looked_up - highest[:, None]) - total.log()[:, None]
    return RowStats(logp[:, 0], total.log() - mean, logp[:, 1:], ids, highest, total)


def logit_gradient_(
    logits: Float[Tensor, "n V"],
    stats: RowStats,
    tokens: Int[Tensor, " n"],
    gradients: OutputGradients,
    first_id: int = 0,
) -> Tensor:
    """d loss / d logits, over `logits`, from the gradients of the outputs; logits[:, 0] is that of `first_id`.

    dz = g_logp onehot_y + sum_k g_k onehot_k - p (G + g_H (log p + H)),   G = g_logp + sum_k g_k
    """
    g_logp, g_entropy, g_topk = gradients
    every = g_logp + g_topk.sum(-1)
    shifted = logits.sub_(stats.highest[:, None])
    if g_entropy is None:
        gradient = shifted.exp_().mul_((-every / stats.total)[:, None])
    else:  # log p + H = (z - m) + (H - log s), and p = exp(z - m) / s
        weights = torch.exp(shifted)
        constant = every + g_entropy * (stats.entropy - stats.total.log())
        shifted.clamp_(min=NO_PROBABILITY)
        scaled = (-1 / stats.total)[:, None]
        gradient = shifted.mul_(g_entropy[:, None] * scaled).add_(constant[:, None] * scaled).mul_(weights)
    chosen = torch.cat([tokens[:, None], stats.topk_ids], -1) - first_id
    g_chosen = torch.cat([g_logp[:, None], g_topk], -1)
    inside = (chosen >= 0) & (chosen < logits.shape[-1])
    return gradient.scatter_add_(-1, torch.where(inside, chosen, 0), torch.where(inside, g_chosen, 0.0))


def row_chunks(like: Tensor, width: int, chunk: int) -> Iterator[tuple[slice, Tensor]]:
    """Ranges of the rows of `like`, each with a buffer for its [n, width] logits, float32 or wider."""
    chunk = min(chunk, len(like))
    buffer = torch.empty(chunk, width, dtype=wide(like.dtype), device=like.device)
    for start in range(0, len(like), max(chunk, 1)):
        rows = slice(start, min(start + chunk, len(like)))
        yield rows, buffer[: rows.stop - start]


def room_to_store(stored: list[Tensor], tile: int, logits: Tensor, store_bytes: int) -> bool:
    """Whether the logits of tile number `tile` fit beside those stored so far; none do after the first that does not."""
    return tile == len(stored) and sum(x.nbytes for x in stored) + logits.nbytes <= store_bytes


def _empty_stats(positions: int, top_k: int, like: Tensor) -> RowStats:
    dtype = wide(like.dtype)
    logp, entropy, highest, total = torch.empty(4, positions, dtype=dtype, device=like.device).unbind()
    topk_logp = torch.empty(positions, top_k, dtype=dtype, device=like.device)
    return RowStats(logp, entropy, topk_logp, torch.empty_like(topk_logp, dtype=torch.long), highest, total)


def keep(ctx: Any, stats: RowStats, *tensors: Tensor | None) -> tuple[Tensor, ...]:
    """The end of a forward pass: its outputs logp, entropy, topk_logp, topk_ids; `kept` has the rest."""
    ctx.save_for_backward(*tensors, *stats)
    ctx.mark_non_differentiable(stats.topk_ids)
    ctx.set_materialize_grads(False)
    return stats[:4]


def kept(ctx: Any, gradients: tuple) -> tuple[tuple, RowStats, OutputGradients]:
    """The start of a backward pass: the tensors and statistics of `keep`, and the outputs' gradients."""
    saved, n = ctx.saved_tensors, len(RowStats._fields)  # asked for once: activation checkpointing allows no more
    tensors, stats = saved[:-n], RowStats(*saved[-n:])
    g_logp, g_entropy, g_topk, _ = gradients
    g_logp = torch.zeros_like(stats.logp) if g_logp is None else g_logp
    g_topk = torch.zeros_like(stats.topk_logp) if g_topk is None else g_topk
    return tensors, stats, OutputGradients(g_logp, g_entropy, g_topk)


def gradient_of_logits(
    out: Tensor, logits: Tensor, tokens: Tensor, stats: RowStats, gradients: OutputGradients,
    temperature: float, chunk: int, first_id: int = 0,
) -> Tensor:  # fmt: skip
    """logit_gradient_ of logits [N, V] before their temperature, a chunk at a time into `out`, which may be `logits`."""
    for rows, buffer in row_chunks(logits, logits.shape[-1], chunk):
        z = buffer.copy_(logits[rows]).div_(temperature)
        dz = logit_gradient_(z, stats.at(rows), tokens[rows], gradients.at(rows), first_id)
        out[rows] = dz.div_(temperature).to(out.dtype)
    return out


class ChunkedHeadStats(torch.autograd.Function):
    """(hidden [N, d], weight [V, d], bias [V] or None) -> logp, entropy, topk_logp, topk_ids; logits are made anew in
    the backward pass, but for those that `store_bytes` hold. The weight's gradient is summed in float32 or wider."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Any, tokens: Tensor, top_k: int, transform: LogitTransform,
        chunk: int, store_bytes: int,
    ) -> Any:  # fmt: skip
        head = Head(weight, bias).for_products(hidden)
        stats, stored = _empty_stats(len(hidden), top_k, hidden), list[Tensor]()
        for i, (rows, buffer) in enumerate(row_chunks(hidden, len(weight), chunk)):
            logits = transform.apply_(head.project(hidden[rows], buffer))
            if room_to_store(stored, i, logits, store_bytes):
                stored.append(logits.clone())
            for whole, part in zip(stats, row_stats_(logits, tokens[rows], top_k), strict=True):
                whole[rows] = part
        ctx.transform, ctx.chunk = transform, chunk
        return keep(ctx, stats, hidden, weight, bias, tokens, *stored)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        (hidden, weight, bias, tokens, *stored), stats, given = kept(ctx, gradients)
        head, transform, wants = Head(weight, bias).for_products(hidden), ctx.transform, ctx.needs_input_grad
        d_hidden = torch.empty_like(hidden) if wants[0] else None
        d_weight = torch.zeros_like(weight, dtype=stats.logp.dtype) if wants[1] else None
        d_bias = torch.zeros_like(bias, dtype=stats.logp.dtype) if wants[2] else None
        for i, (rows, buffer) in enumerate(row_chunks(hidden, len(weight), ctx.chunk)):
            if i < len(stored):
                logits = buffer.copy_(stored[i])
            else:
                logits = transform.apply_(head.project(hidden[rows], buffer))
            capped = logits.clone() if transform.softcap is not None else logits
            dz = logit_gradient_(logits, stats.at(rows), tokens[rows], given.at(rows))
            dx = transform.chain_(dz, capped)
            if d_bias is not None:
                d_bias += dx.sum(0)
            dx = dx.to(head.weight.dtype)  # half precision on a GPU, as in every mixed-precision backward pass
            if d_hidden is not None:
                d_hidden[rows] = product(dx, head.weight)
            if d_weight is not None:
                add_product(d_weight, dx.t(), hidden[rows].to(dx.dtype))
        return *in_types((d_hidden, d_weight, d_bias), (hidden, weight, bias)), *[None] * 5


def in_types(gradients: tuple, inputs: tuple) -> tuple:
    """Each gradient in the type of its input; None stays None."""
    return tuple(None if g is None else g.to(x.dtype) for g, x in zip(gradients, inputs, strict=True))


def product(a: Tensor, b: Tensor) -> Tensor:
    """a b in the factors' own type, under autocast too."""
    with without_autocast(a):
        return a @ b


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b, never rounded to half precision."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)


class ChunkedLogitStats(torch.autograd.Function):
    """logits [N, V] -> the same outputs, with no copy of the logits in the forward pass; the backward pass makes their
    gradient, in the logits' own memory where `overwrite`."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, tokens: Tensor, top_k: int, temperature: float, chunk: int, overwrite: bool
    ) -> Any:
        stats = _empty_stats(len(logits), top_k, logits)
        for rows, buffer in row_chunks(logits, logits.shape[-1], chunk):
            part = row_stats_(buffer.copy_(logits[rows]).div_(temperature), tokens[rows], top_k)
            for whole, of_rows in zip(stats, part, strict=True):
                whole[rows] = of_rows
        ctx.temperature, ctx.chunk, ctx.overwrite = temperature, chunk, overwrite
        return keep(ctx, stats, logits, tokens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        (logits, tokens), stats, given = kept(ctx, gradients)
        out = room_for_gradient(logits, ctx.overwrite)
        return gradient_of_logits(out, logits, tokens, stats, given, ctx.temperature, ctx.chunk), *[None] * 5


def room_for_gradient(logits: Tensor, overwrite: bool) -> Tensor:
    """Memory for the gradient of `logits`: where `overwrite`, their own, so marked that torch raises for whoever else
    reads them in a backward pass."""
    if not overwrite or _shares_memory_with_itself(logits):
        return torch.empty_like(logits, memory_format=torch.contiguous_format)
    torch.autograd.graph.increment_version(logits)
    return logits.detach()


def _shares_memory_with_itself(tensor: Tensor) -> bool:
    """Whether two of its elements may be one place in memory, as in an expanded tensor or in windows that overlap."""
    reach = 0  # of the axes of smaller strides, in elements
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += stride * (size - 1)
    return False
