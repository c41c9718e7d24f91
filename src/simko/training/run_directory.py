"""What a run leaves on disk, and what of it can be continued.

config.json      every option that decides the run's numbers     versions.json   the packages that made them
metrics.jsonl    a line a logged step                            samples.jsonl   a line a graded response
diagnostics.jsonl  a line a probe                                checkpoint-N/   weights (safetensors), optimizer ...
"""

import fcntl
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from simko.evaluate.files import write_whole

LOGS = ("metrics.jsonl", "samples.jsonl", "diagnostics.jsonl")
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


@contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """Hold a directory for one writing process; ValueError if another has it."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another process is writing to {directory}: wait for it, or choose another one"
            ) from error
        yield


def check_config(directory: Path, config: Mapping[str, Any]) -> None:
    """Keep `config` in the directory; ValueError if it holds a run of another configuration, which is left alone.

    A configuration under which nothing was trained yet is replaced.
    """
    path = directory / "config.json"
    config = json.loads(json.dumps(config, default=str))
    begun = any((directory / log).exists() for log in LOGS) or any(directory.glob("checkpoint-*"))
    if path.is_file() and begun:
        kept = json.loads(path.read_text(encoding="utf-8"))
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


def latest_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint that was written to its end; half-written ones are passed over."""
    found = sorted(directory.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[-1]), reverse=True)
    return next((p for p in found if is_complete(p)), None)


def is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint has weights, optimizer, scheduler and random state, and the state file written last."""
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return False
    parts = ("*.safetensors*", "optimizer*", "scheduler.pt", "rng_state*")
    return state["global_step"] == int(checkpoint.name.split("-")[-1]) and all(
        any(checkpoint.glob(part)) for part in parts
    )


def rewind_logs(directory: Path, step: int) -> None:
    """Drop what an interrupted run logged after the checkpoint it continues from: metrics and probes beyond `step`."""
    for name, kept in (("metrics.jsonl", step), ("samples.jsonl", step - 1), ("diagnostics.jsonl", step - 1)):
        path = directory / name
        if not path.is_file():
            continue
        lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        write_whole(path, "".join(line for line in lines if json.loads(line)["step"] <= kept))
