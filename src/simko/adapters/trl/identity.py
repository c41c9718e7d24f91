"""What a run is: its model, data, objective, options and the versions of its packages, as its checkpoints keep it."""

import json
import logging
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from simko.adapters.trl.fingerprints import data_digest, function_digest, model_digest, tokenizer_digest

logger = logging.getLogger("simko")

ENDLESS_SCHEDULES = ("constant", "constant_with_warmup", "inverse_sqrt")
"""Schedules of the learning rate that do not depend on the length of the run."""
_PACKAGES = ("simko", "torch", "trl", "transformers", "accelerate", "datasets", "peft", "tokenizers", "numpy")
_BOOKKEEPING = (
    "output_dir", "run_name", "report_to", "project", "trackio", "disable_tqdm", "log", "save_", "do_", "hub_",
    "push_to_hub", "resume_from_checkpoint", "restore_callback_states", "local_rank", "ddp_timeout", "dataloader_num_workers",
    "dataloader_pin_memory", "dataloader_prefetch_factor", "probe_", "early_warnings",
    "reward_failures", "reward_timeout", "max_skipped_updates",
)  # fmt: skip
"""Beginnings of the names of options that leave the weights as they are. An evaluation draws random numbers."""


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
        "model": model_digest(trainer),
        "tokenizer": tokenizer_digest(trainer._tokenizer),
        "data": data_digest(trainer.train_dataset),
        "objective": objective,
        "reward functions": list(trainer.reward_func_names),
        "options": json.loads(json.dumps(options, default=str)),
        "rewards": {
            f"{place}: {name}": function_digest(function)  # two may have one name
            for place, (name, function) in enumerate(zip(trainer.reward_func_names, trainer.reward_funcs, strict=True))
        },
        "versions": versions(),
    }


def compare_runs(checkpoint: Path, kept: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """ValueError, naming it, where model, tokenizer, data, objective or the names of reward functions are not those of
    the run that wrote the checkpoint; a warning that names options, rewards and versions that are not. Nothing is said of what
    either leaves out."""
    for name in ("model", "tokenizer", "data", "objective", "reward functions"):
        if name in kept.keys() & now.keys() and kept[name] != now[name]:
            plain = name in ("objective", "reward functions")
            said = f" ({kept[name]}, now {now[name]})" if plain else ""
            raise ValueError(
                f"{checkpoint} was written by a run with another {name}{said}: continue it with the same, begin a new run in "
                "another output_dir, or remove this checkpoint if it came from elsewhere"
            )
    if not kept or "options" not in now:
        return
    length = {"max_steps", "num_train_epochs"} if _is_endless(now["options"]) else set()
    for name in ("options", "rewards", "versions"):
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
