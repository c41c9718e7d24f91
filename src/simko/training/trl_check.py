"""A recipe for TRL: parsed as `simko train` does, its arithmetic, and two updates of a tiny model."""

import math
import tempfile
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback
from trl import get_peft_config

from simko.adapters.trl import MethodTrainer
from simko.tasks import get_task
from simko.training.arithmetic import Sizes
from simko.training.loading import load_model, reference_kwargs
from simko.training.recipe import Recipe, parse_recipe
from simko.training.recipe_file import read_recipe_file
from simko.training.tiny_model import no_progress_bars, write_tiny_model

DRY_RUN_LENGTH = 8
_HARDWARE = (
    "deepspeed", "fsdp", "fsdp_config", "parallelism_config", "attn_implementation", "model_revision", "load_in_4bit",
    "load_in_8bit", "generation_batch_size", "warmup_steps", "torch_compile", "push_to_hub", "hub_model_id", "optim",
    "model_init_kwargs", "env",
)  # fmt: skip
"""Options of the machine, the hub and the length, which a dry run does without."""
_DRY_RUN = {
    "dtype": "float32", "bf16": False, "fp16": False, "use_cpu": True, "gradient_checkpointing": False, "use_vllm": False,
    "gradient_accumulation_steps": 1, "steps_per_generation": 2, "max_steps": 2, "save_strategy": "no", "report_to": "none",
    "max_completion_length": DRY_RUN_LENGTH, "disable_tqdm": True, "logging_steps": 1, "probe_every": 0, "chat": False,
    "learning_rate": 1e-3, "passk_every": 0,
}  # fmt: skip


def trl_sizes(recipe: Recipe, gpus: int | None) -> Sizes:
    """The recipe's numbers. gpus: None for 8, or 1 on a CPU."""
    args = recipe.training
    count = gpus or (1 if recipe.training.use_cpu and "use_cpu" in recipe.named else 8)
    rows, group = int(args.per_device_train_batch_size), int(args.num_generations or 1)
    steps, accumulated = int(args.steps_per_generation or 1), int(args.gradient_accumulation_steps)
    length = int(args.max_completion_length or 0)
    share = f"vLLM's {args.vllm_gpu_memory_utilization:.0%} of the GPU"
    sharded = args.fsdp or args.deepspeed
    return Sizes(
        engine="TRL",
        method=args.method,
        model=str(recipe.model.model_name_or_path),
        gpus=count,
        shards=count if sharded else 1,
        prompts=rows * steps * count // group,
        group=group,
        updates=steps / accumulated * args.num_iterations,
        micro_batch=f"{rows} responses, at most {rows * length:,} tokens and their prompts; {accumulated} an update",
        tokens=rows * length,
        context=length,
        state_size=2 if recipe.model.dtype in ("bfloat16", "float16") else 4,
        logit_size=None,
        adapter=recipe.model.use_peft,
        notes=(share,) if args.use_vllm and args.vllm_mode == "colocate" else (),
    )


def check_task(recipe: Recipe) -> None:
    """ValueError for a task or a verifier that there is not. Nothing is fetched."""
    if recipe.run.task is not None:
        get_task(recipe.run.task)
    recipe.verifier("verifier", "math")
    if recipe.run.reward_function:
        recipe.reward_function()


def dry_run(path: Path, model: str) -> list[float]:
    """The losses of two updates of the recipe's method on a tiny random model of the same architecture.

    ValueError, naming the file, for whatever stops them.
    """
    try:
        return _losses(path, model)
    except Exception as error:  # the trainer's libraries raise almost any
        said = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: the dry run was stopped by {type(error).__name__}: {said}") from error


def _losses(path: Path, model: str) -> list[float]:
    written = {name: value for name, value in read_recipe_file(path).items() if name not in _HARDWARE} | _DRY_RUN
    for switch in ("passk_task", "passk_verifier", "passk_samples", "passk_problems", "chat_template_kwargs"):
        written.pop(switch, None)
    with tempfile.TemporaryDirectory() as folder, no_progress_bars():
        write_tiny_model(Path(folder), model)
        group = int(written.get("num_generations", 8))
        written |= {
            "model_name_or_path": folder,
            "output_dir": f"{folder}/out",
            "per_device_train_batch_size": 2 * group,
        }
        written["grpo_warmup_steps"] = min(1, int(written.get("grpo_warmup_steps", 0)))
        recipe = parse_recipe(path, written)
        args = recipe.training
        args.model_init_kwargs = reference_kwargs(recipe)
        policy, tokenizer = load_model(recipe)
        data = Dataset.from_list([{"prompt": chr(40 + i) * 3} for i in range(16)])
        trainer = MethodTrainer(
            policy,
            _every_other,
            args,
            train_dataset=data,
            processing_class=tokenizer,
            peft_config=get_peft_config(recipe.model),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        losses = [float(row["loss"]) for row in trainer.state.log_history if "loss" in row]
    if len(losses) != 2 or not all(map(math.isfinite, losses)):
        raise ValueError(f"its losses are {losses}")
    return losses


def _every_other(completions: list[Any], **_: Any) -> list[float]:
    """Correct is every other response, whatever it says, so that every group has both kinds."""
    return [float(i % 2) for i in range(len(completions))]
