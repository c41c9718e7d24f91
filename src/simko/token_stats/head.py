"""How hidden states become logits: the language-model head, as the fused paths see it."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class LogitTransform(NamedTuple):
    """What a head does to its products x = h W' + b.

    logits = softcap tanh(scale x / softcap) / temperature; without a softcap, scale x / temperature
    """

    temperature: float = 1.0
    softcap: float | None = None
    scale: float = 1.0

    def apply_(self, products: Tensor) -> Tensor:
        """x -> logits, in place."""
        if self.softcap is None:
            factor = self.scale / self.temperature
            return products if factor == 1 else products.mul_(factor)
        return products.mul_(self.scale / self.softcap).tanh_().mul_(self.softcap / self.temperature)

    def apply(self, products: Tensor) -> Tensor:
        """x -> logits, differentiable."""
        products = products * self.scale
        if self.softcap is not None:
            products = self.softcap * torch.tanh(products / self.softcap)
        return products / self.temperature

    def chain_(self, gradient: Tensor, logits: Tensor) -> Tensor:
        """d loss / d logits -> d loss / dx, in place in `gradient`; may overwrite `logits`.

        The cap's derivative is 1 - tanh^2, and tanh is logits temperature / softcap.
        """
        if self.softcap is not None:
            slope = logits.mul_(self.temperature / self.softcap).square_().neg_().add_(1)
            gradient.mul_(slope)
        factor = self.scale / self.temperature
        return gradient if factor == 1 else gradient.mul_(factor)


class Head(NamedTuple):
    """A language-model head: weight [V, d], bias [V] or None, and what becomes of h W' + b."""

    weight: Tensor
    bias: Tensor | None = None
    transform: LogitTransform = LogitTransform()

    def options(self) -> dict[str, Any]:
        """Everything but the weight, as fused_token_stats takes it."""
        return {"bias": self.bias, **self.transform._asdict()}

    def for_products(self, hidden: Tensor) -> "Head":
        """This head with a weight that `project` can multiply `hidden` by: of its type on a GPU, whose matrix products
        of half-precision factors have a float32 result, and float32 or wider on a CPU, whose have not."""
        return self._replace(weight=self.weight.to(hidden.dtype if hidden.is_cuda else wide(hidden.dtype)))

    def project(self, hidden: Float[Tensor, "n d"], out: Float[Tensor, "n V"]) -> Float[Tensor, "n V"]:
        """h W' + b into `out`, float32 or wider, never rounded to half precision. Ask for_products first."""
        hidden = hidden.to(self.weight.dtype)
        if self.weight.dtype == out.dtype:
            torch.mm(hidden, self.weight.t(), out=out)
        else:
            torch.mm(hidden, self.weight.t(), out_dtype=out.dtype, out=out)
        return out if self.bias is None else out.add_(self.bias)

    def logits(self, hidden: Float[Tensor, "*N d"]) -> Float[Tensor, "*N V"]:
        """The logits of all of `hidden`, float32 or wider, differentiable."""
        dtype = wide(hidden.dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        with without_autocast(hidden):
            return self.transform.apply(F.linear(hidden.to(dtype), self.weight.to(dtype), bias))


def without_autocast(tensor: Tensor) -> torch.autocast:
    """A context in which autocast leaves products of float32 factors alone; statistics are worked in float32 or wider."""
    return torch.autocast(tensor.device.type, enabled=False)


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type that statistics of `dtype` are worked in."""
    return torch.promote_types(dtype, torch.float32)
