"""Statistics of the group a response belongs to: the responses to one prompt."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Groups:
    """The groups of B responses, which may be in any order. A statistic of the group is repeated for each response: [B]."""

    index: Int[Tensor, " B"]
    """The group of each response, from 0 to the number of groups - 1."""
    drawn: Int[Tensor, " B"]
    """How many responses were drawn for the group, including those that could not be scored."""
    size: Int[Tensor, " B"]
    """How many responses of the group are here."""

    def total(self, x: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Sum over the group."""
        return x.new_zeros(len(x)).index_add(0, self.index, x)[self.index]

    def mean(self, x: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Mean over the group."""
        return self.total(x) / self.size

    def highest(self, x: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Largest value of the group."""
        return x.new_zeros(len(x)).scatter_reduce(0, self.index, x, "amax", include_self=False)[self.index]

    def centred(self, x: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """x - mean of the group. Exactly 0 where all values of the group are equal.

        The mean of equal values can have a rounding error, which a division by a small eps would magnify.
        """
        return torch.where(self.highest(x) == -self.highest(-x), 0.0, x - self.mean(x))

    def std(self, x: Float[Tensor, " B"], ddof: int) -> Float[Tensor, " B"]:
        """Standard deviation over the group. The denominator is size - ddof, but at least 1."""
        return (self.total(self.centred(x) ** 2) / (self.size - ddof).clamp(min=1)).sqrt()

    def ascending(self, x: Float[Tensor, " B"]) -> tuple[Float[Tensor, "G N"], Int[Tensor, " B"]]:
        """x in ascending order, one row for each group, and the index of each response in the flattened rows.

        N is the size of the largest group. A shorter row is filled up with its largest value.
        """
        order = x.argsort()
        order = order[self.index[order].argsort(stable=True)]
        row = self.index[order]
        column = torch.arange(len(x), device=x.device) - torch.searchsorted(row, row)
        shape = (int(row[-1]) + 1, int(self.size.max())) if len(x) else (0, 1)
        rows = x.new_full(shape, -torch.inf).index_put((row, column), x[order]).cummax(1).values
        return rows, torch.empty_like(order).index_put((order,), row * shape[1] + column)


def groups_of(groups: Int[Tensor, " B"], scorable: Bool[Tensor, " B"]) -> Groups:
    """The Groups of the scorable responses. groups [B] holds integers, equal for responses to the same prompt."""
    drawn = _sizes(groups)[scorable]
    kept = groups[scorable]
    return Groups(index=torch.unique(kept, return_inverse=True)[1], drawn=drawn, size=_sizes(kept))


def _sizes(groups: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    _, index, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    return counts[index]
