"""A recipe for verl: composed by hydra over verl's own configuration, its keys and numbers, and its arithmetic."""

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from simko.training.arithmetic import Sizes

_LOSS = "actor_rollout_ref.actor.policy_loss"
_ACTOR = "actor_rollout_ref.actor"
_OPEN = ("reward.custom_reward_function.reward_kwargs", "algorithm.simko")
_AT_LEAST_ONE = (
    "data.train_batch_size", "data.max_prompt_length", "data.max_response_length", f"{_ACTOR}.ppo_mini_batch_size",
    f"{_ACTOR}.ppo_max_token_len_per_gpu", f"{_ACTOR}.ppo_epochs", "actor_rollout_ref.rollout.n",
    "actor_rollout_ref.rollout.tensor_model_parallel_size", "trainer.nnodes", "trainer.n_gpus_per_node",
    "trainer.total_epochs", "trainer.total_training_steps", "data.val_max_samples",
    f"{_ACTOR}.ulysses_sequence_parallel_size", f"{_ACTOR}.fsdp_config.ulysses_sequence_parallel_size",
    f"{_ACTOR}.megatron.tensor_model_parallel_size", f"{_ACTOR}.megatron.pipeline_model_parallel_size",
    f"{_ACTOR}.megatron.context_parallel_size",
)  # fmt: skip
_ABOVE_ZERO = ("actor_rollout_ref.rollout.temperature", f"{_ACTOR}.optim.lr", f"{_ACTOR}.grad_clip")


def compose(name: str, folder: Path, overrides: Sequence[str] = ()) -> Any:
    """The configuration that `main_ppo --config-dir folder --config-name name OVERRIDES` composes.

    ValueError, in one line, for what hydra cannot compose.
    """
    import yaml
    from hydra import compose as hydra_compose
    from hydra._internal.hydra import Hydra
    from hydra._internal.utils import create_config_search_path
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    search = create_config_search_path("pkg://verl.trainer.config")
    search.prepend("recipe", f"file://{folder.resolve()}", anchor="schema")  # where --config-dir puts it
    GlobalHydra.instance().clear()
    Hydra.create_main_hydra2("simko", search)
    try:
        return hydra_compose(name, list(overrides))
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError) as error:
        raise ValueError(f"{folder / name}: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{folder / name}: its list of defaults leads back to itself") from error
    finally:
        GlobalHydra.instance().clear()


@cache
def _own_keys(engine: str) -> dict[str, Any]:
    """verl's own configuration for an engine (model_engine), {key with dots: default}."""
    from omegaconf import OmegaConf

    return _flat(OmegaConf.to_container(compose("ppo_trainer", Path(__file__).parent, [f"model_engine={engine}"])))


