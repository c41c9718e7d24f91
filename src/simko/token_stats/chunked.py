"""Statistics of a few rows at a time, so that only a few tensors of `chunk` x V are held beside the inputs.

Legend: N positions, n rows of a chunk, V vocabulary, d hidden size, K candidates.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from simko.token_stats.eager import LOG_ZERO, top_candidates
from simko.token_stats.head import Head, LogitTransform, stats_dtype, without_autocast


class RowStats(NamedTuple):
    """Statistics of n rows. log Z is kept as two numbers, since one float32 loses three digits at an offset of 1,000."""

    logp: Tensor
    """[n], of the sampled token."""
    entropy: Tensor
    """[n]."""
    topk_logp: Tensor
    """[n, K], descending."""
    topk_ids: Tensor
    """[n, K]."""
    highest: Tensor
    """[n], the largest logit m."""
    total: Tensor
    """[n], sum exp(z - m)."""

    def at(self, rows: slice) -> "RowStats":
        """The statistics of some rows."""
        return RowStats(*(x[rows] for x in self))


class OutputGradients(NamedTuple):
    """d loss / d output, of n rows."""

    logp: Tensor
    """[n]."""
    entropy: Tensor | None
    """[n], or None if the loss does not use the entropy."""
    topk_logp: Tensor
    """[n, K]."""

    def at(self, rows: slice) -> "OutputGradients":
        """The gradients of some rows."""
        return OutputGradients(*(None if x is None else x[rows].contiguous() for x in self))  # type: ignore[arg-type]


def row_stats_(logits: Float[Tensor, "n V"], tokens: Int[Tensor, " n"], top_k: int) -> RowStats:
    """The statistics of softmax(logits). Overwrites `logits`.

    m = max z;  s = sum exp(z - m);  log p = z - m - log s;  entropy = log s - sum (z - m) exp(z - m) / s
    """
    ids = top_candidates(logits, top_k)
    chosen = logits.gather(-1, torch.cat([tokens[:, None], ids], -1))
    highest = chosen[:, 1].clone()  # the first candidate
    shifted = logits.sub_(highest[:, None])
    weights = torch.exp(shifted)
    total = weights.sum(-1)
    mean = weights.mul_(shifted.clamp_(min=LOG_ZERO)).sum(-1) / total  # 0 x -inf is 0
    logp = (chosen - highest[:, None]) - total.log()[:, None]
    return RowStats(logp[:, 0], total.log() - mean, logp[:, 1:], ids, highest, total)


def logit_gradient_(
    logits: Float[Tensor, "n V"],
    stats: RowStats,
    tokens: Int[Tensor, " n"],
    gradients: OutputGradients,
    first_id: int = 0,
) -> Tensor:
    """d loss / d logits from the gradients of the outputs, written over `logits`.

        dz = g_logp onehot_y + sum_k g_k onehot_k - p (G + g_H (log p + H)),   G = g_logp + sum_k g_k

    first_id: the id of the first column.
    """
    g_logp, g_entropy, g_topk = gradients
    g_sum = g_logp + g_topk.sum(-1)
    shifted = logits.sub_(stats.highest[:, None])
    if g_entropy is None:
        gradient = shifted.exp_().mul_((-g_sum / stats.total)[:, None])
    else:  # log p + H = (z - m) + (H - log s), and p = exp(z - m) / s
        weights = torch.exp(shifted)
        constant = g_sum + g_entropy * (stats.entropy - stats.total.log())
        shifted.clamp_(min=LOG_ZERO)
        scaled = (-1 / stats.total)[:, None]
        gradient = shifted.mul_(g_entropy[:, None] * scaled).add_(constant[:, None] * scaled).mul_(weights)
    chosen = torch.cat([tokens[:, None], stats.topk_ids], -1) - first_id
    g_chosen = torch.cat([g_logp[:, None], g_topk], -1)
    inside = (chosen >= 0) & (chosen < logits.shape[-1])
    return gradient.scatter_add_(-1, torch.where(inside, chosen, 0), torch.where(inside, g_chosen, 0.0))


def row_chunks(like: Tensor, width: int, chunk: int) -> Iterator[tuple[slice, Tensor]]:
    """Ranges of the rows of `like`, each with a buffer [n, width] for its logits in float32 or wider."""
    chunk = min(chunk, len(like))
    buffer = torch.empty(chunk, width, dtype=stats_dtype(like.dtype), device=like.device)
    for start in range(0, len(like), max(chunk, 1)):
        rows = slice(start, min(start + chunk, len(like)))
        yield rows, buffer[: rows.stop - start]


def can_store(stored: list[Tensor], tile: int, logits: Tensor, store_bytes: int) -> bool:
    """Whether the logits of tile number `tile` fit beside those stored so far. None are stored after one that does not."""
    return tile == len(stored) and sum(x.nbytes for x in stored) + logits.nbytes <= store_bytes


def _empty_stats(positions: int, top_k: int, like: Tensor) -> RowStats:
    dtype = stats_dtype(like.dtype)
    logp, entropy, highest, total = torch.empty(4, positions, dtype=dtype, device=like.device).unbind()
    topk_logp = torch.empty(positions, top_k, dtype=dtype, device=like.device)
    return RowStats(logp, entropy, topk_logp, torch.empty_like(topk_logp, dtype=torch.long), highest, total)


def save_outputs(ctx: Any, stats: RowStats, *tensors: Tensor | None) -> tuple[Tensor, ...]:
    """Saves what the backward pass needs, and returns the outputs logp, entropy, topk_logp, topk_ids."""
    ctx.save_for_backward(*tensors, *stats)
    ctx.mark_non_differentiable(stats.topk_ids)
    ctx.set_materialize_grads(False)
    return stats[:4]


def load_outputs(ctx: Any, gradients: tuple) -> tuple[tuple, RowStats, OutputGradients]:
    """The tensors and statistics that `save_outputs` saved, and the outputs' gradients."""
    saved, n = ctx.saved_tensors, len(RowStats._fields)  # read once: activation checkpointing allows no more
    tensors, stats = saved[:-n], RowStats(*saved[-n:])
    g_logp, g_entropy, g_topk, _ = gradients
    g_logp = torch.zeros_like(stats.logp) if g_logp is None else g_logp
    g_topk = torch.zeros_like(stats.topk_logp) if g_topk is None else g_topk
    return tensors, stats, OutputGradients(g_logp, g_entropy, g_topk)


