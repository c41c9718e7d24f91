"""The options of methods: one name, one meaning and one range across all of them."""

import math
from collections.abc import Callable
from enum import Enum
from numbers import Integral, Real
from typing import Any, NamedTuple


class Required(Enum):
    """Stands for the value of an option that no source gives: the user must."""

    REQUIRED = "required"

    def __repr__(self) -> str:
        return "required"


REQUIRED: Any = Required.REQUIRED  # stands where a number will


class Option(NamedTuple):
    """meaning: one line; bounds: completes "alpha ..., got 3"; valid: the test behind it, of anything; whole: a count."""

    meaning: str
    bounds: str
    valid: Callable[[Any], bool]
    whole: bool = False


_LARGEST = (2 - 2.0**-23) * 2.0**127  # of float32, in which losses are worked


def is_number(value: Any) -> bool:
    """Whether it is a finite number that float32 holds."""
    size: Any = abs(value) if isinstance(value, Real) and not isinstance(value, bool) else math.inf
    return bool(size <= _LARGEST)


def _count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _clip(meaning: str) -> Option:
    return Option(
        meaning,
        "must not be negative; inf is no clip",
        lambda v: (isinstance(v, float) and v == math.inf) or (is_number(v) and v >= 0),
    )


def _at_least_0(meaning: str) -> Option:
    return Option(meaning, "must be finite and not negative", lambda v: is_number(v) and v >= 0)


def _share(meaning: str) -> Option:
    return Option(meaning, "must lie in [0, 1]", lambda v: is_number(v) and 0 <= v <= 1)


def _positive_share(meaning: str) -> Option:
    return Option(meaning, "must lie in (0, 1]", lambda v: is_number(v) and 0 < v <= 1)


OPTIONS = {
    "alpha": _share("share of a right token's reward that is spread over the candidates"),
    "clip_high": _clip("the ratio is clipped above 1 + clip_high"),
    "clip_low": _clip("the ratio is clipped below 1 - clip_low"),
    "cov_high": Option("upper end of the covariances drawn from", "must be a finite number", is_number),
    "cov_low": Option("lower end of the covariances drawn from", "must be a finite number", is_number),
    "cov_share": _positive_share("share of all response tokens that is chosen by covariance"),
    "divide_by_std": Option("divide by the group's std", "must be True or False", lambda v: isinstance(v, bool)),
    "entropy_coef": _at_least_0("weight of the mean entropy in the loss"),
    "entropy_scale": _at_least_0("weight of a token's entropy in its advantage"),
    "eps": _at_least_0("added to the divisor of the advantage"),
    "focal_exponent": _at_least_0("exponent of the share of wrong responses"),
    "gamma_right": _at_least_0("weight of the mean log-probability of right responses"),
    "gamma_wrong": _at_least_0("weight of the mean log-probability of wrong responses"),
    "gate_quantile": Option(
        "tokens above this entropy quantile of their response are touched",
        "must lie in [0, 1] or be None (every token)",
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
        "the constant that a response's loss is divided by, in tokens",
        "must be a whole number of at least 1, or None (the width of the batch)",
        lambda v: v is None or _count(v),
        whole=True,
    ),
    "positive_weight": _at_least_0("advantage of a right response"),
    "rank_penalty": _share("share of its reward that the most likely response loses, nearly"),
    "ratio_cap": Option(
        "the ratio's upper limit itself", "must be positive and finite", lambda v: is_number(v) and v > 0
    ),
    "tau": _share("0 leaves the right responses' advantages, 1 makes them proportional to 1 / q"),
    "top_k": Option("number of candidates", "must be a whole number of at least 1", _count, whole=True),
    "top_penalty": Option(
        "lambda: factor on rank-1 tokens of wrong responses",
        "(lambda) must be finite and at least 1, which turns it off",
        lambda v: is_number(v) and v >= 1,
    ),
    "top_share": _positive_share("share of the tokens, by entropy, that is trained on"),
}


def checked_option(name: str, value: Any) -> Any:
    """The value, a number as a float unless it counts; ValueError naming the option and its range outside of it."""
    option = OPTIONS[name]
    if not option.valid(value):
        raise ValueError(f"{name} {option.bounds}, got {value!r}")
    if value is None or isinstance(value, bool):
        return value
    return int(value) if option.whole else float(value)
