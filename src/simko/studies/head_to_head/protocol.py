"""The protocol of the study: what is trained, tuned and evaluated, read from one file."""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from simko.objectives import METHODS, Method
from simko.studies.bfloat16 import in_bfloat16
from simko.studies.head_to_head.bases import BASES, Base, known
from simko.studies.loop import Training
from simko.studies.puzzles import PUZZLES
from simko.tasks import Split, Task, get_task, read_file
from simko.training.tiny_model import no_progress_bars

SHIPPED = Path(__file__).with_name("protocol.yaml")
PRECISIONS: Mapping[str, Callable[[PreTrainedModel], PreTrainedModel]] = {
    "float32": lambda model: model,
    "bfloat16": in_bfloat16,
}


@dataclass(frozen=True)
class Contestant:
    """A method as the study trains it."""

    row: str
    """A name in METHODS."""
    settings: tuple[Mapping[str, Any], ...]
    """The options to tune over, the usual ones first. One setting: the learning rate alone is tuned."""
    learning_rate_of: str | None = None
    """The method whose tuned learning rate is taken; then nothing is tuned."""
    stopped: bool = False
    """Whether a run ends at the evaluation with the best validation criterion, in tuning and in finals."""


@dataclass(frozen=True)
class Files:
    """A task's problems in files (see `simko.tasks.read_file`)."""

    train: str
    """The file of training problems."""
    test: str
    """The file of test and validation problems."""
    verifier: str
    """A name in VERIFIERS."""
    template: str
    """The text around each problem."""


