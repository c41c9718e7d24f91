"""The options of methods. An option has the same meaning and the same range in every method that has it."""

import math
from collections.abc import Callable
from enum import Enum
from numbers import Integral, Real
from typing import Any, NamedTuple


class Required(Enum):
    """Stands in place of a default for an option that the user must set, because no source gives a value."""

    REQUIRED = "required"

    def __repr__(self) -> str:
        return "required"


REQUIRED: Any = Required.REQUIRED  # Any, since it stands where a number is expected
"""The value of an option that has no default: see `Required`."""


class Option(NamedTuple):
    """What an option means, and which values it takes."""

    meaning: str
    """One line for the documentation."""
    bounds: str
    """The range in words. It completes the error message "alpha ..., got 3"."""
    valid: Callable[[Any], bool]
    """Whether a value is in the range. The value may be of any type."""
    whole: bool = False
    """Whether the value is an int, not a float."""


_LARGEST = (2 - 2.0**-23) * 2.0**127  # of float32, the least precise type that losses are computed in


def is_number(value: Any) -> bool:
    """Whether value is a finite number that float32 can hold."""
    size: Any = abs(value) if isinstance(value, Real) and not isinstance(value, bool) else math.inf
    return bool(size <= _LARGEST)


def _count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _clip(meaning: str) -> Option:
    return Option(
        meaning,
        "must not be negative; inf turns the clip off",
        lambda v: (isinstance(v, float) and v == math.inf) or (is_number(v) and v >= 0),
    )


def _at_least_0(meaning: str) -> Option:
    return Option(meaning, "must be finite and not negative", lambda v: is_number(v) and v >= 0)


def _share(meaning: str) -> Option:
    return Option(meaning, "must lie in [0, 1]", lambda v: is_number(v) and 0 <= v <= 1)


def _positive_share(meaning: str) -> Option:
    return Option(meaning, "must lie in (0, 1]", lambda v: is_number(v) and 0 < v <= 1)


OPTIONS = {
    "alpha": _share("share of a correct token's reward that goes to the candidates"),
    "alpha_max": _share("the controller lets alpha rise to this"),
    "alpha_rate": _at_least_0("an update multiplies alpha by exp(alpha_rate (rank1 - base))"),
    "clip_high": _clip("the ratio is clipped to at most 1 + clip_high"),
    "clip_low": _clip("the ratio is clipped to at least 1 - clip_low"),
    "cov_high": Option("tokens are drawn from those with a covariance below it", "must be a finite number", is_number),
    "cov_low": Option("tokens are drawn from those with a covariance above it", "must be a finite number", is_number),
    "cov_share": _positive_share("share of all response tokens that are selected by covariance"),
    "divide_by_std": Option(
        "whether to divide by the group's standard deviation", "must be True or False", lambda v: isinstance(v, bool)
    ),
    "entropy_coef": _at_least_0("weight of the mean entropy in the loss"),
    "entropy_scale": _at_least_0("weight of a token's entropy in its advantage"),
    "eps": _at_least_0("added to the denominator of the advantage"),
    "focal_exponent": _at_least_0("exponent of the share of incorrect responses"),
    "gamma_right": _at_least_0("weight of the mean log-probability of correct responses"),
    "gamma_wrong": _at_least_0("weight of the mean log-probability of incorrect responses"),
    "gate_quantile": Option(
        "the method acts on tokens with entropy above this quantile of their response",
        "must lie in [0, 1] or be None (all tokens)",
        lambda v: v is None or (is_number(v) and 0 <= v <= 1),
    ),
    "k": Option(
        "number of responses of which the best counts", "must be a whole number of at least 1", _count, whole=True
    ),
    "kappa": Option(
        "the entropy term is at most |A| / kappa", "must be finite and above 1", lambda v: is_number(v) and v > 1
    ),
    "kl_coef": _at_least_0("weight of |log-ratio| at marked tokens"),
    "length": Option(
        "number of tokens that the loss of each response is divided by",
        "must be a whole number of at least 1, or None (the width of the batch)",
        lambda v: v is None or _count(v),
        whole=True,
    ),
    "positive_weight": _at_least_0("advantage of a correct response"),
    "rank_penalty": _share("the most likely of N responses loses this share of its reward, times (N - 1) / N"),
    "ratio_cap": Option("largest value of the ratio", "must be positive and finite", lambda v: is_number(v) and v > 0),
    "tau": _share("0 leaves advantages as they are, 1 makes those of correct responses proportional to 1 / q"),
    "top_k": Option("number of candidates", "must be a whole number of at least 1", _count, whole=True),
    "top_penalty": Option(
        "lambda: factor on rank-1 tokens of incorrect responses",
        "(lambda) must be finite and at least 1, which turns it off",
        lambda v: is_number(v) and v >= 1,
    ),
    "top_share": _positive_share("share of the tokens that are trained on, those of largest entropy"),
}
"""{name: `Option`}: the meaning and the range of every option of every method."""


def checked_option(name: str, value: Any) -> Any:
    """The value as the option's type: int for a count, float for another number; None and bool stay.

    ValueError, naming the option and its range, for a value out of range.
    """
    option = OPTIONS[name]
    if not option.valid(value):
        raise ValueError(f"{name} {option.bounds}, got {value!r}")
    if value is None or isinstance(value, bool):
        return value
    return int(value) if option.whole else float(value)
