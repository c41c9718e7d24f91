"""Trains a recipe into a run directory."""

import json
import logging
import math
import os
from contextlib import nullcontext
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import get_peft_config

from simko.adapters.trl import (
    MethodTrainer,
    PassAtKCallback,
    plan_method,
    problems_to_dataset,
    reward_function,
)
from simko.adapters.trl.fingerprints import data_digest
from simko.adapters.trl.identity import ENDLESS_SCHEDULES, compare_runs, versions
from simko.adapters.trl.resume import (
    misplaced_checkpoints,
    refuse_inexact_options,
    updates_in_all,
    updates_per_epoch,
)
from simko.evaluate.checkpoint_files import described_run, latest_checkpoint, step_of
from simko.evaluate.files import append, locked
from simko.evaluate.run import digest
from simko.records import Problem, Verifier
from simko.sampling.transformers_sampler import stop_tokens
from simko.tasks import Task, get_task, parse_columns, read_file
from simko.training.loading import load_model, reference_kwargs
from simko.training.recipe import Recipe, TrainingConfig, is_file
from simko.training.run_directory import DATA, check_config, rewind_logs, write_json
from simko.verifiers import VERIFIERS, get_verifier

logger = logging.getLogger("simko")

_BOOKKEEPING_OPTIONS = {
    "output_dir", "logging_dir", "run_name", "report_to", "disable_tqdm", "local_rank", "hub_token", "push_to_hub",
    "columns", "resume_from_checkpoint", "trackio_space_id", "log_level", "ddp_timeout", "dataloader_num_workers",
    "early_warnings", "reward_failures", "reward_timeout", "max_skipped_updates",
}  # fmt: skip
_OTHER_LENGTH = (
    "of another length ({}), on which its learning rates or intervals depend (a run with lr_scheduler_type constant and "
    "whole numbers for warmup_steps, save_steps and logging_steps can be extended)"
)
_REASONS = {name: _OTHER_LENGTH.format(name) for name in ("max_steps", "num_train_epochs")}


def train(recipe: Recipe) -> Path:
    """Train to the end, from the newest intact checkpoint of the run directory if there is one. Returns the last checkpoint.

    ValueError, with nothing overwritten, for an option that does not fit, and for a directory that holds another run.
    """
    args, directory = recipe.training, Path(str(recipe.training.output_dir))
    task = _task(recipe)
    problems = task.load("train", recipe.run.train_problems)
    dataset = problems_to_dataset(problems, chat=recipe.run.chat)
    _check_problem_count(len(problems), args)
    per_epoch = updates_per_epoch(len(problems), args)
    _check_resumable(args, per_epoch)
    held_out = _held_out(recipe) if recipe.run.passk_every else None
    main_process = os.environ.get("RANK", "0") == "0"
    with locked(directory) if main_process else nullcontext():
        updates, last = updates_in_all(args, per_epoch), latest_checkpoint(directory, weights_only=True)
        done = step_of(last) if last else 0
        if main_process:
            changed = {DATA: f"on other problems: {recipe.run.train_file or recipe.run.task} has changed since then"}
            check_config(directory, _config(recipe, problems), _free_options(args, updates, done), _REASONS | changed)
        if last and done >= updates:
            now = {"objective": plan_method(args).objective(args), "data": data_digest(dataset)}
            compare_runs(last, described_run(last), now)
            if done > updates:
                raise ValueError(
                    f"{last} has more updates than the {updates} of this run: remove it if it came from elsewhere, or choose "
                    "another output directory"
                )
            return last
        if main_process:
            write_json(directory / "versions.json", versions())
        trainer = _trainer(recipe, task, dataset, directory)
        if args.save_strategy != "no":
            refuse_sharded_checkpoints(trainer.accelerator.state)
        if held_out is not None:
            n, every = recipe.run.passk_samples, recipe.run.passk_every
            store = directory / "held-out" / "samples.db"
            best = recipe.run.passk_keep_best
            trainer.add_callback(PassAtKCallback(trainer, *held_out, n, every, store=store, keep_best=best))
        trainer.locks_directory = False
        trainer.train(resume_from_checkpoint=True)
    return latest_checkpoint(directory, weights_only=True) or directory


class MetricsLog(TrainerCallback):
    """Appends the trainer's logs to a JSONL file, and makes the trainer log whenever it saves.

    A logged mean then never spans a checkpoint. A run continued from that checkpoint would not know its first half. What an
    interrupted run logged after the checkpoint is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Drops the lines after the step at which the run continues."""
        if state.is_world_process_zero:
            rewind_logs(self.path.parent, state.global_step or -1)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Appends a line; inf and nan become null."""
        if not state.is_world_process_zero or not logs:
            return
        row = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in logs.items()}
        append(self.path, json.dumps({"step": state.global_step} | row) + "\n")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Logs if the step saves."""
        control.should_log |= control.should_save

    on_epoch_end = on_step_end


