"""The Triton kernels behind token_stats and fused_token_stats. Legend as in chunked.py."""

from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from simko.token_stats.chunked import (
    OutputGradients,
    RowStats,
    add_product,
    in_types,
    keep,
    kept,
    room_for_gradient,
    room_to_store,
)
from simko.token_stats.head import Head, LogitTransform
from simko.token_stats.triton_kernels import backward_kernel, forward_kernel

MOST_CANDIDATES = 8
_TILE = 8192  # columns of a head's tile: with 2,048 rows it stays in the second-level cache
_BLOCK = 4096


class _RowState:
    """What forward_kernel carries from tile to tile, of n rows; logits before the temperature."""

    def __init__(self, n: int, top_k: int, device: torch.device) -> None:
        new: Any = {"dtype": torch.float32, "device": device}
        self.highest, self.total, self.shifted_sum = (torch.empty(n, **new) for _ in range(3))
        self.token_logit = torch.full((n,), torch.nan, **new)  # which it stays for an id outside the vocabulary
        self.top_logits = torch.empty(n, top_k, **new)
        self.top_ids = torch.empty(n, top_k, dtype=torch.int32, device=device)

    def fold(self, products: Tensor, tokens: Tensor, first_id: int, transform: LogitTransform) -> None:
        n, n_cols = products.shape
        if n == 0:
            return
        top_k = self.top_ids.shape[-1]
        forward_kernel[(n,)](
            products, products.stride(0), tokens, self.highest, self.total, self.shifted_sum, self.token_logit,
            self.top_logits, self.top_ids, first_id, n_cols, *_numbers(transform), FIRST=first_id == 0,
            HAS_SOFTCAP=transform.softcap is not None, K=top_k, LANES=triton.next_power_of_2(top_k),
            BLOCK=_block(n_cols, top_k), num_warps=8,
        )  # fmt: skip

    def stats(self, temperature: float, vocabulary: int) -> RowStats:
        self.top_ids.clamp_(max=vocabulary - 1)  # rows of NaN have no candidates: any id that can be looked up
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
    products: Tensor, out: Tensor, tokens: Tensor, stats: RowStats, gradients: OutputGradients, first_id: int,
    transform: LogitTransform,
) -> Tensor:  # fmt: skip
    """d loss / d products into `out`, which may be `products`."""
    (n, n_cols), (g_logp, g_entropy, g_topk) = products.shape, gradients
    if n:
        backward_kernel[(n, triton.cdiv(n_cols, _block(n_cols)))](
            products, products.stride(0), out, out.stride(0), tokens, stats.highest, stats.total, stats.entropy,
            stats.topk_ids, g_logp, g_logp if g_entropy is None else g_entropy, g_topk, first_id, n_cols,
            *_numbers(transform), HAS_ENTROPY=g_entropy is not None, HAS_SOFTCAP=transform.softcap is not None,
            K=g_topk.shape[-1], BLOCK=_block(n_cols), num_warps=8,
        )  # fmt: skip
    return out


def _numbers(transform: LogitTransform) -> tuple[float, float, float]:
    return float(transform.scale), float(transform.softcap or 1.0), 1.0 / transform.temperature


def _block(n_cols: int, top_k: int = 1) -> int:
    """Columns read at a time; fewer beside many candidates, or registers spill on sm_80."""
    return min(_BLOCK if top_k <= 4 else _BLOCK // 2, triton.next_power_of_2(n_cols))


class TritonLogitStats(torch.autograd.Function):
    """logits [N, V] -> logp, entropy, topk_logp, topk_ids: one read forward; one read and one write backward, over the
    logits themselves where `overwrite`."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, top_k: int, temperature: float, overwrite: bool) -> Any:
        check_triton_can(logits, top_k)
        tokens = tokens.contiguous()
        logits = logits if logits.stride(-1) == 1 else logits.contiguous()
        ctx.transform, ctx.overwrite = LogitTransform(temperature), overwrite
        state = _RowState(len(logits), top_k, logits.device)
        state.fold(logits, tokens, 0, ctx.transform)
        return keep(ctx, state.stats(temperature, logits.shape[-1]), logits, tokens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        (logits, tokens), stats, given = kept(ctx, gradients)
        out = room_for_gradient(logits, ctx.overwrite)
        every = slice(0, len(logits))
        return _gradient_of_products(logits, out, tokens, stats, given.at(every), 0, ctx.transform), *[None] * 4


class TritonHeadStats(torch.autograd.Function):
    """ChunkedHeadStats in tiles of chunk x _TILE products: a matrix product makes a tile, a kernel reads it while it is
    in the cache and carries the rows' state to the next. Whole tiles are stored."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Any, tokens: Tensor, top_k: int, transform: LogitTransform,
        chunk: int, store_bytes: int,
    ) -> Any:  # fmt: skip
        check_triton_can(hidden, top_k)
        tokens = tokens.contiguous()
        head, parts, stored, tile = Head(weight, bias).for_products(hidden), [], list[Tensor](), 0
        for rows in _slices(len(hidden), chunk):
            state = _RowState(rows.stop - rows.start, top_k, hidden.device)
            for cols, part, buffer in _tiles(head, rows.stop - rows.start):
                if room_to_store(stored, tile, buffer, store_bytes):
                    buffer = torch.empty_like(buffer)
                    stored.append(buffer)
                state.fold(part.project(hidden[rows], buffer), tokens[rows], cols.start, transform)
                tile += 1
            parts.append(state.stats(transform.temperature, len(weight)))
        ctx.transform, ctx.chunk = transform, chunk
        stats = RowStats(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
        return keep(ctx, stats, hidden, weight, bias, tokens, *stored)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        (hidden, weight, bias, tokens, *stored), stats, given = kept(ctx, gradients)
        head, wants = Head(weight, bias).for_products(hidden), ctx.needs_input_grad
        left = iter(stored)
        factor_type = head.weight.dtype
        d_hidden = torch.zeros_like(hidden, dtype=torch.float32) if wants[0] else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if wants[1] else None
        d_bias = torch.zeros_like(bias, dtype=torch.float32) if wants[2] else None
        for rows in _slices(len(hidden), ctx.chunk):
            factors, of_rows, g = hidden[rows].to(factor_type), stats.at(rows), given.at(rows)
            for cols, part, buffer in _tiles(head, rows.stop - rows.start):
                products = next(left, None)
                products = part.project(factors, buffer) if products is None else products
                out = buffer if factor_type == torch.float32 else torch.empty_like(buffer, dtype=factor_type)
                dx = _gradient_of_products(products, out, tokens[rows], of_rows, g, cols.start, ctx.transform)
                if d_hidden is not None:
                    add_product(d_hidden[rows], dx, part.weight)
                if d_weight is not None:
                    add_product(d_weight[cols], dx.t(), factors)
                if d_bias is not None:
                    d_bias[cols] += dx.sum(0, dtype=torch.float32)
        return *in_types((d_hidden, d_weight, d_bias), (hidden, weight, bias)), *[None] * 5


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
    if tensor.device.type == "cpu" and isinstance(forward_kernel, triton.JITFunction):
        raise ValueError('impl="triton" needs tensors on a GPU: use impl="chunked" on CPUs')
    if top_k > MOST_CANDIDATES:
        raise ValueError(f'impl="triton" takes top_k up to {MOST_CANDIDATES}, got {top_k}: use impl="chunked"')
    if tensor.dtype == torch.float64:
        raise ValueError('impl="triton" works in float32: use impl="chunked" for float64')
