"""The types of answers. What equals what is decided in `compare`; here is what each holds."""

from dataclasses import dataclass
from typing import TypeAlias

from simko.verifiers.maths.nodes import Node

Unit = tuple[tuple[str, int], ...]
"""Names and their powers: metres per second squared is (("m", 1), ("s", -2))."""


@dataclass(frozen=True)
class Quantity:
    """A number or an expression, with what stands behind it."""

    node: Node
    unit: Unit | None = None
    percent: bool = False
    decimal: bool = False
    """Whether it is written with a decimal point or a power e: then it may be rounded."""
    bare: Node | None = None
    """The same with its unit read as names: 6 m as 6 times m."""


@dataclass(frozen=True)
class Text:
    """A word or phrase; `node` is what plain letters are as a product."""

    text: str
    node: Node | None = None


@dataclass(frozen=True)
class Option:
    """A letter that is chosen, with the option's content where it is given."""

    letter: str
    content: "Value | None" = None


@dataclass(frozen=True)
class Clock:
    """Numbers separated by colons, a time of day or a ratio, as written; `half` is am, pm or empty."""

    parts: tuple[str, ...]
    half: str = ""


@dataclass(frozen=True)
class Named:
    r"""A name's value: x=5, |AB|=3, \text{Area}=12, x \in [1,2]."""

    name: str
    value: "Value"
    left: Node | None = None
    """The name as an expression, where it is one."""


@dataclass(frozen=True)
class Function:
    """A function's definition: f(x)=x+1."""

    name: str
    parameters: tuple[str, ...]
    body: "Value"


@dataclass(frozen=True)
class Relation:
    """Sides and the signs between them: an equation, an inequality, a congruence, a chain of these."""

    sides: tuple[Node, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Chain:
    r"""Values that are said to be equal, exactly (=) or nearly (\approx), from left to right."""

    values: "tuple[Value, ...]"
    signs: tuple[str, ...]


@dataclass(frozen=True)
class Interval:
    """From low to high; an end belongs to it where it is closed."""

    low: Node
    high: Node
    low_closed: bool
    high_closed: bool


@dataclass(frozen=True)
class Region:
    """A union of intervals of the line, in the order written; `name` is the unknown's, where it is given."""

    intervals: tuple[Interval, ...]
    name: str = ""


@dataclass(frozen=True)
class Tuple:
    """Values in order between brackets: a point, a vector, an interval."""

    items: "tuple[Value, ...]"
    opening: str = "("
    closing: str = ")"


@dataclass(frozen=True)
class Listing:
    r"""Values without order: 1, 2 or 3; a set where it stands in braces."""

    items: "tuple[Value, ...]"
    braces: bool = False


@dataclass(frozen=True)
class Matrix:
    """Rows of values; `bars` where it is a determinant."""

    rows: "tuple[tuple[Value, ...], ...]"
    bars: bool = False


@dataclass(frozen=True)
class Cases:
    """A piecewise definition: values, each with its condition."""

    rows: "tuple[tuple[Value, Value], ...]"


@dataclass(frozen=True)
class Given:
    """A value under conditions: n \\pi with n an integer."""

    value: "Value"
    conditions: frozenset[str]
    """As text."""
    integers: frozenset[str]
    """The names that are said to be integers."""


@dataclass(frozen=True)
class Unread:
    """What is none of the above: only the same text equals it."""

    text: str


Value: TypeAlias = (
    Quantity
    | Text
    | Option
    | Clock
    | Named
    | Function
    | Relation
    | Chain
    | Region
    | Tuple
    | Listing
    | Matrix
    | Cases
    | Given
    | Unread
)
