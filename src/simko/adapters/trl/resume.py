"""A continued run is the run that was never stopped, or it is refused.

Trainer and TRL put back weights, optimizer, scheduler, random states and the place in the epoch. What they leave out is
here: the order of the prompts after the first epoch, a reference model that moves, and what a row's controller carries;
checkpoints.py calls it. A rollout is not kept: a checkpoint can be continued only where a new one begins.
"""

import json
import logging
import math
import sys
from collections.abc import Sized
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from trl import GRPOConfig

from simko.adapters.trl.config import MethodConfig, refuse_impossible_numbers
from simko.adapters.trl.identity import compare_runs
from simko.diagnostics import refuse_broken_weights
from simko.evaluate.checkpoint_files import MANIFEST, checkpoints, damage, described_run, step_of, was_written
from simko.evaluate.files import read_json

logger = logging.getLogger("simko")

_REFERENCE = "reference.safetensors"
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
    # Workers that persist draw their seed once, not each epoch; what is saved at SIGTERM may have drawn a rollout.
    for name in ("ignore_data_skip", "dataloader_persistent_workers", "enable_jit_checkpoint"):
        if getattr(args, name, False):
            raise ValueError(
                f"{name} gives a continued run other prompts or random numbers than an uninterrupted one: set it to False"
            )


def needed_files(args: GRPOConfig) -> list[str]:
    """What a checkpoint must have, beside what Trainer cannot do without, for a continued run to be the same one."""
    names = []
    if args.beta != 0 and args.sync_ref_model:
        names.append(_REFERENCE)
    if args.use_adaptive_entropy:
        names.append("entropy_ctrl_state.json")  # written by TRL after all else, and passed over where it is missing
    row = args.row() if isinstance(args, MethodConfig) else None
    return names + [_METHOD] * (row is not None and row.controller is not None)


def fault_of(checkpoint: Path, args: GRPOConfig) -> str | None:
    """Why a run cannot go on from a checkpoint; None if it can."""
    if fault := damage(checkpoint, needed=needed_files(args)):
        return fault
    wrote = len(list(checkpoint.glob("rng_state*.pth")))
    return None if wrote == args.world_size else f"its world size is {wrote}, and this run's {args.world_size}"


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
        f"save_steps={args.save_steps:g} would write checkpoints inside a rollout, which they do not hold: make it a "
        f"multiple of {multiple}"
    )


def _micro_batches(args: GRPOConfig) -> int:
    """Micro-batches from one rollout to the next."""
    return int(args.steps_per_generation or 1) * args.num_iterations


def newest_whole_checkpoint(directory: Path, args: GRPOConfig, per_epoch: int) -> Path | None:
    """The newest whole checkpoint at the start of a rollout; None if there are none, or only half-written ones.

    Warns about the checkpoints that it skips. ValueError if all written ones are unusable.
    """
    skipped: list[tuple[Path, str]] = []
    for checkpoint in checkpoints(directory):
        fault = fault_of(checkpoint, args)
        if fault is None and opens_a_rollout(step_of(checkpoint), args, per_epoch):
            break
        skipped.append((checkpoint, fault or "it lies inside a rollout"))
    else:
        checkpoint = None
        for written, fault in skipped:
            if was_written(written):
                raise ValueError(
                    f"{written} cannot be continued ({fault}): mend that; to train from the beginning, choose another "
                    "output directory, or remove this one"
                )
    for unusable, fault in skipped:
        logger.warning("%s is skipped: %s", unusable, fault)
    return checkpoint


def chosen_checkpoint(trainer: Any, given: str | bool | None) -> str | None:
    """The checkpoint to continue from: for True the newest whole one, or None where there is none; else what is given.

    ValueError for a given one that is damaged, and for a run that would be another.
    """
    if not given:
        return None
    directory, args = Path(str(trainer.args.output_dir)), trainer.args
    if given is True:
        newest = newest_whole_checkpoint(directory, args, updates_per_epoch_of(trainer))
        if newest is None:
            return None
        checkpoint = newest
    else:
        checkpoint = Path(given)
        if not checkpoint.is_dir():
            raise ValueError(f"there is no checkpoint {checkpoint}: give another one, or True for the newest whole one")
        if not (checkpoint / MANIFEST).is_file():
            logger.warning("%s has no %s, so that damage to it goes unseen", checkpoint, MANIFEST)
        elif fault := fault_of(checkpoint, args):
            raise ValueError(f"{checkpoint} cannot be continued ({fault}): continue from another checkpoint")
    if (
        trainer.ref_model is not None
        and not args.sync_ref_model
        and Path(_origin(trainer)).resolve() == checkpoint.resolve()
    ):
        raise ValueError(
            f"the reference model of beta={args.beta:g} would be {checkpoint}, not the model that the run began with: build "
            "the trainer with that one; its weights are then replaced by the checkpoint's"
        )
    compare_runs(checkpoint, described_run(checkpoint), trainer._description)
    return str(checkpoint)


