"""Weights that are no numbers."""

import torch
from torch import nn


def refuse_broken_weights(model: nn.Module, source: str) -> None:
    """ValueError naming `source` and the first weight of a model that holds inf or nan. Of a sharded weight, each process
    looks at its own part."""
    for name, weight in model.named_parameters():
        local = getattr(weight, "_local_tensor", weight)
        if local.is_floating_point() and local.element_size() > 1 and not torch.isfinite(local).all():
            raise ValueError(f"{source}: the weight {name} holds inf or nan; restore the model, or take another one")
