"""The checkpoints of a run: whole, with a manifest of hashes that was written last, or not to be continued from.

A checkpoint is written in a folder of its own, `.incomplete`, sealed with manifest.json, and renamed to checkpoint-N:

    {"body": {"step": N, "files": {name: [bytes, sha256]}, "run": {...}}, "sha256": of the body}

`run` says what the run is: see adapters/trl/resume.py.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open

from simko.evaluate.files import read_json

MANIFEST = "manifest.json"
INCOMPLETE = ".incomplete"
_FOR_A_MODEL = (("config.json", "adapter_config.json"), ("*.safetensors*",))
_TO_CONTINUE = (("optimizer*", "global_step*"), ("scheduler.pt",), ("rng_state*",), ("trainer_state.json",))


def checkpoints(directory: Path) -> list[Path]:
    """The checkpoint-N folders, newest first, whole or not."""
    found = [p for p in directory.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdecimal() and p.is_dir()]
    return sorted(found, key=step_of, reverse=True)


def step_of(checkpoint: Path) -> int:
    """N of checkpoint-N."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def latest_checkpoint(directory: Path, *, weights_only: bool = False) -> Path | None:
    """The newest whole checkpoint. weights_only: whole enough for an evaluation, if not for a continuation."""
    return next((p for p in checkpoints(directory) if damage(p, weights_only=weights_only) is None), None)


def seal(folder: Path, step: int, run: Mapping[str, Any]) -> None:
    """Write the manifest of a checkpoint, once all else of it is on the disk."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        files[path.relative_to(folder).as_posix()] = [path.stat().st_size, _sha256(path)]
    body = {"step": step, "files": files, "run": json.loads(json.dumps(run, default=str))}
    text = json.dumps({"body": body, "sha256": _digest(body)}, indent=1) + "\n"
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    for place in (folder, *(p for p in folder.rglob("*") if p.is_dir())):
        _sync_folder(place)


def put_in_place(folder: Path, checkpoint: Path) -> None:
    """Rename a sealed folder to checkpoint-N. One that is there already, damaged or of an abandoned attempt, is removed."""
    if checkpoint.exists():
        aside = folder.parent / f"replaced-{checkpoint.name}"
        os.replace(checkpoint, aside)
        shutil.rmtree(aside, ignore_errors=True)
    os.replace(folder, checkpoint)
    _sync_folder(checkpoint.parent)


def described_run(checkpoint: Path) -> dict[str, Any]:
    """What a whole checkpoint says of its run; empty where it has no manifest."""
    return dict(read_json(checkpoint / MANIFEST)["body"]["run"]) if (checkpoint / MANIFEST).is_file() else {}


def was_written(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end, even if it was damaged later."""
    if (checkpoint / MANIFEST).is_file():
        return True
    try:
        return read_json(checkpoint / "trainer_state.json").get("global_step") == step_of(checkpoint)
    except (OSError, ValueError):
        return False


def damage(checkpoint: Path, *, needed: Collection[str] = (), weights_only: bool = False) -> str | None:
    """What is missing or broken in a checkpoint; None if it is whole.

    needed: further files that a continuation needs. weights_only: files that a model does not need may be missing, and
    so may the manifest, which a checkpoint that simko did not write has not got.
    """
    if (checkpoint / MANIFEST).is_file():
        fault = _broken_manifest(checkpoint) or _altered_file(checkpoint, weights_only)
    elif weights_only:
        fault = _unreadable_model(checkpoint) if was_written(checkpoint) else "it was not written to its end"
    else:
        fault = f"{MANIFEST} is missing: it was not written to its end, or not by this version of simko"
    if fault is not None:
        return fault
    parts = _FOR_A_MODEL if weights_only else (*_FOR_A_MODEL, *_TO_CONTINUE, *((name,) for name in needed))
    missing = (names[0] for names in parts if not any(any(checkpoint.glob(name)) for name in names))
    return next((f"{name} is missing" for name in missing), None)


def _broken_manifest(checkpoint: Path) -> str | None:
    try:
        manifest = read_json(checkpoint / MANIFEST)
        body = manifest["body"]
        files, step, whole = body["files"], body["step"], manifest["sha256"] == _digest(body)
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST} is broken"
    if not whole or not all(_is_inside(name) for name in files):
        return f"{MANIFEST} is broken: it is not what was written"
    named = checkpoint.name.removeprefix("checkpoint-")  # a copy may have another name
    return f"{MANIFEST} is of another step, {step}" if named.isdecimal() and int(named) != step else None


def _altered_file(checkpoint: Path, weights_only: bool) -> str | None:
    for name, (size, sha256) in read_json(checkpoint / MANIFEST)["body"]["files"].items():
        path = checkpoint / name
        if weights_only and path.suffix not in (".safetensors", ".json"):
            continue
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} of {size:,} bytes"
        if _sha256(path) != sha256:
            return f"{name} is broken: its sha256 is not the manifest's"
    return None


def _unreadable_model(checkpoint: Path) -> str | None:
    """What is broken of the files of a model that no manifest speaks of."""
    try:
        read = [read_json(path) for path in sorted(checkpoint.glob("*.json"))]
    except (OSError, ValueError) as error:
        return str(error)
    shards = {name for index in read for name in index.get("weight_map", {}).values()}
    for path in sorted({*checkpoint.glob("*.safetensors"), *(checkpoint / name for name in shards)}):
        try:
            with safe_open(path, framework="numpy"):
                pass
        except (OSError, SafetensorError):
            return f"{path.name} is missing or broken"
    return None


def _is_inside(name: str) -> bool:
    """Whether a manifest's name stays in its folder."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
