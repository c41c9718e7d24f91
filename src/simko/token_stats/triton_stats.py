"""The Triton kernels behind token_stats and fused_token_stats. Legend as in chunked.py."""

from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from simko.token_stats.chunked import RowStats, add_product, output_gradients
from simko.token_stats.head import Head
from simko.token_stats.triton_kernels import backward_kernel, forward_kernel

MOST_CANDIDATES = 8
_TILE = 8192  # columns of a head's tile: with 2,048 rows it stays in the second-level cache
_BLOCK = 4096


class _RowState:
    """What forward_kernel carries from tile to tile, of n rows; logits before the temperature."""

    def __init__(self, n: int, top_k: int, device: torch.device) -> None:
        new: Any = {"dtype": torch.float32, "device": device}
        self.highest, self.total, self.shifted_sum = (torch.empty(n, **new) for _ in range(3))
        self.token_logit, self.top_logits = torch.empty(n, **new), torch.empty(n, top_k, **new)
        self.top_ids = torch.empty(n, top_k, dtype=torch.int32, device=device)

    def fold(self, products: Tensor, tokens: Tensor, first_id: int, head: Head) -> None:
        n, n_cols = products.shape
        if n == 0:
            return
        top_k = self.top_ids.shape[-1]
        forward_kernel[(n,)](
            products, products.stride(0), tokens, self.highest, self.total, self.shifted_sum, self.token_logit,
            self.top_logits, self.top_ids, first_id, n_cols, *_numbers(head), FIRST=first_id == 0,
            HAS_SOFTCAP=head.softcap is not None, K=top_k, LANES=triton.next_power_of_2(top_k),
            BLOCK=_block(n_cols, top_k),
            num_warps=8,
        )  # fmt: skip

    def stats(self, temperature: float) -> RowStats:
        by_id = self.top_ids.argsort(-1)
        values, ids = self.top_logits.gather(-1, by_id), self.top_ids.gather(-1, by_id)
        order = values.argsort(dim=-1, descending=True, stable=True)
        values, ids = values.gather(-1, order), ids.gather(-1, order)
        log_total = self.total.log()
        return RowStats(
            (self.token_logit - self.highest) / temperature - log_total, log_total - self.shifted_sum / self.total,
            (values - self.highest[:, None]) / temperature - log_total[:, None], ids.long(), self.highest, self.total,
        )  # fmt: skip


def _gradient_of_products(
    products: Tensor, out: Tensor, tokens: Tensor, stats: RowStats, gradients: Any, first_id: int, head: Head
) -> Tensor:
    """d loss / d products into `out`, which may be `products`."""
    (n, n_cols), (g_logp, g_entropy, g_topk) = products.shape, gradients
    if n:
        backward_kernel[(n, triton.cdiv(n_cols, _block(n_cols)))](
            products, products.stride(0), out, out.stride(0), tokens, stats.highest, stats.total, stats.entropy,
            stats.topk_ids, g_logp, g_logp if g_entropy is None else g_entropy, g_topk, first_id, n_cols,
            *_numbers(head), HAS_ENTROPY=g_entropy is not None, HAS_SOFTCAP=head.softcap is not None,
            K=g_topk.shape[-1], BLOCK=_block(n_cols), num_warps=8,
        )  # fmt: skip
    return out


def _numbers(head: Head) -> tuple[float, float, float]:
    return float(head.scale), float(head.softcap or 1.0), 1.0 / head.temperature


