"""Functions of the user's own, by package.module:function or ./file.py:function, and the digest of their source."""

import ast
import hashlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

_PINNED = re.compile(r"@sha256:[0-9a-f]{16}$")


def import_function(path: str, *, what: str, folder: Path | None = None) -> Callable[..., Any]:
    """The function at package.module:function or ./file.py:function.

    folder: what a file's path is relative to, and where a module may lie (default: the current directory). It, or the
    file's own folder, becomes importable: before installed packages, after the standard library. what: what the
    path was given for, e.g. "--verifier". ValueError names it, the part that is missing, and the cause.
    """
    return _load(path, what, folder or Path.cwd())[0]


def pinned_function(name: str, folder: Path) -> tuple[str, Callable[..., Any], str]:
    """(place, function, digest of its source) of a verifier's name: a place, perhaps with @sha256 and a digest behind it.

    ValueError where there is none, or where its source has another digest by now.
    """
    place = _PINNED.sub("", name)
    function, digest = _load(place, "verifier", folder)
    if place != name and not name.endswith(digest):
        raise ValueError(
            f"verifier {place!r} is not what {name} was: its source has changed since. Name it without @sha256 to "
            "judge by it as it is now"
        )
    return place, function, digest


def _load(path: str, what: str, folder: Path) -> tuple[Callable[..., Any], str]:
    """The function, and the digest of its source as it is loaded."""
    source, _, name = path.rpartition(":")
    if not source or not name:
        raise ValueError(f"{what} {path!r}: write package.module:function or ./file.py:function")
    try:
        if source.endswith(".py"):
            beside = (folder / source).absolute().parent
            module, code = _load_file(beside / Path(source).name)
        else:
            beside = folder
            _make_importable(folder)
            module = importlib.import_module(source)
            _check_imported(source.partition(".")[0], beside)
            code = _as_imported(getattr(module, "__file__", None))
        for imported in _imports(code):
            _check_imported(imported, beside)
    except (Exception, SystemExit) as error:  # whatever an import raises, the user must hear which one did
        raise ValueError(f"{what} {path!r}: cannot load {source} ({type(error).__name__}: {error})") from error
    if not callable(function := getattr(module, name, None)):
        there = [key for key, value in vars(module).items() if inspect.isfunction(value) and key[0] != "_"]
        kind = f" ({name} is an object of {type(function).__name__})" if hasattr(module, name) else ""
        raise ValueError(
            f"{what} {path!r}: {source} has no function {name}{kind}; its functions: {', '.join(there) or 'none'}"
        )
    return function, hashlib.sha256(code + _code_elsewhere(module, function)).hexdigest()[:16]


def _load_file(file: Path) -> tuple[ModuleType, bytes]:
    """The module in a file, under a name of its own: two of one name, or one that was edited, are two modules."""
    code = file.read_bytes()
    name = f"{file.stem}_{hashlib.sha256(str(file).encode() + code).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name], code
    _make_importable(file.parent)
    module = sys.modules[name] = ModuleType(name)
    module.__file__ = str(file)
    try:
        exec(compile(code, str(file), "exec"), vars(module))
    except BaseException:  # whatever the file raises, it is not left half imported
        del sys.modules[name]
        raise
    return module, code


def _imports(code: bytes) -> set[str]:
    """The packages and modules that a source imports, by the first part of their names; none of a compiled module's."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return set()
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names}


def _check_imported(name: str, folder: Path) -> None:
    """ImportError where what is imported as `name` is not the module in the folder, but another that was there first."""
    own = next((file for file in (folder / name / "__init__.py", folder / f"{name}.py") if file.is_file()), None)
    if own is None or name in sys.stdlib_module_names:
        return
    module, spec = sys.modules.get(name), None if name in sys.modules else importlib.util.find_spec(name)
    there = Path(getattr(module, "__file__", None) or getattr(spec, "origin", None) or "")
    if there.is_file() and not own.samefile(there) and own.read_bytes() != there.read_bytes():
        raise ImportError(f"{name} is {there} in this process, not {own}: give one of them another name")


def _make_importable(folder: Path) -> None:
    """Before installed packages and older such folders, but after the standard library, whose modules have such names as
    code and types."""
    text, standard = str(folder.absolute()), os.path.dirname(os.__file__)
    sys.path[:] = [entry for entry in sys.path if entry != text]
    own = [i for i, entry in enumerate(sys.path) if entry.startswith(standard) and not entry.endswith("-packages")]
    sys.path.insert(max(own, default=-1) + 1, text)


def _code_elsewhere(module: ModuleType, function: Callable[..., Any]) -> bytes:
    """The source of the module that the function comes from, where that is not the named one."""
    try:
        own = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # a callable object, a built-in function
        return b""
    return b"" if own == getattr(module, "__file__", None) else _as_imported(own)


@cache
def _as_imported(file: str | None) -> bytes:
    """A module's source when it was first asked for, which is what runs until the process ends."""
    return Path(file).read_bytes() if file and Path(file).is_file() else b""
