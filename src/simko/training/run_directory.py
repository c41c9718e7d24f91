"""The files of a run, and which of them can be continued.

config.json          every option that decides the run's numbers     versions.json   the versions of packages
metrics.jsonl        one line per logged step                        samples.jsonl   one line per graded response
diagnostics.jsonl    one line per probe                              checkpoint-N/   weights (safetensors), optimizer ...
held-out/samples.db  the responses to held-out problems, with passk_every
"""

import json
import logging
import platform
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors import safe_open

from simko.evaluate.files import read_json, write_whole

logger = logging.getLogger("simko")

DATA = "train_problems_sha256"

_PACKAGES = ("simko", "torch", "trl", "transformers", "accelerate", "datasets", "peft", "tokenizers", "numpy")


def write_json(path: Path, value: object) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


def versions() -> dict[str, str]:
    """The versions of Python, the platform and the packages that decide a run's numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def check_config(directory: Path, config: Mapping[str, Any], free: Collection[str], why: Mapping[str, str]) -> None:
    """Write `config` to the directory. ValueError if the directory holds a run with another configuration.

    A configuration with which nothing was trained yet is replaced.

    Args:
        directory: the run's directory.
        config: the run's options.
        free: keys that may differ; their new values are written.
        why: {key: the message if it differs}.
    """
    path = directory / "config.json"
    config = json.loads(json.dumps(config, default=str))
    begun = (directory / "metrics.jsonl").exists() or bool(checkpoints(directory))
    if begun and not path.is_file():
        raise ValueError(f"{directory} holds files of a run but no config.json: choose another output directory")
    if begun:
        kept = read_json(path)
        if DATA not in kept:
            logger.warning(
                "%s was begun by a version of simko that did not record its problems: whether they are the same is "
                "unknown; they are recorded from now on",
                directory,
            )
            free = {*free, DATA} - {"train_file"}
        for key in sorted(kept.keys() | config.keys()):
            if kept.get(key) != config.get(key) and key not in free:
                default = f"with {key}={kept.get(key)!r}, this one has {config.get(key)!r}"
                raise ValueError(
                    f"{directory} holds a run {why.get(key, default)}: choose another output directory, or remove that one"
                )
        if kept == config:
            return
    write_json(path, config)


def checkpoints(directory: Path) -> list[Path]:
    """The checkpoint-N folders, newest first, intact or not."""
    found = [p for p in directory.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
    return sorted(found, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """N of checkpoint-N."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def latest_checkpoint(directory: Path, *, weights_only: bool = False) -> Path | None:
    """The newest intact checkpoint. weights_only: intact enough for an evaluation, if not for a continuation."""
    return next((p for p in checkpoints(directory) if damage(p, weights_only=weights_only) is None), None)


def was_written(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end, even if it was damaged later."""
    try:
        return read_json(checkpoint / "trainer_state.json").get("global_step") == step_of(checkpoint)
    except (OSError, ValueError):
        return False


def damage(checkpoint: Path, *, needed: Collection[str] = (), weights_only: bool = False) -> str | None:
    """What is missing or broken in a checkpoint; None if it is intact. needed: further files that it must have."""
    if not was_written(checkpoint):
        return "it was not written to its end: trainer_state.json is missing, broken or of another step"
    parts: list[tuple[str, ...]] = [("config.json", "adapter_config.json"), ("*.safetensors*",)]
    if not weights_only:
        parts += [("optimizer*", "global_step*"), ("scheduler.pt",), ("rng_state*",), *((name,) for name in needed)]
    for names in parts:
        if not any(any(checkpoint.glob(name)) for name in names):
            return f"{names[0]} is missing"
    try:
        read = {path.name: read_json(path) for path in sorted(checkpoint.glob("*.json"))}
    except (OSError, ValueError) as error:
        return str(error)
    shards = {name for index in read.values() for name in index.get("weight_map", {}).values()}
    tensors = {*checkpoint.glob("*.safetensors"), *(checkpoint / name for name in shards)}
    if not weights_only:
        tensors |= set(checkpoint.glob("*.pt*"))
    return next((f"{path.name} is missing or broken" for path in sorted(tensors) if not _is_readable(path)), None)


def _is_readable(path: Path) -> bool:
    """Whether the table of contents of a tensor file can be read, and a random state has all its parts."""
    import torch
    from transformers.trainer_pt_utils import safe_globals

    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="numpy"):
                return True
        with safe_globals():
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # a broken file raises almost any error
        return False
    return not path.name.startswith("rng_state") or (
        isinstance(loaded, dict) and {"python", "numpy", "cpu"} <= loaded.keys()
    )


def rewind_logs(directory: Path, step: int) -> None:
    """Drop the lines that an interrupted run logged after `step`, the checkpoint from which it continues.

    ValueError, with nothing dropped, names a broken line other than a truncated last one.
    """
    kept = {}
    for name, last in (("metrics.jsonl", step), ("samples.jsonl", step - 1), ("diagnostics.jsonl", step - 1)):
        path = directory / name
        if path.is_file():
            lines = path.read_bytes().splitlines(keepends=True)
            whole = [line for line in lines if line.endswith(b"\n")]
            kept[path] = [line for i, line in enumerate(whole, start=1) if _logged_step(path, i, line) <= last]
    for path, lines in kept.items():
        write_whole(path, b"".join(lines).decode())


def _logged_step(path: Path, number: int, line: bytes) -> int:
    try:
        return int(json.loads(line).get("step", 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path}, line {number} is no JSON row with a step ({error}): mend or remove that line"
        ) from error
