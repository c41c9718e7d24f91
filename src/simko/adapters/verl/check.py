"""What of verl's configuration would train another objective than the row: refused, or set to what the row has."""

from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from verl.workers.config import PolicyLossConfig

from simko.adapters.verl.advantages import OPTIONS_KEY
from simko.adapters.verl.config import PolicyLoss, read_row
from simko.adapters.verl.reward import check_reward
from simko.adapters.verl_rows import LOSS_OPTIONS, PREFIX, Plan, plan_row
from simko.objectives import METHODS
from simko.objectives.update import check_group_size, refuse_unknown_denominators

_ACTOR, _LOSS = "actor_rollout_ref.actor", "actor_rollout_ref.actor.policy_loss"
_TARGET = f"{PolicyLoss.__module__.removesuffix('.config')}.PolicyLoss"
_NO_DUAL_CLIP = 1e30
_OWN_OPTIONS = ("_target_", "loss_mode", "rollout_correction")
_STRATEGIES = ("fsdp", "fsdp2", "megatron")


def check_config(config: DictConfig) -> Plan | None:
    """The plan of the row that verl's configuration names; None where it names none.

    ValueError, in one line, for what would not train the row, or something else than it, and for rewards of simko's that
    could not be given.
    """
    check_reward(config)
    mode, loss = config.trainer.v1.trainer_mode, config.actor_rollout_ref.actor.policy_loss
    estimator, named = str(config.algorithm.adv_estimator), str(loss.loss_mode).startswith(PREFIX)
    if mode != "simko" or not config.trainer.get("use_v1", True):
        if named:
            raise ValueError(
                f"{_LOSS}.loss_mode={loss.loss_mode} needs simko's trainer: set trainer.v1.trainer_mode=simko"
            )
        return _check_advantages_alone(config, estimator) if estimator.startswith(PREFIX) else None
    if not named or loss.get("_target_") != _TARGET:
        raise ValueError(
            f"trainer.v1.trainer_mode=simko trains the row that the policy loss names: set {_LOSS}._target_={_TARGET} and "
            f"{_LOSS}.loss_mode={PREFIX}simko, or another of METHODS (simko methods lists them)"
        )
    given = OmegaConf.to_container(loss, resolve=True)
    assert isinstance(given, dict)
    policy_loss = PolicyLoss(**{str(name): value for name, value in given.items() if name != "rollout_correction"})
    plan = policy_loss.plan()
    if estimator not in ("grpo", PREFIX + plan.method.name):
        raise ValueError(
            f"algorithm.adv_estimator={estimator} would take the place of the advantages of {plan.method.name}: set "
            "algorithm.adv_estimator=grpo, with which simko's trainer uses those of the row"
        )
    if config.algorithm.get(OPTIONS_KEY):
        raise ValueError(
            f"algorithm.{OPTIONS_KEY} is for adv_estimator={PREFIX}NAME in verl's own trainer: with simko's trainer, give "
            f"the options of {plan.method.name} in {_LOSS}"
        )
    _refuse_foreign_options(loss, plan.method.name)
    _refuse_engines_without_logits(config)
    _refuse_other_objectives(config, plan, policy_loss)
    return plan


def prepare_config(config: DictConfig) -> None:
    """Set what the row has and verl's configuration leaves at its default. ValueError as check_config."""
    plan = check_config(config)
    assert plan is not None
    actor, options = config.actor_rollout_ref.actor, dict(plan.method.options)
    with open_dict(config):
        config.trainer.v1.trainer_mode = "sync"  # verl's replay buffer and resume ask for it by name
        actor.update(plan.actor_options)
        dual_clip = actor.policy_loss.get("dual_clip")
        actor.clip_ratio_c = _NO_DUAL_CLIP if dual_clip is None else dual_clip
        if "length" in options and options["length"] is None:
            actor.policy_loss.length = options["length"] = config.data.max_response_length
        if plan.own_advantages:
            config.algorithm.adv_estimator = PREFIX + plan.method.name
            config.algorithm[OPTIONS_KEY] = options
            config.algorithm.trained_by_simko = True


def _refuse_foreign_options(loss: DictConfig, name: str) -> None:
    """verl's own options of verl's own losses, which no row reads."""
    for option in (f for f in fields(PolicyLossConfig) if f.name not in _OWN_OPTIONS):
        if loss.get(option.name, option.default) != option.default:
            own = ", ".join(METHODS[name].options)
            raise ValueError(
                f"{_LOSS}.{option.name} is an option of verl's own losses, which {name} does not read: leave it out; the "
                f"options of {name}: {own}"
            )


