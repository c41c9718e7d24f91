"""A continued run is the run that was never stopped, or it is refused.

Trainer and TRL put back weights, optimizer, scheduler, random states and the place in the epoch. What they leave out is
here: the order of the prompts after the first epoch, a reference model that moves, and what a row's controller carries.
A rollout is not kept: a checkpoint can be continued only where a new one begins.
"""

import json
import logging
import math
import sys
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from trl import GRPOConfig

from simko.adapters.trl.config import MethodConfig
from simko.diagnostics import refuse_broken_weights
from simko.evaluate.files import read_json
from simko.objectives.update import Adaptation

logger = logging.getLogger("simko")

_REFERENCE = "reference.pt"
_METHOD = "method.json"  # what a row's controller carries


def updates_per_epoch(prompts: int, args: GRPOConfig) -> int:
    """Updates in one pass over `prompts` prompts, of which TRL drops a last, partial rollout. The epoch's last update may
    accumulate fewer micro-batches than the others."""
    rollouts = prompts // (int(args.generation_batch_size or 1) // int(args.num_generations or 1))
    return math.ceil(rollouts * _micro_batches(args) / args.gradient_accumulation_steps)


def updates_in_all(args: GRPOConfig, per_epoch: int) -> int:
    """Updates of the whole run."""
    return args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * per_epoch)


def opens_a_rollout(step: int, args: GRPOConfig, per_epoch: int) -> bool:
    """Whether the first micro-batch after `step` updates generates a new rollout."""
    return step % per_epoch * args.gradient_accumulation_steps % _micro_batches(args) == 0


def refuse_inexact_options(args: GRPOConfig) -> None:
    """ValueError for an option of Trainer's under which no continued run is the uninterrupted one."""
    for name in (
        "ignore_data_skip",
        "dataloader_persistent_workers",
    ):  # the latter draw their seed once, not each epoch
        if getattr(args, name):
            raise ValueError(
                f"{name} gives a continued run other prompts or random numbers than an uninterrupted one: set it to False"
            )


def needed_files(args: GRPOConfig) -> list[str]:
    """What a checkpoint must have, beside what Trainer cannot do without, for a continued run to be the same one."""
    processes = args.world_size
    names = ["rng_state.pth"] if processes == 1 else [f"rng_state_{i}.pth" for i in range(processes)]
    if args.beta != 0 and args.sync_ref_model:
        names.append(_REFERENCE)
    if args.use_adaptive_entropy:
        names.append("entropy_ctrl_state.json")  # written by TRL after all else, and passed over where it is missing
    row = args.row() if isinstance(args, MethodConfig) else None
    return names + [_METHOD] * (row is not None and row.controller is not None)


def misplaced_checkpoints(args: GRPOConfig, per_epoch: int) -> str | None:
    """What to do about save_steps that would save inside a rollout before the run's end; None where all is well."""
    updates = updates_in_all(args, per_epoch)
    every = math.ceil(updates * args.save_steps) if args.save_steps < 1 else int(args.save_steps)
    if args.save_strategy != "steps" or every < 1:
        return None

    def fits(every: int) -> bool:
        return all(opens_a_rollout(step, args, per_epoch) for step in range(every, updates, every))

    if fits(every):
        return None
    rollout = _micro_batches(args) // math.gcd(_micro_batches(args), args.gradient_accumulation_steps)
    multiple = rollout if fits(rollout) else per_epoch
    return (
        f"save_steps={args.save_steps:g} would write checkpoints inside a rollout, from which a resumed run silently "
        f"differs: make it a multiple of {multiple}"
    )


def _micro_batches(args: GRPOConfig) -> int:
    """Micro-batches from one rollout to the next."""
    return int(args.steps_per_generation or 1) * args.num_iterations


