"""Checkpoints that are whole or not there, and runs that continue from them as if they had not been stopped."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from torch.utils.data import Sampler
from transformers import TrainerCallback

from simko.adapters.trl import resume
from simko.adapters.trl.identity import describe_run
from simko.evaluate.checkpoint_files import INCOMPLETE, checkpoints, put_in_place, seal, step_of
from simko.evaluate.files import locked

logger = logging.getLogger("simko")


class Checkpoints:
    """A mix-in for GRPOTrainer of TRL's and its kin, first among the bases: `class Mine(Checkpoints, GRPOTrainer)`.

    - A checkpoint is written aside, sealed with a manifest of hashes and renamed, so that a kill or a full disk leaves it
      out. save_total_limit is counted after that, and spares the last one that a run can continue from.
    - train(resume_from_checkpoint=True) continues from the newest whole one, says which it skips and why, and begins
      anew where there is none. A path that is given must be whole.
    - A continued run is the one that was never stopped, bit for bit on a CPU, or it is refused: see resume.py. Another
      model, tokenizer, dataset, objective or name of a reward function is refused too; a changed reward function, other
      options and versions are warned of.
    - A save that is due inside a rollout, which a checkpoint does not hold, waits for the rollout's end.
    - While it trains, no other process can train into the same output_dir.
    """

    args: Any
    accelerator: Any
    state: Any
    model: Any
    control: Any
    _train_sampler: Sampler
    _description: dict[str, Any]
    _writes_aside = False
    locks_directory = True
    """Whether train() locks output_dir; False for a caller that has done so."""

    def objective_in_words(self) -> str:
        """The objective in words, to which a run is bound."""
        return f"TRL's {self.args.loss_type}"

    def carried_state(self) -> dict[str, Any]:
        """What a subclass carries from update to update, as JSON values."""
        return {}

    def load_carried_state(self, kept: dict[str, Any]) -> None:
        """Put back what carried_state gave."""

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Trainer's, from the newest whole checkpoint of output_dir for True. ValueError as the class says."""
        directory, writes = Path(str(self.args.output_dir)), self.args.save_strategy != "no"
        if not hasattr(self, "_description") and (writes or resume_from_checkpoint):
            self._description = describe_run(
                self, self.objective_in_words()
            )  # before the model is split over processes
        lock = writes and self.locks_directory and self.accelerator.is_main_process
        with locked(directory) if lock else nullcontext():
            chosen = self._on_main_process(lambda: resume.chosen_checkpoint(self, resume_from_checkpoint))
            if not any(isinstance(c, _AlignedSaves) for c in self.callback_handler.callbacks):  # type: ignore[attr-defined]
                self.add_callback(_AlignedSaves(self))  # type: ignore[attr-defined]
            return super().train(chosen, *args, **kwargs)  # type: ignore[misc]

    def _on_main_process(self, do: Any) -> Any:
        """The main process's result on all of them; its ValueError too."""
        found: list[Any] = [None]
        if self.accelerator.is_main_process:
            try:
                found[0] = do()
            except (ValueError, OSError) as error:  # the other processes wait for it
                found[0] = error
        (result,) = broadcast_object_list(found)
        if isinstance(result, Exception):
            raise result
        return result

    def _get_train_sampler(self, dataset: Any = None) -> Sampler:
        self._train_sampler = super()._get_train_sampler(dataset)  # type: ignore[misc]
        return self._train_sampler

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        """All that `train` does once it has loaded the weights of a checkpoint."""
        resume.check_before_training(self, kwargs.get("resume_from_checkpoint"))
        return super()._inner_training_loop(*args, **kwargs)  # type: ignore[misc]

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.state.global_step >= self.state.max_steps:
            # It was killed after its last save: Trainer would make one more update.
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)  # type: ignore[misc]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is not None:
            resume.continue_from(self, Path(checkpoint))

    # Writing.

    def _get_output_dir(self, trial: Any) -> str:
        directory: str = super()._get_output_dir(trial)  # type: ignore[misc]
        return os.path.join(directory, INCOMPLETE) if self._writes_aside else directory

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self._writes_aside:  # else it is renamed first
            super()._push_from_checkpoint(checkpoint_folder)  # type: ignore[misc]

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        directory, step = Path(self._get_output_dir(trial)), self.state.global_step
        checkpoint, folder = directory / f"checkpoint-{step}", directory / INCOMPLETE / f"checkpoint-{step}"
        resume.refuse_broken_checkpoint(self)
        with _written_aside(self, checkpoint):
            resume.write_carried(self, folder)
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            if self.args.should_save:
                self._name_best(directory, folder)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                seal(folder, step, self._description)
                put_in_place(folder, checkpoint)
                shutil.rmtree(directory / INCOMPLETE, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(checkpoint))
        if self.args.should_save:
            self._rotate(directory, checkpoint)

    def _rotate(self, directory: Path, newest: Path) -> None:
        """Remove the oldest checkpoints beyond save_total_limit; never this one, the best one, nor the last that a run can
        continue from. Trainer's rotation does not know the last: saves of the best model may lie inside a rollout."""
        found, limit = checkpoints(directory), self.args.save_total_limit
        per_epoch, best = resume.updates_per_epoch_of(self), self.state.best_model_checkpoint
        fits = [c for c in found if resume.opens_a_rollout(step_of(c), self.args, per_epoch)]
        needed = dict.fromkeys([newest, *([Path(best)] if best else []), *fits[:1]])
        kept = list(dict.fromkeys([*needed, *found]))[: max(limit or 0, len(needed))]
        for old in found if limit else ():
            if old not in kept:
                shutil.rmtree(old, ignore_errors=True)

    def _determine_best_metric(self, *args: Any, **kwargs: Any) -> bool:
        is_best: bool = super()._determine_best_metric(*args, **kwargs)  # type: ignore[misc]
        if is_best and self.args.load_best_model_at_end:
            self.control.should_save = True  # here: the save may have been put off before the evaluation
        return is_best

    def _name_best(self, directory: Path, folder: Path) -> None:
        """Name the best checkpoint, which Trainer looks for beside this one, by where it is or will be."""
        best = f"checkpoint-{self.state.best_global_step}"
        if self.state.best_global_step and (folder.name == best or (directory / best).is_dir()):
            self.state.best_model_checkpoint = str(directory / best)
            self.state.save_to_json(str(folder / "trainer_state.json"))


