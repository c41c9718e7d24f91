"""The ways to make a task's base, by the word that chooses one in a protocol."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from simko.studies.puzzles import PUZZLES
from simko.studies.supervised_start import SupervisedStart, pretrained_model, supervised_model
from simko.studies.warm_start import WarmStart, warm_started_model

Base = Callable[[], Path]
"""Makes the folder of a model and its tokenizer, or finds it in the cache."""


def _tiny(task: str, options: Mapping[str, Any]) -> Base:
    return partial(warm_started_model, WarmStart(task=known(task, PUZZLES, "task"), **options), threads=1)


def _supervised(task: str, options: Mapping[str, Any]) -> Base:
    return partial(supervised_model, SupervisedStart(task=known(task, PUZZLES, "task"), **options))


def _pretrained(task: str, options: Mapping[str, Any]) -> Base:
    return partial(pretrained_model, **options)


def known(name: str, table: Mapping[str, Any], kind: str) -> str:
    """The name. ValueError, with those of the table, if it is not in it."""
    if name not in table:
        raise ValueError(f"no {kind} is called {name!r}: choose one of {', '.join(table)}")
    return name


BASES: Mapping[str, Callable[[str, Mapping[str, Any]], Base]] = {
    "warm_start": _tiny,  # a tiny model, from nothing
    "supervised_start": _supervised,  # a pretrained model, after a short training
    "pretrained": _pretrained,  # a pretrained model as it is
}
"""{word: (task, its options) -> the base}."""
