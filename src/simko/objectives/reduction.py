"""Loss a token -> one number."""

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from simko.objectives.options import is_number

Reduction = Literal["token_mean", "sequence_mean", "constant"]
Denominator = int | float | Shaped[Tensor, ""]


def reduction_size(
    mask: Shaped[Tensor, "B T"], reduction: str = "token_mean", *, length: int | None = None
) -> Shaped[Tensor, ""]:
    """What a reduction divides by; see reduce_loss. The sizes of an update's micro-batches add up to that of the update.

    length: of "constant", in tokens; None for T.
    """
    counted = mask != 0
    if reduction == "token_mean":
        return counted.sum()
    if reduction == "sequence_mean":
        return counted.any(-1).sum()
    if reduction == "constant":
        return counted.new_tensor(mask.shape[0] * (mask.shape[1] if length is None else length), dtype=torch.long)
    raise ValueError(f'reduction must be "token_mean", "sequence_mean" or "constant", got {reduction!r}')


def reduce_loss(
    token_loss: Float[Tensor, "B T"],
    mask: Shaped[Tensor, "B T"],
    reduction: Reduction = "token_mean",
    denominator: Denominator | None = None,
    *,
    length: int | None = None,
) -> Float[Tensor, ""]:
    """Sum of the counted tokens' loss over a denominator.

        token_mean     sum_it m l / D    D = counted tokens                 (TRL's dapo, the SimKO authors' code)
        sequence_mean  sum_i (sum_t m l / sum_t m) / D    D = responses with a counted token    (GRPO's equation)
        constant       sum_it m l / D    D = B length, length T if not given                    (Dr. GRPO)

    Nothing counted gives 0, whatever the denominator.

    Args:
        token_loss: the loss of each token.
        mask: nonzero for counted tokens.
        reduction: one of the above.
        denominator: replaces D. An engine that splits an update into micro-batches on P processes, and averages their
            gradients, gives D of the whole update divided by P. The split then changes nothing.
        length: of "constant", in tokens; None for T.
    """
    local = reduction_size(mask, reduction, length=length)
    if denominator is not None:
        _check_denominator(denominator)
    masked = token_loss.masked_fill(mask == 0, 0.0)
    if reduction == "sequence_mean":
        masked = masked.sum(-1) / (mask != 0).sum(-1).clamp(min=1)
    size = torch.as_tensor(local if denominator is None else denominator, dtype=masked.dtype, device=masked.device)
    return masked.sum() / torch.where(size == 0, 1.0, size)


def _check_denominator(denominator: Any) -> None:
    """ValueError unless it is one number, finite and not negative. The value of a tensor is not read."""
    if isinstance(denominator, Tensor):
        fits = denominator.numel() == 1 and not denominator.is_complex()
    else:
        fits = is_number(denominator) and denominator >= 0
    if not fits:
        raise ValueError(f"denominator must be one number, finite and not negative, got {denominator!r}")


class Mean(NamedTuple):
    """A metric as sum and count, both of which add up over the micro-batches and processes of an update."""

    total: Float[Tensor, ""]
    """The sum."""
    size: Float[Tensor, ""]
    """The count, in tokens."""

    def value(self) -> Float[Tensor, ""]:
        """total / size; 0 over no tokens."""
        return self.total / self.size.clamp(min=1)


def mean_over(x: Shaped[Tensor, "*N"], where: Bool[Tensor, "*N"]) -> Mean:
    """Mean of x where `where` holds, without gradient: a metric."""
    value = x.detach() if torch.is_floating_point(x) else x.to(torch.get_default_dtype())
    total = torch.where(where, value, 0.0).sum()
    return Mean(total, where.sum().to(total.dtype))
