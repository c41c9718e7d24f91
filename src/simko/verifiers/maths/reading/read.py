r"""Tokens to one typed value: lists first, then relations, brackets, and what is left a quantity or a text.

Each function reads one type and gives None where the tokens are of another; `_READERS` is their order.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from simko.verifiers.maths.reading.brackets import brackets, enclosed, split
from simko.verifiers.maths.reading.expression import spelled
from simko.verifiers.maths.reading.latex import MAX_DEPTH, Token, Unreadable, op, tokenise
from simko.verifiers.maths.reading.phrases import conditions, join_thousands, label, without_prose
from simko.verifiers.maths.reading.quantity import quantity, text_value
from simko.verifiers.maths.reading.relations import relation
from simko.verifiers.maths.values import Cases, Clock, Given, Listing, Matrix, Named, Option, Text, Unread, Value

_CLOCK = re.compile(r"([0-9]{1,9})((?::[0-9]{1,9})+)(am|pm|a\.m\.?|p\.m\.?)?", re.IGNORECASE)


@lru_cache(maxsize=8192)
def read(text: str) -> Value:
    """The typed value of an answer; Unread where it is none."""
    try:
        tokens = tokenise(text)
        return read_tokens(tokens) if tokens else Unread("")
    except (Unreadable, RecursionError, ArithmeticError, ValueError, IndexError):
        return Unread(" ".join(text.split()))


def read_tokens(tokens: Sequence[Token], depth: int = 0) -> Value:
    """The typed value of tokens; Unread where they are none."""
    if depth > MAX_DEPTH:
        raise Unreadable("its lists are too deep")
    tokens = enclosed(tokens)
    main, given, names, integers = conditions(tokens)
    if given:
        return Given(read_tokens(main, depth + 1), given, names, integers)
    for reader in _READERS:
        if (value := reader(tokens, depth + 1)) is not None:
            return value
    return Unread(spelled(tokens))


def _prose(tokens: Sequence[Token], depth: int) -> Value | None:
    left = without_prose(tokens)
    return None if left is None or left == list(tokens) else read_tokens(left, depth)


def _option(tokens: Sequence[Token], depth: int) -> Value | None:
    r"""(B), B) 5, \textbf{(B)}\ 12, B: 12 apples, option B: a capital letter marked as a label, or alone."""
    found = label(tokens)
    if found is None:
        return None
    letter, rest = found
    return Option(letter, read_tokens(rest, depth) if rest else None)


def _list(tokens: Sequence[Token], depth: int) -> Value | None:
    for marks in ((r"\or",), (";",), (r"\and", ",")):
        parts = split(tokens, marks)
        if len(parts) > 1 and marks == (r"\and", ","):
            parts = split(join_thousands(tokens), marks)
            if len(parts) == 1:
                return read_tokens(parts[0], depth)
        parts = [part for part in parts if part]
        if len(parts) > 1:
            return _listing([read_tokens(part, depth) for part in parts])
    return None


def _listing(items: list[Value]) -> Value:
    """Flat where an item is itself a plain list: 1, 2 or 3. Not where it is a solution with names: x=1, y=2 or x=2, y=1."""
    flat: list[Value] = []
    for item in items:
        if (
            isinstance(item, Listing)
            and not item.braces
            and len({i.name for i in item.items if isinstance(i, Named)}) < 2
        ):
            flat += item.items
        else:
            flat.append(item)
    return Listing(tuple(flat))


def _both_signs(tokens: Sequence[Token], depth: int) -> Value | None:
    r"""2 \pm \sqrt3 is two values; \mp takes the other sign."""
    places = [place for place, token in enumerate(tokens) if token.text == r"\pm"]
    if len(places) != 1 or any(token.text in ("=", r"\in") for token in tokens[places[0] :]):
        return None
    values = []
    for plus, minus in (("+", "-"), ("-", "+")):
        signs = {r"\pm": plus, r"\mp": minus}
        values.append(read_tokens([op(signs[token.text]) if token.text in signs else token for token in tokens], depth))
    return _listing(values)


def _grid(tokens: Sequence[Token], depth: int) -> Value | None:
    r"""A matrix, with the brackets around an array; a determinant; cases."""
    tokens = [token for token in tokens if token.text not in ("{", "}")] if any(token.cells for token in tokens) else []
    grids = [token for token in tokens if token.kind == "grid"]
    if len(grids) != 1:
        return None
    around = [token.text for token in tokens if token.kind != "grid"]
    name, cells = grids[0].text, grids[0].cells
    if "cases" in name or around == [r"\{"]:
        if around not in ([], [r"\{"]) or any(len(row) != 2 for row in cells):
            return None
        return Cases(tuple((read_tokens(_trim(row[0]), depth), _condition(_trim(row[1]), depth)) for row in cells))
    bars = name.startswith(("v", "V")) or around in (["|", "|"], [r"\Vert", r"\Vert"])
    if around not in ([], ["(", ")"], ["[", "]"], ["|", "|"], [r"\Vert", r"\Vert"]):
        return None
    return Matrix(tuple(tuple(read_tokens(cell, depth) if cell else Unread("") for cell in row) for row in cells), bars)


def _condition(tokens: Sequence[Token], depth: int) -> Value:
    words = [token for token in tokens if token.text.casefold() not in ("if", "for", "when", "where")]
    if [token.text.casefold() for token in words] in (["otherwise"], ["else"], ["elsewhere"]):
        return Text("otherwise")
    return read_tokens(words, depth)


def _trim(tokens: Sequence[Token]) -> Sequence[Token]:
    return tokens[:-1] if tokens and tokens[-1].text in (",", ";", ".") else tokens


def _clock(tokens: Sequence[Token], depth: int) -> Value | None:
    if not any(token.text == ":" for token in tokens):
        return None
    text = "".join(token.text for token in tokens).removeprefix(r"\text")
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    half = (found[3] or "").casefold().replace(".", "")
    return Clock((found[1], *found[2][1:].split(":")), half)


def _bracketed(tokens: Sequence[Token], depth: int) -> Value | None:
    return brackets(tokens, lambda part: read_tokens(part, depth))


def _related(tokens: Sequence[Token], depth: int) -> Value | None:
    return relation(tokens, lambda part: read_tokens(part, depth))


def _quantity(tokens: Sequence[Token], depth: int) -> Value | None:
    return quantity(tokens)


def _text(tokens: Sequence[Token], depth: int) -> Value | None:
    return text_value(tokens)


_READERS = (_option, _clock, _prose, _text, _list, _grid, _related, _both_signs, _bracketed, _quantity)
