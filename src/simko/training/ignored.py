"""Options of TRL that would have no effect in `simko train`, which therefore refuses them."""

from collections.abc import Container, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from transformers import TrainingArguments

from simko.adapters.trl.config import check_number

_NO_EVAL_SET = "simko train gives the trainer no eval set: passk_every measures pass@K on held-out problems"
_OWN_SAMPLER = "GRPO draws its prompts with its own sampler: see shuffle_dataset"
_NO_LABELS = "there are no labels in reinforcement learning"
_REASONS = {
    "resume_from_checkpoint": "the run directory itself is continued: give its output_dir, and nothing more",
    "do_eval": _NO_EVAL_SET,
    "do_predict": _NO_EVAL_SET,
    "per_device_eval_batch_size": _NO_EVAL_SET,
    "num_generations_eval": _NO_EVAL_SET,
    "prediction_loss_only": _NO_EVAL_SET,
    "include_for_metrics": _NO_EVAL_SET,
    "batch_eval_metrics": _NO_EVAL_SET,
    "bf16_full_eval": _NO_EVAL_SET,
    "fp16_full_eval": _NO_EVAL_SET,
    "load_best_model_at_end": _NO_EVAL_SET,
    "metric_for_best_model": _NO_EVAL_SET,
    "greater_is_better": _NO_EVAL_SET,
    "train_sampling_strategy": _OWN_SAMPLER,
    "length_column_name": _OWN_SAMPLER,
    "label_smoothing_factor": _NO_LABELS,
    "label_names": _NO_LABELS,
    "max_tool_calling_iterations": "simko train gives the model no tools",
}
_SWITCHES = {
    "use_peft": ("lora_", "use_rslora", "use_dora"),
    "load_in_4bit": ("bnb_4bit_", "use_bnb_nested_quant"),
    "use_vllm": ("vllm_",),
    "use_liger_kernel": ("liger_kernel_config",),
    "use_adaptive_entropy": ("entropy_coef_", "entropy_target"),
    "use_transformers_continuous_batching": ("transformers_continuous_batching_config",),
    "sync_ref_model": ("ref_model_",),
    "push_to_hub": ("hub_",),
    "log_completions": ("num_completions_to_print", "log_unique_prompts"),
    "chat": ("chat_template_kwargs",),
}
"""{option: the prefixes of options that have no effect unless it is set}."""


def refused_options() -> dict[str, str]:
    """{option that never has an effect in `simko train`: why}."""
    evaluation = {f.name: _NO_EVAL_SET for f in fields(TrainingArguments) if f.name.startswith("eval_")}
    return evaluation | _REASONS


def refuse_ignored(parts: tuple[Any, ...], named: Container[str]) -> None:
    """ValueError for a named option that differs from its default and would have no effect.

    An option that belongs to a switch is accepted if the switch is named, too. The command line may turn the switch off.
    """
    changed = {name: value for name, value, default in _values(parts) if name in named and value != default}
    for name, reason in refused_options().items():
        if name in changed:
            raise ValueError(f"{name} has no effect: {reason}")
    values = {name: value for name, value, _ in _values(parts)}
    for switch, name in _belonging(changed):
        if not values[switch] and switch not in named:
            raise ValueError(f"{name} has no effect without {switch}: set {switch} too, or leave {name} out")


def refuse_impossible(parts: tuple[Any, ...], named: Container[str]) -> None:
    """ValueError for a named number that no option of its name takes (check_number)."""
    for name, value, _ in _values(parts):
        if name in named:
            check_number(name, value)


def _belonging(changed: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for switch, prefixes in _SWITCHES.items():
        yield from ((switch, name) for name in changed if name != switch and name.startswith(prefixes))


def _values(parts: tuple[Any, ...]) -> Iterator[tuple[str, Any, Any]]:
    for part in parts:
        yield from ((f.name, getattr(part, f.name), default_of(f)) for f in fields(part))


def default_of(option: Field) -> Any:
    """The default of a dataclass field."""
    return option.default if option.default_factory is MISSING else option.default_factory()
