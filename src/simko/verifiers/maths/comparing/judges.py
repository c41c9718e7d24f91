"""How two answers are compared: quickly, by text, exact numbers and sure differences; or thoroughly."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from simko.verifiers.maths.nodes import MOST_BITS, QUICK_BITS, Node, call, exact, number
from simko.verifiers.maths.numeric import agree, differ, proportional, real_value
from simko.verifiers.maths.values import Value

Verdict3 = bool | None
"""True, False, or None where it cannot be told."""


@dataclass(frozen=True)
class Judge:
    """Compares answers; None where it cannot tell. A thorough one may take any time: only for the grading pool."""

    compare: "Callable[[Value, Value, Judge], Verdict3]"
    """The table of rules."""
    thorough: bool
    within: Fraction | None = None
    """How far a number may be from the gold, absolute; by default the relative tolerances of `quantities`."""
    integers: frozenset[str] = frozenset()
    """Names that are known to be integers."""

    def same(self, gold: Any, answer: Any) -> Verdict3:
        """Whether the answer equals the gold, by the rule for their types."""
        return self.compare(gold, answer, self)

    def equal(self, gold: Node, answer: Node) -> Verdict3:
        """Whether two expressions have the same value for all their names."""
        if gold.key == answer.key:
            return True
        if answer.names - gold.names:  # \max(x, 1000) is not 1000, wherever it is
            return False
        infinite = [any(part.value == "infinity" for part in node.walk()) for node in (gold, answer)]
        if any(infinite):
            return infinite == [True, True] and real_value(gold) is not None and real_value(gold) == real_value(answer)
        bits = MOST_BITS if self.thorough else QUICK_BITS
        numbers = exact(gold, bits), exact(answer, bits)
        if None not in numbers:
            return numbers[0] == numbers[1]
        pairs = [(one, other) for one in _readings(gold) for other in _readings(answer)]
        left = [pair for pair in pairs if not differ(*pair, self.integers)]
        if not left:
            return False
        return any_of(agree(*pair, self.integers) for pair in left) if self.thorough else None

    def proportional(self, gold: Node, answer: Node, positive: bool = False) -> Verdict3:
        """Whether one expression is a constant, not zero, times the other: so are the differences of equal equations."""
        if gold.names != answer.names:
            return False
        return proportional(gold, answer, positive) if self.thorough else None


def _readings(node: Node) -> list[Node]:
    r"""The expression with \log natural, and with \log to base 10 where it has one without a base."""
    return [node] if all(part.value != "log" for part in node.walk()) else [node, _to_base_10(node)]


def _to_base_10(node: Node) -> Node:
    args = tuple(map(_to_base_10, node.args))
    found = Node(node.head, node.value, args)
    return Node("div", args=(found, call("ln", number(10)))) if node.value == "log" else found


def all_of(verdicts: Iterable[Verdict3]) -> Verdict3:
    """False if any is False, else None if any is None, else True."""
    found = list(verdicts)
    return False if False in found else None if None in found else True


def any_of(verdicts: Iterable[Verdict3]) -> Verdict3:
    """True if any is True, else None if any is None, else False."""
    found = list(verdicts)
    return True if True in found else None if None in found else False


def pair_up(golds: Iterable[Any], answers: Iterable[Any], same: Callable[[Any, Any], Verdict3]) -> Verdict3:
    """Whether as many items pair up, in any order; None where it cannot be told of some."""
    left, unsure = list(answers), False
    for gold in golds:
        verdicts = [same(gold, answer) for answer in left]
        if True in verdicts:
            del left[verdicts.index(True)]
        elif None in verdicts:
            unsure = True
        else:
            return False
    return None if unsure else True
