"""Model folders in the user's cache, made once."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_path


def cached_folder(name: str, make: Callable[[Path], None]) -> Path:
    """The folder `name` of the user's cache; `make` fills it if it is not there, whole or not at all."""
    folder = user_cache_path("simko") / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix="part-"))
    try:
        make(part)
        os.rename(part, folder)
    except OSError:
        if not folder.is_dir():  # it is, where another process was first
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder
