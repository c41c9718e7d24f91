"""What a recipe comes to: responses, updates and tokens, and the memory of a GPU. The same for every engine."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from simko.training.memory import logit_bytes, loss_bytes

GB = 1e9


@dataclass(frozen=True)
class Sizes:
    """The numbers of a recipe that the arithmetic is about."""

    engine: str
    """The engine's name."""
    method: str
    """What is trained."""
    model: str
    """The model's name or folder."""
    gpus: int
    """GPUs, or processes on CPUs."""
    shards: int
    """The processes over which weights, gradients and optimiser are split."""
    prompts: int
    """Prompts a rollout."""
    group: int
    """Responses a prompt."""
    updates: float
    """Updates a rollout."""
    micro_batch: str
    """What a GPU reads at a time, in words."""
    tokens: int
    """The most tokens a GPU reads at a time."""
    context: int
    """The longest sequence that a rollout may have."""
    vocabulary_shards: int = 1
    """The processes over which the vocabulary is split."""
    optimizer_shards: int | None = None
    """In Megatron, the processes over which the optimiser is split; `shards` then split weights and gradients alone."""
    state_size: int = 4
    """Bytes of a weight, and of a gradient; Adam's two moments have as many each."""
    logit_size: int | None = 2
    """Bytes of a logit; None where the engine never holds the logits of a whole micro-batch."""
    adapter: bool = False
    """Whether an adapter alone is trained, which is not counted."""
    notes: tuple[str, ...] = field(default=())
    """What comes on top, in words."""

    def lines(self) -> list[str]:
        """The arithmetic in words. ValueError for sequences longer than the model's context."""
        responses = self.prompts * self.group
        found = [
            f"rollout: {self.prompts:,} prompts x {self.group} = {responses:,} responses",
            f"updates: {self.updates:g} a rollout, of {responses / self.updates:,.0f} responses",
            f"micro-batch: {self.micro_batch}",
        ]
        config = model_numbers(self.model)
        if config is None:
            return [*found, f"memory: unknown, since the config of {self.model} is not here"]
        if self.context > config["max_position_embeddings"]:
            raise ValueError(
                f"sequences of up to {self.context:,} tokens do not fit into the {config['max_position_embeddings']:,} of "
                f"{self.model}: shorten prompts or responses"
            )
        parts = self._state_memory(parameters(self.model))
        parts |= self._loss_memory(config["vocab_size"])
        said = ", ".join(f"{name} {value / GB:.1f}" for name, value in parts.items())
        on_top = " and ".join(["activations", *["the adapter"] * self.adapter, *self.notes])
        return [*found, f"memory a GPU: {said}: {sum(parts.values()) / GB:.1f} GB; {on_top} come on top"]

    def _state_memory(self, size: int) -> dict[str, float]:
        """Bytes of weights, gradients and Adam's state; memory.state_bytes adds them up."""
        if self.optimizer_shards is not None:
            shares = {"weights": 2 / self.shards, "gradients": 4 / self.shards, "optimiser": 12 / self.optimizer_shards}
            return {name: share * size for name, share in shares.items()}
        state = size * self.state_size / self.shards
        return {"weights": state} | ({} if self.adapter else {"gradients": state, "optimiser": 2 * state})

    def _loss_memory(self, vocabulary: int) -> dict[str, float]:
        """Bytes of the logits of a micro-batch and of what the loss adds, or of one chunk of logits and its gradient."""
        if self.logit_size is None:
            chunk = loss_bytes(self.tokens, vocabulary) - logit_bytes(self.tokens, vocabulary)
            return {"statistics": 2 * chunk}
        sizes = (self.tokens, vocabulary, self.vocabulary_shards)
        logits, statistics = (count(*sizes, size=self.logit_size) for count in (logit_bytes, loss_bytes))
        return {"logits": logits, "statistics": statistics}


@cache
def model_numbers(name: str) -> dict[str, Any] | None:
    """The numbers of a model's config: from its folder or models.yaml. None for a model that is in neither."""
    if (Path(name) / "config.json").is_file():
        from transformers import AutoConfig

        found = AutoConfig.from_pretrained(name).to_dict()
        return found if {"vocab_size", "max_position_embeddings"} <= found.keys() else None
    known = yaml.safe_load((Path(__file__).parent / "models.yaml").read_text(encoding="utf-8"))
    return known.get(name)


@cache
def parameters(name: str) -> int:
    """The number of a model's parameters, counted without memory for them."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return int(AutoModelForCausalLM.from_config(model_config(model_numbers(name) or {})).num_parameters())


def model_config(numbers: dict[str, Any]) -> Any:
    """The config that the numbers stand for."""
    from transformers import AutoConfig

    return AutoConfig.for_model(**numbers)
