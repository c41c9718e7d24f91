"""Two Triton kernels over rows of logits, or over tiles of them that a language-model head computes one by one.

Legend: a row is a position; y = softcap tanh(scale x / softcap), or scale x, of the product x; z = y / T is the logit; a
tile holds the vocabulary's columns first_id .. first_id + n_cols - 1. Maxima are kept and subtracted in units of y. For a
plain head that is exact, however far its logits are from zero.
"""

from typing import no_type_check  # keeps runtime type checkers off what Triton compiles

import triton
import triton.language as tl

_LOWEST = tl.constexpr(-3.4028234663852886e38)  # float32's: no finite logit is lower, and some masks fill rows with it
_NO_ID = tl.constexpr(0x7FFFFFFF)


@triton.jit
@no_type_check
def _transform(x, scale, softcap, HAS_SOFTCAP: tl.constexpr):
    x = x.to(tl.float32) * scale
    if HAS_SOFTCAP:
        x = softcap * (2 * tl.sigmoid(2 * x / softcap) - 1)  # tanh
    return x


@triton.jit
@no_type_check
def forward_kernel(
    products, row_stride, tokens, highest, total, shifted_sum, token_logit, top_logits, top_ids,
    first_id, n_cols, scale, softcap, inverse_temperature,
    FIRST: tl.constexpr, HAS_SOFTCAP: tl.constexpr, K: tl.constexpr, LANES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program per row reads a tile once and updates the row's state, which FIRST initialises.

        m = max y;  s = sum exp((y - m) / T);  t = sum (y - m) / T exp((y - m) / T);  the token's y;  the K largest y, their ids

    When the maximum moves from m to n: s -> s a and t -> a (t + (m - n) / T s) with a = exp((m - n) / T). A block yields
    candidates while its best beats the K-th, about K ln(V / BLOCK) times per row. Equal candidates rank by id, lowest first,
    because tiles come in the order of ids. The K candidates stay unordered in their lanes (LANES: K's next power of two).
    """
    row = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, LANES)
    if FIRST:
        m = _LOWEST
        s = 0.0
        t = 0.0
        best = tl.where(lanes < K, -float("inf"), float("inf"))
        best_ids = tl.where(lanes < K, _NO_ID, -1)
    else:
        m = tl.load(highest + row)
        s = tl.load(total + row)
        t = tl.load(shifted_sum + row)
        best = tl.load(top_logits + row * K + lanes, mask=lanes < K, other=float("inf"))
        best_ids = tl.load(top_ids + row * K + lanes, mask=lanes < K, other=-1)
    worst = tl.min(best, 0)
    worst_id = tl.max(tl.where(best == worst, best_ids, -1), 0)
    start_of_row = products + row * row_stride
    for start in range(0, n_cols, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        inside = cols < n_cols
        x = tl.load(start_of_row + cols, mask=inside, other=0.0)
        y = tl.where(inside, _transform(x, scale, softcap, HAS_SOFTCAP), -float("inf"))
        block_best = tl.max(y, 0)
        new_m = tl.maximum(m, block_best)
        moved = tl.maximum((m - new_m) * inverse_temperature, -1e4)
        shifted = (y - new_m) * inverse_temperature
        a = tl.exp(moved)
        e = tl.exp(shifted)
        t = a * (t + moved * s) + tl.sum(e * tl.maximum(shifted, -1e4), 0)  # 0 x -inf is 0
        s = a * s + tl.sum(e, 0)
        m = new_m
        ids = tl.where(inside, first_id + cols, _NO_ID)  # _NO_ID: not in the vocabulary, or taken
        better = (block_best > worst) | (worst_id == _NO_ID)
        while better:
            found = tl.min(tl.where(y == block_best, ids, _NO_ID), 0)
            if found != _NO_ID:
                lane = tl.min(tl.where((best == worst) & (best_ids == worst_id), lanes, LANES), 0)
                best = tl.where(lanes == lane, block_best, best)
                best_ids = tl.where(lanes == lane, found, best_ids)
                worst = tl.min(best, 0)
                worst_id = tl.max(tl.where(best == worst, best_ids, -1), 0)
                y = tl.where(ids == found, -float("inf"), y)
                ids = tl.where(ids == found, _NO_ID, ids)
                block_best = tl.max(y, 0)
            better = (found != _NO_ID) & ((block_best > worst) | (worst_id == _NO_ID))
    tl.store(highest + row, m)
    tl.store(total + row, s)
    tl.store(shifted_sum + row, t)
    tl.store(top_logits + row * K + lanes, best, mask=lanes < K)
    tl.store(top_ids + row * K + lanes, best_ids, mask=lanes < K)
    local = tl.load(tokens + row) - first_id
    if (local >= 0) & (local < n_cols):
        x = tl.load(start_of_row + local)
        tl.store(token_logit + row, _transform(x, scale, softcap, HAS_SOFTCAP))


@triton.jit
@no_type_check
def backward_kernel(
    products, row_stride, gradient, gradient_stride, tokens, highest, total, entropy, top_ids, g_logp, g_entropy, g_topk,
    first_id, n_cols, scale, softcap, inverse_temperature,
    HAS_ENTROPY: tl.constexpr, HAS_SOFTCAP: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program per block of a row writes d loss / d x into `gradient`, which may be `products` itself.

    dz = g_logp onehot_y + sum_k g_k onehot_k - p (G + g_H (log p + H)),   G = g_logp + sum_k g_k
    """
    row = tl.program_id(0).to(tl.int64)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = cols < n_cols
    x = tl.load(products + row * row_stride + cols, mask=inside, other=0.0)
    y = _transform(x, scale, softcap, HAS_SOFTCAP)
    log_p = (y - tl.load(highest + row)) * inverse_temperature - tl.log(tl.load(total + row))
    token = (tl.load(tokens + row) - first_id).to(tl.int32)
    g_token = tl.load(g_logp + row)
    g_sum = g_token
    for k in tl.static_range(K):
        g_sum += tl.load(g_topk + row * K + k)
    factor = tl.zeros((BLOCK,), tl.float32) + g_sum
    if HAS_ENTROPY:
        factor += tl.load(g_entropy + row) * (tl.maximum(log_p, -1e4) + tl.load(entropy + row))  # 0 x -inf is 0
    dz = -tl.exp(log_p) * factor
    dz += tl.where(cols == token, g_token, 0.0)
    for k in tl.static_range(K):
        chosen = (tl.load(top_ids + row * K + k) - first_id).to(tl.int32)
        dz += tl.where(cols == chosen, tl.load(g_topk + row * K + k), 0.0)
    dx = dz * inverse_temperature * scale
    if HAS_SOFTCAP:
        tanh = y / softcap
        dx *= 1 - tanh * tanh
    tl.store(gradient + row * gradient_stride + cols, dx.to(gradient.dtype.element_ty), mask=inside)
