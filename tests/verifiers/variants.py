"""Labelled answers drawn from templates: other numbers, names, units and wordings of each kind in variants.txt.

A template file is lines of text:

    # kind            a kind; "(taste)" after its name: reported, never required
    = gold            the gold answer of the lines below
    ? condition       numbers and names are drawn again until it holds
    + answer          a right answer, in a box; - answer is an incorrect one
    +> response       a whole response that is right; -> response is an incorrect one
    ! reason          the line above is a known miss

Between « and » stands a Python expression over one draw of numbers and names (see `draw`). ⏎ is the end of a line and ␌
a form feed. Labels follow from mathematics, for any draw that meets the condition.
"""

import math
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent

BOXES = (
    "So $\\boxed{%s}$.",
    "Working it through step by step, we obtain $\\boxed{%s}$.",
    "\\boxed{%s}",
    "**Answer:** $\\boxed{%s}$",
    "Therefore\n\\[\n\\boxed{%s}\n\\]",
)
GOLDS = (
    "«n»",
    "\\frac{«a»}{«b»}",
    "«a»\\sqrt{«p»}",
    "«a»x^2-«b»x+«c»",
    "(«a», -«b»)",
    "[«a», «a+b»)",
    "y = «a»x - «b»",
    "\\begin{pmatrix} «a» \\\\ -«b» \\end{pmatrix}",
    "«a» + «b»i",
    "\\frac{«a»\\pi}{«b+20»}",
)
VULGAR = (
    ("½", 1, 2),
    ("⅓", 1, 3),
    ("⅔", 2, 3),
    ("¼", 1, 4),
    ("¾", 3, 4),
    ("⅖", 2, 5),
    ("⅗", 3, 5),
    ("⅚", 5, 6),
    ("⅜", 3, 8),
)
UNITS = ("minutes", "apples", "hours", "meters", "cm", "miles", "kg", "students", "inches", "dollars", "feet", "days")
OPPOSITES = (
    ("east", "west"), ("even", "odd"), ("ellipse", "hyperbola"), ("Evelyn", "Navin"), ("Monday", "Friday"),
    ("increasing", "decreasing"), ("convergent", "divergent"), ("Alice", "Robert"), ("red", "green"), ("north", "south"),
)  # fmt: skip


class Variant(NamedTuple):
    """One labelled answer."""

    kind: str
    gold: str
    response: str
    correct: bool
    missed: str | None
    """Why the grader is known to judge it incorrectly; None where it must agree."""


@dataclass
class Line:
    """One answer template, with its gold's."""

    kind: str
    gold: str
    condition: str
    label: str
    text: str
    missed: str | None = None

    def draw(self, source: random.Random) -> Variant:
        """An answer with fresh numbers and names."""
        names = draw(source)
        while not eval(self.condition, FUNCTIONS, names):
            names = draw(source)
        filled = fill(self.text, names)
        response = filled if self.label.endswith(">") else source.choice(BOXES) % filled
        return Variant(self.kind, fill(self.gold, names), response, self.label.startswith("+"), self.missed)


def read_lines(path: Path) -> list[Line]:
    """The templates of a file, in order."""
    lines: list[Line] = []
    kind = gold = condition = ""
    for row in path.read_text("utf-8").splitlines():
        mark, _, text = row.partition(" ")
        if mark == "#":
            kind, condition = text, "True"
        elif mark == "=":
            gold, condition = text, "True"
        elif mark == "?":
            condition = text
        elif mark == "!":
            lines[-1].missed = text
        elif mark:
            assert mark in ("+", "-", "+>", "->"), row
            lines.append(Line(kind, gold, condition, mark, text))
    return lines


def distinct(lines: Iterable[Line], source: random.Random, each: int) -> Iterator[Variant]:
    """`each` answers a template, fewer where it has no more; no pair twice in a kind."""
    seen = set()
    for line in lines:
        for _ in range(each):
            variant = line.draw(source)
            if variant[:3] not in seen:
                seen.add(variant[:3])
                yield variant


# -- a draw ------------------------------------------------------------------------------------------------------------


def draw(source: random.Random) -> dict[str, Any]:
    """Numbers and names for one template: those of one line of the table differ from each other.

    a b c d   2 to 19                    n m     21 to 989           N       seven digits
    p q       primes to 19               D E     digits 2 to 9       h       a digit over 9 in lowest terms
    s t       numbers with one decimal   deg     degrees, not 45     x y z   small letters for variables
    k         a letter for an index      f       a function's name   A B C   capital letters for points
    K         a capital letter           L M     options             T NT    a word and its opposite (w: both, others)
    u         a unit                     V W     (vulgar fraction, its numerator, its denominator)
    G H       an expression, and another of the same form
    """
    names: dict[str, Any] = numbers(source)
    for letters, pool in (("xyz", "xyzuvw"), ("ABC", "ABCPQRST"), ("LM", "ABCD"), ("VW", VULGAR)):
        names |= zip(letters, source.sample(pool, len(letters)), strict=True)
    names |= {
        "k": source.choice("kmnj"),
        "f": source.choice("fgh"),
        "K": source.choice("MNQPVHX"),
        "u": source.choice(UNITS),
    }
    names["w"] = source.choice((1, -1))
    names["w"] = source.choice(OPPOSITES)[:: names["w"]]
    names["T"], names["NT"] = source.choice((("True", "False"), ("False", "True"), ("Yes", "No"), ("No", "Yes")))
    form = source.choice(GOLDS)
    other = numbers(source)
    other |= {name: names[name] + 50 for name in "abcdn"} | {"p": names["q"]}
    return names | {"G": fill(form, names), "H": fill(form, other)}


def numbers(source: random.Random) -> dict[str, Any]:
    """The numbers of a draw."""
    names: dict[str, Any] = dict(zip("abcd", source.sample(range(2, 20), 4), strict=True))
    names |= zip("nm", source.sample(range(21, 990), 2), strict=True)
    names |= zip("pq", source.sample((2, 3, 5, 7, 11, 13, 17, 19), 2), strict=True)
    names |= zip("DE", source.sample(range(2, 10), 2), strict=True)
    names |= zip("st", (f"{whole}.{source.randint(1, 9)}" for whole in source.sample(range(1, 60), 2)), strict=True)
    names |= {"N": source.randint(1_000_000, 9_999_998), "h": source.choice((1, 2, 4, 5, 7, 8))}
    return names | {"deg": source.choice([degrees for degrees in range(10, 81) if degrees != 45])}


def sep(number: int, separator: str) -> str:
    """The number with a separator between its thousands."""
    return f"{number:,}".replace(",", separator)


def digits(text: object, first: str, origin: str = "0") -> str:
    """The text with its characters moved from the block at `origin` to that at `first`."""
    return "".join(chr(ord(character) - ord(origin) + ord(first)) for character in str(text))


FUNCTIONS = {"sep": sep, "digits": digits, "gcd": math.gcd, "comb": math.comb, "fact": math.factorial}


def fill(text: str, names: dict[str, Any]) -> str:
    """The template with its expressions evaluated."""
    filled = re.sub("«(.*?)»", lambda found: str(eval(found[1], FUNCTIONS, names)), text)
    return filled.replace("⏎", "\n").replace("␌", "\f")