def _block(n_cols: int, top_k: int = 1) -> int:
    """Columns read at a time; fewer beside many candidates, or registers spill on sm_80."""
    return min(_BLOCK if top_k <= 4 else _BLOCK // 2, triton.next_power_of_2(n_cols))


def _contiguous(*gradients: Tensor | None) -> tuple[Tensor | None, ...]:
    return tuple(None if g is None else g.contiguous() for g in gradients)


class TritonLogitStats(torch.autograd.Function):
    """logits [N, V] -> logp, entropy, topk_logp, topk_ids: one read forward; one read and one write backward, over the
    logits themselves where `overwrite`."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, top_k: int, temperature: float, overwrite: bool) -> Any:
        check_triton_can(logits, top_k)
        logits = logits if logits.stride(-1) == 1 else logits.contiguous()
        ctx.head = Head(logits, temperature=temperature)._replace(weight=None)  # type: ignore[arg-type]
        state = _RowState(len(logits), top_k, logits.device)
        state.fold(logits, tokens, 0, ctx.head)
        stats = state.stats(ctx.head.temperature)
        ctx.save_for_backward(logits, tokens, *stats)
        ctx.overwrite = overwrite
        ctx.mark_non_differentiable(stats.topk_ids)
        ctx.set_materialize_grads(False)
        return stats[:4]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        logits, tokens, *saved = ctx.saved_tensors
        stats = RowStats(*saved)
        out = logits.detach() if ctx.overwrite else torch.empty_like(logits)
        given = _contiguous(*output_gradients(stats, *gradients[:3]))
        _gradient_of_products(logits, out, tokens, stats, given, 0, ctx.head)
        if ctx.overwrite:
            torch.autograd.graph.increment_version(logits)
        return out, None, None, None, None


class TritonHeadStats(torch.autograd.Function):
    """ChunkedHeadStats in tiles of chunk x _TILE products: a matrix product makes a tile, a kernel reads it while it is
    in the cache and carries the rows' state to the next."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Any, tokens: Tensor, top_k: int, rest: tuple, chunk: int
    ) -> Any:
        check_triton_can(hidden, top_k)
        head, parts = Head(weight, bias, *rest).for_products(hidden), []
        for rows in _slices(len(hidden), chunk):
            state = _RowState(rows.stop - rows.start, top_k, hidden.device)
            for cols, part, buffer in _tiles(head, rows.stop - rows.start):
                state.fold(part.project(hidden[rows], buffer), tokens[rows], cols.start, head)
            parts.append(state.stats(head.temperature))
        stats = RowStats(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
        ctx.save_for_backward(hidden, weight, bias, tokens, *stats)
        ctx.rest, ctx.chunk = rest, chunk
        ctx.mark_non_differentiable(stats.topk_ids)
        ctx.set_materialize_grads(False)
        return stats[:4]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        hidden, weight, bias, tokens, *saved = ctx.saved_tensors
        stats, head = RowStats(*saved), Head(weight, bias, *ctx.rest).for_products(hidden)
        wants = ctx.needs_input_grad
        new: Any = {"dtype": torch.float32, "device": hidden.device}
        d_hidden = torch.zeros(hidden.shape, **new) if wants[0] else None
        d_weight = torch.zeros(weight.shape, **new) if wants[1] else None
        d_bias = torch.zeros(len(weight), **new) if wants[2] else None
        given = output_gradients(stats, *gradients[:3])
        for rows in _slices(len(hidden), ctx.chunk):
            factors, of_rows = hidden[rows].to(head.weight.dtype), RowStats(*(s[rows] for s in stats))
            g = _contiguous(*(None if x is None else x[rows] for x in given))
            for cols, part, buffer in _tiles(head, rows.stop - rows.start):
                products = part.project(factors, buffer)
                out = (
                    products
                    if head.weight.dtype == products.dtype
                    else torch.empty_like(products, dtype=head.weight.dtype)
                )
                dx = _gradient_of_products(products, out, tokens[rows], of_rows, g, cols.start, head)
                if d_hidden is not None:
                    add_product(d_hidden[rows], dx, part.weight)
                if d_weight is not None:
                    add_product(d_weight[cols], dx.t(), factors)
                if d_bias is not None:
                    d_bias[cols] += dx.sum(0, dtype=torch.float32)
        d_hidden = None if d_hidden is None else d_hidden.to(hidden.dtype)
        d_weight = None if d_weight is None else d_weight.to(weight.dtype)
        return d_hidden, d_weight, None if d_bias is None else d_bias.to(bias.dtype), None, None, None, None


def _slices(length: int, size: int) -> list[slice]:
    """At least one, so that no rows give empty statistics."""
    return [slice(at, min(at + size, length)) for at in range(0, max(length, 1), size)]


def _tiles(head: Head, n: int) -> Any:
    """Ranges of the vocabulary, the head of each, and a buffer for its products."""
    buffer = torch.empty(n * min(_TILE, len(head.weight)), dtype=torch.float32, device=head.weight.device)
    for cols in _slices(len(head.weight), _TILE):
        bias = None if head.bias is None else head.bias[cols]
        width = cols.stop - cols.start
        yield cols, head._replace(weight=head.weight[cols], bias=bias), buffer[: n * width].view(n, width)


def check_triton_can(tensor: Tensor, top_k: int) -> None:
    """ValueError for what the kernels do not do."""
    if top_k > MOST_CANDIDATES:
        raise ValueError(f'impl="triton" takes top_k up to {MOST_CANDIDATES}, got {top_k}: use impl="chunked"')
    if tensor.dtype == torch.float64:
        raise ValueError('impl="triton" works in float32: use impl="chunked" for float64')
