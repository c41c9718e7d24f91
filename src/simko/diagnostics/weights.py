"""A model as it is measured: weights that hold inf or nan, evaluation mode."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def refuse_broken_weights(model: nn.Module, source: str) -> None:
    """ValueError that names `source` and the first weight that holds inf or nan. Each process checks its own shard."""
    for name, weight in model.named_parameters():
        local = getattr(weight, "_local_tensor", weight)
        if local.is_floating_point() and local.element_size() > 1 and not torch.isfinite(local).all():
            raise ValueError(f"{source}: the weight {name} holds inf or nan; restore the model, or take another one")


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode inside; each module's own mode is put back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
