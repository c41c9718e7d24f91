"""Token statistics -> numbers that show how a policy concentrates; and a check for broken weights."""

from simko.diagnostics.concentration import concentration_summary
from simko.diagnostics.weights import evaluating, refuse_broken_weights

__all__ = ["concentration_summary", "evaluating", "refuse_broken_weights"]
