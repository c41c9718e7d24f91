"""How the peers are found: parts of large packages, and sources that are no package."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

SOURCES = Path(os.environ.get("PEER_SOURCES", Path.home() / ".cache" / "simko-peers"))


def part(name: str) -> ModuleType:
    """The module `name` of an installed package, without running the __init__ of the packages around it.

    These import torch, ray and tokenizers; the graders need none of them.
    """
    parents = name.split(".")[:-1]
    for depth in range(1, len(parents) + 1):
        parent = ".".join(parents[:depth])
        if parent not in sys.modules:
            spec = importlib.util.find_spec(parent)
            if spec is None or spec.submodule_search_locations is None:
                raise ImportError(f"no package {parent}")
            sys.modules[parent] = package = ModuleType(parent)
            package.__path__ = list(spec.submodule_search_locations)
    return importlib.import_module(name)


def source(folder: str) -> None:
    """Lets modules be imported from a folder of a cloned repository."""
    path = SOURCES / folder
    if not path.is_dir():
        raise ImportError(f"no {path}; docs/results/graders.md says how to clone it")
    sys.path.insert(0, str(path))


def boxed(gold: str) -> str:
    r"""The gold in \boxed{}; one that a data set already wrote in mathematics or in a box stays as it is."""
    return gold if "$" in gold or "\\boxed" in gold else f"\\boxed{{{gold}}}"
