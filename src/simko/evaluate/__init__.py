"""pass@k, intervals over problems, paired comparison, and the store of graded samples."""

from simko.evaluate.answers import Answer
from simko.evaluate.crossing import BandPoint, Crossing, crossing
from simko.evaluate.passk import (
    Comparison,
    Counts,
    Curve,
    Difference,
    Point,
    holm_over,
    paired_difference,
    pass_at_k,
    pass_at_k_curve,
    pass_at_k_matrix,
    reliable,
    with_errors_as_correct,
)
from simko.evaluate.store import SampleStore, Setting, Tally, only_setting

__all__ = [
    "Answer",
    "BandPoint",
    "Comparison",
    "Counts",
    "Crossing",
    "Curve",
    "Difference",
    "Point",
    "SampleStore",
    "Setting",
    "Tally",
    "crossing",
    "holm_over",
    "only_setting",
    "paired_difference",
    "pass_at_k",
    "pass_at_k_curve",
    "pass_at_k_matrix",
    "reliable",
    "with_errors_as_correct",
]