@dataclass(frozen=True, kw_only=True)
class Arena:
    """A task of the study and the model that starts on it."""

    name: str
    """The task's name."""
    base: Base
    """How the base is made."""
    max_new_tokens: int
    """The length at which a response is cut off."""
    problems: Files | None = None
    """Where the problems are; None for the task of this name in `simko.tasks`."""
    device: str = "cpu"
    """Where the model computes."""
    precision: str = "float32"
    """A name in PRECISIONS; weights and their updates are in float32 always."""

    def task(self, split: Split) -> Task:
        """The task that has this split."""
        if self.problems is None:
            return get_task(self.name)
        return read_file(getattr(self.problems, split), self.problems.verifier, self.problems.template)

    def load(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The base and its tokenizer."""
        folder = self.base()
        with no_progress_bars():
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        model.to(torch.device(self.device))
        return PRECISIONS[self.precision](model), AutoTokenizer.from_pretrained(folder)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """See protocol.yaml, whose keys these are."""

    title: str
    training: Mapping[str, int]
    tasks: Mapping[str, Arena]
    problems: Mapping[str, int]
    evaluation: Mapping[str, int]
    evaluated_after: tuple[int, ...]
    temperatures: tuple[float, ...]
    learning_rates: tuple[float, ...]
    tuning_seed: int
    final_seeds: tuple[int, ...]
    methods: Mapping[str, Contestant]
    sensitivity: Mapping[str, Any]
    mapping: Mapping[str, Any]
    """The file's content."""

    def training_of(self, task: str, learning_rate: float) -> Training:
        """The loop's settings."""
        return Training(**self.training, max_new_tokens=self.tasks[task].max_new_tokens, learning_rate=learning_rate)

    def digest(self, task: str) -> str:
        """Of all that decides a cell of the task, besides its method and setting."""
        parts = [self.mapping[k] for k in ("training", "problems", "evaluation", "evaluated_after", "temperatures")]
        return hashlib.sha256(json.dumps([parts, self.mapping["tasks"][task]]).encode()).hexdigest()[:8]

    def method(self, name: str, options: Mapping[str, Any]) -> Method:
        """The row with these options."""
        return METHODS[self.methods[name].row].with_options(**options)

    def setting(self, name: str, learning_rate: float, options: Mapping[str, Any]) -> str:
        """The learning rate and every option of the row, as the rows of the study have it."""
        return json.dumps({"learning_rate": learning_rate} | self.method(name, options).options, sort_keys=True)


def read_protocol(path: Path) -> Protocol:
    """The protocol in a YAML file. ValueError names what is unknown, missing or out of range."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    wanted = {f.name for f in fields(Protocol)} - {"mapping"}
    if not isinstance(content, dict) or set(content) != wanted:
        found = set(content) if isinstance(content, dict) else set()
        raise ValueError(
            f"{path} must have the keys {', '.join(sorted(wanted))}; lacking: {sorted(wanted - found)}, "
            f"unknown: {sorted(found - wanted)}"
        )
    try:
        protocol = Protocol(**_parsed(content), mapping=content)
        _check(protocol)
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{path} does not read as a protocol: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return protocol


def _parsed(content: Mapping[str, Any]) -> dict[str, Any]:
    tasks = {name: _arena(name, task) for name, task in content["tasks"].items()}
    methods = {
        name: Contestant(**{**m, "settings": tuple(m.get("settings", [{}]))}) for name, m in content["methods"].items()
    }
    lists = {
        name: tuple(content[name]) for name in ("evaluated_after", "temperatures", "learning_rates", "final_seeds")
    }
    return {**content, **lists, "tasks": tasks, "methods": methods}


def _arena(name: str, task: Mapping[str, Any]) -> Arena:
    """The task's options name one way to make the base; the others are fields of Arena."""
    options = dict(task)
    ways = [way for way in BASES if way in options]
    if len(ways) != 1:
        raise ValueError(f"the task {name!r} must have one of {', '.join(BASES)}")
    base = BASES[ways[0]](name, options.pop(ways[0]) or {})
    if "problems" in options:
        options["problems"] = Files(**options["problems"])
    else:
        get_task(name)
    known(options.get("precision", "float32"), PRECISIONS, "precision")
    if "warm_start" in task:
        options = {"max_new_tokens": PUZZLES[name].max_new_tokens} | options
    return Arena(name=name, base=base, **options)


def _check(protocol: Protocol) -> None:
    _check_numbers(protocol)
    for name, contestant in protocol.methods.items():
        known(contestant.row, METHODS, "row")
        if not isinstance(contestant.stopped, bool):
            raise ValueError(f"{name}: stopped is {contestant.stopped!r}: give true or false")
        if contestant.learning_rate_of is not None:
            known(contestant.learning_rate_of, protocol.methods, "method")
            if len(contestant.settings) > 1:
                raise ValueError(f"{name} takes another method's learning rate, so it must have one setting")
        if not 1 <= len(contestant.settings) <= len(protocol.learning_rates):
            raise ValueError(
                f"{name} has {len(contestant.settings)} settings: give 1 to {len(protocol.learning_rates)}"
            )
        for options in contestant.settings:
            if missing := protocol.method(name, options).missing_options:
                raise ValueError(f"{name} needs {', '.join(missing)}")
        if len({protocol.setting(name, 1.0, options) for options in contestant.settings}) < len(contestant.settings):
            raise ValueError(f"{name} has two equal settings")
    if protocol.tuning_seed in protocol.final_seeds:
        raise ValueError("tuning_seed must not be one of final_seeds")
    if 1.0 not in protocol.temperatures:
        raise ValueError("temperatures must hold 1.0")
    for task in protocol.tasks:
        protocol.training_of(task, protocol.learning_rates[0])
    if list(protocol.evaluated_after)[-1:] != [protocol.training["rollouts"]]:
        raise ValueError("evaluated_after must end with training.rollouts")
    _check_sensitivity(protocol)


def _check_numbers(protocol: Protocol) -> None:
    """What YAML reads as text (1e-4), and what would be trained or drawn otherwise than the file says."""
    for name, wanted in (
        ("problems", {"train", "validation", "test"}),
        ("evaluation", {"validation_samples", "test_samples"}),
    ):
        if set(getattr(protocol, name)) != wanted:
            raise ValueError(f"{name} must have the keys {', '.join(sorted(wanted))}")
    for name in ("training", "problems", "evaluation"):
        _numbers(name, getattr(protocol, name).values(), int)
    _numbers("evaluated_after", protocol.evaluated_after, int, distinct=True)
    _numbers("temperatures", protocol.temperatures, float, distinct=True)
    _numbers("learning_rates", protocol.learning_rates, float, distinct=True)
    _numbers("tuning_seed", [protocol.tuning_seed], int, least=0)
    _numbers("final_seeds", protocol.final_seeds, int, least=0, distinct=True)
    _numbers("sensitivity.seeds", protocol.sensitivity["seeds"], int, least=0, distinct=True)
    if protocol.problems["train"] < protocol.training["problems"]:
        raise ValueError(f"problems.train must be at least training.problems, {protocol.training['problems']}")
    if sorted(protocol.evaluated_after) != list(protocol.evaluated_after):
        raise ValueError("evaluated_after must ascend")


def _numbers(
    name: str, values: Iterable[Any], kind: type[int] | type[float], least: int | None = None, distinct: bool = False
) -> None:
    """ValueError for a value that is no finite number of this kind from `least`, or above 0, and if distinct for one twice."""
    values = list(values)
    for value in values:
        number = isinstance(value, int | kind) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or (value <= 0 if least is None else value < least):
            sort = "whole number" if kind is int else "number, with its point (1.0e-4)"
            raise ValueError(f"{name} holds {value!r}: give a {sort} {'above 0' if least is None else f'from {least}'}")
    if distinct and len(set(values)) < len(values):
        raise ValueError(f"{name} holds a value twice: {values}")


def _check_sensitivity(protocol: Protocol) -> None:
    """ValueError for names and options that no final has; nothing would run for them."""
    for task in protocol.sensitivity["tasks"]:
        known(task, protocol.tasks, "task")
    for name in protocol.sensitivity["methods"]:
        known(name, protocol.methods, "method")
        for option, values in protocol.sensitivity["options"].items():
            if any(values.count(value) > 1 for value in values):
                raise ValueError(f"sensitivity.options.{option} holds a value twice: {values}")
            for value in values:
                protocol.method(name, {**protocol.methods[name].settings[0], option: value})
