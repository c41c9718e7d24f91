"""Logits -> TokenStats, by the fastest implementation that fits."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from simko.objectives.arguments import check_tensors
from simko.token_stats.choice import Implementation, choose, default_chunk
from simko.token_stats.chunked import ChunkedLogitStats
from simko.token_stats.eager import TokenStats, eager_token_stats


def token_stats(
    logits: Float[Tensor, "*N V"],
    tokens: Int[Tensor, "*N"],
    *,
    top_k: int,
    temperature: float = 1.0,
    overwrite_logits: bool = False,
    impl: Implementation = "auto",
) -> TokenStats:
    """Log-probability, entropy and top-K candidates of softmax(logits / temperature) at each position.

        logp = log p_y;  entropy = -sum_v p_v log p_v (0 log 0 = 0);  topk_logp = the K largest log p_v, descending;
        is_top1 = (y is topk_ids[0])

    Equal logits rank by id, lowest first.

    Args:
        logits: [..., V] of any float dtype; the statistics are computed in float32 or wider.
        tokens: [...], the sampled ids.
        top_k: the number of candidates K.
        temperature: divides the logits.
        overwrite_logits: let the backward pass write the gradient over the logits, which saves their size in memory. Another
            backward pass that needs the logits then raises torch's error about a tensor changed in place; a plain reader sees
            the gradient. Not for a leaf, whose .grad would be its own memory.
        impl: "eager" (plain autograd), "chunked" (torch, no copy of the logits), "triton" (NVIDIA GPUs, K <= 8), or "auto",
            which is "chunked" until "triton" has been measured on a GPU.

    ValueError if top_k is not in 1..V, temperature is not positive, shapes differ, logits are not floats, or tokens are not
    integers or, on a CPU, not in 0..V - 1.
    """
    check_tensors(logits=logits)
    check_tokens(tokens, "logits", logits, logits.shape[-1])
    check_options(top_k, logits.shape[-1], temperature)
    impl = choose(impl)
    if impl == "eager":
        return eager_token_stats(logits, tokens, top_k, temperature)
    rows, labels = logits.reshape(-1, logits.shape[-1]), tokens.reshape(-1)
    if impl == "triton":
        from simko.token_stats.triton_stats import TritonLogitStats

        return as_token_stats(tokens, *TritonLogitStats.apply(rows, labels, top_k, temperature, overwrite_logits))
    chunk = default_chunk(logits.device, logits.shape[-1])
    return as_token_stats(tokens, *ChunkedLogitStats.apply(rows, labels, top_k, temperature, chunk, overwrite_logits))


def as_token_stats(tokens: Tensor, logp: Tensor, entropy: Tensor, topk_logp: Tensor, ids: Tensor) -> TokenStats:
    """Outputs of N rows -> TokenStats in the shape of `tokens`."""
    shape = tokens.shape
    ids = ids.view(*shape, ids.shape[-1])
    return TokenStats(logp.view(shape), entropy.view(shape), topk_logp.view(ids.shape), ids, ids[..., 0] == tokens)


def check_tokens(tokens: Tensor, name: str, inputs: Tensor, vocabulary: int | None) -> None:
    """ValueError unless `inputs` are floats [..., n] and tokens are integers [...].

    name: what the message calls `inputs`. vocabulary: if given, tokens on a CPU must be below it. On a GPU that check would
    wait for the device.
    """
    check_tensors(**{name: inputs}, tokens=tokens)
    if tokens.shape != inputs.shape[:-1]:
        raise ValueError(
            f"tokens {list(tokens.shape)} must have the shape of {name} {list(inputs.shape)} less the last"
        )
    if tokens.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"tokens must be int64 or int32, got {tokens.dtype}")
    if vocabulary is not None and tokens.device.type == "cpu" and tokens.numel():
        lowest, highest = (int(x) for x in tokens.aminmax())
        if lowest < 0 or highest >= vocabulary:
            bad = lowest if lowest < 0 else highest
            raise ValueError(
                f"tokens must lie in 0..{vocabulary - 1}, got {bad}: give padding any id and mask it in the loss"
            )


def check_options(top_k: int, vocabulary: int, temperature: float) -> None:
    """ValueError if top_k or the temperature is out of range."""
    if not 1 <= top_k <= vocabulary:
        raise ValueError(f"top_k must lie in 1..{vocabulary} (the vocabulary), got {top_k}")
    check_temperature(temperature)


def check_temperature(temperature: float) -> None:
    """ValueError unless the temperature is positive and finite."""
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
