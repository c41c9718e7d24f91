"""Files that are written whole or not at all, and directories with one writer."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file that replaces `path` when the context ends without an error.

    A kill or a full disk leaves the old file, or none, but never a part of the new one. OSError names a file that cannot be
    written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise _unwritable(path, error) from error
    os.close(handle)
    try:
        yield Path(name)
        with open(name, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as error:  # an interrupt too leaves no half-written file
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise


def write_whole(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all (see `replacing`)."""
    with replacing(path) as new:
        new.write_bytes(text.encode("utf-8"))


def append(path: Path, text: str) -> None:
    """Append UTF-8 text. OSError names a file that cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise _unwritable(path, error) from error


def storable(text: str) -> str:
    """The text with question marks for lone surrogates, which files and databases do not accept."""
    return text.encode("utf-8", "replace").decode("utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. ValueError names a file that holds none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): restore it, or choose another directory") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no JSON object: restore it, or choose another directory")
    return value


def _unwritable(path: Path, error: OSError) -> OSError:
    return OSError(f"{path} cannot be written ({error.strerror or error}): make room, or choose another place")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock a directory for this process as its only writer. ValueError if another process holds the lock.

    Forked processes, such as workers of a data loader, do not inherit the lock. It is free once this process is gone.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = FileLock(directory / ".lock", blocking=False).acquire()
    except Timeout as error:
        raise ValueError(f"another process is writing to {directory}: wait for it, or choose another one") from error
    except OSError as error:
        raise _unwritable(directory, error) from error
    with lock:
        yield
