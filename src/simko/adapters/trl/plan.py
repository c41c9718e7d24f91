"""How TRL trains a row of METHODS, by what the row is made of; and what TRL or the row would ignore, refused."""

import logging
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from trl import GRPOConfig

from simko.adapters.trl.config import MethodConfig, SimKOConfig, grpo_objective, simko_objective
from simko.objectives import METHODS, Method
from simko.objectives.advantages import centred, standardised
from simko.objectives.reduction import reduce_loss
from simko.objectives.surrogate import cap_weight, clip_ratio, sequence_ratio, token_ratio
from simko.objectives.tokens import every_token, log_ratio_penalty
from simko.objectives.update import links_change

logger = logging.getLogger("simko")

_DEFAULTS = {f.name: f.default for f in fields(GRPOConfig)}
_ADVANTAGE_OPTIONS = ("scale_rewards", "multi_objective_aggregation")
_LOSS_OPTIONS = (
    "beta", "loss_type", "importance_sampling_level", "epsilon", "epsilon_high", "delta", "top_entropy_quantile",
    "entropy_coef", "use_adaptive_entropy", "off_policy_mask_threshold",
)  # fmt: skip
_TRL_EPS = 1e-4
_LOSSES_BY_TOKENS = ("dapo", "cispo", "vespo")
_LOSSES_THAT_SKIP = ("dapo", "cispo")


@dataclass(frozen=True)
class Plan:
    """How TRL trains a row."""

    method: Method | None
    """The row; None for TRL's own objective under TRL's options."""
    own_advantages: bool
    """The row's advantages take the place of TRL's."""
    own_loss: bool
    """The row's policy_loss takes the place of TRL's loss; otherwise the row's token links act in TRL's."""
    trl_options: dict[str, Any]
    """TRL's options that the row sets."""

    @property
    def links(self) -> bool:
        """Whether token links of the row act in TRL's own loss."""
        return self.method is not None and bool(self.method.token_links) and not self.own_loss

    def objective(self, args: MethodConfig) -> str:
        """One line that names the objective under `args`."""
        method = self.method
        if method is None:
            return grpo_objective(args)
        if isinstance(args, SimKOConfig) and args.method == "simko":
            return simko_objective(args)
        held: dict[str, Any] = {}
        if not self.own_loss:
            high = args.epsilon if args.epsilon_high is None else args.epsilon_high
            held = {"clip_low": args.epsilon, "clip_high": high, "length": args.max_completion_length}
            held |= {} if self.own_advantages else {"eps": _TRL_EPS}
        options = {name: held.get(name, value) for name, value in method.options.items()}
        words = [f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in options.items()]
        words += [] if self.own_loss else [f"beta={args.beta:g}"]
        loss = "its own loss" if self.own_loss else f"TRL’s {args.loss_type} loss"
        return f"{method.name} ({', '.join(words) or 'no options'}; {loss})"

    def way(self) -> str:
        """How the row is trained, in words."""
        if self.own_loss:
            return "own advantages and own loss"
        parts = ["own advantages"] * self.own_advantages + ["token links"] * self.links
        return f"TRL's loss with its {' and '.join(parts)}" if parts else "TRL's options"


def plan_method(args: MethodConfig) -> Plan:
    """The plan for the row that `args` names; sets TRL's options in `args` where they make the row.

    ValueError for what MethodConfig.row refuses, and for a TRL option that would be ignored or contradicts the row.
    """
    method = args.row()
    plan = Plan(None, False, False, {}) if method is None else plan_row(method, args.method_options)
    if method is not None:
        _refuse_ignored_options(plan, method, args)
        for name, value in plan.trl_options.items():
            if getattr(args, name) not in (_DEFAULTS[name], value):
                raise ValueError(
                    f"{method.name} sets {name}={value!r}, you set {getattr(args, name)!r}: leave it out, or change "
                    f"the method by method_options ({', '.join(method.options) or 'it has none'})"
                )
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


