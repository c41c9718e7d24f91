r"""Equations, inequalities, memberships and definitions: what stands on both sides of =, <, \in and \mapsto."""

from collections.abc import Callable, Sequence

from simko.verifiers.maths.nodes import Node, call, negative
from simko.verifiers.maths.numeric import real_value
from simko.verifiers.maths.reading.cursor import spelled
from simko.verifiers.maths.reading.expression import expression
from simko.verifiers.maths.reading.latex import Token
from simko.verifiers.maths.reading.splitting import split
from simko.verifiers.maths.reading.words import NEGATIONS, vocabulary
from simko.verifiers.maths.regions import INFINITY, except_for, region
from simko.verifiers.maths.values import (
    Chain,
    Function,
    Interval,
    Listing,
    Named,
    Quantity,
    Region,
    Relation,
    Tuple,
    Unread,
    Value,
)

_ORDER = ("<", ">", "<=", ">=")
_SIGNS = frozenset(["=", *_ORDER, "!=", r"\in", r"\notin", r"\approx", r"\equiv", r"\cong", r"\to", r"\mapsto", r"\subset", r"\subseteq",
                    r"\parallel", r"\perp", r"\Rightarrow", r"\Leftrightarrow", r"\iff", r"\propto", r"\not"])  # fmt: skip
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_NOT_NAMING = vocabulary(
    r"\int \iint \oint \sum \prod \lim \lnot \neg \exists \nexists \forall \not \partial \nabla \infty \pm \mp"
)
_LABEL_SIGNS = vocabulary("( ) | _ { } , : ' [ ] ^")
_INDICES = frozenset("ijkmn")
_FUNCTIONS = frozenset("fghFGHpqPQTuvyφψ")

Read = Callable[[Sequence[Token]], Value]


def relation(tokens: Sequence[Token], read: Read) -> Value | None:
    """The relation that the tokens are; None if no sign stands outside their brackets."""
    sides = split(tokens, list(_SIGNS))
    if len(sides) == 1:
        return None
    signs = []
    place = -1
    for side in sides[:-1]:
        place += len(side) + 1
        signs.append(tokens[place].text)
    if not sides[0] and signs[0] in ("=", r"\approx"):
        sides, signs = sides[1:], signs[1:]
        if not signs:
            return read(sides[0])
    if not all(sides) or any(
        token.text.casefold() in NEGATIONS for side in sides for token in side if token.kind in ("word", "letters")
    ):
        return Unread(spelled(tokens))
    if signs == [r"\equiv"] and all(token.text not in (r"\pmod", r"\mod", "mod") for token in tokens):
        signs = ["="]  # f \equiv 0
    if set(signs) <= {"=", r"\approx"}:
        found = _equation(sides, signs, read)
    elif signs == [r"\in"]:
        found = _member(sides[0], read(sides[1]))
    elif signs == [r"\mapsto"]:
        found = _mapping(sides[0], sides[1], read)
    elif set(signs) <= {*_ORDER, "!="}:
        found = _order(sides, signs)
    elif signs == [r"\equiv"]:
        nodes = [_modulo(expression(side)) for side in sides]
        found = Relation(tuple(node for node in nodes if node), tuple(signs)) if all(nodes) else None
    else:
        found = None
    return Unread(spelled(tokens)) if found is None else found


def _equation(sides: list[list[Token]], signs: list[str], read: Read) -> Value | None:
    left, values = sides[0], [read(side) for side in sides[1:]]
    if any(isinstance(value, Unread) for value in values):
        return None
    value = values[0] if len(values) == 1 else Chain(tuple(values), tuple(signs[1:]))
    if names := _names(left):
        points = value.items if isinstance(value, Listing) else (value,)
        named = [Listing(tuple(map(Named, names, point.items))) for point in points if isinstance(point, Tuple)]
        if len(named) == len(points) and all(len(point.items) == len(names) for point in named):
            return named[0] if len(named) == 1 else Listing(tuple(named))
    heads = [expression(side) for side in sides[:-1]]
    if len(heads) > 1 and all(head is not None and head.head == "name" for head in heads):  # x = y = 5
        return Listing(tuple(Named(str(head.value), values[-1], head) for head in heads if head is not None))
    if (head := _definition(left)) is not None:
        name, parameters = head
        used = value.node.names if isinstance(value, Quantity) else frozenset(parameters)
        if used & set(parameters) or name in _FUNCTIONS:
            return Function(name, parameters, value)
    node = expression(left)
    if node is None and not _is_label(left):
        return None
    if node is not None and not node.names and (real_value(node) is not None or not _is_label(left)):
        first = read(left)
        if len(values) == 1 and isinstance(values[0], Quantity) and values[0].node.head == "name":  # 5 = x
            return Named(str(values[0].node.value), first, values[0].node)
        return Chain((first, *values), tuple(signs))
    return Named(str(node.value) if node is not None and node.head == "name" else spelled(left), value, node)


