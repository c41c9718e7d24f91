"""What goes on around any objective: skipped responses, honest means, the model card."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, is_tensor
from trl import GRPOConfig

from simko.objectives.reduction import Mean
from simko.objectives.tokens import Metrics

Logged = defaultdict[str, list[float]]


# Skipping responses of advantage 0.


def rows_to_score(advantages: Tensor, accelerator: Accelerator) -> Tensor:
    """[B] bool: responses with an advantage, and others until every process has equally many (at least one): TRL
    gathers a number for each response."""
    keep = advantages.view(len(advantages), -1).ne(0).any(-1)
    most = int(accelerator.gather(keep.sum().view(1)).max().clamp(min=1))
    keep[(~keep).nonzero().flatten()[: most - int(keep.sum())]] = True
    return keep


def only_rows(inputs: dict[str, Any], keep: Tensor) -> dict[str, Any]:
    """The rows `keep` [B] of a micro-batch, completions trimmed to the longest. Kept rows of advantage 0, which fill up,
    count as a tool's: no loss and no metric reads them.

    Prompts keep their padding: on its left, it shifts the positions that a model with absolute ones sees."""
    if "num_images" in inputs:
        raise ValueError("skip_zero_advantage does not know multimodal batches: set it to False")
    inputs = {k: v[keep] if is_tensor(v) and v.dim() and len(v) == len(keep) else v for k, v in inputs.items()}
    used = inputs["completion_mask"].any(0).nonzero()
    completion = max(2, int(used.max()) + 1 if len(used) else 0)  # TRL takes a width of 1 for one number a response
    width = inputs["completion_mask"].size(1)
    for key, value in inputs.items():
        if is_tensor(value) and value.dim() == 2 and not key.startswith("prompt") and value.size(1) == width:
            inputs[key] = value[:, :completion]
    trained = inputs["advantages"].view(len(inputs["advantages"]), -1).ne(0).any(-1)
    if not trained.all():
        mask = inputs.get("tool_mask", torch.ones_like(inputs["completion_mask"]))
        inputs["tool_mask"] = mask * trained[:, None]
    return inputs


# Metrics.


def take_means(
    logged: Logged, args: GRPOConfig, tokens: tuple[Tensor, Tensor], responses: tuple[Tensor, Tensor]
) -> Metrics:
    """TRL's means over a micro-batch, taken out of its log, as sums and counts: TRL averages them over micro-batches
    whatever their size, and has 0 for a mean over no tokens.

    tokens, responses: how many of the micro-batch were scored, and how many there are. The clip's shares are of all counted
    tokens, those of skipped responses included; where a response has one ratio, they are of the responses.
    """
    if args.loss_type == "cispo":
        logged["clip_ratio/region_mean"].append(logged["cispo_clip_ratio"][-1])
    clipped, found = responses if args.importance_sampling_level == "sequence" else tokens, {}
    for name in ("entropy", "kl", *(f"clip_ratio/{kind}_mean" for kind in ("low", "high", "region"))):
        if values := logged.get(name):
            scored, size = clipped if name.startswith("clip") else (tokens[0], tokens[0])
            found[name] = Mean(values.pop() * scored, size)
            if not values:
                del logged[name]
    return found


# The model card.


def name_local_models(card: Path, config: Any, checkpoint: Path) -> None:
    """Write what TRL's card of a run leaves as None where the model has no hub id: the folder that it was loaded from
    and, in the example, `checkpoint`."""
    if not card.is_file():
        return
    text = card.read_text(encoding="utf-8")
    base = f"the model in `{config._name_or_path}`" if config._name_or_path else "a model that was given as an object"
    named = text.replace("[None](https://huggingface.co/None)", base).replace('model="None"', f'model="{checkpoint}"')
    if named != text:
        card.write_text(named, encoding="utf-8")
