"""A recipe: one YAML file (and command-line overrides) read by TRL's own parser, so that every option of GRPOConfig,
ModelConfig and PEFT works beside ours."""

import functools
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import yaml
from trl import ModelConfig, TrlParser

import simko
from simko.adapters.trl import MethodConfig, SimKOConfig, plan_method, simko_objective

_SIMKO_OPTIONS = tuple(f.name for f in fields(SimKOConfig) if f.name.startswith("simko_"))


@dataclass
class RunArguments:
    """What is trained on what."""

    task: str | None = field(default=None, metadata={"help": "A task of simko's, e.g. operator_puzzle or math_l3_5."})
    train_file: str | None = field(
        default=None, metadata={"help": "Instead of a task: a JSONL file with prompt, answer[, id]."}
    )
    verifier: str | None = field(
        default=None,
        metadata={"help": "How responses are judged: last_integer, last_box ...; default: the task's own."},
    )
    reward_function: str | None = field(
        default=None,
        metadata={"help": "Instead of a verifier: a TRL reward function by import path, package.module:name."},
    )
    train_problems: int | None = field(default=None, metadata={"help": "Use the first so many problems; default: all."})
    chat: bool = field(default=False, metadata={"help": "Send each prompt as a user message in the chat template."})
    passk_every: int = field(
        default=0,
        metadata={"help": "Log pass@K on held-out problems every so many steps, at the first and the last; 0: never."},
    )
    passk_task: str | None = field(
        default=None,
        metadata={"help": "The held-out problems: a task, or a file of your own; default: task's test split."},
    )
    passk_verifier: str | None = field(
        default=None, metadata={"help": "How their responses are judged; default: passk_task's own."}
    )
    passk_samples: int = field(default=32, metadata={"help": "Responses to each held-out problem."})
    passk_problems: int | None = field(
        default=None, metadata={"help": "Use the first so many held-out problems; default: all."}
    )


@dataclass
class TrainingConfig(MethodConfig, SimKOConfig):
    """The trainer's options: TRL's, `method` and what belongs to it. grpo is TRL's own GRPO under TRL's options and
    simko is set by the simko_* options; every other method by method_options."""


@dataclass(frozen=True)
class Recipe:
    """The parsed recipe: what is trained on what, the trainer's options, the model's."""

    run: RunArguments
    training: TrainingConfig
    model: ModelConfig


class _Parser(TrlParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def find_recipe(name: str | Path) -> Path:
    """The file `name`, or the recipe of that file name that comes with simko. ValueError if there is neither."""
    package = Path(simko.__file__).parent
    shipped = [package / "recipes", package.parents[1] / "recipes"]  # in a wheel; in a source checkout
    for path in (Path(name), *(folder / name for folder in shipped)):
        if path.is_file():
            return path
    known = sorted({p.name for folder in shipped if folder.is_dir() for p in folder.glob("*.yaml")})
    raise ValueError(f"no recipe {name}: give a YAML file, or one of simko's own: {', '.join(known)}")


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Parse a recipe; overrides are command-line words such as --learning_rate 2e-6 and win over the file.

    A recipe for simko may be run with another method in its place: its simko_* options then stay unused. ValueError
    names an unknown or invalid option, or a choice of method, data or reward that does not fit together.
    """
    written = _read_yaml(path)
    parser = _Parser((RunArguments, TrainingConfig, ModelConfig))  # type: ignore[arg-type]
    try:
        run, training, model = parser.parse_args_and_config(["--config", str(path), *overrides])
        _check(run, model)
        if training.max_steps == 0:
            raise ValueError("max_steps is 0: give the number of updates, or leave it out to train num_train_epochs")
        _check_method(training, written, overrides)
        if training.method == "simko":
            simko_objective(training)
    except (TypeError, ZeroDivisionError, AttributeError, KeyError) as error:
        raise ValueError(f"{path}: an option has a value of the wrong kind ({error})") from error
    return Recipe(run, training, model)


def _read_yaml(path: Path) -> dict[str, Any]:
    """The options that a recipe file writes; ValueError naming the file where it is no YAML mapping."""
    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML file: {error}") from error
    if not isinstance(written, dict):
        raise ValueError(f"{path} must hold options as a YAML mapping, e.g. method: simko")
    return written


def _check_method(training: TrainingConfig, written: dict[str, Any], overrides: Sequence[str]) -> None:
    """ValueError for an option that the method does not read; sets TRL's options where they make the method."""
    method = training.method
    stray = [word.split("=")[0].lstrip("-") for word in overrides if word.startswith("--simko_")]
    if written.get("method", "simko") != "simko":
        stray += [name for name in _SIMKO_OPTIONS if name in written]
    if stray and method != "simko":
        raise ValueError(f"{stray[0]} belongs to method simko: leave it out, or give {method} its method_options")
    if method not in ("grpo", "simko"):
        plan_method(training)
        return
    if training.method_options:
        theirs = "TRL's epsilon, epsilon_high, loss_type ..." if method == "grpo" else ", ".join(_SIMKO_OPTIONS)
        raise ValueError(f"method {method} has no method_options in a recipe: set {theirs}")
    if method == "grpo" and training.grpo_warmup_steps:
        raise ValueError("grpo_warmup_steps delays SimKO's rows only: set it to 0 for grpo")


def _check(run: RunArguments, model: ModelConfig) -> None:
    if not model.model_name_or_path:
        raise ValueError("the recipe names no model: set model_name_or_path to a hub id or a folder")
    if (run.task is None) == (run.train_file is None):
        raise ValueError("set either task (one of simko's) or train_file (a JSONL file of your own)")
    if run.train_file is not None and run.verifier is None and run.reward_function is None:
        raise ValueError("train_file needs a verifier (e.g. last_integer) or a reward_function to judge its answers")
    if run.verifier is not None and run.reward_function is not None:
        raise ValueError("set verifier or reward_function, not both")
    _check_passk(run)


def _check_passk(run: RunArguments) -> None:
    if run.passk_every < 0 or run.passk_samples < 1:
        raise ValueError("passk_every counts steps (0: never) and passk_samples responses (at least 1)")
    if not run.passk_every:
        if any(given is not None for given in (run.passk_task, run.passk_verifier, run.passk_problems)):
            raise ValueError("held-out problems are evaluated every passk_every steps: set it, e.g. to 20")
        return
    if run.task is None and run.passk_task is None:
        raise ValueError("passk_every needs held-out problems: set passk_task to a task or a file beside train_file")
    if run.passk_task is not None and is_file(run.passk_task) and run.passk_verifier is None:
        raise ValueError(f"passk_task {run.passk_task} is a file: set passk_verifier to judge its answers")


def is_file(task: str) -> bool:
    """Whether a task's name names a file."""
    return bool(Path(task).suffix)


def import_reward_function(path: str) -> Callable[..., Any]:
    """The function at package.module:name; ValueError that says which part is not there."""
    module_name, _, name = path.partition(":")
    if not name:
        raise ValueError(f"reward_function {path!r}: write package.module:function_name")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"reward_function {path!r}: cannot import {module_name} ({error})") from error
    if not callable(function := getattr(module, name, None)):
        raise ValueError(f"reward_function {path!r}: {module_name} has no function {name}")

    @functools.wraps(function)
    def named(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            raise ValueError(f"reward_function {path} raised {type(error).__name__}: {error}") from error

    return named
