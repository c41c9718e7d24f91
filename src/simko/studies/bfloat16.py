"""A model whose layers compute in bfloat16, with float32 weights and float32 logits."""

import torch
from torch import Tensor
from transformers import PreTrainedModel


def in_bfloat16(model: PreTrainedModel) -> PreTrainedModel:
    """The same model, whose forward pass is under autocast, but for its head.

    The head stays in float32: at the size of a language model's logits, rounding moves log-probabilities by tenths of a nat, and
    differently where the same token is sampled and where it is scored.
    """
    device = model.device.type
    head = model.get_output_embeddings()
    inner = head.forward

    def exact(hidden: Tensor) -> Tensor:
        with torch.autocast(device, enabled=False):
            return inner(hidden.float())

    head.forward = exact
    model.forward = torch.autocast(device, torch.bfloat16)(model.forward)
    return model