def _is_label(tokens: Sequence[Token]) -> bool:
    """Whether the tokens only name something: words, letters, functions; no number but a subscript, no operator."""
    before = ["", "", *(token.text for token in tokens)]
    tokens = [
        token for place, token in enumerate(tokens) if token.kind != "num" or "_" not in before[place : place + 2]
    ]
    named = [
        token.kind in ("word", "letters") or (token.kind == "macro" and token.text not in _NOT_NAMING)
        for token in tokens
    ]
    return any(named) and all(name or token.text in _LABEL_SIGNS for name, token in zip(named, tokens, strict=True))


def _names(tokens: Sequence[Token]) -> list[str]:
    """The names in (x, y); empty if it is no tuple of names."""
    if len(tokens) < 5 or tokens[0].text != "(" or tokens[-1].text != ")":
        return []
    parts = [expression(part) for part in split(tokens[1:-1], [","])]
    names = [str(part.value) for part in parts if part is not None and part.head == "name"]
    return names if len(names) == len(parts) > 1 else []


def _definition(tokens: Sequence[Token]) -> tuple[str, tuple[str, ...]] | None:
    """The name and the parameters in f(x), g_n(x, y), f'(x); None if it is none."""
    texts = [token.text for token in tokens if token.text not in ("{", "}")]
    if len(texts) == 3 and texts[1] == "_" and texts[2] in _INDICES and texts[0].isalpha():  # a_n
        return texts[0] + "_", (texts[2],)
    places = [place for place, token in enumerate(tokens) if token.text == "("]
    if not places or tokens[-1].text != ")" or places[0] == 0:
        return None
    head = [token for token in tokens[: places[0]] if token.text not in ("^", "{", "}", "-", "1")]  # f^{-1}(x)
    if any(token.kind == "num" for token in head if "_" not in [t.text for t in head]) or not _is_label(head):
        return None
    parts = [expression(part) for part in split(tokens[places[0] + 1 : -1], [","])]
    if not all(part is not None and part.head == "name" for part in parts):
        return None
    return spelled(tokens[: places[0]]), tuple(str(part.value) for part in parts if part is not None)


def _member(left: Sequence[Token], value: Value) -> Value | None:
    if not _is_label(left) or isinstance(value, Unread):
        return None
    found = region(value)
    if found is not None and not isinstance(value, Quantity | Listing):
        return Region(found.intervals, spelled(left))
    return Named(spelled(left), value, expression(left))


def _mapping(left: Sequence[Token], right: Sequence[Token], read: Read) -> Value | None:
    parts = split(left, [":"])
    parameter = expression(parts[-1])
    if parameter is None or parameter.head != "name":
        return None
    return Function(spelled(parts[0]) if len(parts) == 2 else "", (str(parameter.value),), read(right))


def _order(sides: list[list[Token]], signs: list[str]) -> Value | None:
    nodes = [expression(side) for side in sides]
    known = [node for node in nodes if node is not None]
    if len(known) != len(nodes):
        return None
    found = _solved(known, signs)
    return found or Relation(tuple(known), tuple(signs))


def _modulo(node: Node | None) -> Node | None:
    r"""3 \bmod 7 behind \equiv is 3 \pmod 7."""
    return call("?pmod", *node.args) if node is not None and node.value == "mod" else node


def _mirrored(region: Region) -> Region | None:
    r"""The region of x where that of |x| is given: 1 < |x| < 2 is (-2,-1) and (1,2)."""
    if len(region.intervals) != 1:
        return None
    (found,) = region.intervals
    if found.low == negative(INFINITY):
        return Region((Interval(negative(found.high), found.high, found.high_closed, found.high_closed),), region.name)
    below = Interval(negative(found.high), negative(found.low), found.high_closed, found.low_closed)
    return Region((below, found), region.name)


def _solved(nodes: list[Node], signs: list[str]) -> Region | None:
    """The region that an inequality in one unknown, already solved, describes."""
    unknown = [place for place, node in enumerate(nodes) if node.names]
    place = unknown[0] if unknown else 0
    inside = nodes[place].args[0] if nodes[place].head == "call" and nodes[place].value == "abs" else nodes[place]
    if len(unknown) != 1 or not (
        inside.head == "name" or (inside.head == "call" and str(inside.value).startswith("?"))
    ):
        return None
    name = str(inside.value) if inside.head == "name" else inside.key
    if inside is not nodes[place]:
        solved = _solved([inside if node is nodes[place] else node for node in nodes], signs)
        return solved and _mirrored(solved)
    if signs == ["!="]:
        return except_for(name, nodes[1 - place])
    if "!=" in signs or len(nodes) > 3 or (len(nodes) == 3 and (place != 1 or signs[0][0] != signs[1][0])):
        return None
    low, high, low_closed, high_closed = negative(INFINITY), INFINITY, False, False
    for other in (place - 1, place + 1):
        if not 0 <= other < len(nodes):
            continue
        sign = signs[min(place, other)]
        if other < place:
            sign = _FLIPPED[sign]
        if sign[0] == ">":
            low, low_closed = nodes[other], sign == ">="
        else:
            high, high_closed = nodes[other], sign == "<="
    return Region((Interval(low, high, low_closed, high_closed),), name)
