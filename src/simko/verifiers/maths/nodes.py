"""Expression trees, and their exact values."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

QUICK_BITS = 20_000
"""How long an exact number may be where time is short."""

MOST_BITS = 4_000_000
"""How long an exact number may be in the grading pool."""


@dataclass(frozen=True)
class Node:
    """An expression: a head, what it holds, and its parts."""

    head: str
    """num, name, constant, add, mul, div, pow, call, sum or prod (of body, from, to)."""
    value: str | Fraction = ""
    """The number; the name; the constant (pi, e, i, infinity); the function; the index of a sum.

    A function that has no value of its own begins with ?: an unknown f is ?f, a number to a base ?base 8, a residue ?pmod.
    """
    args: "tuple[Node, ...]" = ()

    @property
    def key(self) -> str:
        """A text that equal trees share: the terms of sums and the factors of products are in one order."""
        if not self.args:
            return f"{self.head[0]}{self.value}"
        keys = [part.key for part in self.args]
        if self.head in ("add", "mul"):
            keys = sorted(keys)
        return f"{self.head}:{self.value}({','.join(keys)})"

    def walk(self) -> "Iterator[Node]":
        """This node and all below it."""
        yield self
        for part in self.args:
            yield from part.walk()

    @property
    def names(self) -> frozenset[str]:
        """The free names."""
        if self.head == "name":
            return frozenset([str(self.value)])
        found = frozenset[str]().union(*(part.names for part in self.args))
        if self.head == "call" and str(self.value).startswith("?"):
            found |= {str(self.value)}
        return found - {str(self.value)} if self.head in ("sum", "prod") else found

    def renamed(self, names: dict[str, str]) -> "Node":
        """The same with other names."""
        if self.head == "name":
            return Node("name", names.get(str(self.value), self.value))
        return Node(self.head, self.value, tuple(part.renamed(names) for part in self.args))


def number(value: int | Fraction) -> Node:
    """A number's node."""
    return Node("num", Fraction(value))


def name(text: str) -> Node:
    """A name's node."""
    return Node("name", text)


def call(function: str, *args: Node) -> Node:
    """A function's node."""
    return Node("call", function, args)


def product(*factors: Node) -> Node:
    """The product of one or more factors, flat."""
    flat = [part for factor in factors for part in (factor.args if factor.head == "mul" else (factor,))]
    return flat[0] if len(flat) == 1 else Node("mul", args=tuple(flat))


def negative(node: Node) -> Node:
    """The node's opposite."""
    return number(-node.value) if isinstance(node.value, Fraction) else product(number(-1), node)


class Inexact(ArithmeticError):
    """The expression is not rational, or its number is too long."""


def exact(node: Node, bits: int = QUICK_BITS) -> Fraction | None:
    """The rational number that an expression is; None if it has names, is irrational, or is longer than `bits`."""
    try:
        return _exact(node, bits)
    except (ArithmeticError, ValueError, RecursionError):
        return None


def _exact(node: Node, bits: int) -> Fraction:
    if isinstance(node.value, Fraction):
        return node.value
    if node.head not in ("add", "mul", "div", "pow", "call"):
        raise Inexact
    values = [_exact(part, bits) for part in node.args]
    if node.head == "add":
        return _short(sum(values, Fraction(0)), bits)
    if node.head == "mul":
        return _short(math.prod(values, start=Fraction(1)), bits)
    if node.head == "div":
        return _short(values[0] / values[1], bits)
    if node.head == "pow":
        return _power(values[0], values[1], bits)
    if node.value not in _EXACT:
        raise Inexact
    return _short(Fraction(_EXACT[str(node.value)](values, bits)), bits)


def _short(value: Fraction, bits: int) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > bits:
        raise Inexact
    return value


def _power(base: Fraction, exponent: Fraction, bits: int) -> Fraction:
    if exponent.denominator != 1:
        root = exponent.denominator
        if root > 64 or base < 0:
            raise Inexact
        base, exponent = (
            Fraction(_root(base.numerator, root), _root(base.denominator, root)),
            Fraction(exponent.numerator),
        )
    if base in (0, 1, -1):
        exponent = Fraction(exponent.numerator % 2 if base == -1 else max(min(exponent.numerator, 1), -1))
    length = max(base.numerator.bit_length(), base.denominator.bit_length())
    if abs(exponent.numerator) * length > bits:
        raise Inexact
    return base**exponent.numerator


def _root(value: int, degree: int) -> int:
    found = math.isqrt(value) if degree == 2 else round(value ** (1 / degree)) if value < 2**900 else -1
    if found**degree != value:
        raise Inexact
    return found


def _integers(values: list[Fraction]) -> list[int]:
    if any(value.denominator != 1 for value in values):
        raise Inexact
    return [value.numerator for value in values]


def _factorial(values: list[Fraction], bits: int) -> int:
    (count,) = _integers(values)
    if count < 0 or count * max(count.bit_length() - 1, 1) > bits:
        raise Inexact
    return math.factorial(count)


def _double_factorial(values: list[Fraction], bits: int) -> int:
    (count,) = _integers(values)
    if count < 0 or count * count.bit_length() > bits:
        raise Inexact
    return math.prod(range(count, 0, -2))


def _binomial(values: list[Fraction], bits: int) -> int:
    upper, lower = _integers(values)
    if lower < 0 or upper < 0 or min(lower, max(upper - lower, 0)) * upper.bit_length() > bits:
        raise Inexact
    return math.comb(upper, lower)


_EXACT: dict[str, Callable[[list[Fraction], int], int | Fraction]] = {
    "factorial": _factorial,
    "double factorial": _double_factorial,
    "binom": _binomial,
    "floor": lambda values, _: math.floor(*values),
    "ceil": lambda values, _: math.ceil(*values),
    "abs": lambda values, _: abs(*values),
    "max": lambda values, _: max(values),
    "min": lambda values, _: min(values),
    "gcd": lambda values, _: math.gcd(*_integers(values)),
    "lcm": lambda values, _: math.lcm(*_integers(values)),
    "mod": lambda values, _: values[0] % values[1],
    "sqrt": lambda values, bits: _power(values[0], Fraction(1, 2), bits),
    "root": lambda values, bits: _power(values[0], 1 / values[1], bits),
}
