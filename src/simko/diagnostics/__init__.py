"""Numbers that show how a policy concentrates, what a run says of itself, and a check for broken weights."""

from simko.diagnostics.candidates import (
    CandidateMatrix,
    DistinctBounds,
    candidate_matrix,
    distinct_bounds,
    expected_distinct,
    sampled_rank,
)
from simko.diagnostics.concentration import Concentration, concentration_summary
from simko.diagnostics.messages import Receipt, UnscoredRollouts, warn_of_poor_rollout
from simko.diagnostics.weights import evaluating, refuse_broken_weights

__all__ = [
    "CandidateMatrix",
    "Concentration",
    "DistinctBounds",
    "Receipt",
    "UnscoredRollouts",
    "candidate_matrix",
    "concentration_summary",
    "distinct_bounds",
    "evaluating",
    "expected_distinct",
    "refuse_broken_weights",
    "sampled_rank",
    "warn_of_poor_rollout",
]
