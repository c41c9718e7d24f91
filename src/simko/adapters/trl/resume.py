"""A continued run is the run that was never stopped, or it is refused.

Trainer and TRL put back weights, optimizer, scheduler, random states and the place in the epoch. What they leave out is
here: the order of the prompts after the first epoch, and a reference model that moves. A rollout is not kept: a
checkpoint can be continued only where a new one begins.
"""

import logging
import math
import sys
from collections.abc import Sized
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch.utils.data import Sampler
from trl import GRPOConfig, GRPOTrainer

from simko.diagnostics import refuse_broken_weights
from simko.evaluate.files import read_json

logger = logging.getLogger("simko")

_REFERENCE = "reference.pt"


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
    return names


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


class ResumableTrainer(GRPOTrainer):
    """A GRPOTrainer that continues from a checkpoint as if it had not been stopped. ValueError where it cannot."""

    args: Any
    model: Any
    _train_sampler: Sampler

    def _get_train_sampler(self, dataset: Any = None) -> Sampler:
        self._train_sampler = super()._get_train_sampler(dataset)
        return self._train_sampler

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        """All that `train` does once it has loaded the weights of a checkpoint."""
        origin = getattr(self.model.config, "_name_or_path", "") or type(self.model).__name__
        refuse_broken_weights(self.model, kwargs.get("resume_from_checkpoint") or origin)
        prompts: Any = self.train_dataset
        if not self._updates_per_epoch():
            raise ValueError(
                f"{len(prompts)} prompts do not fill one rollout of {self.args.generation_batch_size} responses "
                f"in groups of {self.args.num_generations}: give more prompts, or lower generation_batch_size"
            )
        if misplaced := misplaced_checkpoints(self.args, self._updates_per_epoch()):
            logger.warning("%s", misplaced)
        return super()._inner_training_loop(*args, **kwargs)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._continue_from(Path(checkpoint))

    def _updates_per_epoch(self) -> int:
        prompts: Any = self.train_dataset
        return updates_per_epoch(len(prompts), self.args) if isinstance(prompts, Sized) else sys.maxsize

    def _continue_from(self, checkpoint: Path) -> None:
        args, state = self.args, read_json(checkpoint / "trainer_state.json")
        step, per_epoch = state["global_step"], self._updates_per_epoch()
        refuse_inexact_options(args)
        if per_epoch == sys.maxsize and state["epoch"] >= 1:
            raise ValueError(
                f"{checkpoint} lies beyond the first pass over a streamed dataset, whose length is unknown: continue "
                "from an earlier one, or give a dataset that has a length"
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
            next(iter(self._train_sampler))  # draws an epoch's permutation: TRL's sampler starts at the first again
        self._restore_reference(checkpoint)

    def _restore_reference(self, checkpoint: Path) -> None:
        if self.ref_model is None:
            return
        if self.args.sync_ref_model:
            if self.is_fsdp_enabled or self.is_deepspeed_enabled:
                raise ValueError("sync_ref_model cannot be continued with a sharded model: set it to False")
            weights = torch.load(checkpoint / _REFERENCE, map_location="cpu", weights_only=True)
            self.accelerator.unwrap_model(self.ref_model).load_state_dict(weights)
        elif Path(self.model.config._name_or_path).resolve() == checkpoint.resolve():
            raise ValueError(
                f"the reference model of beta={self.args.beta:g} would be {checkpoint}, not the model that the run began "
                "with: build the trainer with that one; its weights are then replaced by the checkpoint's"
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        try:
            if self.ref_model is not None and self.args.sync_ref_model:
                reference = self.accelerator.get_state_dict(self.ref_model)
                if self.args.should_save:
                    folder.mkdir(parents=True, exist_ok=True)
                    torch.save(reference, folder / _REFERENCE)
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:  # what torch and safetensors raise on a full disk
            raise OSError(
                f"{folder} cannot be written ({str(error).splitlines()[0]}): make room if the disk is full; the run then "
                "continues from its last whole checkpoint"
            ) from error