@contextmanager
def _written_aside(trainer: Checkpoints, checkpoint: Path) -> Iterator[None]:
    """While open, the trainer writes its checkpoint into a folder beside it, which goes if that fails."""
    aside = checkpoint.parent / INCOMPLETE
    try:
        if trainer.args.should_save:
            shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
            aside.mkdir(parents=True)
        trainer.accelerator.wait_for_everyone()
        trainer._writes_aside = True
        yield
    except Exception as error:  # a full disk is an OSError, a RuntimeError of torch's, an Exception of the tokenizers'
        shutil.rmtree(aside, ignore_errors=True)
        raise OSError(
            f"{checkpoint} cannot be written ({str(error).splitlines()[0]}): make room if the disk is full; the run then "
            "continues from its last whole checkpoint"
        ) from error
    finally:
        trainer._writes_aside = False


class _AlignedSaves(TrainerCallback):
    """Lets saves wait for the next update that opens a rollout, but that of the run's end and that of the best model."""

    def __init__(self, trainer: Any) -> None:
        self._trainer, self._due = trainer, False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save, log and evaluate as often as this run's options say: Trainer keeps to those of the checkpoint."""
        state.compute_steps(args, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Put off or make up for a save."""
        self._due |= control.should_save
        now = control.should_training_stop or state.best_global_step == state.global_step
        fits = resume.opens_a_rollout(state.global_step, args, resume.updates_per_epoch_of(self._trainer))
        control.should_save = self._due and (fits or now)
        self._due &= not control.should_save
