"""Loss a token -> one number."""

from typing import Literal

from jaxtyping import Float, Shaped
from torch import Tensor

Reduction = Literal["token_mean", "sequence_mean", "constant"]


def reduce_loss(
    token_loss: Float[Tensor, "B T"],
    mask: Shaped[Tensor, "B T"],
    reduction: Reduction = "token_mean",
    denominator: float | Float[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """Sum of the counted tokens' loss over a denominator.

        token_mean     sum_it m l / D    D = counted tokens                 (TRL's dapo, the SimKO authors' code)
        sequence_mean  sum_i (sum_t m l / sum_t m) / D    D = responses with a counted token    (GRPO's equation)
        constant       sum_it m l / D    D = B T                            (Dr. GRPO; give its length by denominator)

    denominator replaces D. An engine that splits an update into micro-batches over P processes and averages their
    gradients gives D of the whole update divided by P; then the split changes nothing. Nothing counted: 0.
    """
    weight = (mask != 0).to(token_loss.dtype)
    masked = token_loss.masked_fill(mask == 0, 0.0)
    if reduction == "token_mean":
        total, local = masked.sum(), weight.sum()
    elif reduction == "sequence_mean":
        length = weight.sum(-1)
        total, local = (masked.sum(-1) / length.clamp(min=1)).sum(), (length > 0).sum()
    elif reduction == "constant":
        total, local = masked.sum(), weight.new_tensor(weight.numel())
    else:
        raise ValueError(f'reduction must be "token_mean", "sequence_mean" or "constant", got {reduction!r}')
    return total / (local.clamp(min=1) if denominator is None else denominator)
