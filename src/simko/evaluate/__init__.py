"""pass@k, intervals over problems, paired comparison, and the store of graded samples."""

from simko.evaluate.passk import (
    Comparison,
    Counts,
    Curve,
    Difference,
    Point,
    paired_difference,
    pass_at_k,
    pass_at_k_curve,
    pass_at_k_matrix,
)
from simko.evaluate.store import Answer, SampleStore, Setting, Tally, only_setting

__all__ = [
    "Answer",
    "Comparison",
    "Counts",
    "Curve",
    "Difference",
    "Point",
    "SampleStore",
    "Setting",
    "Tally",
    "only_setting",
    "paired_difference",
    "pass_at_k",
    "pass_at_k_curve",
    "pass_at_k_matrix",
]
