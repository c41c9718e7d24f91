"""How TRL trains a row of METHODS, by what the row is made of. TRL itself is not imported."""

from dataclasses import dataclass
from typing import Any

from simko.objectives import METHODS, Method
from simko.objectives.advantages import centred, standardised
from simko.objectives.reduction import reduce_loss
from simko.objectives.surrogate import cap_weight, clip_ratio, sequence_ratio, token_ratio
from simko.objectives.tokens import every_token

ADVANTAGE_OPTIONS = ("scale_rewards", "multi_objective_aggregation")
"""TRL's options that advantages of the row's own do not know."""
LOSS_OPTIONS = (
    "beta", "loss_type", "importance_sampling_level", "epsilon", "epsilon_high", "delta", "top_entropy_quantile",
    "entropy_coef", "use_adaptive_entropy", "off_policy_mask_threshold",
)  # fmt: skip
"""TRL's options that a loss of the row's own does not know."""

_TRL_EPS = 1e-4
_CLIPS = {"clip_low": "epsilon", "clip_high": "epsilon_high"}


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

    def objective(self, args: Any) -> str:
        """One line that names the objective under `args`."""
        method = self.method
        if (said := args.face()) or method is None:
            return said or "TRL's own objective"
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


def plan_row(method: Method, given: Any = None) -> Plan:
    """The plan by what the row is made of. given: options that the user set, of which TRL's advantages cannot have eps."""
    given = given or {}
    loss, advantages = _trl_loss(method), _trl_advantages(method, given.get("eps", _TRL_EPS))
    if loss is None:
        return Plan(method, own_advantages=True, own_loss=True, trl_options={})
    if advantages is None or method.token_links:  # a GRPO but for these: the user chooses TRL's loss around it
        usual, wanted = _trl_loss(METHODS["grpo"]) or {}, {_CLIPS[name] for name in given if name in _CLIPS}
        loss = {name: value for name, value in loss.items() if usual.get(name) != value or name in wanted}
        advantages = {} if advantages == _trl_advantages(METHODS["grpo"]) else advantages
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


def _trl_advantages(method: Method, eps: float = _TRL_EPS) -> dict[str, Any] | None:
    """TRL's options under which its advantages are the row's; None where there are none. eps: that the user wants."""
    changed = method.binary or method.reward_transform is not None or method.reweighting is not None
    estimator = method.estimator
    if changed or eps != _TRL_EPS:
        return None
    summed = {"multi_objective_aggregation": "sum_then_normalize"}
    if estimator.func is centred:
        return {"scale_rewards": "none"} | summed
    usual = METHODS["grpo"].estimator.keywords
    if estimator.func is standardised and estimator.keywords in (usual, usual | {"eps": _TRL_EPS}):
        return {"scale_rewards": "group"} | summed
    return None
