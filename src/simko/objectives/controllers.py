"""Controllers: what a row changes from update to update. See Method.controller; update.Adaptation keeps their state."""

import math
from typing import Any

BASE_UPDATES = 5
"""The base's value is the mean of so many updates: the policy has hardly moved, and the share of one is noisy."""
LEAST_ALPHA = 1e-3
"""Where alpha stops falling: it has no effect there, and a factor for each update would not bring it back from much less."""


def hold_rank1(
    state: dict[str, Any],
    metrics: dict[str, float],
    *,
    alpha: float,
    top_penalty: float,
    alpha_rate: float,
    alpha_max: float,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Moves SimKO's alpha and lambda so that the metric rank1 stays near the base's.

        alpha <- alpha exp(alpha_rate (rank1 - base))    within [LEAST_ALPHA, alpha_max]    base: mean of the first updates
        lambda <- 1 + (lambda - 1) alpha_new / alpha_old

    rank1 is the share of rank-1 tokens among the gated tokens of responses with an advantage. They are drawn from the policy
    (at its temperature), so that the share estimates the mean probability of rank 1 there. alpha and lambda stay as they
    begin for the first BASE_UPDATES updates, and after an update without such a token. Both parts keep the ratio in which they
    begin. An alpha that begins at 0 stays there, and so does a lambda at 1.

    Args:
        state: `updates`, the number of those in the base so far, and `base`, their mean.
        metrics: of an update.
        alpha, top_penalty: of that update.
        alpha_rate: how fast alpha moves.
        alpha_max: the largest alpha.
    """
    if "rank1" not in metrics or alpha == 0:
        return state, {}
    rank1, updates, base = metrics["rank1"], state.get("updates", 0), state.get("base", 0.0)
    if updates < BASE_UPDATES:
        return {"updates": updates + 1, "base": base + (rank1 - base) / (updates + 1)}, {}
    moved = min(max(alpha * math.exp(alpha_rate * (rank1 - base)), LEAST_ALPHA), alpha_max)
    return state, {"alpha": moved, "top_penalty": 1 + (top_penalty - 1) * moved / alpha}