def plan_row(method: Method, given: Any = None) -> Plan:
    """The plan by what the row is made of. given: options that the user set, of which TRL's advantages cannot have eps."""
    loss, advantages = _trl_loss(method), _trl_advantages(method, given or {})
    if loss is None:
        return Plan(method, own_advantages=True, own_loss=True, trl_options={})
    if advantages is None or method.token_links:  # a GRPO but for these: the user chooses TRL's loss around it
        usual = _trl_loss(METHODS["grpo"]) or {}
        loss = {name: value for name, value in loss.items() if usual.get(name) != value}
        usual = _trl_advantages(METHODS["grpo"], {}) or {}
        advantages = {k: v for k, v in advantages.items() if usual[k] != v} if advantages is not None else None
    return Plan(method, advantages is None, own_loss=False, trl_options=loss | (advantages or {}))


def _trl_loss(method: Method) -> dict[str, Any] | None:
    """TRL's options under which its loss is the row's; None where there are none."""
    plain = method.auxiliary is None and not method.selects and method.token_mask.func is every_token
    if not plain or method.reduction.func is not reduce_loss or method.ratio.func not in (token_ratio, sequence_ratio):
        return None
    kind, surrogate = method.reduction.keywords.get("reduction", "token_mean"), method.surrogate
    level = "sequence" if method.ratio.func is sequence_ratio else "token"
    if surrogate.func is clip_ratio:
        loss = {"token_mean": "dapo", "sequence_mean": "grpo", "constant": "dr_grpo"}[kind]
        clip = {"epsilon": surrogate.keywords["clip_low"], "epsilon_high": surrogate.keywords["clip_high"]}
        return {"loss_type": loss, "importance_sampling_level": level} | clip
    if surrogate.func is cap_weight and kind == "token_mean":
        cap = {"epsilon_high": surrogate.keywords["ratio_cap"]}
        return {"loss_type": "cispo", "importance_sampling_level": level} | cap
    return None


def _trl_advantages(method: Method, given: dict[str, Any]) -> dict[str, Any] | None:
    """TRL's options under which its advantages are the row's; None where there are none."""
    changed = method.binary or method.reward_transform is not None or method.reweighting is not None
    estimator, eps = method.estimator, given.get("eps", _TRL_EPS)
    if changed or eps != _TRL_EPS:
        return None
    if estimator.func is centred:
        return {"scale_rewards": "none"}
    usual = {**METHODS["grpo"].estimator.keywords}
    if estimator.func is standardised and estimator.keywords in (usual, usual | {"eps": _TRL_EPS}):
        return {"scale_rewards": "group"}
    return None


def may_skip_rows(name: str) -> bool:
    """Whether skip_zero_advantage is allowed, since it leaves the gradient of METHODS[name] as it is."""
    plan, inert = plan_row(METHODS[name]), METHODS[name].inert_zero_rows
    return inert and (plan.own_loss or plan.trl_options.get("loss_type", "dapo") in _LOSSES_THAT_SKIP)


def _refuse_ignored_options(plan: Plan, method: Method, args: MethodConfig) -> None:
    """ValueError for an option of TRL's, or of the row's, that would have no effect."""
    ignored = [name for name in _ADVANTAGE_OPTIONS if plan.own_advantages and getattr(args, name) != _DEFAULTS[name]]
    what = "advantages"
    if plan.own_loss:
        what = "a loss"
        ignored += [name for name in _LOSS_OPTIONS if getattr(args, name) != _DEFAULTS[name]]
        if args.use_vllm and args.vllm_importance_sampling_correction:
            ignored.append("vllm_importance_sampling_correction")
    if ignored:
        raise ValueError(
            f"{method.name} has {what} of its own, which does not know {', '.join(ignored)}: leave that at its default "
            f"(for vLLM's correction: False), or change the method by method_options ({', '.join(method.options)})"
        )
    length = method.options.get("length")
    if not plan.own_loss and length not in (None, args.max_completion_length):
        raise ValueError(
            f"{method.name} runs on TRL's own loss, so that length={length} has no effect: TRL divides by "
            "max_completion_length: set that"
        )


