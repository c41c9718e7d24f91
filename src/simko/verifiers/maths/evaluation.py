"""An expression's value at a point, in doubles or in long arithmetic (mpmath)."""

import hashlib
import math
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

from simko.verifiers.maths.nodes import Node, exact
from simko.verifiers.maths.points import Point

_MOST_TERMS = 2_000


class Undecided(ArithmeticError):
    """The expression has no value here, or none that can be had in time."""


@cache
def mpmath() -> Any:
    """The module, loaded when first needed."""
    import mpmath

    return mpmath


_SAME = "sin cos tan cot sec csc sinh cosh tanh coth ln max min gcd"
_OTHER = {"log": "ln", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arg": "arg", "Re": "re", "Im": "im"}
NAMED = {name: name for name in _SAME.split()} | _OTHER
"""The functions that LaTeX has a macro for, and mpmath's names for them."""

_FUNCTIONS = NAMED | {
    "sech": "sech", "csch": "csch", "erf": "erf", "arccot": "acot", "arcsec": "asec", "arccsc": "acsc", "arsinh": "asinh", "arcosh": "acosh",
    "artanh": "atanh", "sgn": "sign", "sign": "sign",
}  # fmt: skip


class Evaluation:
    """Evaluates expressions at one point, and keeps the largest and the smallest size on the way."""

    def __init__(self, context: Any, point: Point, bits: int) -> None:
        self.context, self.point, self.bits = context, point, bits
        self.terms = 0
        self.largest: Any = context.mpf(1)
        self.smallest: Any = context.mpf(1)

    def value(self, node: Node) -> Any:
        found = self.plain(node)
        if self.context.isinf(found) or self.context.isnan(found):
            raise Undecided
        self.note(abs(found))
        return found

    def note(self, size: Any) -> None:
        """Keep the size of a number on the way."""
        if size > self.largest:
            self.largest = size
        elif 0 < size < self.smallest:
            self.smallest = size

    def plain(self, node: Node) -> Any:
        context = self.context
        if node.head == "num":
            value: Any = node.value
            return context.mpf(value.numerator) / context.mpf(value.denominator)
        if node.head == "name":
            return self.name(str(node.value))
        if node.head == "constant":
            if node.value == "infinity":
                raise Undecided
            return {"pi": +context.pi, "e": +context.e, "i": context.mpc(0, 1)}[str(node.value)]
        if node.head in ("sum", "prod"):
            return self.series(node)
        if node.head == "pow":
            return self.power(*node.args)
        values = [self.value(part) for part in node.args]
        if node.head == "add":
            return sum(values[1:], values[0])
        if node.head == "mul":
            return math.prod(values[1:], start=values[0])
        if node.head == "div":
            if values[1] == 0:
                raise Undecided
            return values[0] / values[1]
        return self.call(str(node.value), values)

    def name(self, text: str) -> Any:
        value = self.point.values[text]
        return self.context.mpf(value.numerator) / value.denominator

    def power(self, below: Node, above: Node) -> Any:
        base, exponent = self.value(below), self.value(above)
        if base == 0:
            if self.real(exponent) < 0:
                raise Undecided
            return self.context.mpf(exponent == 0)
        if abs(exponent) * max(1, abs(self.context.log(abs(base)))) > 10**9:
            raise Undecided
        if base.imag == 0 and base.real < 0:
            root = exact(above, 64)
            if root is not None and root.denominator % 2 and root.denominator > 1:  # the real cube root of -8
                size = abs(base) ** exponent
                return -size if root.numerator % 2 else size
        return base**exponent

    def real(self, value: Any) -> Any:
        if abs(value.imag) > 1e-12 * abs(value):
            raise Undecided
        return value.real

    def nearest(self, value: Any) -> Any:
        """The nearest integer; mpmath's doubles have none."""
        return self.context.floor(value + 0.5)

    def integer(self, value: Any) -> int:
        found = int(self.nearest(self.real(value)))
        if abs(value - found) > 1e-9 or abs(found) > 10**7:
            raise Undecided
        return found

    def call(self, function: str, values: list[Any]) -> Any:
        context = self.context
        if function.startswith("?"):
            return self.unknown(function, values)
        if function in ("floor", "ceil"):
            whole = self.nearest(self.real(values[0]))
            if abs(values[0] - whole) < 1e-9:  # rounding must not decide
                return context.mpf(whole)
            return getattr(context, function)(values[0].real)
        if function in ("max", "min"):
            return (max if function == "max" else min)(map(self.real, values))
        if function in ("gcd", "lcm"):
            return context.mpf(getattr(math, function)(*map(self.integer, values)))
        if function == "mod":
            left, right = map(self.real, values)
            return left - right * context.floor(left / right)
        if function == "abs":
            return abs(values[0])
        if function == "degrees":
            return values[0] * context.pi / 180
        if function == "factorial":
            if values[0].imag == 0 and values[0] == int(values[0].real) and 0 <= values[0].real < 5000:
                return context.mpf(math.factorial(int(values[0].real)))
            return context.factorial(values[0]) if abs(values[0]) < 10**6 else self.fail()
        if function == "double factorial":
            return context.fac2(values[0]) if abs(values[0]) < 10**5 else self.fail()
        if function == "binom":
            return context.binomial(*values) if abs(values[0]) < 10**6 else self.fail()
        if function in ("ln", "log") and values[0] == 0:
            raise Undecided
        if function in ("tanh", "coth", "erf"):  # close to 1: count the distance
            self.note(context.exp(-2 * abs(self.real(values[0]))))
        if function not in _FUNCTIONS:
            return self.unknown("?" + function, values)
        if function in ("sin", "cos", "tan", "cot", "sec", "csc") and abs(values[0]) > 10**9:
            raise Undecided
        found = getattr(context, _FUNCTIONS[function])(*values)
        if abs(found) > 10**12 and function in ("tan", "cot", "sec", "csc"):  # a pole, but for rounding
            raise Undecided
        return found

    def fail(self) -> Any:
        raise Undecided

    def unknown(self, function: str, values: list[Any]) -> Any:
        """A function that is not known has a value drawn from its name and its arguments' first 20 digits."""
        if self.context is mpmath().fp:
            raise Undecided
        text = function + "".join(f"\0{self.context.nstr(self.context.mpc(value), 20)}" for value in values)
        return self.context.mpf(1 + int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])) / 2**47

    def series(self, node: Node) -> Any:
        body, low, high = node.args
        start, end = self.integer(self.value(low)), self.integer(self.value(high))
        self.terms += max(end - start, 0)
        if self.terms > _MOST_TERMS:
            raise Undecided
        outer = self.point
        total = self.context.mpf(0 if node.head == "sum" else 1)
        for index in range(start, end + 1):
            self.point = Point({**outer.values, str(node.value): Fraction(index)}, outer.negative)
            value = self.value(_bound(body, str(node.value)))
            total = total + value if node.head == "sum" else total * value
        self.point = outer
        return total


@lru_cache(maxsize=1024)
def _bound(body: Node, index: str) -> Node:
    """The body with its index a name, where the index is i or e."""
    if body.head == "constant" and body.value == index:
        return Node("name", index)
    return Node(body.head, body.value, tuple(_bound(part, index) for part in body.args)) if body.args else body
