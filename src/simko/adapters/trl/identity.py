"""What a run is: its model, data, objective, options and the versions of its packages, as its checkpoints keep it."""

import hashlib
import json
import logging
import platform
from collections.abc import Mapping, Sized
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

logger = logging.getLogger("simko")

ENDLESS_SCHEDULES = ("constant", "constant_with_warmup", "inverse_sqrt")
"""Schedules of the learning rate that do not depend on the length of the run."""
_PACKAGES = ("simko", "torch", "trl", "transformers", "accelerate", "datasets", "peft", "tokenizers", "numpy")
_BOOKKEEPING = (
    "output_dir", "run_name", "report_to", "project", "trackio", "disable_tqdm", "log", "save_", "eval_", "do_", "hub_",
    "push_to_hub", "resume_from_checkpoint", "restore_callback_states", "local_rank", "ddp_timeout", "dataloader_num_workers",
    "dataloader_pin_memory", "dataloader_prefetch_factor", "per_device_eval", "probe_", "early_warnings",
    "reward_failures", "reward_timeout", "max_skipped_updates",
)  # fmt: skip
"""Beginnings of the names of options that leave the weights as they are."""
_IMAGES = ("image", "images")
_SAMPLED = 1024  # numbers read of each frozen weight


def versions() -> dict[str, str]:
    """The versions of Python, the platform and the packages that decide a run's numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def describe_run(trainer: Any, objective: str) -> dict[str, Any]:
    """What a continued run must share with the one that it continues, as JSON values."""
    options = {k: v for k, v in trainer.args.to_dict().items() if not k.startswith(_BOOKKEEPING)}
    return {
        "model": _model_digest(trainer),
        "tokenizer": _tokenizer_digest(trainer._tokenizer),
        "data": _data_digest(trainer.train_dataset),
        "objective": objective,
        "reward functions": list(trainer.reward_func_names),
        "options": json.loads(json.dumps(options, default=str)),
        "versions": versions(),
    }


def compare_runs(checkpoint: Path, kept: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """ValueError, naming it, where model, tokenizer, data, objective or reward functions are not those of the run that
    wrote the checkpoint; a warning that names options and versions that are not. Nothing is said where nothing is kept."""
    for name in ("model", "tokenizer", "data", "objective", "reward functions"):
        if name in kept and kept[name] != now[name]:
            plain = name in ("objective", "reward functions")
            said = f" ({kept[name]}, now {now[name]})" if plain else ""
            raise ValueError(
                f"{checkpoint} was written by a run with another {name}{said}: continue it with the same, or begin a new run "
                "in another output_dir"
            )
    if not kept:
        return
    length = {"max_steps", "num_train_epochs"} if _is_endless(now["options"]) else set()
    for name in ("options", "versions"):
        was, here = kept.get(name, {}), now[name]
        changed = [
            key for key in sorted(was.keys() | here.keys()) if was.get(key) != here.get(key) and key not in length
        ]
        if changed:
            said = ", ".join(f"{key} (was {was.get(key)}, is {here.get(key)})" for key in changed)
            logger.warning(
                "%s is continued with other %s: %s; the run is not what it would have been", checkpoint, name, said
            )


def _is_endless(options: Mapping[str, Any]) -> bool:
    return options.get("lr_scheduler_type") in ENDLESS_SCHEDULES and not 0 < float(options.get("warmup_steps") or 0) < 1


def _model_digest(trainer: Any) -> str:
    """Of the names, shapes and types of all weights, and of some numbers of each that training leaves as it is: those of
    a checkpoint replace the others."""
    fixed = None if getattr(trainer.args, "sync_ref_model", False) else getattr(trainer, "ref_model", None)
    digest = hashlib.sha256()
    for model, is_frozen in ((trainer.model, False), (fixed, True)):
        for name, weight in () if model is None else trainer.accelerator.unwrap_model(model).named_parameters():
            shape = tuple(getattr(weight, "ds_shape", weight.shape))
            trained = weight.requires_grad and not is_frozen
            digest.update(repr((name, shape, str(weight.dtype), trained)).encode())
            if not trained:
                digest.update(_first_numbers(weight))
    return digest.hexdigest()


def _first_numbers(weight: nn.Parameter) -> bytes:
    """Empty for a weight that is split over processes."""
    if hasattr(weight, "ds_shape") or hasattr(weight, "_local_tensor"):
        return b""
    numbers: bytes = weight.detach().flatten()[:_SAMPLED].cpu().contiguous().view(torch.uint8).numpy().tobytes()
    return numbers


def _tokenizer_digest(tokenizer: Any) -> str:
    named = {k: str(v) for k, v in tokenizer.special_tokens_map.items()}
    parts = [sorted(tokenizer.get_vocab().items()), named, tokenizer.chat_template]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


def _data_digest(dataset: Any) -> str | None:
    """Of the rows without their images; None for a stream."""
    if not isinstance(dataset, Sized):
        return None
    rows: Any = dataset
    if columns := [c for c in getattr(rows, "column_names", ()) if c in _IMAGES]:
        rows = rows.remove_columns(columns)
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, default=lambda x: type(x).__name__).encode())
    return digest.hexdigest()
