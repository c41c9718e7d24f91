"""Where tokens may be split: outside brackets, and at which commas."""

import re
from collections.abc import Sequence

from simko.verifiers.maths.reading.latex import Token, op

OPENING, CLOSING = frozenset(["(", "[", "{", r"\{"]), frozenset([")", "]", "}", r"\}"])
_LEFT = frozenset(["=", r"\in", r"\cup", r"\cap", ",", ";", "(", r"\or", r"\and", r"\setminus"])


def split(tokens: Sequence[Token], marks: Sequence[str]) -> list[list[Token]]:
    """The parts between the marks that stand outside all brackets."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.kind == "op":
            depth += (token.text in OPENING) - (token.text in CLOSING)
        if depth == 0 and token.text in marks and token.kind in ("op", "macro"):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def enclosed(tokens: Sequence[Token]) -> list[Token]:
    """Without a group, or parentheses that hold one thing, around all; French intervals ]0,1[ as (0,1)."""
    tokens = _international(tokens)
    while len(tokens) > 2 and (tokens[0].text, tokens[-1].text) in (("{", "}"), ("(", ")")) and closes_last(tokens):
        inner = tokens[1:-1]
        if tokens[0].text == "(" and (len(split(inner, ",;")) > 1 or _is_letter(inner)):
            break
        tokens = inner
    return list(tokens)


def _is_letter(tokens: Sequence[Token]) -> bool:
    return len(tokens) == 1 and len(tokens[0].text) == 1 and tokens[0].text.isupper()


def closes_last(tokens: Sequence[Token]) -> bool:
    """Whether the bracket that opens the tokens closes at their end."""
    depth = 0
    for place, token in enumerate(tokens):
        if token.kind == "op":
            depth += (token.text in OPENING) - (token.text in CLOSING)
        if depth == 0:
            return place == len(tokens) - 1
    return False


def _international(tokens: Sequence[Token]) -> Sequence[Token]:
    depth, lowest = 0, 0
    for token in tokens:
        if token.kind == "op":
            depth += (token.text in OPENING) - (token.text in CLOSING)
            lowest = min(lowest, depth)
    if depth == lowest == 0:
        return tokens
    found = []
    for place, token in enumerate(tokens):
        before = tokens[place - 1].text if place else "="
        after = tokens[place + 1].text if place + 1 < len(tokens) else ","
        if token.text == "]" and before in _LEFT:
            token = op("(")
        elif token.text == "[" and after in (*_LEFT, ")") and before not in _LEFT:
            token = op(")")
        found.append(token)
    return found


def join_thousands(tokens: Sequence[Token], inside: bool = False) -> list[Token]:
    """The tokens with 12,000 as one number: where all is that number, or the list's other commas have spaces."""
    tokens = list(tokens)
    commas = [place for place, token in enumerate(tokens) if token.text == "," and token.kind == "op"]
    tight = [place for place in commas if _groups(tokens, place, commas)]
    loose = [place for place in commas if place + 1 < len(tokens) and tokens[place + 1].gap]
    if not tight or (len(tight) + len(loose) != len(commas)) or (inside and not loose):
        return tokens
    for place in reversed(tight):
        tokens[place - 1 : place + 2] = [
            tokens[place - 1]._replace(text=tokens[place - 1].text + tokens[place + 1].text)
        ]
    return tokens


def _groups(tokens: Sequence[Token], place: int, commas: Sequence[int]) -> bool:
    if not 0 < place < len(tokens) - 1:
        return False
    before, after = tokens[place - 1], tokens[place + 1]
    leading = place - 2 not in commas or tokens[place - 1].gap
    return bool(
        not after.gap
        and before.kind == after.kind == "num"
        and re.fullmatch(r"[0-9]{3}(\.[0-9]+)?", after.text)
        and re.fullmatch(r"[1-9][0-9]{0,2}" if leading else r"[0-9]{3}", before.text)
    )
