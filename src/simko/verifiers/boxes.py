r"""Boxes: \boxed{...}, \fbox{...}, and the ways in which models and escapes misspell them.

Every function takes any text, in time linear in its length.
"""

import re
from typing import NamedTuple

from simko.verifiers.parts import CUES, any_of

_WINDOW = 200
# \b and \f are a backspace and a form feed in a text that was unescaped once too often
_BOX = (
    r"(?:\\\\?(?:[bB]oxed|fbox|framebox|bbox(?:\[[^\[\]\n]{0,80}\])?)|\x08oxed|\x0c(?:rame)?box)(?![A-Za-z])[ \t\r\n]*(?:(?P<open>\{)|(?P<bare>(?>"
    r"\([^()\n]{1,200}\)|\[[^\[\]\n]{1,200}\]|[-+\u2212]?\.?\d[\d,]*+(?:\.\d+)?(?:/\d+)?|\\[A-Za-z]+(?:\{[^{}\n]{0,200}\}|\d){0,2}"
    r"|[A-Za-z](?=[ \t]*(?:\$|\\\)|\\\])))(?=[\s$.,;:!]|\\[)\]]|\Z)))"
)
_FIRST = re.compile(_BOX)
_MARK = re.compile(rf"{_BOX}|\\.|[{{}}]", re.DOTALL)
_BETWEEN_BOXES = re.compile(r"(?:[ \t$,;.&]|\\[,;:! ()]|\\q?quad|\\text\{(?:[^{}]{0,60}\W)?(?:and|or),? *\}|and|or)*")

# what the formula of a box goes no further than
_EDGE = re.compile(
    r"\$|\\[\[\]()\\]|(?<![<>!])(?<!\\not)=|[≈:&;,]|\\(?:approx|implies|iff|therefore|to|(?:long)?(?:left)?rightarrow|q?quad)(?![A-Za-z])"
    r"|\\(?:begin|end)\{[A-Za-z]*\*?\}|\\text\{\s*(?:and|or)\s*\}|</?[a-z_]+>|(?<=[A-Za-z]{2}) [-\u2013\u2014] |\n(?:[ \t]*(?:[-+*][ \t]|>))?",
    re.IGNORECASE,
)
_RELATIONS = r"[<>!]=?|[≤≥≠±∓√]|\\(?:cdot|times|div|pm|mp|lnot|not=?|neg?|neq|leq?|geq?|lt|gt|sim)(?![A-Za-z])"
_TOUCHES_BEFORE = re.compile(rf"(?:[-+/^{{\u2212]|(?<=[\w)}}])[*_]|\d(?=\Z)|{_RELATIONS})[ \t]*\Z")
_TOUCHES_AFTER = re.compile(rf"\\?%|\^|[ \t]*(?:[-+/!\u2212]|\*(?!\*)|{_RELATIONS})")
_FORMULA_ENDS = re.compile(r"\s*(?:\$|\\[\])\\]|\\end\{|&)")
_SCALE = re.compile(rf"(?:\$|\\\))?(?:\s|~|\\[,;: ])*(?:\\text\{{\s*)?({any_of(CUES['boxes']['scales'])})")
_NAME = re.compile(r"((?:\\[A-Za-z]+|(?<![A-Za-z\\])[A-Za-z])(?:_(?:\w|\{[^{}]{1,20}\}))?'{0,3}[ \t]*=[ \t]*)\Z")


class Box(NamedTuple):
    """Where a box stands in a text."""

    opening: int
    """Where its command starts."""
    start: int
    """Where its content starts."""
    end: int | None
    """Where its content ends; None if it never closes."""
    after: int
    """Where what follows the box starts."""


def boxes(text: str) -> list[Box]:
    r"""The boxes of the text in the order in which they open, without those that stand in another one.

    A box that holds nothing but a box has the content of that one: the content of \boxed{\boxed{4}} is 4.
    """
    first = _FIRST.search(text)
    found: list[Box] = []
    braces: list[int | None] = []
    for mark in _MARK.finditer(text, first.start() if first else len(text)):
        if mark["bare"] is not None:
            found.append(Box(mark.start(), mark.start("bare"), mark.end("bare"), mark.end()))
        elif mark["open"] is not None:
            braces.append(len(found))
            found.append(Box(mark.start(), mark.end(), None, mark.end()))
        elif mark.group() == "{":
            braces.append(None)
        elif mark.group() == "}" and braces and (place := braces.pop()) is not None:
            found[place:] = [_closed(text, found[place], mark.start(), found[place + 1 :])]
    return found


def _closed(text: str, box: Box, end: int, inside: list[Box]) -> Box:
    if len(inside) == 1 and not (text[box.start : inside[0].opening] + text[inside[0].after : end]).strip(" \t\r\n$"):
        return Box(box.opening, inside[0].start, inside[0].end, end + 1)
    return Box(box.opening, box.start, end, end + 1)


def last_box(text: str) -> str | None:
    r"""The content of the last box, braces balanced (\{ and \} do not count); None if there is none, or it never closes."""
    found = boxes(text)
    return text[found[-1].start : found[-1].end] if found and found[-1].end is not None else None


class _Shown(NamedTuple):
    """A box with what belongs to it."""

    start: int
    end: int
    name: str
    text: str


def last_boxes(text: str, found: list[Box]) -> str | None:
    """What the last of the boxes found shows, and those that stand in one list with it; None if it never closes.

    Boxes in a list keep the names that are set equal to them. Equal ones count once.
    """
    if found[-1].end is None:
        return None
    shown = [_shown(text, found[-1])]
    for box in reversed(found[:-1]):
        one = _shown(text, box)
        if box.end is None or not _BETWEEN_BOXES.fullmatch(text, one.end, shown[-1].start):
            break
        shown.append(one)
    names, texts = {one.name for one in shown}, {one.text for one in shown}
    if len(texts) == 1 and len(names - {""}) < 2:
        return shown[0].text
    return ", ".join(dict.fromkeys(one.name + one.text for one in reversed(shown)))


def _shown(text: str, box: Box) -> _Shown:
    """A box's content; where an operator or a scale word touches the box, the formula that it is a part of."""
    content, start, end = text[box.start : box.end].strip(), box.opening, box.after
    touched = _TOUCHES_AFTER.match(text, end) or _TOUCHES_BEFORE.search(text, max(0, start - 12), start)
    if touched and (whole := _whole(text, box)):
        start, end = whole
        content = text[start:end].strip()
    elif scale := _SCALE.match(text, box.after):
        content, end = rf"{content}\text{{ {scale[1]}}}", scale.end()
    name = _NAME.search(text, max(0, start - 40), start)
    return _Shown(name.start() if name else start, end, name[1] if name else "", content)


def _whole(text: str, box: Box) -> tuple[int, int] | None:
    """Where the formula that the box is a part of starts and ends; None if the box is all of it."""
    lead = _EDGE.split("\n" + text[max(0, box.opening - _WINDOW) : box.opening])[-1]
    tail = _EDGE.split(text[box.after : box.after + _WINDOW], maxsplit=1)[0]
    start, end = box.opening - len(lead), box.after + len(tail)
    after = _TOUCHES_AFTER.match(tail)
    if after and (after.group()[0] in "%\\^" or _FORMULA_ENDS.match(text, end)):
        return start, end
    return (start, end) if _TOUCHES_BEFORE.search(lead) else None
