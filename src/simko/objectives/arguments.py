"""Checks of tensor arguments. An argument's name decides its kind, in every function that takes it."""

from typing import Any

import torch
from torch import Tensor

_KINDS = {
    "logits": "float", "hidden": "float", "weight": "float", "bias": "float",
    "logp": "float", "old_logp": "float", "entropy": "float", "topk_logp": "float", "gap": "float",
    "is_top1": "bool", "marked": "bool", "where": "bool",
    "tokens": "integer", "groups": "integer",
    "mask": "real", "advantages": "real", "rewards": "real",
}  # fmt: skip
_MEANINGS = {
    "float": "of a float type",
    "bool": "of torch.bool",
    "integer": "of an integer type, int64 or int32",
    "real": "of floats, integers or truth values",
}


def check_tensors(**arguments: Any) -> None:
    """ValueError naming the first argument that is not a tensor, or not of the kind that belongs to its name."""
    for name, x in arguments.items():
        kind = _KINDS[name]
        if not isinstance(x, Tensor):
            raise ValueError(f"{name} must be a tensor {_MEANINGS[kind]}, got {_described(x)}")
        if _kind(x.dtype) != kind and (kind != "real" or x.is_complex()):
            raise ValueError(f"{name} must be {_MEANINGS[kind]}, got {x.dtype}")


def not_none(**arguments: Any) -> dict[str, Any]:
    """The arguments that are not None."""
    return {name: x for name, x in arguments.items() if x is not None}


def _kind(dtype: torch.dtype) -> str:
    if dtype.is_floating_point or dtype.is_complex:
        return "complex" if dtype.is_complex else "float"
    return "bool" if dtype == torch.bool else "integer"


def _described(x: Any) -> str:
    return "None" if x is None else f"a {type(x).__name__}"
