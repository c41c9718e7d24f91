"""All that touches verl's logits hook, so that one file changes when the hook moves.

A batch that carries distillation_use_topk makes an engine call its loss function once more, before the loss, as
loss(student_logits=logits, data=micro_batch, data_format=...). The logits are scaled by the temperature, at all positions of
the packed micro-batch that this process has (sequence and context parallelism), and in Megatron of its part of the
vocabulary. The dict of tensors that it returns, one number a position, arrives in the loss's model_output, put together
again over the sequence, with its gradient. Source: verl 0.9.1, workers/engine/{fsdp,megatron}/transformer_impl.py.

Legend: n positions here, V_r columns of the vocabulary here, K candidates, B responses, T tokens.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from tensordict import TensorDict
from torch import Tensor
from verl.utils import tensordict_utils as tu
from verl.workers.utils.padding import no_padding_2_padding

from simko.objectives import Method, candidate_gap
from simko.token_stats import token_stats, vocab_parallel_token_stats
from simko.token_stats.choice import default_chunk

VERL = "0.9.1"
"""The version of verl whose hook this is."""

_NAME = "simko_"  # before the names of what the hook returns


class Scored(NamedTuple):
    """What the policy's logits say of each token of a micro-batch, in nats. 0 or False where the token is not counted."""

    entropy: Float[Tensor, "B T"]
    """Entropy, without gradient."""
    gap: Float[Tensor, "B T"]
    """candidate_gap under the row's weights, with gradient; 0 for a row without candidates."""
    is_top1: Bool[Tensor, "B T"]
    """Whether the token is the most likely one."""
    topk_logp: Float[Tensor, "B T K"]
    """log pi of the K most likely tokens, without gradient."""


class _Layout(NamedTuple):
    """Where the logits of a process are."""

    labels: Int[Tensor, "*n"]
    """The token that each position predicts."""
    counted: Int[Tensor, "*n"]
    """1 at positions that predict a counted token of a response."""
    group: Any
    """The processes that have the other columns of the vocabulary; None where all are here."""
    shard: int
    """This process's place among them."""


def ask_for_logits(data: TensorDict) -> None:
    """Mark the batch, so that the engine calls the hook for each of its micro-batches."""
    tu.assign_non_tensor(data, distillation_use_topk=True, distillation_only=False)


def read_logits(
    method: Method, logits: Float[Tensor, "*n V_r"], data: TensorDict, data_format: str, strategy: str
) -> dict[str, Float[Tensor, "*n"]]:
    """The hook's answer: what `scored` reads, at this process's positions. Computed for counted tokens alone.

    The logits are neither copied as a whole nor kept for the backward pass: verl's own kernels overwrite them in place.
    """
    layout = _megatron_layout(data, data_format) if strategy == "megatron" else _fsdp_layout(data)
    assert logits.shape[:-1] == layout.labels.shape, f"{logits.shape=} {layout.labels.shape=}"
    flat, rows = logits.flatten(0, -2), layout.counted.flatten().nonzero()[:, 0]
    labels, top_k, first_id = layout.labels.flatten()[rows], method.top_k or 1, layout.shard * flat.shape[-1]
    logp, entropy, topk_logp, topk_ids = _stats(flat.detach(), labels, rows, layout, first_id, top_k)
    found = {"entropy": entropy, "top1": (topk_ids[:, 0] == labels).float()}
    found |= {f"logp_{n}": topk_logp[:, n] for n in range(top_k)}
    if method.candidate_weights is not None:
        # log Z cancels in the gap, and the columns of other processes add their own part of its gradient.
        columns = torch.cat([topk_ids, labels[:, None]], 1) - first_id
        here = (columns >= 0) & (columns < flat.shape[-1])
        z = flat[rows[:, None], columns.clamp(0, flat.shape[-1] - 1)].float()  # gather() would keep the logits
        z = torch.where(here & z.isfinite(), z, 0.0)
        values = torch.cat([topk_logp, logp[:, None]], 1) + (z - z.detach())
        found["gap"] = candidate_gap(values[:, :-1], values[:, -1], method.candidate_weights)
    empty = torch.zeros(len(flat), device=flat.device)
    return {_NAME + name: empty.index_put((rows,), x.float()).view_as(layout.labels) for name, x in found.items()}


