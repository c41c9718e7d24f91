"""What a model is: digests of its files or tensors, by which a run is recognised."""

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

# What decides a checkpoint's draws; a folder's other files (optimizer, logs, read-me) may change.
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model*.bin")
_CONFIGURATION = (
    "config.json",
    "adapter_config.json",
    "generation_config.json",
    "*.index.json",
    "*.py",  # code of the model's own
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab.*",
    "merges.txt",
    "*.model",
)
_NAMED_BY = ("config.json", "adapter_config.json")
_HUB_ID = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")
_DIGITS = 16
"""Hexadecimal digits of a digest in a record: enough to tell checkpoints apart, few enough to be read."""


class Checkpoint(NamedTuple):
    """What a run's record says of a model: its name, and digests of its tensors and of the other files that decide draws.

    Of a model on the hub, weights is the commit, which covers all files. An adapter's include those of its base model.
    """

    name: str
    weights: str
    tokenizer_and_config: str | None


def checkpoint_at(path: str | Path, revision: str | None = None) -> Checkpoint:
    """What there is at a checkpoint folder or hub id, once it has been loaded (a model of the hub: is in the cache)."""
    if Path(path).is_dir():
        return _of_folder(Path(path))
    commit, adapter = _cached(str(path), "adapter_config.json", revision)
    if adapter is not None:
        base = _base_of(adapter)
        return Checkpoint(str(path), f"{commit}+{base.weights}", base.tokenizer_and_config)
    from transformers import AutoConfig

    return Checkpoint(str(path), AutoConfig.from_pretrained(path, revision=revision)._commit_hash, None)


def _is_model(folder: Path) -> bool:
    """Whether a folder's config.json is a model's: a training run keeps its own configuration under that name."""
    try:
        return "model_type" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def check_folder(path: str | Path) -> None:
    """ValueError where `path` is no checkpoint folder and cannot be a hub id either: a folder without a model, an adapter
    whose base model is not there, a file, or a path to nothing. A hub id is left to those who load it."""
    folder = Path(path)
    if folder.is_file():
        raise ValueError(f"{folder} is a file: give the checkpoint folder that it lies in, {folder.parent}")
    if not folder.is_dir():
        if not _HUB_ID.fullmatch(str(path)):
            raise ValueError(
                f"there is no folder {path}: give a checkpoint folder, or a hub id such as Qwen/Qwen2.5-0.5B"
            )
        return
    adapter = folder / "adapter_config.json"
    inside = sorted(file.parent for file in folder.glob("*/*config.json") if file.name in _NAMED_BY)
    if (folder / "metrics.jsonl").is_file() and inside and not adapter.is_file() and not _is_model(folder):
        newest = max(inside, key=lambda path: path.stat().st_mtime)
        raise ValueError(f"{folder} is a run of simko train: give one of its checkpoints, such as {newest}")
    if not any((folder / name).is_file() for name in _NAMED_BY):
        hint = f"one of the folders in it, such as {inside[0]}" if inside else "a checkpoint folder"
        raise ValueError(f"{folder} holds no model (no config.json, no adapter_config.json): give {hint}")
    if adapter.is_file():
        try:
            check_folder(_base_name(adapter))
        except ValueError as error:
            raise ValueError(f"{folder} is an adapter without its base model: {error}") from error


def _of_folder(folder: Path) -> Checkpoint:
    check_folder(folder)
    weights, configuration = _lines(folder, _WEIGHTS), _lines(folder, _CONFIGURATION)
    if not weights:
        raise ValueError(f"{folder} holds no weights (*.safetensors or pytorch_model*.bin): give a checkpoint folder")
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = _base_of(adapter)
        weights.append(f"base {base.weights}")
        configuration.append(f"base {base.tokenizer_and_config}")
    return Checkpoint(folder.resolve().name, _short(weights), _short(configuration))


def _base_of(adapter_config: Path) -> Checkpoint:
    """The model below an adapter: by its folder's digests, the commit in the cache, or where that is unknown its name."""
    name = _base_name(adapter_config)
    if Path(name).is_dir():
        return _of_folder(Path(name))
    revision = json.loads(adapter_config.read_text(encoding="utf-8")).get("revision")
    commit, _ = _cached(name, "config.json", revision)
    return Checkpoint(name, commit or name, None)


def _base_name(adapter_config: Path) -> str:
    try:
        return str(json.loads(adapter_config.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{adapter_config} does not say base_model_name_or_path ({error!r})") from error


def _cached(name: str, file: str, revision: str | None) -> tuple[str | None, Path | None]:
    """(commit, path) of a file of a model on the hub in the local cache, or (None, None)."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, file, revision=revision)
    except HFValidationError:  # a path that is not here
        return None, None
    return (Path(found).parent.name, Path(found)) if isinstance(found, str) else (None, None)


def _lines(folder: Path, patterns: tuple[str, ...]) -> list[str]:
    """Name and SHA-256 of each file."""
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    stats = [(path, path.stat()) for path in sorted(paths, key=lambda path: path.name)]
    return [f"{path.name} {_file_digest(path.resolve(), stat.st_size, stat.st_mtime_ns)}" for path, stat in stats]


def _short(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_DIGITS]


@cache
def _file_digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_model(model: Any) -> str:
    """A digest of a model's parameters and buffers: of their names, dtypes, shapes and values."""
    import torch  # here, so that the digest of a folder does not need it

    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()[:_DIGITS]
