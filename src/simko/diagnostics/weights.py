"""Weights that hold inf or nan."""

import torch
from torch import nn


def refuse_broken_weights(model: nn.Module, source: str) -> None:
    """ValueError that names `source` and the first weight that holds inf or nan. Each process checks its own shard."""
    for name, weight in model.named_parameters():
        local = getattr(weight, "_local_tensor", weight)
        if local.is_floating_point() and local.element_size() > 1 and not torch.isfinite(local).all():
            raise ValueError(f"{source}: the weight {name} holds inf or nan; restore the model, or take another one")
