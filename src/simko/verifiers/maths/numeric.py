r"""Whether two expressions have the same values: at points that nobody can guess, at a precision that fits the numbers.

In doubles (`differ`) only a difference is ever concluded: cheap, safe anywhere. In long arithmetic (`agree`) the digits
grow with the largest and the smallest number on the way, so that 2^{2024}-1 is not 2^{2024}-2 and 1-2^{-100} not 1.
What cannot be evaluated is undecided, never equal.
"""

import math
from functools import lru_cache
from typing import Any

from simko.verifiers.maths.evaluation import Evaluation, Undecided, mpmath
from simko.verifiers.maths.nodes import MOST_BITS, QUICK_BITS, Node
from simko.verifiers.maths.points import Point, points

_DIGITS = 60
_MOST_DIGITS = 20_000
_LEAST_POINTS = 4


def differ(one: Node, other: Node, integers: frozenset[str] = frozenset()) -> bool:
    """Whether the expressions surely differ: at some point by far more than doubles may err."""
    context = mpmath().fp
    for point in points(one, other, integers):
        try:
            left, right = Evaluation(context, point, QUICK_BITS), Evaluation(context, point, QUICK_BITS)
            first, second = complex(left.value(one)), complex(right.value(other))
        except Exception:  # whatever doubles cannot hold proves nothing
            continue
        largest = max(left.largest, right.largest, abs(first), abs(second))
        if not _counts(point, first, second):
            continue
        gap = abs(first - second)
        if math.isfinite(gap) and math.isfinite(largest) and gap > 1e-9 * largest:
            return True
    return False


def agree(one: Node, other: Node, integers: frozenset[str] = frozenset()) -> bool | None:
    """Whether the expressions have the same value at every point where both have one; None where that shows nothing.

    A point where one has a value and the other a pole tells them apart. Only for a process that can be killed.
    """
    decided = 0
    tried = points(one, other, integers)
    for point in tried:
        try:
            same = _same_at(one, other, point)
        except (MemoryError, RecursionError):  # exhausted: for the pool to say
            raise
        except (ArithmeticError, ValueError, TypeError):
            continue
        if same is False:
            return False
        decided += same is True
    return True if decided >= min(_LEAST_POINTS, len(tried)) else None


def proportional(one: Node, other: Node, positive: bool = False) -> bool | None:
    """Whether `one` is everywhere the same multiple, not zero, of `other`; a positive one where asked. None: undecided.

    Only for a process that can be killed.
    """
    first: Any = None
    decided = 0
    with mpmath().workdps(_DIGITS):
        for point in points(one, other, frozenset()):
            try:
                left = Evaluation(mpmath().mp, point, MOST_BITS).value(one)
                right = Evaluation(mpmath().mp, point, MOST_BITS).value(other)
            except (ArithmeticError, ValueError, TypeError):
                continue
            if left == 0 or right == 0:
                return False
            ratio = left / right
            first = ratio if first is None else first
            if abs(ratio - first) > abs(first) * mpmath().mpf(10) ** (15 - _DIGITS) or (
                positive and not (_is_real(ratio) and ratio.real > 0)
            ):
                return False
            decided += 1
    return True if decided >= _LEAST_POINTS else None


def _same_at(one: Node, other: Node, point: Point) -> bool | None:
    """Whether the values at a point are the same, to as many digits as their numbers need; None: it does not count."""
    digits, before = _DIGITS, 0.0
    while True:
        with mpmath().workdps(digits):
            context = mpmath().mp
            left, right = Evaluation(context, point, MOST_BITS), Evaluation(context, point, MOST_BITS)
            first, second = left.value(one), right.value(other)
            if not _counts(point, first, second):
                return None
            largest = max(left.largest, right.largest)
            if abs(first - second) > largest * context.mpf(10) ** (10 - digits):
                return False
            least = float(context.log10(min(left.smallest, right.smallest)))
            needed = 30 + 2 * int(context.log10(largest) - least)
        if needed <= digits - 20 or least < 1.5 * before < 0:  # what shrinks with the precision is 0
            return True
        before = least
        if needed > (_MOST_DIGITS if not point.values else _MOST_DIGITS // 20):
            raise Undecided
        digits = needed + 20


def _counts(point: Point, first: Any, second: Any) -> bool:
    """Points with negative names count where both values are real: \\sqrt{x^2} is not x, but 2\\ln x is \\ln x^2."""
    return not point.negative or (_is_real(first) and _is_real(second))


def _is_real(value: Any) -> bool:
    return bool(abs(value.imag) <= 1e-12 * abs(value))


@lru_cache(maxsize=1024)
def real_value(node: Node) -> float | None:
    """A closed expression's value in doubles, infinities included; None if it has none."""
    if node.key in ("cinfinity", "mul:(cinfinity,n-1)"):
        return math.inf if node.key == "cinfinity" else -math.inf
    if node.names:
        return None
    try:
        value = complex(Evaluation(mpmath().fp, Point({}, False), QUICK_BITS).value(node))
    except Exception:  # whatever doubles cannot hold has no value here
        return None
    return value.real if value.imag == 0 else None
