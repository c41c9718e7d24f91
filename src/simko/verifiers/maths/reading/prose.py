"""Plain words as a value: a number in words, no solution, all reals, or a text."""

import re
from collections.abc import Sequence

from simko.verifiers.maths.nodes import Node, number
from simko.verifiers.maths.reading.expression import expression
from simko.verifiers.maths.reading.latex import Token
from simko.verifiers.maths.reading.quantity import PERCENT
from simko.verifiers.maths.reading.units import read_unit
from simko.verifiers.maths.reading.words import fraction_word, says_a_number
from simko.verifiers.maths.values import Listing, Quantity, Text, Value

_NOTHING = re.compile(
    r"(?:there (?:is|are|exists?) )?(?:no (?:real |integer |such |valid |positive )*(?:solutions?|roots?|answers?|values?)(?: exists?)?|none(?: exists?)?|empty set|the empty set|no solution exists)"
)
_REALS = re.compile(r"(?:(?:all|any|every|set of(?: all)?) )?real(?:s| numbers?)|all reals")
_SAME = {"dne": "does not exist", "undefined": "does not exist", "infinitely many solutions": "infinitely many"}
_MARKS = ("-", ".", ",", "'", ":", r"\and", "(", ")", ";")


def prose(tokens: Sequence[Token]) -> Value | None:
    """The value of tokens that are words; None if they are none, or a product of letters."""
    if [token.text for token in tokens] == [r"\emptyset"]:
        return Listing((), True)
    wordy = [token for token in tokens if token.kind in ("word", "letters")]
    marks = [token for token in tokens if token.kind not in ("word", "letters")]
    words = [token.text for token in wordy if token.text.casefold() not in ("the", "a", "an")]
    if any(mark.text not in _MARKS for mark in marks) or not any(len(word) > 1 for word in words):
        return None
    if words in (["pi"], ["inf"], ["infinity"]) or (tokens[0].kind == "letters" and marks):
        return None
    if (spelled := _number(words)) is not None:
        return spelled
    low = " ".join(words).casefold()
    if _NOTHING.fullmatch(low):
        return Listing((), True)
    if any(mark.text in ("(", ")", ":", ";", ",", r"\and") for mark in marks):
        return None
    if _REALS.fullmatch(low):
        return Quantity(Node("name", r"\mathbb{R}"))
    product = expression(tokens) if len(tokens) == 1 and tokens[0].kind == "letters" else None
    return Text(_SAME.get(low, " ".join(words)), product)


def _number(words: list[str]) -> Quantity | None:
    """Forty-two, two thirds, ten per cent, three hours."""
    for end in range(len(words), 0, -1):
        value, rest = says_a_number(words[:end]), words[end:]
        if value is None:
            continue
        if not rest:
            return Quantity(number(value))
        if len(rest) == 1 and (part := fraction_word(rest[0])) is not None:
            return Quantity(number(value * part))
        if len(rest) == 1 and rest[0].casefold() in PERCENT:
            return Quantity(number(value), None, True)
        unit = read_unit([Token("word", word, True) for word in rest])
        return None if unit is None else Quantity(number(value), unit)
    return None
