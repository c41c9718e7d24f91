r"""Brackets: where lists may be split, and what stands in them: tuples, sets, intervals and their unions."""

import itertools
import re
from collections.abc import Callable, Sequence

from simko.verifiers.maths.nodes import negative, number
from simko.verifiers.maths.reading.cursor import spelled
from simko.verifiers.maths.reading.latex import Token
from simko.verifiers.maths.reading.splitting import OPENING, closes_last, join_thousands, split
from simko.verifiers.maths.regions import INFINITY, region, union, without
from simko.verifiers.maths.values import Interval, Listing, Region, Tuple, Unread, Value


def _half_lines() -> dict[str, Region]:
    r"""\mathbb{R}^+, \mathbb{R}_{\ge 0} and the like."""
    zero, found = number(0), {}
    for closed, positive, negatives in ((False, ("+", ">0"), ("-", "<0")), (True, (">=0",), ("<=0",))):
        for sign in positive:
            found[sign] = Region((Interval(zero, INFINITY, closed, False),))
        for sign in negatives:
            found[sign] = Region((Interval(negative(INFINITY), zero, False, closed),))
    spellings = {rf"\mathbbR{mark}{sign}": region for sign, region in found.items() for mark in "^_"}
    return spellings | {rf"\mathbbR{mark}{{{sign}}}": region for sign, region in found.items() for mark in "^_"}


_HALF_LINES = _half_lines()


def brackets(tokens: Sequence[Token], read: Callable[[Sequence[Token]], Value]) -> Value | None:
    """The tuple, set, interval or union that the tokens are; None if they are none."""
    if (half := _HALF_LINES.get(spelled(tokens))) is not None:
        return half
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
    if len(tokens) < 2 or tokens[0].text not in (*OPENING, "|") or not closes_last(tokens):
        return None
    inner = list(tokens[1:-1])
    if tokens[0].text == r"\{":
        return _set(inner, read)
    if tokens[0].text in ("(", "[") and tokens[-1].text in (")", "]"):
        parts = split(inner, [",", ";"])
        if len(parts) > 1 and all(parts):
            parts = split(join_thousands(inner, inside=True), [",", ";"])
            if len(parts) == 1 or any(token.text == r"\mp" for token in inner):
                return None
            choices = [
                item.items if isinstance(item, Listing) and not item.braces else (item,) for item in map(read, parts)
            ]
            tuples = [Tuple(items, tokens[0].text, tokens[-1].text) for items in itertools.product(*choices)]
            return tuples[0] if len(tuples) == 1 else Listing(tuple(tuples))  # (\pm 3, \pm 2) is four points
    return None


def _set(inner: list[Token], read: Callable[[Sequence[Token]], Value]) -> Value | None:
    if not inner:
        return Listing((), True)
    for mark in ("|", ":"):
        parts = split(inner, [mark])
        if len(parts) == 2 and all(parts):
            whole = spelled(parts[0])
            return (
                read(parts[1])
                if re.fullmatch(r"(?:[A-Za-z]|\\[a-z]+)(?:\\in ?\\mathbb ?\{?R\}?)?", whole)
                else Unread(spelled(inner))
            )
    items = read(inner)
    if isinstance(items, Listing) and not items.braces:
        return Listing(items.items, True)
    return Unread("") if isinstance(items, Unread) else Listing((items,), True)
