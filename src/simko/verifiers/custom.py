"""Verifiers of the user's own: a function by import path or in a file, called as function(response: str, problem: Problem).

The function is trusted, the responses are not: it runs in a grading pool, so that a response on which it hangs or eats
the memory ends neither the evaluation nor the machine. `OWN_LIMITS` are wider than those of simko's own judges, and it
may write files; what it prints is lost. A judge that holds a model, or waits for a service for long, is passed to `evaluate` as a
callable instead, which runs where it is called, without limits.

What it may return:
- True or False: correct or incorrect;
- a number from 0 to 1: the reward in training; the response counts as correct where it is exactly 1;
- a Verdict, for all else.
"""

import ast
import hashlib
import importlib.util
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from simko.records import Outcome, Problem, Verdict
from simko.verifiers.pool import GradingPool, Job, Limits

OWN_LIMITS = Limits(cpu_seconds=10.0, memory_bytes=4 << 30, file_bytes=-1)
"""Of one call: enough to import a large library on the way."""

_POOL = GradingPool(limits=OWN_LIMITS)
_PINNED = re.compile(r"@sha256:[0-9a-f]{16}$")


class VerifierError(ValueError):
    """A verifier raised, or gave no verdict: never the model's fault. The message names the problem and the sample."""


def import_function(path: str, *, what: str, folder: Path | None = None) -> Callable[..., Any]:
    """The function at package.module:function or ./file.py:function.

    folder: what a file's path is relative to, and where a module may lie (default: the current directory). It, or the
    file's own folder, becomes importable: before installed packages, after the standard library. what: what the
    path was given for, e.g. "--verifier". ValueError names it, the part that is missing, and the cause.
    """
    return _load(path, what, folder or Path.cwd())[0]


@dataclass(frozen=True)
class Custom:
    """A verifier of the user's own (call it with a response and a problem), from `Custom.at`.

    place: as `import_function` takes it; folder: what it is relative to; digest: of its source.
    """

    place: str
    folder: str
    digest: str

    @classmethod
    def at(cls, name: str, folder: Path | None = None) -> "Custom":
        """The verifier called `name`, as `import_function` takes it or as a store has kept it (see `__name__`).

        ValueError where there is none, or where a store's is another by now.
        """
        place, folder = _PINNED.sub("", name), (folder or Path.cwd()).absolute()
        custom = cls(place, str(folder), _load(place, "verifier", folder)[1])
        if place != name and not name.endswith(custom.digest):
            raise ValueError(
                f"verifier {place!r} is not what {name} was: its source has changed since. Name it without @sha256 to "
                "judge by it as it is now"
            )
        return custom

    @property
    def __name__(self) -> str:
        """What a store keeps of it: judge.py:function@sha256:0123456789abcdef. Two files of one name are told apart."""
        source, _, function = self.place.rpartition(":")
        return f"{Path(source).name}:{function}@sha256:{self.digest}"

    def __call__(self, response: str, problem: Problem) -> Verdict:
        return self.grade_many([(response, problem)])[0]

    def grade_many(self, answers: Sequence[tuple[str, Problem]]) -> list[Verdict]:
        """The verdicts on (response, problem) pairs, in order; VerifierError where the function raises, ends its
        process, or returns what is no verdict."""
        place = f"{self.place}@sha256:{self.digest}"
        results = _POOL.results([Job(place, response, problem, self.folder) for response, problem in answers])
        for (response, problem), (_, reason) in zip(answers, results, strict=True):
            if reason:
                raise VerifierError(
                    f"the verifier {self.place} failed on problem {problem.id!r}: {reason} (response {response[:80]!r})"
                )
        return [verdict for verdict, _ in results]

    def check(self, problem: Problem) -> None:
        """Try it on an empty response, as a model may give; VerifierError where it raises or exhausts its limits."""
        if self("", problem).outcome == "timeout":
            raise VerifierError(
                f"the verifier {self.place} used up its {OWN_LIMITS.cpu_seconds:g} CPU-seconds, memory or stack on an empty "
                f"response to problem {problem.id!r}"
            )


def as_verdict(result: object) -> Verdict:
    """What a verifier returned, as a Verdict; TypeError where it is none of what this module's docstring lists."""
    if isinstance(result, Verdict):
        if result.outcome not in get_args(Outcome):
            raise TypeError(
                f"its verdict's outcome is {result.outcome!r:.80}: give one of {', '.join(get_args(Outcome))}"
            )
        if not isinstance(result.extracted, str | None):
            raise TypeError(f"its verdict's extracted is {result.extracted!r:.80}: give a text, or None")
        if not (result.score is None or (isinstance(result.score, int | float) and math.isfinite(result.score))):
            raise TypeError(f"its verdict's score is {result.score!r:.80}: give a finite number, or None")
        return result
    if callable(item := getattr(result, "item", None)):  # NumPy's and torch's scalars
        result = item()
    if isinstance(result, bool):
        return Verdict("correct" if result else "wrong")
    if isinstance(result, int | float) and 0 <= result <= 1:
        return Verdict("correct" if result == 1 else "wrong", score=float(result))
    raise TypeError(f"it returned {result!r:.80}, which is neither a bool, nor a number from 0 to 1, nor a Verdict")


def load_pinned(place: str, folder: str) -> Callable[..., Any]:
    """In the grading pool: the function whose digest `place` ends with; ValueError where it is another by now."""
    return import_function(_PINNED.sub("", Custom.at(place, Path(folder)).place), what="verifier", folder=Path(folder))


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
        raise ValueError(
            f"{what} {path!r}: {source} has no function {name} (its functions: {', '.join(there) or 'none'})"
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
    except BaseException:
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
