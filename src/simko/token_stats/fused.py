"""Hidden states and a language-model head -> statistics, without the logits of all positions at once."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from simko.objectives.arguments import check_tensors, not_none
from simko.objectives.effective import CandidateWeights, candidate_gap
from simko.token_stats.choice import Implementation, choose, default_chunk
from simko.token_stats.chunked import ChunkedHeadStats, product, row_chunks
from simko.token_stats.eager import TokenStats, eager_token_stats, top_candidates
from simko.token_stats.head import Head, LogitTransform, stats_dtype
from simko.token_stats.stats import as_token_stats, check_options, check_tokens


def fused_token_stats(
    hidden: Float[Tensor, "*N d"],
    weight: Float[Tensor, "V d"],
    tokens: Int[Tensor, "*N"],
    *,
    top_k: int,
    temperature: float = 1.0,
    bias: Float[Tensor, " V"] | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
    chunk: int | None = None,
    store_bytes: int = 0,
    impl: Implementation = "auto",
) -> TokenStats:
    """token_stats of the head's logits, with at most four tensors of `chunk` x V at a time.

        logits = softcap tanh(scale (hidden weight' + bias) / softcap) / temperature

    Gradients of logp, entropy and topk_logp reach hidden, weight and bias. They are exact: the backward pass computes the
    logits again. There are no second derivatives. Logits and the sum of the weight's gradient are float32 or wider whatever the
    dtypes of hidden and weight. On a GPU the factors of products take hidden's dtype, as under autocast. On a CPU a
    half-precision head is copied to float32 as a whole.

    Args:
        hidden: [..., d].
        weight: [V, d].
        tokens: [...], the sampled ids.
        top_k: the number of candidates K.
        temperature: divides the logits.
        bias: [V].
        softcap: None for no cap.
        scale: multiplies the products.
        chunk: positions at a time; None chooses.
        store_bytes: memory for logits that are stored for the backward pass, a chunk at a time while they fit. 4 N V (8 N V in
            float64) stores all, which saves one of four matrix products.
        impl: as in token_stats.

    ValueError for sizes that do not fit, top_k outside 1..V, a temperature or softcap that is not positive, a scale that is not
    finite, chunk below 1, store_bytes below 0, and for tokens as in token_stats.
    """
    head = Head(weight, bias, LogitTransform(temperature, softcap, scale))
    return head_token_stats(hidden, head, tokens, top_k=top_k, chunk=chunk, store_bytes=store_bytes, impl=impl)


def head_token_stats(
    hidden: Tensor,
    head: Head,
    tokens: Tensor,
    *,
    top_k: int,
    chunk: int | None = None,
    store_bytes: int = 0,
    impl: Implementation = "auto",
) -> TokenStats:
    """fused_token_stats of a `Head`. Shapes, arguments and errors are as there."""
    _check_head(hidden, head, tokens, top_k, chunk)
    if store_bytes < 0:
        raise ValueError(f"store_bytes must be 0 or more, got {store_bytes}")
    chunk = chunk or default_chunk(hidden.device, len(head.weight))
    rows, labels = hidden.reshape(-1, hidden.shape[-1]), tokens.reshape(-1)
    impl = choose(impl)
    if impl == "eager":
        return eager_token_stats(head.logits(hidden), tokens, top_k)
    inputs = (hidden, head.weight, head.bias)
    if not (torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in inputs)):
        store_bytes = 0
    return as_token_stats(tokens, *_head_stats(impl).apply(rows, *head, labels, top_k, chunk, store_bytes))


def fused_candidate_gap(
    hidden: Float[Tensor, "*N d"],
    weight: Float[Tensor, "V d"],
    tokens: Int[Tensor, "*N"],
    where: Bool[Tensor, "*N"],
    *,
    top_k: int,
    weights: CandidateWeights = "uniform",
    temperature: float = 1.0,
    bias: Float[Tensor, " V"] | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
    chunk: int | None = None,
    impl: Implementation = "auto",
) -> Float[Tensor, "*N"]:
    """objectives.candidate_gap at the positions `where`, 0 elsewhere. SimKO's positive part needs no more of a head.

        gap = sum_n w_n (z_(n) - z_y)

    log Z cancels, so the gradient passes through K + 1 dot products per position. The logits are computed once, without
    gradient, to find the candidates.

    Args:
        where: [...], the positions.
        weights: the w_n, "uniform" (1 / K) or as objectives.candidate_gap.

    The others are those of fused_token_stats. impl="eager" uses the full logits of the positions.
    ValueError as in fused_token_stats, and for `where` of another shape or dtype.
    """
    head = Head(weight, bias, LogitTransform(temperature, softcap, scale))
    _check_head(hidden, head, tokens, top_k, chunk)
    check_tensors(where=where)
    if where.shape != tokens.shape:
        raise ValueError(f"where {list(where.shape)} must have the shape of tokens {list(tokens.shape)}")
    if impl == "eager":
        stats = eager_token_stats(head.logits(hidden[where]), tokens[where], top_k)
        topk_logits, logits = stats.topk_logp, stats.logp
    else:
        topk_logits, logits, _ = candidate_logits(
            hidden[where], head, tokens[where], top_k=top_k, chunk=chunk, impl=impl
        )
    gap = candidate_gap(topk_logits, logits, weights)
    return gap.new_zeros(where.shape).masked_scatter(where, gap)


def candidate_logits(
    hidden: Float[Tensor, "n d"],
    head: Head,
    tokens: Int[Tensor, " n"],
    *,
    top_k: int,
    chunk: int | None = None,
    impl: Implementation = "auto",
) -> tuple[Float[Tensor, "n K"], Float[Tensor, " n"], Int[Tensor, "n K"]]:
    """The K largest logits and the token's, with gradient, and the candidates' ids, by K + 1 dot products per position.

    Args:
        hidden: [n, d].
        head: the head.
        tokens: [n], the sampled ids.
        top_k: the number of candidates K.
        chunk: positions at a time when the candidates are found; None chooses.
        impl: as in token_stats.
    """
    chunk = chunk or default_chunk(hidden.device, len(head.weight))
    ids = _candidate_ids(hidden.detach(), head, tokens, top_k, chunk, impl)
    chosen = torch.cat([ids, tokens[:, None]], -1)
    products = _ChosenProducts.apply(hidden, head.weight, chosen)
    if head.bias is not None:
        products = products + head.bias.to(products.dtype)[chosen]
    logits = head.transform.apply(products)
    return logits[:, :-1], logits[:, -1], ids


class _ChosenProducts(torch.autograd.Function):
    """hidden [n, d], weight [V, d], ids [n, m] -> hidden_i . weight[ids_ij], in float32 or wider.

    The weight's gradient is summed in the same dtype. Plain indexing would sum it in the weight's own dtype.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, ids: Tensor) -> Tensor:
        rows = F.embedding(ids, weight)
        ctx.save_for_backward(hidden, rows, ids)
        ctx.weight_shape, ctx.weight_dtype = weight.shape, weight.dtype
        return (hidden[:, None].to(stats_dtype(hidden.dtype)) * rows).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        hidden, rows, ids = ctx.saved_tensors
        d_hidden = d_weight = None
        if ctx.needs_input_grad[0]:
            d_hidden = product(gradient[:, None], rows.to(gradient.dtype))[:, 0].to(hidden.dtype)
        if ctx.needs_input_grad[1]:
            d_weight = gradient.new_zeros(ctx.weight_shape)
            for m in range(ids.shape[-1]):
                d_weight.index_add_(0, ids[:, m], gradient[:, m, None] * hidden)
            d_weight = d_weight.to(ctx.weight_dtype)
        return d_hidden, d_weight, None


@torch.no_grad()
def _candidate_ids(hidden: Tensor, head: Head, tokens: Tensor, top_k: int, chunk: int, impl: Implementation) -> Tensor:
    if choose(impl) == "triton":
        return _head_stats("triton").apply(hidden, *head, tokens, top_k, chunk, 0)[3]
    ids = tokens.new_empty(len(hidden), top_k)
    head = head.for_products(hidden)
    for rows, buffer in row_chunks(hidden, len(head.weight), chunk):
        ids[rows] = top_candidates(head.transform.apply_(head.project(hidden[rows], buffer)), top_k)
    return ids


def _head_stats(impl: Implementation) -> Any:
    if impl == "triton":
        from simko.token_stats.triton_stats import TritonHeadStats

        return TritonHeadStats
    return ChunkedHeadStats


def _check_head(hidden: Tensor, head: Head, tokens: Tensor, top_k: int, chunk: int | None) -> None:
    weight, bias, (temperature, softcap, scale) = head
    check_tensors(hidden=hidden, weight=weight, **not_none(bias=bias))
    if weight.dim() != 2:
        raise ValueError(f"weight {list(weight.shape)} must have two axes, [V, d]")
    check_tokens(tokens, "hidden", hidden, len(weight))
    if hidden.shape[-1] != weight.shape[-1]:
        raise ValueError(f"hidden {list(hidden.shape)} and weight {list(weight.shape)} differ in their last size")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias {list(bias.shape)} must have one value a row of weight {list(weight.shape)}")
    check_options(top_k, len(weight), temperature)
    if softcap is not None and not 0 < softcap < float("inf"):
        raise ValueError(f"softcap must be positive and finite, or None, got {softcap}")
    if not math.isfinite(scale):
        raise ValueError(f"scale must be finite, got {scale}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1 position, got {chunk}")
