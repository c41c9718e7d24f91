"""A row inside TRL's update: candidates read off the head, token links in TRL's own loss, or the row's own loss.

Where TRL's loss stays, so do its loss types, KL term, vLLM correction, PEFT, DDP and FSDP: the links change the
log-probabilities and advantages that it works with, and nothing of it is rewritten.
"""

from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import is_peft_model
from torch import Tensor

from simko.adapters.trl.lm_head import HeadCall, completion_rows
from simko.objectives import Method, candidate_gap
from simko.objectives.reduction import Mean, mean_over
from simko.objectives.tokens import Metrics, Tokens, read_tokens
from simko.objectives.update import (
    candidate_tokens,
    changed_shares,
    links_change,
    reads_candidates_elsewhere,
    reads_few_candidates,
)


class Candidates(NamedTuple):
    """What a row reads of the candidates of a micro-batch, [B, T]: gap in nats and is_top1, both 0 off `scored`."""

    gap: Tensor
    is_top1: Tensor
    scored: Tensor


def counted_tokens(batch: dict[str, Any]) -> Tensor:
    """[B, T] bool: completion tokens that are no padding and no tool's."""
    mask = batch["completion_mask"] != 0
    return mask & (batch["tool_mask"] != 0) if "tool_mask" in batch else mask