def _check_advantages_alone(config: DictConfig, estimator: str) -> Plan:
    options: dict[str, Any] = dict(config.algorithm.get(OPTIONS_KEY) or {})
    plan = plan_row(read_row(estimator, options, f"algorithm.{OPTIONS_KEY}"), options)
    if not plan.by_advantage:
        raise ValueError(
            f"algorithm.adv_estimator={estimator} alone would not train {plan.method.name}, which is more than its "
            f"advantages: set trainer.v1.trainer_mode=simko, {_LOSS}._target_={_TARGET} and {_LOSS}.loss_mode={estimator}"
        )
    loss, correction = config.actor_rollout_ref.actor.policy_loss, config.algorithm.get("rollout_correction") or {}
    if loss.loss_mode != "vanilla" or correction.get("bypass_mode", False):
        raise ValueError(
            f"algorithm.adv_estimator={estimator} goes with verl's vanilla loss: set {_LOSS}.loss_mode=vanilla and "
            "algorithm.rollout_correction.bypass_mode=False"
        )
    _check_groups(config, plan)
    return plan


def _check_groups(config: DictConfig, plan: Plan) -> None:
    check_group_size(plan.method, "actor_rollout_ref.rollout.n", config.actor_rollout_ref.rollout.n)
    if plan.method.binary and config.algorithm.use_kl_in_reward:
        raise ValueError(
            f"{plan.method.name} is defined for correct (1) and incorrect (0) only, and algorithm.use_kl_in_reward changes "
            "the rewards: set it to False"
        )


def _refuse_engines_without_logits(config: DictConfig) -> None:
    actor, model = config.actor_rollout_ref.actor, config.actor_rollout_ref.model
    engine = actor.get("megatron" if actor.strategy == "megatron" else "fsdp_config") or {}
    wrong = {
        f"{_ACTOR}.strategy={actor.strategy}": actor.strategy not in _STRATEGIES and f"use {' or '.join(_STRATEGIES)}",
        "actor_rollout_ref.model.use_fused_kernels=True": model.get("use_fused_kernels") and "set it to False",
        f"{_ACTOR}.use_fused_kernels=True": actor.get("use_fused_kernels") and "set it to False",
        "pad_to_length=True": engine.get("pad_to_length") and "set it to False",
        "dynamic_context_parallel=True": engine.get("dynamic_context_parallel") and "set it to False",
        "use_prefix_grouper=True": actor.get("use_prefix_grouper") and "set it to False",
    }
    for option, way in wrong.items():
        if way:
            raise ValueError(f"{option} gives simko no logits: {way}")
    if (config.get("distillation") or {}).get("enabled", False):
        raise ValueError("distillation uses the logits hook that simko needs: set distillation.enabled=False")


def _refuse_other_objectives(config: DictConfig, plan: Plan, policy_loss: PolicyLoss) -> None:
    actor, method = config.actor_rollout_ref.actor, plan.method
    correction = config.algorithm.get("rollout_correction") or {}
    if correction.get("bypass_mode", False):
        raise ValueError(
            "algorithm.rollout_correction.bypass_mode=True replaces the policy loss, so that nothing of "
            f"{method.name} would be trained: set it to False"
        )
    if actor.clip_ratio_c != LOSS_OPTIONS["clip_ratio_c"]:
        raise ValueError(
            f"{_ACTOR}.clip_ratio_c={actor.clip_ratio_c} has no effect, since no row has a dual clip: ask for one by "
            f"+{_LOSS}.dual_clip={actor.clip_ratio_c}"
        )
    wanted = plan.actor_options
    if plan.own_loss:
        wanted = {name: value for name, value in LOSS_OPTIONS.items() if name != "clip_ratio_c"}
        if policy_loss.dual_clip is not None:
            raise ValueError(f"{method.name} has a loss of its own, which knows no dual clip: leave dual_clip out")
        if correction.get("rollout_is"):
            raise ValueError(
                f"{method.name} has a loss of its own, which knows no importance weights of rollout_correction: set "
                "algorithm.rollout_correction.rollout_is=null"
            )
        refuse_unknown_denominators(method)
    for name, value in wanted.items():
        if actor.get(name) not in (value, LOSS_OPTIONS[name]):
            own = "has a loss of its own, which does not know it" if plan.own_loss else f"sets it to {value}"
            raise ValueError(
                f"{_ACTOR}.{name}={actor.get(name)}, but {method.name} {own}: leave it out, or set the option of "
                f"{method.name} in {_LOSS}: {', '.join(method.options)}"
            )
    if not config.algorithm.get("norm_adv_by_std_in_grpo", True):
        raise ValueError(
            f"algorithm.norm_adv_by_std_in_grpo=False makes other advantages than those of {method.name}: leave it out, or "
            "take a row that divides by no std, such as dr_grpo"
        )
    if config.actor_rollout_ref.rollout.n < 2:
        raise ValueError(
            "actor_rollout_ref.rollout.n=1 makes groups of one, which have no advantage: set it to 2 or more"
        )
    if plan.own_advantages:
        _check_groups(config, plan)
        if method.controller is not None:
            raise ValueError(
                f"{method.name} has advantages of its own and changes from update to update, which verl's driver cannot "
                "follow: train it in TRL"
            )
