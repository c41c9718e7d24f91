"""How each engine trains a row of METHODS, in words."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from simko.objectives import Method

_BESIDE_A_LOSS = (
    "vllm_importance_sampling_correction",
    "a mixture-of-experts auxiliary loss",
    "steps_per_generation that is no multiple of gradient_accumulation_steps",
)


class Training(NamedTuple):
    """How an engine trains a row."""

    word: str
    """For a table."""
    way: str
    """For a line."""
    refused: tuple[str, ...]
    """The engine's options, and whatever else it has, that are refused with the row."""


def in_trl(method: "Method") -> Training:
    """How TRL trains the row."""
    from simko.adapters.trl_rows import ADVANTAGE_OPTIONS, LOSS_OPTIONS, plan_row

    plan = plan_row(method)
    word = " and ".join(["by advantage"] * plan.own_advantages + ["by link"] * plan.links) or "by options"
    way = plan.way()
    if plan.trl_options:
        way += f" ({', '.join(f'{name}={value}' for name, value in plan.trl_options.items())})"
    refused = ["another value of these options"] if plan.trl_options else []
    if "length" in method.options and not plan.own_loss:
        refused.append("length other than max_completion_length")
    if plan.own_advantages:
        refused += ADVANTAGE_OPTIONS
    if plan.links:
        refused += _beside_links(method)
    if plan.own_loss:
        word = "own loss"
        refused += (*LOSS_OPTIONS, *_BESIDE_A_LOSS)
    if plan.own_loss or method.needs_old_logp:
        refused.append("multimodal batches")
    if method.selects:
        refused.append("dropout")
    return Training(word, way, tuple(refused))


def in_verl(method: "Method") -> Training:
    """How verl trains the row."""
    from simko.adapters.verl_rows import LOSS_OPTIONS, PREFIX, plan_row

    plan = plan_row(method)
    if plan.own_loss:
        word = "own loss"
    elif plan.links:
        word = "by advantage and link" if plan.own_advantages else "by link"
    else:
        word = "by adv_estimator" if plan.by_advantage else "by advantage" if plan.own_advantages else "by options"
    way = plan.way()
    if plan.actor_options:
        way += f" ({', '.join(f'actor.{name}={value}' for name, value in plan.actor_options.items())})"
    if plan.by_advantage:
        way += f"; algorithm.adv_estimator={PREFIX}{method.name} alone does it too, in verl's own trainer"
    refused = ["another value of these options"] if plan.actor_options else []
    if plan.own_advantages and method.binary:
        refused.append("use_kl_in_reward")
    if plan.own_loss:
        refused += [f"actor.{name}" for name in LOSS_OPTIONS] + ["dual_clip", "rollout_correction.rollout_is"]
    return Training(word, way, tuple(refused))


def _beside_links(method: "Method") -> list[str]:
    """What would make TRL's loss another objective than that of the row's token links."""
    from simko.objectives.update import links_change

    changed, refused = links_change(method), []
    if changed - {"logp"}:
        refused.append("importance_sampling_level=sequence")
    if "old_logp" in changed:
        refused += ["loss_type=vespo", "loss_type=cispo with epsilon_high below top_penalty", "delta"]
    if changed - {"advantages"}:
        refused.append("use_bias_correction_kl with beta")
    if method.needs_candidates:
        refused.append("an adapter on the LM head")
    return refused
