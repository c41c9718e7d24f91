"""pass@k, intervals over problems, paired comparisons, crossings, answer counts, and the store of graded samples."""

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
from simko.evaluate.bands import BandPoint, curve_band, multiplied_t, simultaneous_band
from simko.evaluate.by_name import compare, evaluate
from simko.evaluate.crossing import Crossing, crossing
from simko.evaluate.difficulty import Stratum, by_difficulty
from simko.evaluate.extrapolation import Extrapolation, extrapolate
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
from simko.evaluate.store import Failures, SampleStore, Setting, Tally, only_setting

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
    "Extrapolation",
    "Failures",
    "GuessingLine",
    "Point",
    "SampleStore",
    "Setting",
    "Stratum",
    "Tally",
    "answer_entropy",
    "by_difficulty",
    "compare",
    "cover_at_tau",
    "crossing",
    "curve_band",
    "distinct_answers",
    "evaluate",
    "extrapolate",
    "guessing_line",
    "holm_over",
    "maj_at_k",
    "majority",
    "multiplied_t",
    "only_setting",
    "paired_difference",
    "pass_at_k",
    "pass_at_k_curve",
    "pass_at_k_matrix",
    "reliable",
    "simultaneous_band",
    "with_errors_as_correct",
]