def check_before_training(trainer: Any, checkpoint: str | None) -> None:
    """ValueError for weights and options that are not finite, for options under which no checkpoint could be continued, and
    for too few prompts; says where save_steps is misplaced."""
    refuse_broken_weights(trainer.model, checkpoint or _origin(trainer) or type(trainer.model).__name__)
    per_epoch, args = updates_per_epoch_of(trainer), trainer.args
    refuse_impossible_numbers(args)
    if args.save_strategy != "no":
        refuse_inexact_options(args)
    if not per_epoch:
        raise ValueError(
            f"{len(trainer.train_dataset)} prompts do not fill one rollout of {args.generation_batch_size} responses in "
            f"groups of {args.num_generations}: give more prompts, or lower generation_batch_size"
        )
    if misplaced := misplaced_checkpoints(args, per_epoch):
        logger.warning("%s; until then each save waits for the end of its rollout", misplaced)


def continue_from(trainer: Any, checkpoint: Path) -> None:
    """Put back what Trainer and TRL leave out. ValueError where the continued run would be another."""
    args, state = trainer.args, read_json(checkpoint / "trainer_state.json")
    step, per_epoch = state["global_step"], updates_per_epoch_of(trainer)
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
    states = ["rng_state.pth"] if args.world_size == 1 else [f"rng_state_{i}.pth" for i in range(args.world_size)]
    if missing := [name for name in needed_files(args) + states if not (checkpoint / name).is_file()]:
        raise ValueError(
            f"{checkpoint} has no {', '.join(missing)}, so that a continued run would differ: continue from another "
            "checkpoint, with as many processes as wrote it"
        )
    if step > updates_in_all(args, per_epoch):
        raise ValueError(
            f"{checkpoint} has more updates than the {updates_in_all(args, per_epoch)} of this run: give max_steps or "
            "num_train_epochs as many, or remove this checkpoint if it came from elsewhere"
        )
    for _ in range(step // per_epoch):
        next(iter(trainer._train_sampler))  # draws an epoch's permutation: TRL's sampler starts at the first again
    if trainer.carried_state():
        trainer.load_carried_state(read_json(checkpoint / _METHOD))
    _restore_reference(trainer, checkpoint)


def write_carried(trainer: Any, folder: Path) -> None:
    """Write into a checkpoint, before Trainer does, what it leaves out."""
    moving = trainer.ref_model is not None and trainer.args.sync_ref_model
    reference = trainer.accelerator.get_state_dict(trainer.ref_model) if moving else None
    kept = trainer.carried_state()
    if trainer.args.should_save and (reference is not None or kept):
        folder.mkdir(parents=True, exist_ok=True)
        if reference is not None:
            save_file({name: weight.contiguous().clone() for name, weight in reference.items()}, folder / _REFERENCE)
        if kept:
            (folder / _METHOD).write_text(json.dumps(kept), encoding="utf-8")


def refuse_broken_checkpoint(trainer: Any) -> None:
    """FloatingPointError, before anything is written, for weights that are not finite."""
    try:
        refuse_broken_weights(trainer.model, f"after update {trainer.state.global_step}")
    except ValueError as error:
        raise FloatingPointError(f"{error}; they are not saved: continue from the last checkpoint") from error


def updates_per_epoch_of(trainer: Any) -> int:
    """`updates_per_epoch` of a trainer; more than any run has for a stream."""
    prompts = trainer.train_dataset
    return updates_per_epoch(len(prompts), trainer.args) if isinstance(prompts, Sized) else sys.maxsize


def _origin(trainer: Any) -> str:
    return str(getattr(trainer.model.config, "_name_or_path", ""))


def _restore_reference(trainer: Any, checkpoint: Path) -> None:
    if trainer.ref_model is None or not trainer.args.sync_ref_model:
        return
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise ValueError("sync_ref_model cannot be continued with a sharded model: set it to False")
    trainer.accelerator.unwrap_model(trainer.ref_model).load_state_dict(load_file(checkpoint / _REFERENCE))
