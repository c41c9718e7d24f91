"""What a model is: digests of its files or tensors, by which a run is recognised."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

# What decides a checkpoint's draws; a folder's other files (optimizer, logs, read-me) may change.
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_CONFIGURATION = (
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab.*",
    "merges.txt",
)


def weights_of(path: str | Path, revision: str | None = None) -> tuple[str, str]:
    """(name, digest) of a checkpoint folder, or (id, commit) of a model on the hub."""
    if Path(path).is_dir():
        return Path(path).resolve().name, digest_of_folder(path)
    from transformers import AutoConfig

    return str(path), AutoConfig.from_pretrained(path, revision=revision)._commit_hash


def digest_of_folder(folder: str | Path) -> str:
    """The SHA-256 of a checkpoint folder's weights, configuration and tokenizer: of their names and contents."""
    folder = Path(folder)
    paths = {path for pattern in (*_WEIGHTS, *_CONFIGURATION) for path in folder.glob(pattern) if path.is_file()}
    if not any(path.match(pattern) for path in paths for pattern in _WEIGHTS):
        raise ValueError(f"{folder} holds no weights (*.safetensors or pytorch_model*.bin): give a checkpoint folder")
    total = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        stat = path.stat()
        total.update(f"{path.name} {_file_digest(path.resolve(), stat.st_size, stat.st_mtime_ns)}\n".encode())
    return total.hexdigest()


@cache
def _file_digest(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_model(model: Any) -> str:
    """The SHA-256 of a model's parameters and buffers: of their names, dtypes, shapes and values."""
    import torch  # here, so that the digest of a folder does not need it

    total = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return total.hexdigest()