def check_before_training(trainer: Any, checkpoint: str | None) -> None:
    """ValueError for weights that are not finite, and for too few prompts; says where save_steps is misplaced."""
    refuse_broken_weights(trainer.model, checkpoint or _origin(trainer) or type(trainer.model).__name__)
    per_epoch, args = _updates_per_epoch(trainer), trainer.args
    if not per_epoch:
        raise ValueError(
            f"{len(trainer.train_dataset)} prompts do not fill one rollout of {args.generation_batch_size} responses in "
            f"groups of {args.num_generations}: give more prompts, or lower generation_batch_size"
        )
    if misplaced := misplaced_checkpoints(args, per_epoch):
        logger.warning("%s", misplaced)


def continue_from(trainer: Any, adaptation: Adaptation | None, checkpoint: Path) -> None:
    """Put back what Trainer and TRL leave out. ValueError where the continued run would be another."""
    args, state = trainer.args, read_json(checkpoint / "trainer_state.json")
    step, per_epoch = state["global_step"], _updates_per_epoch(trainer)
    refuse_inexact_options(args)
    if per_epoch == sys.maxsize and state["epoch"] >= 1:
        raise ValueError(
            f"{checkpoint} lies beyond the first pass over a streamed dataset, whose length is unknown: continue from an "
            "earlier one, or give a dataset that has a length"
        )
    if not opens_a_rollout(step, args, per_epoch):
        fits = next(s for s in range(step, -1, -1) if opens_a_rollout(s, args, per_epoch))
        raise ValueError(
            f"{checkpoint} lies inside a rollout, which it does not hold, so that a continued run would differ: the "
            f"nearest place to continue from is after update {fits}"
        )
    if missing := [name for name in needed_files(args) if not (checkpoint / name).is_file()]:
        raise ValueError(
            f"{checkpoint} has no {', '.join(missing)}, so that a continued run would differ: continue from another "
            "checkpoint, with as many processes as wrote it"
        )
    for _ in range(step // per_epoch):
        next(iter(trainer._train_sampler))  # draws an epoch's permutation: TRL's sampler starts at the first again
    if adaptation is not None and adaptation.state_dict():
        adaptation.load_state_dict(read_json(checkpoint / _METHOD))
    _restore_reference(trainer, checkpoint)


@contextmanager
def writing(trainer: Any, adaptation: Adaptation | None, folder: Path) -> Iterator[None]:
    """Write into a checkpoint, before Trainer does, what it leaves out; OSError that says so where the disk is full."""
    try:
        moving = trainer.ref_model is not None and trainer.args.sync_ref_model
        reference = trainer.accelerator.get_state_dict(trainer.ref_model) if moving else None
        kept = {} if adaptation is None else adaptation.state_dict()
        if trainer.args.should_save and (moving or kept):
            folder.mkdir(parents=True, exist_ok=True)
            if moving:
                torch.save(reference, folder / _REFERENCE)
            if kept:
                (folder / _METHOD).write_text(json.dumps(kept), encoding="utf-8")
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # what torch and safetensors raise on a full disk
        raise OSError(
            f"{folder} cannot be written ({str(error).splitlines()[0]}): make room if the disk is full; the run then "
            "continues from its last whole checkpoint"
        ) from error


def _updates_per_epoch(trainer: Any) -> int:
    prompts = trainer.train_dataset
    return updates_per_epoch(len(prompts), trainer.args) if isinstance(prompts, Sized) else sys.maxsize


def _origin(trainer: Any) -> str:
    return str(getattr(trainer.model.config, "_name_or_path", ""))


def _restore_reference(trainer: Any, checkpoint: Path) -> None:
    if trainer.ref_model is None:
        return
    if trainer.args.sync_ref_model:
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise ValueError("sync_ref_model cannot be continued with a sharded model: set it to False")
        weights = torch.load(checkpoint / _REFERENCE, map_location="cpu", weights_only=True)
        trainer.accelerator.unwrap_model(trainer.ref_model).load_state_dict(weights)
    elif Path(_origin(trainer)).resolve() == checkpoint.resolve():
        raise ValueError(
            f"the reference model of beta={trainer.args.beta:g} would be {checkpoint}, not the model that the run began "
            "with: build the trainer with that one; its weights are then replaced by the checkpoint's"
        )
