r"""Tokens to one typed value: lists first, then relations, brackets, and what is left a quantity or a text.

Each function reads one type and gives None where the tokens are of another; `_READERS` is their order.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from simko.verifiers.maths.nodes import Node, number, product
from simko.verifiers.maths.reading.brackets import brackets
from simko.verifiers.maths.reading.cursor import spelled
from simko.verifiers.maths.reading.expression import expression
from simko.verifiers.maths.reading.latex import MAX_DEPTH, Token, Unreadable, op, tokenise
from simko.verifiers.maths.reading.lists import listing
from simko.verifiers.maths.reading.phrases import conditions, label, labelled_parts, without_prose
from simko.verifiers.maths.reading.prose import prose
from simko.verifiers.maths.reading.quantity import quantity
from simko.verifiers.maths.reading.relations import relation
from simko.verifiers.maths.reading.splitting import enclosed, join_thousands, split
from simko.verifiers.maths.values import Cases, Clock, Given, Listing, Matrix, Option, Quantity, Text, Unread, Value

_CLOCK = re.compile(r"([0-9]{1,9})((?::[0-9]{1,9})+)?(am|pm)?", re.IGNORECASE)


@lru_cache(maxsize=2048)
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
    main, given, integers = conditions(tokens)
    if given:
        return Given(read_tokens(main, depth + 1), given, integers)
    for reader in _READERS:
        if (value := reader(tokens, depth + 1)) is not None:
            return value
    return Unread(spelled(tokens))


def _prose(tokens: Sequence[Token], depth: int) -> Value | None:
    left = without_prose(tokens)
    return None if left is None or left == list(tokens) else read_tokens(left, depth)


def _option(tokens: Sequence[Token], depth: int) -> Value | None:
    r"""(B), B) 5, \textbf{(B)}\ 12, B: 12 apples, option B: a capital letter marked as a label, or alone."""
    found = label(tokens) if depth <= 2 else None
    if found is None:
        return None
    letter, rest = found
    return Option(letter, read_tokens(rest, depth) if rest else None)


def _congruences(tokens: Sequence[Token], depth: int) -> Value | None:
    r"""n \equiv 1, 4 \pmod 5: two congruences."""
    texts = [token.text for token in tokens]
    if texts.count(r"\equiv") != 1 or texts.count(r"\pmod") != 1 or texts.index(r"\pmod") < texts.index(r"\equiv"):
        return None
    start, end = texts.index(r"\equiv") + 1, texts.index(r"\pmod")
    parts = split(tokens[start:end], (r"\or", r"\and", ","))
    if len(parts) == 1 or not all(parts):
        return None
    return listing([read_tokens([*tokens[:start], *part, *tokens[end:]], depth) for part in parts], "or")


def _list(tokens: Sequence[Token], depth: int) -> Value | None:
    if len(parts := labelled_parts(tokens)) > 1:
        return Listing(tuple(read_tokens(part, depth) for part in parts))
    for marks in ((r"\or",), (";",), (r"\and", ",")):
        parts = split(tokens, marks)
        if len(parts) == 1:
            continue
        if "," in marks and len(parts := split(join_thousands(tokens), marks)) == 1:
            return read_tokens(parts[0], depth)
        parts = [part for part in parts if part]
        logical = any(token.kind == "macro" and token.text in marks for token in tokens)
        if logical and all(len(part) == 1 and part[0].kind == "letters" for part in parts):  # p \land q
            return None
        joint = "or" if r"\or" in marks else "and" if any(token.text == r"\and" for token in tokens) else ","
        return listing([read_tokens(part, depth) for part in parts], joint) if len(parts) > 1 else None
    return None


def _both_signs(tokens: Sequence[Token], depth: int) -> Value | None:
    r"""2 \pm \sqrt3 is two values; \mp takes the other sign."""
    texts = [token.text for token in tokens]
    sign = r"\pm" if r"\pm" in texts else r"\mp"
    places = [place for place, text in enumerate(texts) if text == sign]
    if len(places) != 1 or any(token.text in ("=", r"\in") for token in tokens[places[0] :]):
        return None
    values = []
    for plus, minus in (("+", "-"), ("-", "+")):
        signs = {r"\pm": plus, r"\mp": minus}
        values.append(read_tokens([op(signs[token.text]) if token.text in signs else token for token in tokens], depth))
    return listing(values, "or")


def _grid(tokens: Sequence[Token], depth: int) -> Value | None:
    r"""A matrix, with the brackets around an array, and a factor before them; a determinant; cases."""
    places = [place for place, token in enumerate(tokens) if token.kind == "grid"]
    if len(places) != 1:
        return None
    start, end = places[0], places[0] + 1
    around = ""
    while start and tokens[start - 1].text + "".join(token.text for token in tokens[end : end + 1]) in _AROUND:
        around = around if tokens[start - 1].text == "{" else tokens[start - 1].text
        start, end = start - 1, end + 1
    name, cells = tokens[places[0]].text, tokens[places[0]].cells
    if "cases" in name or [token.text for token in tokens[:start]] == [r"\{"]:
        if (start and tokens[0].text != r"\{") or end < len(tokens):
            return None
        if all(len(row) == 1 for row in cells):
            return listing([read_tokens(row[0], depth) for row in cells], "and")
        pairs = [row for row in cells if len(row) == 2]
        rows = tuple((read_tokens(_trim(row[0]), depth), _condition(_trim(row[1]), depth)) for row in pairs)
        return Cases(rows) if len(pairs) == len(cells) else None
    before = tokens[:start]
    factor = number(-1) if [token.text for token in before] == ["-"] else expression(before)
    if end < len(tokens) or (start and factor is None):
        return None
    items = [[read_tokens(cell, depth) if cell else Unread("") for cell in row] for row in cells]
    bars = name.startswith(("v", "V")) or around in ("|", r"\Vert")
    return Matrix(tuple(tuple(_times(factor, item) for item in row) for row in items), bars)


_AROUND = ("{}", "()", "[]", "||", r"\Vert\Vert")


def _times(factor: Node | None, item: Value) -> Value:
    return replace(item, node=product(factor, item.node)) if factor is not None and isinstance(item, Quantity) else item


def _condition(tokens: Sequence[Token], depth: int) -> Value:
    words = [token for token in tokens if token.text.casefold() not in ("if", "for", "when", "where", "is", "are")]
    if [token.text.casefold() for token in words] in (["otherwise"], ["else"], ["elsewhere"]):
        return Text("otherwise")
    return read_tokens(words, depth)


def _trim(tokens: Sequence[Token]) -> Sequence[Token]:
    return tokens[:-1] if tokens and tokens[-1].text in (",", ";", ".") else tokens


def _clock(tokens: Sequence[Token], depth: int) -> Value | None:
    texts = [
        ":" if token.text == "to" and 0 < place < len(tokens) - 1 else token.text for place, token in enumerate(tokens)
    ]
    found = _CLOCK.fullmatch("".join(texts))
    if found is None or not (found[2] or found[3]):
        return None
    return Clock((found[1], *(found[2] or ":00")[1:].split(":")), (found[3] or "").casefold())


def _bracketed(tokens: Sequence[Token], depth: int) -> Value | None:
    return brackets(tokens, lambda part: read_tokens(part, depth))


def _related(tokens: Sequence[Token], depth: int) -> Value | None:
    return relation(tokens, lambda part: read_tokens(part, depth + 1))


def _quantity(tokens: Sequence[Token], depth: int) -> Value | None:
    return quantity(tokens)


def _text(tokens: Sequence[Token], depth: int) -> Value | None:
    return prose(tokens)


_READERS = (_option, _clock, _prose, _text, _congruences, _list, _grid, _related, _bracketed, _both_signs, _quantity)