def refuse_sharded_checkpoints(state: Any) -> None:
    """ValueError where a checkpoint would be shards of weights, in which nothing here finds a model. state: accelerate's."""
    fsdp, deepspeed = getattr(state, "fsdp_plugin", None), getattr(state, "deepspeed_plugin", None)
    said = "checkpoints would be shards of weights, which simko neither continues from nor evaluates: set"
    if fsdp is not None and "FULL_STATE_DICT" not in str(fsdp.state_dict_type):
        raise ValueError(f"{said} fsdp_state_dict_type: FULL_STATE_DICT, as recipes/accelerate/fsdp2.yaml does")
    if deepspeed is not None and deepspeed.zero_stage == 3 and not deepspeed.zero3_save_16bit_model:
        raise ValueError(f"{said} zero3_save_16bit_model: true, as recipes/accelerate/zero3.yaml does")


def _trainer(recipe: Recipe, task: Task, dataset: Dataset, directory: Path) -> MethodTrainer:
    args = copy(recipe.training)
    args.model_init_kwargs = reference_kwargs(recipe)
    if recipe.run.reward_function:
        reward = recipe.reward_function()
    else:
        judge = recipe.verifier("verifier", task.verifier)
        name, judge = (judge, get_verifier(judge)) if isinstance(judge, str) else (_function_name(recipe), judge)
        reward = reward_function(judge, name=name, samples=directory / "samples.jsonl")
    model, tokenizer = load_model(recipe)
    _end_at_stop_strings(model, tokenizer, task.stop)
    return MethodTrainer(
        model,
        reward,
        args,
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=get_peft_config(recipe.model),
        callbacks=[MetricsLog(directory / "metrics.jsonl")],
    )


def _end_at_stop_strings(model: Any, tokenizer: Any, stop: tuple[str, ...]) -> None:
    """Ends rollouts, like evaluation, at any token that contains a stop string."""
    if not stop:
        return
    named = model.generation_config.eos_token_id
    named = named if isinstance(named, list) else [named]
    ends = {i for i in (tokenizer.eos_token_id, *named) if i is not None} | set(stop_tokens(tokenizer, stop))
    model.generation_config.eos_token_id = sorted(ends)


def _held_out(recipe: Recipe) -> tuple[list[Problem], str | Verifier]:
    """The problems on which pass@K is measured during training, and their verifier."""
    name = str(recipe.run.passk_task or recipe.run.task)
    task = _read_file(recipe, name, recipe.run.passk_verifier) if is_file(name) else get_task(name)
    return task.load("test", recipe.run.passk_problems), recipe.verifier("passk_verifier", task.verifier)


def _task(recipe: Recipe) -> Task:
    if recipe.run.task:
        return get_task(recipe.run.task)
    return _read_file(recipe, str(recipe.run.train_file), recipe.run.verifier)


def _read_file(recipe: Recipe, file: str, verifier: str | None) -> Task:
    """The task over a file. A verifier of the user's own takes answers as they are."""
    known = verifier if verifier in VERIFIERS else None
    return read_file(file, known, columns=parse_columns(recipe.run.columns))


def _function_name(recipe: Recipe) -> str:
    """The name under which TRL logs the rewards of the user's own verifier."""
    return str(recipe.run.verifier).rpartition(":")[2]


def _config(recipe: Recipe, problems: list[Problem]) -> dict[str, Any]:
    parts = asdict(recipe.run) | recipe.training.to_dict() | asdict(recipe.model)
    unread: tuple[str, ...] = ("passk_", "probe_")  # measurements that do not change the training
    if recipe.training.method != "simko":
        unread += ("simko_",)
    kept = {k: v for k, v in parts.items() if k not in _BOOKKEEPING_OPTIONS and not k.startswith(unread)}
    objective = plan_method(recipe.training).objective(recipe.training)
    return kept | recipe.judges() | {"objective": objective, DATA: digest(problems)}


_SAVING_AND_LOGGING = ("save_steps", "save_total_limit", "logging_steps", "log_completions")


def _free_options(args: TrainingConfig, updates: int, done: int) -> set[str]:
    """The options that may change in a continued run: the path of its problems, how often it saves and logs, and its length if
    its past does not depend on it.

    ValueError if the run is longer already.
    """
    shares = (args.warmup_steps, args.save_steps, args.logging_steps)
    if args.lr_scheduler_type not in ENDLESS_SCHEDULES or any(0 < share < 1 for share in shares):
        return {"train_file", *_SAVING_AND_LOGGING}
    if updates < done:
        raise ValueError(
            f"{args.output_dir} holds a run of {done} updates: {updates} are fewer than it has: give {done} or more, or another output directory"
        )
    return {"train_file", "max_steps", "num_train_epochs", *_SAVING_AND_LOGGING}


def _check_problem_count(problems: int, args: TrainingConfig) -> None:
    """ValueError for too few problems. TRL drops a partial rollout at the end of an epoch, so it would train nothing."""
    wanted = int(args.generation_batch_size or 1) // int(args.num_generations or 1)
    if problems < wanted:
        raise ValueError(
            f"{problems} problems do not fill one rollout of {wanted} problems x {args.num_generations} responses: "
            "lower per_device_train_batch_size or steps_per_generation, or give more problems"
        )


def _check_resumable(args: TrainingConfig, per_epoch: int) -> None:
    if args.save_strategy not in ("steps", "epoch"):
        raise ValueError("nothing of what is trained would be kept: set save_strategy to steps or epoch")
    refuse_inexact_options(args)
    if misplaced := misplaced_checkpoints(args, per_epoch):
        raise ValueError(misplaced)
