"""pass@k, intervals over problems, paired comparison, crossings, answer counts, and the store of graded samples."""

from simko.evaluate.answers import (
    Answer,
    Answers,
    Cover,
    GuessingLine,
    answer_entropy,
    cover_at_tau,
    distinct_answers,
    guessing_line,
    maj_at_k,
    majority,
)
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
from simko.evaluate.store import SampleStore

__all__ = [
    "Answer",
    "Answers",
    "BandPoint",
    "Comparison",
    "Counts",
    "Cover",
    "Crossing",
    "Curve",
    "Difference",
    "GuessingLine",
    "Point",
    "SampleStore",
    "answer_entropy",
    "cover_at_tau",
    "crossing",
    "distinct_answers",
    "guessing_line",
    "holm_over",
    "maj_at_k",
    "majority",
    "paired_difference",
    "pass_at_k",
    "pass_at_k_curve",
    "pass_at_k_matrix",
    "reliable",
    "with_errors_as_correct",
]
