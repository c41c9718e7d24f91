"""What a run leaves on disk, and what of it can be continued.

config.json      every option that decides the run's numbers     versions.json   the packages that made them
metrics.jsonl    a line a logged step                            samples.jsonl   a line a graded response
diagnostics.jsonl  a line a probe                                checkpoint-N/   weights (safetensors), optimizer ...
held-out/samples.db  the responses to held-out problems, where passk_every asks for them
"""

import json
import platform
import zipfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from simko.evaluate.files import read_json, write_whole

_PACKAGES = ("simko", "torch", "trl", "transformers", "accelerate", "datasets", "peft", "tokenizers", "numpy")


def write_json(path: Path, value: object) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


def versions() -> dict[str, str]:
    """Versions of Python, the platform and the packages that decide a run's numbers."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def check_config(directory: Path, config: Mapping[str, Any]) -> None:
    """Keep `config` in the directory; ValueError if it holds a run of another configuration, which is left alone.

    A configuration under which nothing was trained yet is replaced.
    """
    path = directory / "config.json"
    config = json.loads(json.dumps(config, default=str))
    begun = (directory / "metrics.jsonl").exists() or bool(checkpoints(directory))
    if path.is_file() and begun:
        kept = read_json(path)
        for key in sorted(kept.keys() | config.keys()):
            if kept.get(key) != config.get(key):
                raise ValueError(
                    f"{directory} holds a run with {key}={kept.get(key)!r}, this one has {config.get(key)!r}: choose "
                    "another output directory, or remove that one"
                )
        return
    if begun:
        raise ValueError(f"{directory} holds files of a run but no config.json: choose another output directory")
    write_json(path, config)


def checkpoints(directory: Path) -> list[Path]:
    """checkpoint-N folders, newest first, whole or not."""
    found = [p for p in directory.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
    return sorted(found, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """N of checkpoint-N."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def latest_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint that was written to its end; half-written ones are passed over."""
    return next((p for p in checkpoints(directory) if is_complete(p)), None)


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint has whole weights, optimizer, scheduler and random state, and the state file written last."""
    try:
        state = read_json(checkpoint / "trainer_state.json")
    except (OSError, ValueError):
        return False
    pickled = [*checkpoint.glob("*.pt"), *checkpoint.glob("rng_state*")]
    parts = ("*.safetensors*", "optimizer*", "scheduler.pt", "rng_state*")
    return (
        state.get("global_step") == step_of(checkpoint)
        and all(any(checkpoint.glob(part)) for part in parts)
        and all(_is_whole_safetensors(path) for path in checkpoint.glob("*.safetensors"))
        and all(zipfile.is_zipfile(path) for path in pickled)
    )


def _is_whole_safetensors(path: Path) -> bool:
    try:
        with safe_open(path, framework="numpy"):
            return True
    except (OSError, SafetensorError):
        return False


def rewind_logs(directory: Path, step: int) -> None:
    """Drop what an interrupted run logged after the checkpoint it continues from: metrics and probes beyond `step`."""
    for name, kept in (("metrics.jsonl", step), ("samples.jsonl", step - 1), ("diagnostics.jsonl", step - 1)):
        path = directory / name
        if not path.is_file():
            continue
        lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        write_whole(path, "".join(line for line in lines if json.loads(line).get("step", 0) <= kept))
