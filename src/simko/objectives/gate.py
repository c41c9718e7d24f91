"""SimKO's gate: the tokens that the method acts on."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


def entropy_gate(
    entropy: Float[Tensor, "B T"], mask: Shaped[Tensor, "B T"], quantile: float | None
) -> Bool[Tensor, "B T"]:
    """Counted tokens with an entropy strictly above the quantile of their own response.

        gate_t = mask_t and H_t > Q_q({H_s : mask_s = 1})        Q_q linearly interpolated

    No gradient flows. If all entropies of a response are equal, none of its tokens passes at any q. At q = 0 the token of
    least entropy still does not pass; use None to let every counted token pass. ValueError for q outside of [0, 1].
    Source: SimKO, arXiv 2510.14807, section 3 (q = 0.8).

    Args:
        entropy: [B, T], of the current policy, in nats.
        mask: [B, T], non-zero where a token counts.
        quantile: q in [0, 1], or None for no gate.
    """
    counted = mask != 0
    if quantile is None:
        return counted
    if not 0 <= quantile <= 1:
        raise ValueError(f"gate quantile must lie in [0, 1] or be None (gate every counted token), got {quantile}")
    if entropy.shape[-1] == 0:
        return counted
    ascending = entropy.detach().masked_fill(~counted, float("inf")).sort(dim=-1).values
    last = (counted.sum(-1, keepdim=True) - 1).clamp(min=0)
    position = last.to(torch.promote_types(entropy.dtype, torch.float32)) * quantile  # rounded as torch.quantile does
    low = ascending.gather(-1, position.floor().long())
    high = ascending.gather(-1, position.ceil().long())
    threshold = torch.where(low == high, low, low.lerp(high, position - position.floor()))
    return counted & (entropy.detach() > threshold)