def refuse_conflicts_with_links(method: Method, args: Any) -> None:
    """ValueError with the way out where TRL would train another objective than the row's links make."""
    changed = links_change(method)
    on_ratio = "old_logp" in changed
    penalty = 'set simko_penalty="advantage" or simko_top_penalty=1'
    if args.importance_sampling_level == "sequence" and changed - {"logp"}:
        raise ValueError(
            f'importance_sampling_level="sequence" turns what {method.name} does to single tokens into a rescaling of '
            'whole responses: set it to "token", or simko_top_penalty=1 (SimKO\'s positive part is exact there)'
        )
    if args.loss_type == "vespo" and on_ratio:
        raise ValueError(
            f'loss_type="vespo" sums log-ratios over a response, so lambda on the ratio would rescale it whole: {penalty}'
        )
    highest = args.epsilon if args.epsilon_high is None else args.epsilon_high
    if args.loss_type == "cispo" and on_ratio and highest < method.options.get("top_penalty", 1.0):
        raise ValueError(
            f'loss_type="cispo" caps the ratio at epsilon_high={highest:g}, which swallows lambda on the ratio: set '
            'epsilon_high=5 as its paper does, or simko_penalty="advantage"'
        )
    if args.delta is not None and on_ratio:
        raise ValueError(
            f"delta={args.delta:g} caps the ratio, lambda included, above which incorrect responses have no gradient: "
            'leave delta out, or set simko_penalty="advantage"'
        )
    if args.use_bias_correction_kl and args.beta != 0 and changed - {"advantages"}:
        raise ValueError(
            "use_bias_correction_kl=True multiplies the KL term by SimKO's ratio: set it to False, or beta to 0"
        )
    if getattr(args, "use_liger_loss", False):
        raise ValueError("Liger's loss computes its own log-probabilities, which SimKO never reaches: turn it off")


def _refuse_inexact_aids(plan: Plan, args: MethodConfig) -> None:
    """ValueError where skipping responses would change the gradient, or dropped groups would stay in a denominator."""
    method = plan.method
    if args.skip_zero_advantage:
        if method is not None and not method.inert_zero_rows:
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
        loss = args.loss_type
        if plan.own_loss and method is not None and method.reduction.keywords.get("reduction") == "constant":
            loss = method.name
        if loss not in _LOSSES_BY_TOKENS:
            raise ValueError(
                f"loss_type={loss!r} divides by responses, so that dropped groups would stay in its denominator: set "
                "drop_one_outcome_groups to False or loss_type to dapo"
            )


def refuse_group_sizes(method: Method, trainer: Any) -> None:
    """ValueError naming the option for groups of a size on which the row's advantages are not defined."""
    for option in ("num_generations", "num_generations_eval"):
        size = int(getattr(trainer, option) or 1)
        nothing, tokens = torch.zeros(size), torch.zeros(size, 1)
        try:
            method.advantages(nothing, torch.zeros(size, dtype=torch.long), old_logp=tokens, mask=tokens)
        except ValueError as error:
            raise ValueError(f"{option}={size} does not fit {method.name}: {error}") from error


def refuse_unfit_steps(method: Method, trainer: Any) -> None:
    """ValueError for steps, or a model, with which the row's own loss would be another."""
    args = trainer.args
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


def refuse_changed_plan(plan: Plan, method: Method, args: MethodConfig) -> None:
    """ValueError where a controller has set options of the row that only TRL's could follow."""
    if replace(plan_row(method, args.method_options), method=plan.method) != plan:
        raise ValueError(
            f"{method.name}'s controller changes options of TRL's loss or advantages, which are set once for a run: let "
            "it change those of token links, or of advantages or a loss of the row's own"
        )
    _refuse_ignored_options(plan, method, args)
    if plan.links:
        refuse_conflicts_with_links(method, args)


def _has_dropout(model: torch.nn.Module) -> bool:
    """Dropout modules, and the rates that attention layers keep for their functional dropout."""
    rates = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    rates += [v for m in model.modules() for k, v in vars(m).items() if "dropout" in k and isinstance(v, float)]
    return any(rate > 0 for rate in rates)