def take_scored(model_output: dict[str, Tensor], data: TensorDict) -> Scored:
    """The hook's answers out of model_output, as responses [B, T]. RuntimeError where the engine did not call the hook."""
    names = [name for name in model_output if name.startswith(_NAME)]
    if _NAME + "entropy" not in names:
        raise RuntimeError(
            "no logits reached simko: this engine of verl does not call the logits hook of "
            f"distillation_use_topk as verl {VERL} does; set use_fused_kernels=False, or use fsdp, fsdp2 or megatron"
        )
    found = {name.removeprefix(_NAME): no_padding_2_padding(model_output.pop(name), data) for name in names}
    top_k = sum(name.startswith("logp_") for name in found)
    topk_logp = torch.stack([found[f"logp_{n}"] for n in range(top_k)], -1)
    gap = found.get("gap", torch.zeros_like(found["entropy"]))
    return Scored(found["entropy"].detach(), gap, found["top1"] > 0.5, topk_logp.detach())


def _stats(
    flat: Tensor, labels: Tensor, rows: Tensor, layout: _Layout, first_id: int, top_k: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """logp, entropy, topk_logp and topk_ids at rows, without gradient, a chunk of rows at a time."""
    found = []
    with torch.no_grad():
        for some, tokens in zip(
            *(x.split(default_chunk(flat.device, flat.shape[-1])) for x in (rows, labels)), strict=True
        ):
            if layout.group is None:
                stats = token_stats(flat[some], tokens, top_k=top_k)
            else:
                stats = vocab_parallel_token_stats(flat[some], tokens, first_id, top_k=top_k, group=layout.group)
            found.append((stats.logp, stats.entropy, stats.topk_logp, stats.topk_ids))
    logp, entropy, topk_logp, topk_ids = map(torch.cat, zip(*found, strict=True))
    return logp, entropy, topk_logp, topk_ids


def _counted(data: TensorDict) -> Int[Tensor, "b j"]:
    """Nested as input_ids: 1 where a position predicts a counted token of a response."""
    ids, mask = data["input_ids"], data["response_mask"]
    flags = torch.zeros_like(ids.values())
    for end, response in zip(ids.offsets()[1:].tolist(), mask.unbind(), strict=True):
        flags[end - len(response) - 1 : end - 1] = (response != 0).to(flags.dtype)
    return torch.nested.nested_tensor_from_jagged(flags, ids.offsets())


def _fsdp_layout(data: TensorDict) -> _Layout:
    from verl.utils.ulysses import get_ulysses_sequence_parallel_world_size, slice_input_tensor

    labels, counted = torch.roll(data["input_ids"].values(), -1)[None], _counted(data).values()[None]
    if get_ulysses_sequence_parallel_world_size() > 1:
        labels, counted = slice_input_tensor(labels, dim=1), slice_input_tensor(counted, dim=1)
    return _Layout(labels, counted, None, 0)


def _megatron_layout(data: TensorDict, data_format: str) -> _Layout:
    from megatron.core import parallel_state as mpu
    from verl.models.mcore import util

    packed = data_format == "thd"
    length = {} if packed else {"forced_max_seqlen": tu.get_non_tensor_data(data, "forced_max_seqlen", default=None)}
    prepare = partial(util.preprocess_thd_engine if packed else util.preprocess_bshd_engine, pre_process=True, **length)
    labels, counted = prepare(data["input_ids"], need_roll=True)[0], prepare(_counted(data))[0]
    group, rank = mpu.get_tensor_model_parallel_group(), mpu.get_tensor_model_parallel_rank()
    return _Layout(labels, counted, group if mpu.get_tensor_model_parallel_world_size() > 1 else None, rank)
