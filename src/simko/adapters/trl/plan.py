"""TRL's options set to those of the row, and what TRL or the row would ignore, refused."""

import logging
from collections.abc import Container, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from trl import GRPOConfig

from simko.adapters.trl.config import MethodConfig
from simko.adapters.trl_rows import ADVANTAGE_OPTIONS, LOSS_OPTIONS, Plan, plan_row
from simko.objectives import METHODS, Method
from simko.objectives.tokens import log_ratio_penalty
from simko.objectives.update import ignores_zero_rows, links_change

logger = logging.getLogger("simko")

_DEFAULTS = {f.name: f.default for f in fields(GRPOConfig)}
_LOSSES_BY_TOKENS = ("dapo", "cispo", "vespo")
_LOSSES_THAT_SKIP = ("dapo", "cispo")


def plan_method(args: MethodConfig, named: Container[str] = ()) -> Plan:
    """The plan for the row that `args` names; sets TRL's options in `args` where they make the row.

    named: options that the user is known to have set, also where the value is TRL's default.

    ValueError for what MethodConfig.row refuses, and for an option that would be ignored or contradicts the row.
    """
    method = args.row()
    if args.correctness is not None and not (method is not None and method.binary):
        raise ValueError(f"correctness has no effect: {args.method} takes rewards of any kind; leave it out")
    plan = Plan(None, False, False, {}) if method is None else plan_row(method, args.method_options)
    if method is not None:
        _refuse_ignored_options(plan, method, args)
        for name, value in plan.trl_options.items():
            given = getattr(args, name)
            if given != value and (given != _DEFAULTS[name] or name in named):
                ways = ["leave it out", *_by_options(method), f"train TRL's own objective with {args.own_objective}"]
                raise ValueError(f"{method.name} sets {name}={value!r}, you set {given!r}: {', or '.join(ways)}")
            setattr(args, name, value)
        if plan.links:
            refuse_conflicts_with_links(method, args)
    if args.grpo_warmup_steps and not (plan.links and not plan.own_advantages):
        raise ValueError(
            "grpo_warmup_steps delays a row's token links, as SimKO's rows have them: set it to 0 for "
            f"{args.method if method is None else method.name}"
        )
    _refuse_inexact_aids(plan, args)
    return plan


def may_skip_rows(name: str) -> bool:
    """Whether skip_zero_advantage is allowed, since it leaves the gradient of METHODS[name] as it is."""
    plan, inert = plan_row(METHODS[name]), ignores_zero_rows(METHODS[name])
    return inert and (plan.own_loss or plan.trl_options.get("loss_type", "dapo") in _LOSSES_THAT_SKIP)


def _refuse_ignored_options(plan: Plan, method: Method, args: MethodConfig) -> None:
    """ValueError for an option of TRL's, or of the row's, that would have no effect."""
    ignored = [name for name in ADVANTAGE_OPTIONS if plan.own_advantages and getattr(args, name) != _DEFAULTS[name]]
    what = "advantages of its own, which do"
    if plan.own_loss:
        what = "a loss of its own, which does"
        ignored += [name for name in LOSS_OPTIONS if getattr(args, name) != _DEFAULTS[name]]
        if args.use_vllm and args.vllm_importance_sampling_correction:
            ignored.append("vllm_importance_sampling_correction")
    if ignored:
        vllm = "vllm_importance_sampling_correction"
        left_out = [f"set {name} to False" if name == vllm else f"leave {name} out" for name in ignored]
        ways = ", or ".join([" and ".join(left_out), *_by_options(method)])
        raise ValueError(f"{method.name} has {what} not know {', '.join(ignored)}: {ways}")
    length = method.options.get("length")
    if not plan.own_loss and length not in (None, args.max_completion_length):
        raise ValueError(
            f"{method.name} runs on TRL's own loss, so that length={length} has no effect: TRL divides by "
            "max_completion_length: set that"
        )


def refuse_conflicts_with_links(method: Method, args: MethodConfig) -> None:
    """ValueError with the way out where TRL would train another objective than the row's links make."""
    changed = links_change(method)
    off, on_advantage = args.penalty_settings()
    unpenalised = links_change(method.with_options(top_penalty=1)) if off else changed
    by_token = 'set it to "token"'
    off_exactly = off if not unpenalised - {"logp"} else ""
    highest = args.epsilon if args.epsilon_high is None else args.epsilon_high
    conflicts = {
        f'importance_sampling_level="sequence" turns what {method.name} does to single tokens into a rescaling of whole '
        f"responses: {_ways_out(by_token, off_exactly)}": (
            args.importance_sampling_level == "sequence" and changed - {"logp"}
        ),
        f'loss_type="vespo" sums log-ratios over a response, so that what {method.name} does to the ratio of single '
        f"tokens would rescale all of it: {_ways_out('take another loss_type', on_advantage, off)}": (
            args.loss_type == "vespo" and "old_logp" in changed
        ),
        f'loss_type="cispo" caps the ratio at epsilon_high={highest:g}, which swallows lambda on the ratio: '
        f"{_ways_out('set epsilon_high=5 as its paper does', on_advantage, off)}": (
            args.loss_type == "cispo" and "old_logp" in changed and highest < method.options.get("top_penalty", 1.0)
        ),
        f"delta={args.delta} caps the ratio, which {method.name} changes: above delta, incorrect responses have no "
        f"gradient: {_ways_out('leave delta out', on_advantage, off)}": (
            args.delta is not None and "old_logp" in changed
        ),
        f"use_bias_correction_kl=True multiplies the KL term by the ratio that {method.name} changes: set it to False, or "
        "beta to 0": args.use_bias_correction_kl and args.beta != 0 and changed - {"advantages"},
    }
    for conflict, holds in conflicts.items():
        if holds:
            raise ValueError(conflict)


