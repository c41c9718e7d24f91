"""skip_zero_advantage: the loss without the responses that have no advantage."""

from typing import Any

import torch
from torch import Tensor, is_tensor
from trl import GRPOConfig

_ROW_SKIPPING_LOSSES = ("dapo", "cispo")


def refuse_inexact_skipping(args: GRPOConfig) -> None:
    """ValueError for an objective in which responses of advantage 0 count."""
    exact = args.loss_type in _ROW_SKIPPING_LOSSES and args.beta == 0 and args.top_entropy_quantile == 1.0
    if not exact or args.entropy_coef != 0 or args.use_adaptive_entropy:
        raise ValueError(
            "skip_zero_advantage keeps the gradient only with loss_type dapo or cispo, beta 0, top_entropy_quantile 1 "
            "and no entropy bonus: responses of advantage 0 count elsewhere; set it to False or change those options"
        )


def only_rows(inputs: dict[str, Any], keep: Tensor) -> dict[str, Any]:
    """The rows `keep` [B] of a micro-batch, completions trimmed to the longest. Kept rows of advantage 0, which fill up,
    count as a tool's: no loss and no metric reads them.

    Prompts keep their padding: on its left, it shifts the positions that a model with absolute ones sees."""
    if "num_images" in inputs:
        raise ValueError("skip_zero_advantage does not know multimodal batches: set it to False")
    inputs = {k: v[keep] if is_tensor(v) and v.dim() and len(v) == len(keep) else v for k, v in inputs.items()}
    completion = int(inputs["completion_mask"].any(0).nonzero().max()) + 1 if inputs["completion_mask"].any() else 1
    width = inputs["completion_mask"].size(1)
    for key, value in inputs.items():
        if is_tensor(value) and value.dim() == 2 and not key.startswith("prompt") and value.size(1) == width:
            inputs[key] = value[:, :completion]
    trained = inputs["advantages"].view(len(inputs["advantages"]), -1).ne(0).any(-1)
    if not trained.all():
        mask = inputs.get("tool_mask", torch.ones_like(inputs["completion_mask"]))
        inputs["tool_mask"] = mask * trained[:, None]
    return inputs
