"""Two quantities: numbers with tolerance, per cent, units and bases; expressions by the judge."""

import math
from dataclasses import replace
from fractions import Fraction

from simko.verifiers.maths.comparing.judges import Judge, Verdict3, any_of
from simko.verifiers.maths.comparing.shapes import congruent
from simko.verifiers.maths.nodes import Node, call, exact, number, product
from simko.verifiers.maths.numeric import real_value
from simko.verifiers.maths.reading.units import canonical, conversion
from simko.verifiers.maths.values import Quantity

DECIMAL_TOLERANCE = Fraction(1, 10**4)
"""Relative, for golds written as decimals; as in the Qwen2.5-Math grader."""

CLOSED_FORM_TOLERANCE = Fraction(1, 10**6)
"""Relative, for a decimal answer to a gold that is a fraction or a closed form."""

_DEGREE = (("degree", 1),)
_RADIAN = (("radian", 1),)


def quantities(gold: Quantity, answer: Quantity, judge: Judge) -> Verdict3:
    """Whether two quantities are the same."""
    units = [canonical(side.unit) if side.unit else None for side in (gold, answer)]
    if units == [_DEGREE, _RADIAN]:
        return judge.equal(call("degrees", gold.node), answer.node)
    if units == [_RADIAN, _DEGREE]:
        return judge.equal(gold.node, call("degrees", answer.node))
    if gold.unit is not None and answer.unit is not None and gold.percent == answer.percent:
        factor = conversion(answer.unit, gold.unit)
        if factor is None:
            if gold.bare is None or answer.bare is None or not gold.node.names:
                return False
            return judge.equal(gold.bare, answer.bare)
        node = answer.node if factor == 1 else product(answer.node, number(factor))
        return values_match(gold, Quantity(node, None, answer.percent, answer.decimal or factor != 1), judge)
    if _has_pi(gold) and answer.unit == _DEGREE:
        return judge.equal(gold.node, call("degrees", answer.node))
    verdict = values_match(gold, answer, judge)
    if verdict is True:
        return True
    readings: list[Verdict3] = [verdict]
    if answer.unit is not None and gold.node.names and answer.bare is not None:
        readings.append(judge.equal(gold.node, answer.bare))
    if gold.unit is not None and answer.node.names and gold.bare is not None:
        readings.append(judge.equal(gold.bare, answer.node))
    if _has_pi(answer) and gold.unit == _DEGREE:
        readings.append(judge.equal(call("degrees", gold.node), answer.node))
    return any_of(readings)


def values_match(gold: Quantity, answer: Quantity, judge: Judge) -> Verdict3:
    """Whether the numbers or expressions are the same."""
    if answer.node.value == "?base 10" and _base(gold.node) is None:
        answer = replace(answer, node=answer.node.args[0])
    one, other = _base(gold.node), _base(answer.node)
    if other is not None or one is not None:
        return (
            gold.node.key == answer.node.key
            or (other is None and one == answer.node.key)
            or congruent(gold.node, answer.node)
        )
    target, found = exact(gold.node), exact(answer.node)
    if target is not None and found is not None:
        return _numbers_match(target, found, gold, answer, judge.within)
    if gold.percent != answer.percent:
        scaled = (
            [product(answer.node, number(Fraction(1, 100)))]
            if answer.percent
            else [answer.node, product(answer.node, number(100))]
        )
        verdicts = [judge.equal(gold.node, node) for node in scaled]
        return any_of(verdicts)
    if judge.within is not None or gold.decimal or answer.decimal:
        near = _near(gold, answer, target, found, judge.within)
        if near is not None:
            return near
    return judge.equal(gold.node, answer.node)


def _has_pi(quantity: Quantity) -> bool:
    return quantity.unit is None and any(part.value == "pi" for part in quantity.node.walk())


def _base(node: Node) -> str | None:
    """The key of a number without its base or modulus, which may be left out; None if it has none."""
    return node.args[0].key if node.head == "call" and str(node.value).startswith(("?base", "?pmod")) else None


def _numbers_match(
    target: Fraction, found: Fraction, gold: Quantity, answer: Quantity, within: Fraction | None
) -> bool:
    values = [found / 100 if answer.percent else found]
    if gold.percent:
        values = [found] if answer.percent else [found, 100 * found]
    if within is None:
        relative = Fraction(0)
        if gold.decimal:
            relative = DECIMAL_TOLERANCE
        elif answer.decimal and target.denominator != 1:
            relative = CLOSED_FORM_TOLERANCE
        within = abs(target) * relative
    return any(abs(value - target) <= within for value in values)


def _near(
    gold: Quantity, answer: Quantity, target: Fraction | None, found: Fraction | None, within: Fraction | None
) -> Verdict3:
    """Whether a closed form and a decimal number are near enough; None where neither is a plain number."""
    if target is None and found is None and within is None:
        return None
    if target is None and not answer.decimal and within is None:
        return None
    if found is None and not gold.decimal and within is None:
        return None
    one, other = real_value(gold.node), real_value(answer.node)
    if one is None or other is None or not (math.isfinite(one) and math.isfinite(other)):
        return None
    if within is None:
        within = abs(Fraction(one)) * (DECIMAL_TOLERANCE if found is None else CLOSED_FORM_TOLERANCE)
    return abs(Fraction(one) - Fraction(other)) <= within
