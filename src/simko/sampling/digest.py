"""Which model a run used: digests of its files or tensors."""

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

# The files that decide a checkpoint's draws. A folder's other files (optimizer, logs, read-me) may change.
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
_MODEL_FILES = ("config.json", "adapter_config.json")
_HUB_ID = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*")
_DIGITS = 16
"""Hexadecimal digits of a digest in a record: enough to tell checkpoints apart, few enough to read."""


class ModelIdentity(NamedTuple):
    """What a run records about its model. The digests of an adapter include those of its base model."""

    name: str
    """The folder's name, or the hub id."""
    weights: str
    """A digest of the tensors. For a model on the hub, the commit, which covers all files."""
    tokenizer_and_config: str | None
    """A digest of the other files that decide draws; None for a model on the hub."""


def model_identity(path: str | Path, revision: str | None = None) -> ModelIdentity:
    """The identity of the model in a checkpoint folder, or of a hub id that is in the local cache."""
    if Path(path).is_dir():
        return _folder_identity(Path(path))
    commit, adapter = _cached(str(path), "adapter_config.json", revision)
    if adapter is not None:
        base = _base_identity(adapter)
        return ModelIdentity(str(path), f"{commit}+{base.weights}", base.tokenizer_and_config)
    from transformers import AutoConfig

    return ModelIdentity(str(path), AutoConfig.from_pretrained(path, revision=revision)._commit_hash, None)


def _is_model(folder: Path) -> bool:
    """Whether config.json belongs to a model. A training run keeps its own options under that name."""
    try:
        return "model_type" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def check_placement(dtype: str, device: str | None) -> None:
    """ValueError if weights cannot be of this type or on this device."""
    import torch

    kind = dtype == "auto" or getattr(torch, dtype, None)
    if not (kind is True or (isinstance(kind, torch.dtype) and kind.is_floating_point)):
        raise ValueError(f"--dtype {dtype} is no type of weights: write float32, bfloat16 or float16")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        raise ValueError(f"--device {device} cannot be used: {str(error).splitlines()[0]}") from error


def check_folder(path: str | Path) -> None:
    """ValueError if `path` is neither a checkpoint folder nor a possible hub id.

    Raised for a folder without a model, an adapter without its base model, a file, and a missing path. Whether a hub id exists
    is not checked.
    """
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
    inside = sorted(file.parent for file in folder.glob("*/*config.json") if file.name in _MODEL_FILES)
    if (folder / "metrics.jsonl").is_file() and inside and not adapter.is_file() and not _is_model(folder):
        newest = max(inside, key=lambda path: path.stat().st_mtime)
        raise ValueError(f"{folder} is a run of simko train: give one of its checkpoints, such as {newest}")
    if not any((folder / name).is_file() for name in _MODEL_FILES):
        hint = f"one of the folders in it, such as {inside[0]}" if inside else "a checkpoint folder"
        raise ValueError(f"{folder} holds no model (no config.json, no adapter_config.json): give {hint}")
    if adapter.is_file():
        try:
            check_folder(_base_name(adapter))
        except ValueError as error:
            raise ValueError(f"{folder} is an adapter without its base model: {error}") from error


def _folder_identity(folder: Path) -> ModelIdentity:
    check_folder(folder)
    weights, configuration = _file_digests(folder, _WEIGHTS), _file_digests(folder, _CONFIGURATION)
    if not weights:
        raise ValueError(f"{folder} holds no weights (*.safetensors or pytorch_model*.bin): give a checkpoint folder")
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = _base_identity(adapter)
        weights.append(f"base {base.weights}")
        configuration.append(f"base {base.tokenizer_and_config}")
    return ModelIdentity(folder.resolve().name, _short_digest(weights), _short_digest(configuration))


def _base_identity(adapter_config: Path) -> ModelIdentity:
    """The base model of an adapter: its folder's digests, or the commit in the cache, or if that is unknown its name."""
    name = _base_name(adapter_config)
    if Path(name).is_dir():
        return _folder_identity(Path(name))
    revision = json.loads(adapter_config.read_text(encoding="utf-8")).get("revision")
    commit, _ = _cached(name, "config.json", revision)
    return ModelIdentity(name, commit or name, None)


def _base_name(adapter_config: Path) -> str:
    try:
        return str(json.loads(adapter_config.read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{adapter_config} does not say base_model_name_or_path ({error!r})") from error


def _cached(name: str, file: str, revision: str | None) -> tuple[str | None, Path | None]:
    """(commit, path) of a hub model's file in the local cache, or (None, None)."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, file, revision=revision)
    except HFValidationError:  # a path that does not exist
        return None, None
    return (Path(found).parent.name, Path(found)) if isinstance(found, str) else (None, None)


def _file_digests(folder: Path, patterns: tuple[str, ...]) -> list[str]:
    """The name and SHA-256 of each file."""
    paths = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    stats = [(path, path.stat()) for path in sorted(paths, key=lambda path: path.name)]
    return [f"{path.name} {_file_digest(path.resolve(), stat.st_size, stat.st_mtime_ns)}" for path, stat in stats]


def _short_digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:_DIGITS]


@cache
def _file_digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_digest(model: Any) -> str:
    """A digest of the names, dtypes, shapes and values of a model's parameters and buffers."""
    import torch  # here, because the digest of a folder does not need it

    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()[:_DIGITS]
