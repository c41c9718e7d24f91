"""Files that are there whole or not at all, and directories with one writer."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write in path's stead; it takes path's place when the context ends well, and is gone where it does not.

    A kill or a full disk leaves the old file, or none, but never a part of the new one.
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
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(path, error) from error
        raise


def write_whole(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all (see `replacing`)."""
    with replacing(path) as new:
        new.write_bytes(text.encode("utf-8"))


def append(path: Path, text: str) -> None:
    """Append UTF-8 text; OSError naming the file where it cannot be written."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise _unwritable(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ValueError naming the file where it holds none."""
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
def claimed(directory: Path) -> Iterator[None]:
    """Hold a directory for one writing process; ValueError if another has it.

    A process forked meanwhile (a worker of a data loader) does not hold it, so that it is free once this one is gone.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        opened = (directory / ".lock").open("w")
    except OSError as error:
        raise _unwritable(directory, error) from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"another process is writing to {directory}: wait for it, or choose another one"
            ) from error
        _locks.add(lock)
        try:
            yield
        finally:
            _locks.discard(lock)


def _let_go() -> None:
    """Close a forked process's copies of the locks, which leaves them with its parent."""
    for lock in _locks:
        lock.close()
    _locks.clear()


_locks: set[TextIO] = set()
os.register_at_fork(after_in_child=_let_go)
