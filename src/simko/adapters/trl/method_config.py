"""How TRL is made to train a row of METHODS: the configuration, TRL's options that amount to the row, and refusals."""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from trl import GRPOConfig

from simko.adapters.trl.link import LinkConfig, SimKOLink, refuse_other_objectives
from simko.objectives import METHODS, Method

_DEFAULTS = {f.name: f.default for f in fields(GRPOConfig)}
_IGNORED = (
    "beta", "loss_type", "importance_sampling_level", "epsilon", "epsilon_high", "delta", "top_entropy_quantile",
    "entropy_coef", "use_adaptive_entropy", "off_policy_mask_threshold", "scale_rewards",
    "multi_objective_aggregation",
)  # fmt: skip
_TRL_EPS = 1e-4


@dataclass
class MethodConfig(LinkConfig):
    """GRPOConfig with the name of a method and its options."""

    _VALID_DICT_FIELDS: ClassVar = [*GRPOConfig._VALID_DICT_FIELDS, "method_options"]

    method: str = field(default="simko", metadata={"help": "A row of METHODS.", "choices": list(METHODS)})
    method_options: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "The method's own options, e.g. {'k': 8}; the others keep their defaults."}
    )
    correctness: str | None = field(
        default=None,
        metadata={"help": "The reward function that says right (1) or wrong (0), for methods defined on that alone."},
    )


@dataclass(frozen=True)
class Plan:
    """How TRL trains a method: with `link` in its loss, by its own options, or, where both are None, by the row's
    advantages and policy_loss."""

    method: Method
    link: SimKOLink | None
    trl_options: dict[str, Any] | None

    @property
    def runs_own_loss(self) -> bool:
        return self.link is None and self.trl_options is None

    def objective(self, args: MethodConfig) -> str:
        """One line that names the objective."""
        name = self.method.name
        if self.link is not None:
            return f"{name} on {args.loss_type} ({self.link}; beta={args.beta:g})"
        held = {} if self.trl_options is None else {"eps": _TRL_EPS, "length": args.max_completion_length}
        options = {k: held.get(k, v) for k, v in self.method.options.items()}
        words = [f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in options.items()]
        if self.trl_options is not None:
            words.append(f"beta={args.beta:g}")
        return f"{name} ({', '.join(words) or 'no options'}; {'its own' if self.runs_own_loss else 'TRL’s'} loss)"


def plan_method(args: MethodConfig) -> Plan:
    """The plan for the method that `args` names; sets TRL's options in `args` where they make the method.

    ValueError for an unknown method or option, for one that is missing, and for a TRL option that would be ignored or
    contradicts the method.
    """
    method = _chosen(args)
    link, trl_options = _link_of(method), _trl_options(method)
    plan = Plan(method, link, trl_options)
    if plan.runs_own_loss:
        _refuse_ignored_options(method, args)
    else:
        _refuse_unreached_options(plan, args)
    if trl_options is not None:
        _set_trl_options(method, args, trl_options)
    if link is not None:
        refuse_other_objectives(args, link)
    elif args.grpo_warmup_steps:
        raise ValueError(f"grpo_warmup_steps delays SimKO's rows only: set it to 0 for {method.name}")
    return plan


def may_skip_rows(name: str) -> bool:
    """Whether skip_zero_advantage is allowed, since it leaves the gradient of METHODS[name] as it is."""
    if (trl_options := _trl_options(METHODS[name])) is not None:
        return trl_options["loss_type"] in ("dapo", "cispo")
    return METHODS[name].inert_zero_rows


def _chosen(args: MethodConfig) -> Method:
    if args.method not in METHODS:
        raise ValueError(f"unknown method {args.method!r}: choose from {', '.join(METHODS)}")
    options = args.method_options or {}
    if not isinstance(options, dict):
        raise ValueError(f"method_options must be a mapping such as {{'k': 8}}, got {options!r}")
    method = METHODS[args.method].with_options(**options)
    if missing := method.missing_options:
        example = dict.fromkeys(missing, "...")
        raise ValueError(
            f"{method.name} has no default for {' and '.join(missing)}, since no source gives one: set "
            f"method_options to {example} with your values"
        )
    return method


def _link_of(method: Method) -> SimKOLink | None:
    """The link of a SimKO row, None for another row."""
    if not (method.candidate_weights or method.needs_top1):
        return None
    options = method.options
    functions = {link.func.__name__ for link in method.token_links}
    return SimKOLink(
        alpha=options.get("alpha", 0.0),
        top_k=options.get("top_k", 1),
        top_penalty=options.get("top_penalty", 1.0),
        gate_quantile=options["gate_quantile"],
        weights=method.candidate_weights or "uniform",
        penalty="advantage" if "penalise_advantage" in functions else "ratio",
    )


def _trl_options(method: Method) -> dict[str, Any] | None:
    """TRL's options that make it the method, None where TRL does not implement it."""
    options = method.options
    clip = {"epsilon": options.get("clip_low"), "epsilon_high": options.get("clip_high")}
    found: dict[str, dict[str, Any]] = {
        "grpo": clip | {"loss_type": "dapo"},
        "dapo": clip | {"loss_type": "dapo"},
        "dr_grpo": clip | {"loss_type": "dr_grpo", "scale_rewards": "none"},
        "gspo": clip | {"loss_type": "grpo", "importance_sampling_level": "sequence"},
        "cispo": {"loss_type": "cispo", "epsilon_high": options.get("ratio_cap")},
    }
    if method.name not in found:
        return None
    return {"scale_rewards": "group", "importance_sampling_level": "token"} | found[method.name]


def _set_trl_options(method: Method, args: MethodConfig, options: dict[str, Any]) -> None:
    """Set TRL's options to the method's; ValueError where the user set one of them otherwise."""
    for name, value in options.items():
        if getattr(args, name) not in (_DEFAULTS[name], value):
            raise ValueError(
                f"{method.name} sets {name}={value!r}, you set {getattr(args, name)!r}: leave it out, or change the "
                f"method by method_options ({', '.join(method.options) or 'it has none'})"
            )
        setattr(args, name, value)


def _refuse_unreached_options(plan: Plan, args: MethodConfig) -> None:
    """ValueError for an option of the method's that TRL's loss does not read from it."""
    name, given = plan.method.name, args.method_options or {}
    assert isinstance(given, dict)
    elsewhere = {"eps": f"TRL's advantages have eps {_TRL_EPS:g}, which no option changes"}
    if plan.link is not None:
        elsewhere |= {"clip_low": "set TRL's epsilon", "clip_high": "set TRL's epsilon_high"}
    values = {"eps": _TRL_EPS, "length": args.max_completion_length}
    elsewhere["length"] = "TRL divides by max_completion_length: set that"
    for option, way_out in elsewhere.items():
        if option in given and given[option] != values.get(option):
            raise ValueError(
                f"{name} runs on TRL's own loss, so that method_options[{option!r}] has no effect: {way_out}"
            )


def _refuse_ignored_options(method: Method, args: MethodConfig) -> None:
    ignored = [name for name in _IGNORED if getattr(args, name) != _DEFAULTS[name]]
    if args.use_vllm and args.vllm_importance_sampling_correction:
        ignored.append("vllm_importance_sampling_correction")
    if ignored:
        raise ValueError(
            f"{method.name} has a loss of its own, which does not know {', '.join(ignored)}: leave that at its default "
            f"(for vLLM's correction: False), or change the method by method_options ({', '.join(method.options)})"
        )
    if args.skip_zero_advantage and not method.inert_zero_rows:
        raise ValueError(f"responses of advantage 0 count in {method.name}: set skip_zero_advantage to False")