def gradient_of_logits(
    out: Tensor, logits: Tensor, tokens: Tensor, stats: RowStats, gradients: OutputGradients,
    temperature: float, chunk: int, first_id: int = 0,
) -> Tensor:  # fmt: skip
    """logit_gradient_ of logits [N, V] before the temperature, a chunk at a time into `out`, which may be `logits`."""
    for rows, buffer in row_chunks(logits, logits.shape[-1], chunk):
        z = buffer.copy_(logits[rows]).div_(temperature)
        dz = logit_gradient_(z, stats.at(rows), tokens[rows], gradients.at(rows), first_id)
        out[rows] = dz.div_(temperature).to(out.dtype)
    return out


class ChunkedHeadStats(torch.autograd.Function):
    """hidden [N, d] and a head -> logp, entropy, topk_logp, topk_ids.

    The backward pass computes the logits again, except for those that `store_bytes` hold. The weight's gradient is summed in
    float32 or wider.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Any, transform: LogitTransform, tokens: Tensor, top_k: int,
        chunk: int, store_bytes: int,
    ) -> Any:  # fmt: skip
        """The outputs, a chunk of rows at a time. The head comes as its fields, for autograd to see its tensors."""
        head = Head(weight, bias).for_products(hidden)
        stats, stored = _empty_stats(len(hidden), top_k, hidden), list[Tensor]()
        for i, (rows, buffer) in enumerate(row_chunks(hidden, len(weight), chunk)):
            logits = transform.apply_(head.project(hidden[rows], buffer))
            if can_store(stored, i, logits, store_bytes):
                stored.append(logits.clone())
            for whole, part in zip(stats, row_stats_(logits, tokens[rows], top_k), strict=True):
                whole[rows] = part
        ctx.transform, ctx.chunk = transform, chunk
        return save_outputs(ctx, stats, hidden, weight, bias, tokens, *stored)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradients of hidden, weight and bias."""
        (hidden, weight, bias, tokens, *stored), stats, output_gradients = load_outputs(ctx, gradients)
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
            dz = logit_gradient_(logits, stats.at(rows), tokens[rows], output_gradients.at(rows))
            dx = transform.chain_(dz, capped)
            if d_bias is not None:
                d_bias += dx.sum(0)
            dx = dx.to(head.weight.dtype)  # half precision on a GPU, as in any mixed-precision backward pass
            if d_hidden is not None:
                d_hidden[rows] = product(dx, head.weight)
            if d_weight is not None:
                add_product(d_weight, dx.t(), hidden[rows].to(dx.dtype))
        return *cast_like((d_hidden, d_weight, d_bias), (hidden, weight, bias)), *[None] * 5


def cast_like(gradients: tuple, inputs: tuple) -> tuple:
    """Each gradient in the dtype of its input; None stays None."""
    return tuple(None if g is None else g.to(x.dtype) for g, x in zip(gradients, inputs, strict=True))


def product(a: Tensor, b: Tensor) -> Tensor:
    """a b in the factors' own dtype, even under autocast."""
    with without_autocast(a):
        return a @ b


def add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b, without rounding to half precision."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)


class ChunkedLogitStats(torch.autograd.Function):
    """logits [N, V] -> the same outputs, without a copy of the logits in the forward pass.

    With `overwrite` the backward pass writes the gradient into the logits' own memory.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, tokens: Tensor, top_k: int, temperature: float, chunk: int, overwrite: bool
    ) -> Any:
        """The outputs, a chunk of rows at a time."""
        stats = _empty_stats(len(logits), top_k, logits)
        for rows, buffer in row_chunks(logits, logits.shape[-1], chunk):
            chunk_stats = row_stats_(buffer.copy_(logits[rows]).div_(temperature), tokens[rows], top_k)
            for whole, part in zip(stats, chunk_stats, strict=True):
                whole[rows] = part
        ctx.temperature, ctx.chunk, ctx.overwrite = temperature, chunk, overwrite
        return save_outputs(ctx, stats, logits, tokens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradient of the logits."""
        (logits, tokens), stats, output_gradients = load_outputs(ctx, gradients)
        out = gradient_buffer(logits, ctx.overwrite)
        return gradient_of_logits(out, logits, tokens, stats, output_gradients, ctx.temperature, ctx.chunk), *[None] * 5


def gradient_buffer(logits: Tensor, overwrite: bool) -> Tensor:
    """Memory for the gradient of `logits`: with `overwrite` their own.

    Torch then raises if another backward pass reads the logits.
    """
    if not overwrite or _shares_memory_with_itself(logits):
        return torch.empty_like(logits, memory_format=torch.contiguous_format)
    torch.autograd.graph.increment_version(logits)
    return logits.detach()


def _shares_memory_with_itself(tensor: Tensor) -> bool:
    """Whether two elements may share memory, as in an expanded tensor or in overlapping windows."""
    reach = 0  # of the axes with smaller strides, in elements
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += stride * (size - 1)
    return False