def check_verl_recipe(path: Path) -> Sizes:
    """The recipe's numbers. ValueError, naming the file and the key, for what verl would ignore, refuse or train otherwise."""
    config = compose(path.name, path.parent)
    try:
        return check_composed(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def try_verl_recipe(path: Path) -> list[float] | None:
    """verl_dry_run.dry_run of the recipe. ValueError, naming the file."""
    from simko.training.verl_dry_run import dry_run

    try:
        return dry_run(compose(path.name, path.parent))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def check_composed(config: Any) -> Sizes:
    """As `check_verl_recipe`, of a composed configuration."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        known, values = _own_keys(str(config.model_engine)), _flat(OmegaConf.to_container(config, resolve=True))
        _check_keys(known, values)
        _check_numbers(known, values)
        sizes = _sizes(values)
        _check_by_verl(config)
    except (
        TypeError,
        AssertionError,
        AttributeError,
        NotImplementedError,
        HydraException,
        OmegaConfBaseException,
    ) as error:
        raise ValueError(str(error)) from error
    except KeyError as error:  # a mapping that something else has taken the place of
        raise ValueError(f"verl's key {error} is missing") from error
    return sizes


def _flat(node: Any, place: str = "") -> dict[str, Any]:
    """{key with dots: value}; an empty mapping is a value."""
    if not isinstance(node, Mapping) or not node:
        return {place: node}
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= _flat(value, f"{place}.{key}" if place else str(key))
    return found


def _check_keys(known: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """ValueError for a key that nothing reads: hydra takes any."""
    for key, value in values.items():
        if key in known or any(key.startswith(f"{place}.") for place in _open_places(known)):
            continue
        parent, _, name = key.rpartition(".")
        if _in_a_field(key, known, values) or (parent == _LOSS and _names_a_row(values)):
            continue
        if isinstance(value, Mapping) and any(other.startswith(f"{key}.") for other in known):
            continue
        close = get_close_matches(key, known, n=1, cutoff=0.8) or get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"verl has no key {key}{hint}")


def _open_places(known: Mapping[str, Any]) -> Iterator[str]:
    yield from _OPEN
    yield from (key for key, value in known.items() if value == {})


def _in_a_field(key: str, known: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether the key is, or lies in, a field of the dataclass that its mapping is made into, and verl has no keys there."""
    while key and not any(other.startswith(f"{key}.") for other in known):
        parent, _, name = key.rpartition(".")
        if name in _fields(values.get(f"{parent}._target_")):
            return True
        key = parent
    return False


def _fields(target: Any) -> set[str]:
    """The fields of the dataclass that `_target_` names."""
    from hydra.utils import get_class

    if not isinstance(target, str) or not target.startswith("verl."):
        return set()
    found = get_class(target)
    return {field.name for field in fields(found)} if is_dataclass(found) else set()


def _names_a_row(values: Mapping[str, Any]) -> bool:
    """Whether policy_loss holds a row's options, which simko.adapters.verl checks."""
    return str(values.get(f"{_LOSS}.loss_mode")).startswith("simko/")


def _check_numbers(known: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """ValueError for a changed value of another kind than verl's default, or a number that no run can have."""
    for key, value in values.items():
        default = known.get(key)
        unchanged = type(value) is type(default) and value == default
        if key in known and (unchanged or (isinstance(default, str) and default.startswith("${"))):
            continue
        if isinstance(default, bool) and not isinstance(value, bool):
            raise ValueError(f"{key} must be true or false, got {value!r}")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        wants_number = key in (*_AT_LEAST_ONE, *_ABOVE_ZERO) or type(default) in (int, float)
        if wants_number and not is_number and (value is not None or default is not None):
            raise ValueError(f"{key} must be a number, got {value!r}")
        if not is_number:
            continue
        if not math.isfinite(value):
            raise ValueError(f"{key} must be a finite number, got {value}")
        minus_one = isinstance(default, int | float) and default < 0
        minimum = 1 if key in _AT_LEAST_ONE else -1 if minus_one else 0
        if value < minimum or (value == 0 and key in _ABOVE_ZERO):
            raise ValueError(f"{key} must be {'above 0' if key in _ABOVE_ZERO else f'at least {minimum}'}, got {value}")
        if key in _AT_LEAST_ONE and value != int(value):
            raise ValueError(f"{key} must be a whole number, got {value}")


def _sizes(values: Mapping[str, Any]) -> Sizes:
    """The recipe's numbers. ValueError where they do not fit together."""
    rollout = "actor_rollout_ref.rollout"
    gpus = values["trainer.nnodes"] * values["trainer.n_gpus_per_node"]
    prompts, mini, group = (
        values["data.train_batch_size"],
        values[f"{_ACTOR}.ppo_mini_batch_size"],
        values[f"{rollout}.n"],
    )
    context = values["data.max_prompt_length"] + values["data.max_response_length"]
    sequence, tensor, pipeline = _parallel(values)
    model_parallel = sequence * tensor * pipeline
    split = values[f"{rollout}.tensor_model_parallel_size"]
    if values[f"{_ACTOR}.use_dynamic_bsz"]:
        tokens = values[f"{_ACTOR}.ppo_max_token_len_per_gpu"]
        packed = f"at most {tokens:,} packed tokens a GPU"
    else:
        rows = values[f"{_ACTOR}.ppo_micro_batch_size_per_gpu"]
        if rows is None:
            raise ValueError(f"set {_ACTOR}.use_dynamic_bsz=True, or {_ACTOR}.ppo_micro_batch_size_per_gpu")
        tokens = rows * context // sequence
        packed = f"{rows} responses, at most {tokens:,} tokens a GPU"
    faults = {
        f"data.train_batch_size={prompts} is no multiple of {_ACTOR}.ppo_mini_batch_size={mini} (both count prompts)": prompts
        % mini,
        f"{gpus} GPUs do not divide into groups of {model_parallel}, over which a sequence or the model is split": gpus
        % model_parallel,
        f"an update of {mini} prompts x {group} responses does not divide over {gpus} GPUs": mini
        * group
        % (gpus // model_parallel or 1),
        f"{rollout}.tensor_model_parallel_size={split} does not divide {gpus} GPUs": gpus % split,
        f"{_ACTOR}.ppo_max_token_len_per_gpu={tokens} x sequence parallel {sequence} is less than one sequence of {context} "
        "tokens (data.max_prompt_length + data.max_response_length)": tokens * sequence < context,
        f"{rollout}.n={group} makes groups of one, which have no advantage": group < 2,
    }
    for fault, holds in faults.items():
        if holds:
            raise ValueError(fault)
    mode, estimator = values[f"{_LOSS}.loss_mode"], values["algorithm.adv_estimator"]
    size, megatron = values.get(f"{_ACTOR}.fsdp_config.fsdp_size", -1), _is_megatron(values)
    return Sizes(
        engine="verl",
        method=str(mode).removeprefix("simko/") if _names_a_row(values) else str(estimator),
        model=values["actor_rollout_ref.model.path"],
        gpus=gpus,
        shards=tensor * pipeline if megatron else gpus if size < 1 else size,
        vocabulary_shards=tensor,
        optimizer_shards=gpus if megatron else None,
        prompts=prompts,
        group=group,
        updates=prompts // mini * values[f"{_ACTOR}.ppo_epochs"],
        micro_batch=packed,
        tokens=tokens,
        context=context,
        notes=(f"{values[f'{rollout}.name']}'s {values[f'{rollout}.gpu_memory_utilization']:.0%} of the GPU",),
    )


def _is_megatron(values: Mapping[str, Any]) -> bool:
    return f"{_ACTOR}.megatron.tensor_model_parallel_size" in values


def _parallel(values: Mapping[str, Any]) -> tuple[int, int, int]:
    """Over how many GPUs a sequence, the vocabulary and the layers are split."""
    if _is_megatron(values):
        kinds = ("context_parallel_size", "tensor_model_parallel_size", "pipeline_model_parallel_size")
        sequence, tensor, pipeline = (int(values[f"{_ACTOR}.megatron.{kind}"]) for kind in kinds)
        return sequence, tensor, pipeline
    places = (_ACTOR, f"{_ACTOR}.fsdp_config")
    return max(int(values[f"{place}.ulysses_sequence_parallel_size"]) for place in places), 1, 1


def _check_by_verl(config: Any) -> None:
    """simko's own check, if the recipe names a row, and verl's dataclasses. ValueError or AssertionError."""
    from omegaconf import open_dict
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, POLICY_LOSS_REGISTRY
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    from simko.adapters.verl.advantages import OPTIONS_KEY
    from simko.adapters.verl.check import check_config

    check_config(config)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        validate_config(config, use_reference_policy=False, use_critic=False)
        omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
        algorithm = config.algorithm.copy()
        with open_dict(algorithm):
            algorithm.pop(OPTIONS_KEY, None)
        omega_conf_to_dataclass(algorithm)
    if (mode := config.actor_rollout_ref.actor.policy_loss.loss_mode) not in POLICY_LOSS_REGISTRY:
        raise ValueError(f"verl has no {_LOSS}.loss_mode={mode}")
    if config.algorithm.adv_estimator not in ADV_ESTIMATOR_REGISTRY:
        raise ValueError(f"verl has no algorithm.adv_estimator={config.algorithm.adv_estimator}")
    reward = config.reward.custom_reward_function.path or ""
    if reward.startswith("pkg://") and find_spec(reward.removeprefix("pkg://").split(":")[0]) is None:
        raise ValueError(
            f"reward.custom_reward_function.path={reward} cannot be imported here: install simko beside verl"
        )
