"""A recipe: a YAML file with command-line overrides, parsed by TRL's parser.

Every option of GRPOConfig, ModelConfig and PEFT works beside ours.
"""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from transformers.integrations import is_tensorboard_available
from trl import ModelConfig

from simko.adapters.trl import MethodConfig, SimKOConfig, grpo_objective, plan_method, simko_objective
from simko.adapters.trl.config import check_count
from simko.adapters.trl.rewards import checked_rewards
from simko.objectives import Method
from simko.records import Verifier
from simko.training.ignored import refuse_ignored, refuse_impossible
from simko.training.options import NamedOptions, RecipeParser
from simko.training.recipe_file import find_recipe as find_recipe
from simko.training.recipe_file import read_recipe_file
from simko.verifiers import VERIFIERS, get_verifier, import_function

_OPTION_OF_MODEL_KWARG = {
    "revision": "model_revision", "dtype": "dtype", "torch_dtype": "dtype", "attn_implementation": "attn_implementation",
    "trust_remote_code": "trust_remote_code",
}  # fmt: skip
_SIMKO_OPTIONS = tuple(f.name for f in fields(SimKOConfig) if f.name.startswith("simko_"))
_CHOICE = {f.name: f.metadata for f in fields(MethodConfig)}


@dataclass
class RunArguments:
    """What is trained on what. The help of each field documents it."""

    task: str | None = field(default=None, metadata={"help": "A task of simko's, e.g. operator_puzzle or math_l3_5."})
    train_file: str | None = field(
        default=None,
        metadata={"help": "Instead of a task: a JSONL file with prompt, answer[, id], here or beside the recipe."},
    )
    columns: str | None = field(
        default=None,
        metadata={
            "help": "For files: where the parts of a problem stand, e.g. prompt=Question,answer=Final.Answer,id=uid."
        },
    )
    verifier: str | None = field(
        default=None,
        metadata={
            "help": "How responses are judged: last_integer, last_box ..., or a function of your own, package.module:name "
            "or ./file.py:name, called with (response, problem); default: the task's own."
        },
    )
    reward_function: str | None = field(
        default=None,
        metadata={"help": "Instead of a verifier: a TRL reward function, package.module:name or ./file.py:name."},
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
    passk_keep_best: int | None = field(
        default=None,
        metadata={"help": "Keep the checkpoint whose pass@K is highest for this K, whatever save_total_limit says."},
    )

    def __post_init__(self) -> None:
        check_count("passk_every", self.passk_every, 0)
        check_count("passk_samples", self.passk_samples, 1)
        for name in ("train_problems", "passk_problems", "passk_keep_best"):
            if (count := getattr(self, name)) is not None:
                check_count(name, count, 1)


@dataclass
class TrainingConfig(SimKOConfig):
    """The trainer's options: TRL's, `method` and what belongs to it. grpo is TRL's own GRPO under TRL's options and
    simko is set by the simko_* options; every other method by method_options."""

    method: str = field(default="simko", metadata=_CHOICE["method"])
    method_options: dict[str, Any] | str | None = field(default=None, metadata=_CHOICE["method_options"])
    correctness: str | None = field(default=None, metadata=_CHOICE["correctness"])

    own_objective = "method grpo"

    def penalty_settings(self) -> tuple[str, str]:
        """The simko_* options of simko, else method_options."""
        return (SimKOConfig if self.method == "simko" else MethodConfig).penalty_settings(self)

    def row(self) -> Method | None:
        """None for grpo, the simko_* options' row for simko, else MethodConfig's."""
        if self.method == "grpo":
            return None
        return self.simko_row() if self.method == "simko" else MethodConfig.row(self)

    def face(self) -> str | None:
        """The lines of grpo and simko; None for another method."""
        faces = {"grpo": grpo_objective, "simko": simko_objective}
        return faces[self.method](self) if self.method in faces else None


RECIPE_PARTS = (RunArguments, TrainingConfig, ModelConfig)


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe."""

    run: RunArguments
    """What is trained on what."""
    training: TrainingConfig
    """The trainer's options."""
    model: ModelConfig
    """The model's options."""
    path: Path
    """The recipe's file."""
    named: NamedOptions
    """The options that the user gave."""

    def verifier(self, option: str, default: str) -> str | Verifier:
        """The verifier that `option` names: the name of one of simko's, or the user's function. ValueError for another."""
        name = getattr(self.run, option) or default
        if name in VERIFIERS:
            return name
        try:
            return get_verifier(name, folder=self._folder(option))
        except ValueError as error:
            raise ValueError(f"{self.path}: {'' if option == 'verifier' else f'{option}: '}{error}") from error

    def reward_function(self) -> Callable[..., Any]:
        """The function that reward_function names, with checks of its rewards. ValueError if it cannot be imported."""
        policy: Any = {"failures": self.training.reward_failures, "timeout": self.training.reward_timeout}
        return checked_rewards(self._imported_reward(), place=self.run.reward_function, **policy)

    def judges(self) -> dict[str, str]:
        """The user's own reward_function and verifier, as file, function and digest of the source. A run is bound to them."""
        found = {}
        if self.run.reward_function:
            source = _source_file(self._imported_reward())
            digest = hashlib.sha256(Path(source).read_bytes() if source else b"").hexdigest()[:16]
            found["reward_function"] = f"{_file_and_function(self.run.reward_function)}@sha256:{digest}"
        if self.run.verifier and not isinstance(judge := self.verifier("verifier", ""), str):
            found["verifier"] = judge.name
        return found

    def _imported_reward(self) -> Callable[..., Any]:
        place = str(self.run.reward_function)
        try:
            return import_function(place, what="reward_function", folder=self._folder("reward_function"))
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error

    def _folder(self, option: str) -> Path:
        """The folder of relative files: the recipe's, or for an option of the command line the current one."""
        return Path.cwd() if option in self.named.on_command_line else self.path.parent


def _source_file(function: Any) -> str | None:
    """The file of a function, of a partial's function, or of a callable object's class."""
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(function)
    try:
        return inspect.getsourcefile(function if inspect.isroutine(function) else type(function))
    except TypeError:  # built in
        return None


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Parse a recipe. overrides: command-line words such as --learning_rate 2e-6, which win over the file.

    A recipe for one method may be run with another. Its simko_* options then have no effect, and what it names at TRL's
    default gives way to what the method sets. ValueError for an unknown or
    invalid option, and for a method, data and reward that do not fit together.
    """
    return parse_recipe(path, read_recipe_file(path), overrides)


def parse_recipe(path: Path, written: dict[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe of the options that `path` holds. Otherwise as `read_recipe`."""
    try:
        (run, training, model), named = RecipeParser(RECIPE_PARTS).read(written, overrides)
        refuse_ignored((run, training, model), named)
        refuse_impossible((run, training, model), named)
        _check(run, training, model, named)
        if training.max_steps == 0 or (training.max_steps < 0 and training.num_train_epochs == 0):
            name = "max_steps" if training.max_steps == 0 else "num_train_epochs"
            raise ValueError(f"{name} is 0, so that nothing is trained: give max_steps, or leave both out")
        _check_method(training, written, named)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except OSError as error:  # from a configuration file that an option names
        raise ValueError(f"{path}: {error}") from error
    except (TypeError, ZeroDivisionError, OverflowError, AttributeError, KeyError) as error:
        raise ValueError(f"{path}: an option has a value of the wrong kind ({error})") from error
    files = {name: _resolve_file(path, getattr(run, name)) for name in ("train_file", "passk_task")}
    return Recipe(replace(run, **files), training, model, path, named)


def _resolve_file(recipe: Path, file: str | None) -> str | None:
    """The path of a file that lies in the current folder or beside the recipe."""
    if file is None or not is_file(file) or Path(file).exists():
        return file
    return str(recipe.parent / file) if (recipe.parent / file).exists() else file


def _check_method(training: TrainingConfig, written: dict[str, Any], named: NamedOptions) -> None:
    """ValueError for an option that the method does not read. Sets TRL's options if they make the method."""
    method = training.method
    stray = [name for name in _SIMKO_OPTIONS if name in named.on_command_line]
    if written.get("method", "simko") != "simko":
        stray += [name for name in _SIMKO_OPTIONS if name in written]
    if stray and method != "simko":
        raise ValueError(f"{stray[0]} belongs to method simko: leave it out, or give {method} its method_options")
    if method in ("grpo", "simko") and training.method_options:
        theirs = "TRL's epsilon, epsilon_high, loss_type ..." if method == "grpo" else ", ".join(_SIMKO_OPTIONS)
        raise ValueError(f"method {method} has no method_options in a recipe: set {theirs}")
    written_for_it = written.get("method", "simko") == method
    plan_method(training, named if written_for_it else named.on_command_line)


def _check(run: RunArguments, training: TrainingConfig, model: ModelConfig, named: NamedOptions) -> None:
    for f in fields(training):
        if f.name.endswith("_kwargs") and isinstance(text := getattr(training, f.name), str):
            raise ValueError(f"{f.name} must be a mapping such as {{'key': 1}}, got {text!r}")
    for extra, option in _OPTION_OF_MODEL_KWARG.items():
        if extra in (training.model_init_kwargs or {}) and option in named:
            raise ValueError(f"model_init_kwargs sets {extra}, which {option} sets too: keep one")
    if not model.model_name_or_path:
        raise ValueError("the recipe names no model: set model_name_or_path to a hub id or a folder")
    if (run.task is None) == (run.train_file is None):
        raise ValueError("set either task (one of simko's) or train_file (a JSONL file of your own)")
    if run.train_file is not None and run.verifier is None and run.reward_function is None:
        raise ValueError("train_file needs a verifier (e.g. last_integer) or a reward_function to judge its answers")
    if run.verifier is not None and run.reward_function is not None:
        raise ValueError("set verifier or reward_function, not both")
    if (model.load_in_4bit or model.load_in_8bit) and not model.use_peft:
        raise ValueError(
            "quantised weights cannot be trained: set use_peft, which trains an adapter, or load them whole"
        )
    if "tensorboard" in (training.report_to or ()) and not is_tensorboard_available():
        raise ValueError("report_to tensorboard needs a package: pip install 'simko[trl,tensorboard]'")
    _check_passk(run)


def _check_passk(run: RunArguments) -> None:
    if not run.passk_every:
        given = run.passk_task, run.passk_verifier, run.passk_problems
        if any(option is not None for option in given) or run.passk_samples != RunArguments.passk_samples:
            raise ValueError("held-out problems are evaluated every passk_every steps: set it, e.g. to 20")
        return
    if run.task is None and run.passk_task is None:
        raise ValueError("passk_every needs held-out problems: set passk_task to a task or a file beside train_file")
    if run.passk_task is not None and is_file(run.passk_task) and run.passk_verifier is None:
        raise ValueError(f"passk_task {run.passk_task} is a file: set passk_verifier to judge its answers")


def is_file(task: str) -> bool:
    """Whether a task's name names a file."""
    return bool(Path(task).suffix)


def _file_and_function(place: str) -> str:
    source, _, function = place.rpartition(":")
    return f"{Path(source).name}:{function}"
