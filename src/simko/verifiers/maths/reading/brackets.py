r"""Brackets: where lists may be split, and what stands in them: tuples, sets, intervals and their unions."""

from collections.abc import Callable, Sequence

from simko.verifiers.maths.nodes import Node
from simko.verifiers.maths.reading.expression import parse
from simko.verifiers.maths.reading.latex import Token, Unreadable, op
from simko.verifiers.maths.regions import region, union, without
from simko.verifiers.maths.values import Listing, Tuple, Unread, Value

_OPEN, _CLOSE = frozenset(["(", "[", "{", r"\{"]), frozenset([")", "]", "}", r"\}"])
_LEFT = frozenset(["=", r"\in", r"\cup", r"\cap", ",", ";", "(", r"\or", r"\and", r"\setminus"])


def split(tokens: Sequence[Token], marks: Sequence[str]) -> list[list[Token]]:
    """The parts between the marks that stand outside all brackets."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if token.kind == "op":
            depth += (token.text in _OPEN) - (token.text in _CLOSE)
        if depth == 0 and token.text in marks and token.kind in ("op", "macro"):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def enclosed(tokens: Sequence[Token]) -> list[Token]:
    """Without a group, or parentheses that hold one thing, around all; French intervals ]0,1[ as (0,1)."""
    tokens = _international(tokens)
    while len(tokens) > 2 and (tokens[0].text, tokens[-1].text) in (("{", "}"), ("(", ")")) and _closes_last(tokens):
        inner = tokens[1:-1]
        if tokens[0].text == "(" and (len(split(inner, ",;")) > 1 or _is_letter(inner)):
            break
        tokens = inner
    return list(tokens)


def _is_letter(tokens: Sequence[Token]) -> bool:
    return len(tokens) == 1 and len(tokens[0].text) == 1 and tokens[0].text.isupper()


def _closes_last(tokens: Sequence[Token]) -> bool:
    depth = 0
    for place, token in enumerate(tokens):
        if token.kind == "op":
            depth += (token.text in _OPEN) - (token.text in _CLOSE)
        if depth == 0:
            return place == len(tokens) - 1
    return False


def _international(tokens: Sequence[Token]) -> Sequence[Token]:
    depth, lowest = 0, 0
    for token in tokens:
        if token.kind == "op":
            depth += (token.text in _OPEN) - (token.text in _CLOSE)
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


def brackets(tokens: Sequence[Token], read: Callable[[Sequence[Token]], Value]) -> Value | None:
    """The tuple, set, interval or union that the tokens are; None if they are none."""
    for mark in (r"\cup", r"\setminus"):
        parts = split(tokens, [mark])
        if len(parts) > 1:
            regions = [region(read(part)) for part in parts]
            if any(part is None for part in regions):
                return None
            known = [part for part in regions if part is not None]
            if mark == r"\cup":
                return union(known)
            return without(known[0], known[1:])
    if len(tokens) < 2 or tokens[0].text not in (*_OPEN, "|") or not _closes_last(tokens):
        return None
    inner = list(tokens[1:-1])
    if tokens[0].text == r"\{":
        return _set(inner, read)
    if tokens[0].text in ("(", "[") and tokens[-1].text in (")", "]"):
        parts = split(inner, [",", ";"])
        if len(parts) > 1 and all(parts):
            from simko.verifiers.maths.reading.phrases import join_thousands

            parts = split(join_thousands(inner, inside=True), [",", ";"])
            items = tuple(read(part) for part in parts)
            return Tuple(items, tokens[0].text, tokens[-1].text) if len(items) > 1 else None
    return None


def _set(inner: list[Token], read: Callable[[Sequence[Token]], Value]) -> Value | None:
    if not inner:
        return Listing((), True)
    for mark in ("|", ":"):
        parts = split(inner, [mark])
        if (
            len(parts) == 2
            and all(parts)
            and parts[0][0].kind in ("letters", "macro")
            and len(split(parts[0], [","])) == 1
        ):
            return read(parts[1])
    items = read(inner)
    if isinstance(items, Listing) and not items.braces:
        return Listing(items.items, True)
    return Unread("") if isinstance(items, Unread) else Listing((items,), True)


def expression(tokens: Sequence[Token]) -> Node | None:
    """The tokens' tree; None where they have none."""
    try:
        return parse(tokens) if tokens else None
    except (Unreadable, ArithmeticError, ValueError, IndexError):
        return None
