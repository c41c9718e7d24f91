"""token_stats and fused_token_stats by the Triton kernels. Legend as in chunked.py."""

from typing import Any

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from simko.token_stats.chunked import (
    OutputGradients,
    RowStats,
    add_product,
    can_store,
    cast_like,
    gradient_buffer,
    load_outputs,
    save_outputs,
)
from simko.token_stats.head import Head, LogitTransform
from simko.token_stats.triton_kernels import backward_kernel, forward_kernel

MAX_TOP_K = 8
_TILE = 8192  # columns of a head's tile; with 2,048 rows it fits into the L2 cache
_BLOCK = 4096


class _RowState:
    """The state of n rows that forward_kernel carries from tile to tile, in logits before the temperature."""

    def __init__(self, n: int, top_k: int, device: torch.device) -> None:
        new: Any = {"dtype": torch.float32, "device": device}
        self.highest, self.total, self.shifted_sum = (torch.empty(n, **new) for _ in range(3))
        self.token_logit = torch.full((n,), torch.nan, **new)  # stays nan for an id outside the vocabulary
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
        self.top_ids.clamp_(max=vocabulary - 1)  # rows of NaN have no candidates: use any valid id
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
    """Columns read at a time. With many candidates fewer, since registers would spill on sm_80."""
    return min(_BLOCK if top_k <= 4 else _BLOCK // 2, triton.next_power_of_2(n_cols))


class TritonLogitStats(torch.autograd.Function):
    """logits [N, V] -> logp, entropy, topk_logp, topk_ids.

    The forward pass reads the logits once. The backward pass reads them once and writes the gradient once, with `overwrite`
    over the logits themselves.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, top_k: int, temperature: float, overwrite: bool) -> Any:
        """The outputs, by one kernel call."""
        check_triton_inputs(logits, top_k)
        tokens = tokens.contiguous()
        logits = logits if logits.stride(-1) == 1 else logits.contiguous()
        ctx.transform, ctx.overwrite = LogitTransform(temperature), overwrite
        state = _RowState(len(logits), top_k, logits.device)
        state.fold(logits, tokens, 0, ctx.transform)
        return save_outputs(ctx, state.stats(temperature, logits.shape[-1]), logits, tokens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradient of the logits."""
        (logits, tokens), stats, output_gradients = load_outputs(ctx, gradients)
        out, g = gradient_buffer(logits, ctx.overwrite), output_gradients.at(slice(0, len(logits)))
        return _gradient_of_products(logits, out, tokens, stats, g, 0, ctx.transform), *[None] * 4


class TritonHeadStats(torch.autograd.Function):
    """ChunkedHeadStats in tiles of chunk x _TILE products.

    A matrix product computes a tile. A kernel reads the tile while it is in the cache and updates the rows' state. Whole tiles
    are stored.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Any, transform: LogitTransform, tokens: Tensor, top_k: int,
        chunk: int, store_bytes: int,
    ) -> Any:  # fmt: skip
        """The outputs, tile by tile. The head comes as its fields, for autograd to see its tensors."""
        check_triton_inputs(hidden, top_k)
        tokens = tokens.contiguous()
        head, parts, stored, tile = Head(weight, bias).for_products(hidden), [], list[Tensor](), 0
        for rows in _slices(len(hidden), chunk):
            state = _RowState(rows.stop - rows.start, top_k, hidden.device)
            for cols, part, buffer in _tiles(head, rows.stop - rows.start):
                if can_store(stored, tile, buffer, store_bytes):
                    buffer = torch.empty_like(buffer)
                    stored.append(buffer)
                state.fold(part.project(hidden[rows], buffer), tokens[rows], cols.start, transform)
                tile += 1
            parts.append(state.stats(transform.temperature, len(weight)))
        ctx.transform, ctx.chunk = transform, chunk
        stats = RowStats(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
        return save_outputs(ctx, stats, hidden, weight, bias, tokens, *stored)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> Any:
        """The gradients of hidden, weight and bias."""
        (hidden, weight, bias, tokens, *stored), stats, output_gradients = load_outputs(ctx, gradients)
        head, wants = Head(weight, bias).for_products(hidden), ctx.needs_input_grad
        stored_tiles = iter(stored)
        factor_type = head.weight.dtype
        d_hidden = torch.zeros_like(hidden, dtype=torch.float32) if wants[0] else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if wants[1] else None
        d_bias = torch.zeros_like(bias, dtype=torch.float32) if wants[2] else None
        for rows in _slices(len(hidden), ctx.chunk):
            factors, row_stats, g = hidden[rows].to(factor_type), stats.at(rows), output_gradients.at(rows)
            for cols, part, buffer in _tiles(head, rows.stop - rows.start):
                products = next(stored_tiles, None)
                products = part.project(factors, buffer) if products is None else products
                out = buffer if factor_type == torch.float32 else torch.empty_like(buffer, dtype=factor_type)
                dx = _gradient_of_products(products, out, tokens[rows], row_stats, g, cols.start, ctx.transform)
                if d_hidden is not None:
                    add_product(d_hidden[rows], dx, part.weight)
                if d_weight is not None:
                    add_product(d_weight[cols], dx.t(), factors)
                if d_bias is not None:
                    d_bias[cols] += dx.sum(0, dtype=torch.float32)
        return *cast_like((d_hidden, d_weight, d_bias), (hidden, weight, bias)), *[None] * 5


def _slices(length: int, size: int) -> list[slice]:
    """Slices of `size`; at least one, so that zero rows give empty statistics."""
    return [slice(start, min(start + size, length)) for start in range(0, max(length, 1), size)]


def _tiles(head: Head, n: int) -> Any:
    """Ranges of the vocabulary, each with its part of the head and a buffer for its products."""
    buffer = torch.empty(n * min(_TILE, len(head.weight)), dtype=torch.float32, device=head.weight.device)
    for cols in _slices(len(head.weight), _TILE):
        bias = None if head.bias is None else head.bias[cols]
        width = cols.stop - cols.start
        yield cols, head._replace(weight=head.weight[cols], bias=bias), buffer[: n * width].view(n, width)


def check_triton_inputs(tensor: Tensor, top_k: int) -> None:
    """ValueError for inputs that the kernels do not support."""
    if tensor.device.type == "cpu" and isinstance(forward_kernel, triton.JITFunction):
        raise ValueError('impl="triton" needs tensors on a GPU: use impl="chunked" on CPUs')
    if top_k > MAX_TOP_K:
        raise ValueError(f'impl="triton" takes top_k up to {MAX_TOP_K}, got {top_k}: use impl="chunked"')
    if tensor.dtype == torch.float64:
        raise ValueError('impl="triton" works in float32: use impl="chunked" for float64')