def _ways_out(first: str, *settings: str) -> str:
    """The first way out, and the settings that there are."""
    return ", or ".join([first, *(f"set {setting}" for setting in settings if setting)])


def _by_options(method: Method) -> list[str]:
    """The way out by the row's own options, if it has any."""
    return [f"change the method by method_options ({', '.join(method.options)})"] if method.options else []


def _refuse_inexact_aids(plan: Plan, args: MethodConfig) -> None:
    """ValueError where skipping responses would change the gradient, or dropped groups would stay in a denominator."""
    method = plan.method
    if args.skip_zero_advantage:
        if method is not None and not ignores_zero_rows(method):
            raise ValueError(f"responses of advantage 0 count in {method.name}: set skip_zero_advantage to False")
        bonus = args.entropy_coef != 0 or args.use_adaptive_entropy
        exact = args.loss_type in _LOSSES_THAT_SKIP and args.beta == 0 and args.top_entropy_quantile == 1.0
        if bonus or not exact:
            raise ValueError(
                "skip_zero_advantage keeps the gradient only with loss_type dapo or cispo, beta 0, "
                "top_entropy_quantile 1 and no entropy bonus: responses of advantage 0 count elsewhere; set it to "
                "False or change those options"
            )
    if args.drop_one_outcome_groups:
        loss, by_tokens = f"loss_type={args.loss_type!r}", args.loss_type in _LOSSES_BY_TOKENS
        way_out = "" if "loss_type" in plan.trl_options else " or loss_type to dapo"
        if plan.own_loss and method is not None and method.reduction.keywords.get("reduction") == "constant":
            loss, way_out, by_tokens = method.name, "", False
        if not by_tokens:
            raise ValueError(
                f"{loss} divides by responses, so that dropped groups would stay in its denominator: set "
                f"drop_one_outcome_groups to False{way_out}"
            )


def refuse_unfit_runs(plan: Plan, trainer: Any) -> None:
    """ValueError for steps, a model or a dataset with which the row would be trained otherwise, or could not be."""
    method, args = plan.method, trainer.args
    if args.skip_zero_advantage and trainer.aux_loss_enabled:
        raise ValueError("skip_zero_advantage would change the mixture-of-experts auxiliary loss: turn one off")
    if method is None:
        return
    if plan.own_loss or method.needs_old_logp:
        columns = set(getattr(trainer.train_dataset, "column_names", None) or ())
        if columns & {"image", "images"}:
            raise ValueError(
                f"{method.name} scores responses itself and does not know images: drop those columns, or take a method "
                "that leaves scoring to TRL, such as rloo or simko"
            )
    if not plan.own_loss:
        return
    accumulate, steps = args.gradient_accumulation_steps, int(args.steps_per_generation or 1)
    if steps % accumulate:
        raise ValueError(
            f"{method.name} divides by what the whole update counts: steps_per_generation={steps} must be a multiple of "
            f"gradient_accumulation_steps={accumulate}"
        )
    if trainer.aux_loss_enabled:
        raise ValueError(f"{method.name} has no mixture-of-experts auxiliary loss: turn it off in the model")
    if method.selects and _has_dropout(trainer.model):
        raise ValueError(
            f"{method.name} chooses tokens in a pass of its own: with dropout the loss would see others; set the "
            "model's dropout to 0"
        )
    on_policy = args.num_iterations == 1 and steps == accumulate
    if method.auxiliary is not None and method.auxiliary.func is log_ratio_penalty and on_policy:
        logger.warning(
            "%s's penalty is |log pi - log pi_old|, which has no gradient on the first, on-policy update of a rollout, "
            "the only one here: the run trains without it; set num_iterations or steps_per_generation higher",
            method.name,
        )


def column_of_correctness(method: Method, names: Sequence[str], wanted: str | None) -> int:
    """The place among the reward functions of the one that says correct (1) or incorrect (0)."""
    if wanted is None and len(names) == 1:
        return 0
    if wanted not in names:
        raise ValueError(
            f"{method.name} is defined for correct (1) and incorrect (0) only: name the reward function that says so by "
            f"correctness, one of {', '.join(names)}" + ("" if wanted is None else f"; got {wanted!r}")
        )
    return list(names).index(str(wanted))


def refuse_changed_plan(plan: Plan, method: Method, args: MethodConfig) -> None:
    """ValueError where a controller has set options of the row that only TRL's could follow."""
    if replace(plan_row(method, args.method_options), method=plan.method) != plan:
        raise ValueError(
            f"{method.name}'s controller changes options that TRL acts on, which are set once for a run: let it change "
            "those of token links, or of advantages or a loss of the row's own"
        )
    _refuse_ignored_options(plan, method, args)
    if plan.links:
        refuse_conflicts_with_links(method, args)


def _has_dropout(model: torch.nn.Module) -> bool:
    """Dropout modules, and the rates that attention layers keep for their functional dropout."""
    rates = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    rates += [v for m in model.modules() for k, v in vars(m).items() if "dropout" in k and isinstance(v, float)]
    return any(rate > 0 for rate in rates)
