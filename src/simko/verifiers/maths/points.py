"""The points at which two expressions are compared."""

import hashlib
import random
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from simko.verifiers.maths.nodes import Node, exact

_ROUNDED = frozenset(["floor", "ceil", "mod"])
_COUNTED = frozenset(["factorial", "double factorial", "binom", "gcd", "lcm"])
_INTEGER_LETTERS = frozenset("ijklmnpqNMKP")
_RANGES = ((1.1, 2.9), (0.05, 0.95), (3, 12), (12, 90))
_CONSECUTIVE = 64


@dataclass(frozen=True)
class Point:
    """A value for each free name; `negative` where some are below 0."""

    values: dict[str, Fraction]
    negative: bool


def points(one: Node, other: Node, integers: frozenset[str]) -> list[Point]:
    """Values for the free names: near 1, in (0, 1), beyond the largest constant, negative, of mixed signs.

    They follow from a hash of both expressions, so that no answer can be made to agree at them alone. Of more than two names, all
    are quantities, so positive. The names in `integers`, those within factorials and such, and n, k and the like within floors
    of the first expression, the gold, are integers: then the first 63 are among them.
    """
    names = sorted(one.names | other.names)
    if not names:
        return [Point({}, False)]
    source = random.Random(hashlib.sha256(f"{one.key}\0{other.key}".encode()).digest())
    counted = integers | (_within(one, _ROUNDED) & _INTEGER_LETTERS) | _within(one, _COUNTED) | _within(other, _COUNTED)
    positive = len(names) > 2 and not any(part.value == "abs" for node in (one, other) for part in node.walk())
    parts = [part for node in (one, other) for part in node.walk() if part.head in ("num", "pow") and not part.names]
    constants = [value for part in parts if (value := exact(part, 64)) is not None]
    far = float(max([Fraction(10), *(min(abs(value), Fraction(10**15)) for value in constants)]))

    def drawn(low: float, high: float, name: str) -> Fraction:
        if name in counted:
            whole = source.randint(min(int(low), -9) if low < 0 else 1, max(int(high), 9) if high > 0 else -1)
            return Fraction(whole or 1)
        return Fraction(source.randint(int(low * 10007), int(high * 10007)) or 1, 10007)

    found = [{name: drawn(low, high, name) for name in names} for low, high in (*_RANGES, (1.1 * far, 3 * far))]
    real = [name for name in names if name not in counted]
    found.append(
        found[0] | dict(zip(real, [found[0][name] for name in reversed(real)], strict=True))
    )  # max(x, y) is neither
    found += [
        {name: drawn(low, high, name) for name in names} for low, high in ((-3, -1), (-60, -5), (-3 * far, -1.1 * far))
    ]
    found += [
        {name: value * (-1) ** (place + turn) for place, (name, value) in enumerate(found[turn].items())}
        for turn in (0, 1, 2)
    ]
    natural = counted - integers
    found = [{name: abs(value) if name in natural else value for name, value in values.items()} for values in found]
    if positive:  # a formula of quantities: \sqrt{r^2} is r
        found = [{name: abs(value) for name, value in values.items()} for values in found]
    if counted:
        found += [
            {name: Fraction(n) if name in counted else drawn(1, 9, name) for name in names}
            for n in range(1, _CONSECUTIVE)
        ]
        found += [{name: drawn(1, high, name) for name in names} for high in (20, 60, 60, 400)]
    return [Point(values, any(value < 0 for value in values.values())) for values in found]


@lru_cache(maxsize=1024)
def _within(node: Node, functions: frozenset[str]) -> frozenset[str]:
    """The names within one of the functions, or the ends of a sum."""
    found = frozenset[str]()
    for part in node.walk():
        if part.head == "call" and part.value in functions:
            found |= part.names
        elif part.head in ("sum", "prod"):
            found |= part.args[1].names | part.args[2].names
    return found
