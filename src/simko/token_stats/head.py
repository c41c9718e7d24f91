"""The language-model head, which turns hidden states into logits, as the fused implementations see it."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class LogitTransform(NamedTuple):
    """From the products x = h W' + b of a head to its logits.

    logits = softcap tanh(scale x / softcap) / temperature; without a softcap, scale x / temperature
    """

    temperature: float = 1.0
    """Divides the logits."""
    softcap: float | None = None
    """The bound of the logits before the temperature; None for no bound."""
    scale: float = 1.0
    """Multiplies the products."""

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
        """d loss / d logits -> d loss / dx, in place in `gradient`. May overwrite `logits`.

        The softcap's derivative is 1 - tanh^2, with tanh = logits temperature / softcap.
        """
        if self.softcap is not None:
            slope = logits.mul_(self.temperature / self.softcap).square_().neg_().add_(1)
            gradient.mul_(slope)
        factor = self.scale / self.temperature
        return gradient if factor == 1 else gradient.mul_(factor)


class Head(NamedTuple):
    """A language-model head."""

    weight: Tensor
    """[V, d]."""
    bias: Tensor | None = None
    """[V]."""
    transform: LogitTransform = LogitTransform()
    """From h W' + b to the logits."""

    def options(self) -> dict[str, Any]:
        """Everything but the weight, as keyword arguments of fused_token_stats."""
        return {"bias": self.bias, **self.transform._asdict()}

    def for_products(self, hidden: Tensor) -> "Head":
        """This head with a weight that `project` can multiply `hidden` by.

        On a GPU the weight takes hidden's dtype, because products of half-precision factors can have a float32 result there.
        On a CPU they cannot, so the weight is float32 or wider.
        """
        return self._replace(weight=self.weight.to(hidden.dtype if hidden.is_cuda else stats_dtype(hidden.dtype)))

    def project(self, hidden: Float[Tensor, "n d"], out: Float[Tensor, "n V"]) -> Float[Tensor, "n V"]:
        """h W' + b into `out` (float32 or wider), without rounding to half precision. Needs a head from for_products."""
        hidden = hidden.to(self.weight.dtype)
        if self.weight.dtype == out.dtype:
            torch.mm(hidden, self.weight.t(), out=out)
        else:
            torch.mm(hidden, self.weight.t(), out_dtype=out.dtype, out=out)
        return out if self.bias is None else out.add_(self.bias)

    def logits(self, hidden: Float[Tensor, "*N d"]) -> Float[Tensor, "*N V"]:
        """The logits of all of `hidden`, in float32 or wider, differentiable."""
        dtype = stats_dtype(hidden.dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        with without_autocast(hidden):
            return self.transform.apply(F.linear(hidden.to(dtype), self.weight.to(dtype), bias))


def without_autocast(tensor: Tensor) -> torch.autocast:
    """A context without autocast, which would round products of float32 factors."""
    return torch.autocast(tensor.device.type, enabled=False)


def stats_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which statistics of `dtype` inputs are computed: float32 or wider."""
    return torch.promote_types(dtype, torch.float32)
