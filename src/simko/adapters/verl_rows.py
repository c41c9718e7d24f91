"""How verl trains a row of METHODS, by what the row is made of. verl itself is not imported."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from simko.objectives import METHODS, Method
from simko.objectives.reduction import reduce_loss
from simko.objectives.surrogate import clip_ratio, token_ratio
from simko.objectives.tokens import every_token

PREFIX = "simko/"
"""Before the name of a row where verl expects a name of its own: loss_mode=simko/simko, adv_estimator=simko/pkpo."""

LOSS_OPTIONS = {
    "clip_ratio": 0.2, "clip_ratio_low": 0.2, "clip_ratio_high": 0.2, "clip_ratio_c": 3.0, "loss_agg_mode": "token-mean",
    "loss_scale_factor": None,
}  # fmt: skip
"""verl's options, under actor, that a loss of the row's own does not know, and verl's defaults."""

_CLIPS = {"clip_low": "clip_ratio_low", "clip_high": "clip_ratio_high"}


@dataclass(frozen=True)
class Plan:
    """How verl trains a row."""

    method: Method
    """The row."""
    own_advantages: bool
    """The row's advantages take the place of verl's, as the adv_estimator simko/NAME."""
    own_loss: bool
    """The row's policy_loss takes the place of verl's vanilla loss; otherwise the row's token links act in that."""
    actor_options: dict[str, Any]
    """verl's options, under actor, that the row sets."""

    @property
    def links(self) -> bool:
        """Whether token links of the row act in verl's vanilla loss."""
        return bool(self.method.token_links) and not self.own_loss

    @property
    def by_advantage(self) -> bool:
        """Whether adv_estimator=simko/NAME is the whole row, in verl's own trainer with verl's own loss and dual clip."""
        more = self.own_loss or self.links or self.actor_options or self.method.needs_old_logp
        return self.own_advantages and not more

    def objective(self, actor: Any) -> str:
        """One line that names the objective. actor: verl's options under actor_rollout_ref.actor."""
        held: dict[str, Any] = {} if self.own_loss else {own: actor[verl] for own, verl in _CLIPS.items()}
        options = {name: held.get(name, value) for name, value in self.method.options.items()}
        words = [f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in options.items()]
        loss = "" if self.own_loss else f", {actor['loss_agg_mode']}"
        return f"{self.method.name} ({', '.join(words) or 'no options'}; {self.way()}{loss})"

    def way(self) -> str:
        """How the row is trained, in words."""
        if self.own_loss:
            return f"{'the method' if self.own_advantages else 'verl'}'s advantages, the method's loss"
        parts = ["advantages"] * self.own_advantages + ["token links"] * self.links
        return f"verl's vanilla loss with the method's {' and '.join(parts)}" if parts else "verl's options"


def plan_row(method: Method, given: Collection[str] = ()) -> Plan:
    """The plan by what the row is made of. given: names of options that the user set."""
    own_advantages = _advantages(method) != _advantages(METHODS["grpo"])
    plain = method.auxiliary is None and not method.selects and method.token_mask.func is every_token
    reduction = method.reduction
    token_mean = reduction.func is reduce_loss and reduction.keywords.get("reduction", "token_mean") == "token_mean"
    clipped = method.ratio.func is token_ratio and method.surrogate.func is clip_ratio
    if not (plain and token_mean and clipped):
        return Plan(method, own_advantages, own_loss=True, actor_options={})
    usual, options = METHODS["grpo"].options, method.options
    clips = {verl: options[own] for own, verl in _CLIPS.items() if options[own] != usual[own] or own in given}
    return Plan(method, own_advantages, own_loss=False, actor_options=clips)


def _advantages(method: Method) -> tuple[Any, ...]:
    """What makes the row's advantages."""
    links = (method.estimator, method.reward_transform, method.reweighting)
    return method.binary, *((link.func, link.keywords) if link is not None else None for link in links)
