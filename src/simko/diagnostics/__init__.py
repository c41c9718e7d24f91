"""Numbers that show how a policy concentrates, what a run says of itself, and a check for broken weights."""

from simko.diagnostics.concentration import concentration_summary
from simko.diagnostics.messages import Receipt, UnscoredRollouts, warn_of_poor_rollout
from simko.diagnostics.weights import evaluating, refuse_broken_weights

__all__ = [
    "Receipt",
    "UnscoredRollouts",
    "concentration_summary",
    "evaluating",
    "refuse_broken_weights",
    "warn_of_poor_rollout",
]