def batch_size(batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """How many counted tokens and how many responses there are."""
    counted = counted_tokens(batch).sum()
    return counted, counted.new_tensor(len(batch["advantages"]))


def scored_ids(batch: dict[str, Any]) -> tuple[Tensor, Tensor, int]:
    """The token ids, the attention mask and the width of the completions, as TRL's scoring takes them."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    return ids, attention, batch["completion_ids"].size(1)


def one_pass_candidates(method: Method, device: torch.device) -> int | None:
    """K where one pass of ours over the head gives all statistics: without a gate, when every token needs candidates,
    and on CPUs, where TRL's head has no kernel and costs more than twice as much.

    None where TRL scores and the gated tokens' logits are looked at again; so also for links that change nothing, which
    leave GRPOTrainer's run what it is to the bit.
    """
    one_pass = device.type == "cpu" or not reads_few_candidates(method)
    return (method.top_k or 1) if one_pass and (links_change(method) or not method.token_links) else None


def read_candidates(method: Method, call: HeadCall, inputs: dict[str, Any]) -> Candidates:
    """The candidates of the tokens at which the row reads them, or of every counted token, from inside the head's call."""
    valid, counted = inputs["completion_mask"] != 0, counted_tokens(inputs)
    rows = completion_rows(len(call.labels), valid)
    entropy = call.entropy.new_zeros(valid.shape).masked_scatter(valid, call.entropy.detach()[rows[valid]])
    nothing = torch.zeros_like(entropy)
    tokens = read_tokens(nothing, nothing, entropy, None, None, inputs["advantages"], counted, None)
    scored = counted if reads_candidates_elsewhere(method) else candidate_tokens(method, tokens)
    topk_logits, logits, ids = call.candidate_logits(rows[scored], method.top_k or 1)
    gap = candidate_gap(topk_logits, logits, method.candidate_weights or "uniform")
    gap = nothing.masked_scatter(scored, gap.to(entropy.dtype))
    is_top1 = torch.zeros_like(scored).masked_scatter(scored, ids[:, 0] == call.labels[rows[scored]])
    return Candidates(gap, is_top1, scored)


def tokens_of(
    inputs: dict[str, Any], logp: Tensor, old_logp: Tensor, entropy: Tensor, marked: Tensor | None = None
) -> Tokens:
    """Tokens of a micro-batch, with the candidates that were read while it was scored."""
    gap, is_top1, scored = inputs.get("candidates", (None, None, None))
    advantages, mask, left_out = inputs["advantages"], counted_tokens(inputs), inputs["left_out"]
    return read_tokens(logp, old_logp, entropy, gap, is_top1, advantages, mask, marked, left_out, scored)


def link_loss(method: Method, logp: Tensor, entropy: Tensor, inputs: dict[str, Any]) -> tuple[Tensor, Metrics]:
    """log pi after the row's token links; `inputs` gets the old side, advantages and reference that belong to it.

    The metrics are the links' own and changed_shares.
    """
    stored = inputs.get("old_per_token_logps")
    old_logp = logp.detach() if stored is None else stored
    before = tokens_of(inputs, logp, old_logp, entropy)
    after, metrics = method.link(before)
    # TRL takes the value of the new log-probability for the old one where none is stored.
    if after.old_logp is not before.old_logp or after.logp is not before.logp:
        inputs.setdefault("sampling_per_token_logps", old_logp)  # TRL's off-policy mask reads the true one
        inputs["old_per_token_logps"] = torch.where(before.mask, after.old_logp, old_logp)
    if after.advantages is not before.advantages:
        inputs["advantages"] = after.advantages
    if after.logp is not before.logp:
        logp = torch.where(before.mask, after.logp, logp)
        shift = after.logp - before.logp
        inputs["sampling_per_token_logps"] = inputs["sampling_per_token_logps"] + shift.detach()
        if inputs.get("ref_per_token_logps") is not None:  # so that the KL keeps the gradient of the true logp
            inputs["ref_per_token_logps"] = inputs["ref_per_token_logps"] + shift
    return logp, metrics | changed_shares(before, after)


def core_metrics(tokens: Tokens, metrics: Metrics) -> Metrics:
    """What TRL's loss logs too: the entropy, and the share of counted tokens at which the clip acts."""
    clipped = metrics["clipped"].total if "clipped" in metrics else tokens.logp.new_zeros(())
    region = Mean(clipped, tokens.mask.sum() + tokens.left_out)
    return {"clip_ratio/region_mean": region, "entropy": mean_over(tokens.entropy, tokens.mask)}


class AcceleratedProcesses:
    """The processes of an Accelerator, as objectives/update.py knows them."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.index, self.count = accelerator.process_index, accelerator.num_processes

    def sum(self, x: Tensor) -> Tensor:
        """Processes.sum."""
        summed: Tensor = self._accelerator.reduce(x.to(self._accelerator.device), reduction="sum")
        return summed

    def gather(self, x: Tensor) -> Tensor:
        """Processes.gather."""
        if x.dim() > 1:
            x = self._accelerator.pad_across_processes(x, dim=1)
        gathered: Tensor = self._accelerator.gather(x)
        return gathered


def refuse_unread_heads(model: Any, top_k: int) -> None:
    """ValueError for a model whose head gives other logits than the trained ones, or fewer than top_k."""
    head = model.get_output_embeddings()
    if is_peft_model(model):
        if getattr(model.peft_config[model.active_adapter], "is_prompt_learning", False):
            raise ValueError("prompt-learning adapters shift the scored positions: use LoRA or full fine-tuning")
        if hasattr(head, "base_layer") or hasattr(head, "modules_to_save"):
            raise ValueError(
                "the LM head carries an adapter (LoRA target or modules_to_save), which SimKO's candidates would not "
                "see: leave lm_head out of target_modules and modules_to_save"
            )
    shape = getattr(head.weight, "ds_shape", head.weight.shape)  # ZeRO-3 leaves [0] of a weight it has sharded
    if top_k > (vocabulary := shape[0]):
        raise ValueError(
            f"top_k={top_k} exceeds the model's vocabulary of {vocabulary} tokens: lower the number of candidates"
        )


def check_head(call: HeadCall, model: Any) -> None:
    """RuntimeError unless the logits that are read off the head give TRL's own log-probabilities."""
    error = call.logp_error(torch.arange(min(64, len(call.labels)), device=call.labels.device))
    if error > 1e-3:
        raise RuntimeError(
            f"SimKO reads other logits off the LM head than TRL scores (log-probabilities differ by {error:.2g} in "
            f"float32): {type(model).__name__} transforms its logits in a way SimKO does not know"
        )
