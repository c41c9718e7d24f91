"""The advantages of every row as verl's adv_estimator=simko/NAME."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from verl.trainer.ppo.core_algos import register_adv_est

from simko.adapters.verl.config import read_row
from simko.adapters.verl_rows import PREFIX, plan_row
from simko.objectives import METHODS

OPTIONS_KEY = "simko"
"""Under `algorithm`: the options of the row of adv_estimator, +algorithm.simko.k=8."""

_old_logp: ContextVar[Tensor | None] = ContextVar("old_logp", default=None)


@contextmanager
def known_old_logp(old_logp: Tensor) -> Iterator[None]:
    """Within, rows that weigh responses by how likely they were know old_logp [B, T], which verl gives no adv_estimator."""
    token = _old_logp.set(old_logp)
    try:
        yield
    finally:
        _old_logp.reset(token)


def row_advantages(
    name: str,
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: Any = None,
    config: Any = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """METHODS[name].advantages, at each counted token, twice: as advantages and as returns.

    A response that is missing from its group counts as one that could not be scored.

    Args: as verl's estimators; rewards and mask [B, T]; index: of each response, equal for those of one prompt; config:
    verl's options under algorithm.

    ValueError as Method.advantages, and for a row whose loss is not verl's vanilla loss, outside of simko's trainer.
    """
    whole, old_logp = bool((config or {}).get("trained_by_simko", False)), _old_logp.get()
    options = dict((config or {}).get(OPTIONS_KEY) or {})
    method = read_row(PREFIX + name, options, f"algorithm.{OPTIONS_KEY}")
    if not whole and not plan_row(method, options).by_advantage:
        raise ValueError(
            f"algorithm.adv_estimator={PREFIX}{name} alone would not train {name}, which is more than its advantages: set "
            f"trainer.v1.trainer_mode=simko and actor_rollout_ref.actor.policy_loss.loss_mode={PREFIX}{name}"
        )
    if not whole:
        _say(f"{name} ({', '.join(f'{k}={v}' for k, v in method.options.items())}): its advantages, in verl's own loss")
    rewards = token_level_rewards.sum(-1)  # it stands at the last token, whether that is counted or not
    numbers = {prompt: n for n, prompt in enumerate(dict.fromkeys(index.tolist()))}
    groups = torch.tensor([numbers[prompt] for prompt in index.tolist()], device=rewards.device)
    counted = groups.bincount(response_mask.any(-1).float()) > 0
    rewards = rewards.masked_fill(~counted[groups], torch.nan)  # the group of rows with which verl fills up a batch
    lost = _lost(groups)
    rewards, mask = _with(lost, rewards, torch.nan), _with(lost, response_mask, 0)
    needed = {"old_logp": _with(lost, old_logp, 0.0), "mask": mask} if method.needs_old_logp else {}
    found = method.advantages(rewards, torch.cat([groups, lost]), **needed)
    advantages = found[: len(groups), None] * response_mask
    return advantages, advantages


@cache
def _say(objective: str) -> None:
    logging.getLogger("simko").warning(objective)


def _lost(groups: Tensor) -> Tensor:
    """The group of each response that is missing from one: verl leaves out what it could not generate or score."""
    sizes = groups.bincount()
    return torch.arange(len(sizes), device=groups.device).repeat_interleave(sizes.max() - sizes)


def _with(lost: Tensor, x: Tensor | None, value: float) -> Tensor:
    """x with a further row of `value` for each lost response."""
    assert x is not None
    return torch.cat([x, x.new_full((len(lost), *x.shape[1:]), value)])


def register_advantages() -> None:
    """Register the rows of METHODS that are not registered yet."""
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY

    for name in METHODS:
        if PREFIX + name not in ADV_ESTIMATOR_REGISTRY:
            register_adv_est(PREFIX + name)(partial(row_advantages, name))
