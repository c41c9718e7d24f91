r"""Boxes: \boxed{...}, \fbox{...}, and the ways in which models and escapes misspell them.

Every function takes any text, in time linear in its length.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from simko.verifiers.parts import last_match

_MAX_BOXES = 32
# \b and \f are a backspace and a form feed in a text that was unescaped once too often
_BOX = re.compile(
    r"(?:\\(?:[bB]oxed|fbox|framebox|bbox(?:\[[^\[\]\n]{0,80}\])?)|\x08oxed|\x0c(?:rame)?box)(?![A-Za-z])[ \t\r\n]*(?:\{|(?P<bare>(?>"
    r"\([^()\n]{1,200}\)|\[[^\[\]\n]{1,200}\]|[-+\u2212]?\.?\d[\d,]*+(?:\.\d+)?(?:/\d+)?|\\[A-Za-z]+(?:\{[^{}\n]{0,200}\}|\d){0,2}"
    r"|[A-Za-z](?=[ \t]*(?:\$|\\\)|\\\])))(?=[\s$.,;:!]|\\[)\]]|\Z)))"
)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BETWEEN_BOXES = re.compile(r"(?:[ \t$,;.&]|\\[,;:! ()]|\\q?quad|\\text\{(?:[^{}]{0,60}\W)?(?:and|or),? *\}|and|or)*")


class Box(NamedTuple):
    """Where a box stands in a text."""

    opening: int
    """Where its command starts."""
    start: int
    """Where its content starts."""
    bare: bool
    r"""Whether its content has no braces, as in \boxed 5: it ends where the content does."""
    end: int
    """Where the command, or a content without braces, ends."""


def boxes(text: str) -> Iterator[Box]:
    """Each box of the text, in the order in which they open."""
    for box in _BOX.finditer(text):
        bare = box["bare"] is not None
        yield Box(box.start(), box.start("bare") if bare else box.end(), bare, box.end())


def box_end(text: str, box: Box, stop: int | None = None) -> int | None:
    """Where, before `stop`, the box's content ends; None if it does not."""
    return box.end if box.bare else closing_brace(text, box.start, stop)


def closing_brace(text: str, start: int, stop: int | None = None) -> int | None:
    """Where, before `stop`, the brace that was open at `start` closes; None if it does not."""
    depth = 1
    for brace in _BRACE.finditer(text, start, len(text) if stop is None else stop):
        if brace.group() == "{":
            depth += 1
        elif brace.group() == "}":
            depth -= 1
        if depth == 0:
            return brace.start()
    return None


def last_box(text: str) -> str | None:
    r"""The content of the last box to open, braces balanced (\{ and \} do not count); None if there is none."""
    found = last_match(_BOX, text)
    if found is None:
        return None
    if found["bare"] is not None:
        return found["bare"]
    end = closing_brace(text, found.end())
    return None if end is None else text[found.end() : end]


def last_boxes(text: str, found: list[Box]) -> str | None:
    """The content of the last of the boxes found, and of those that stand in one list with it; equal ones once."""
    end = box_end(text, found[-1])
    if end is None:
        return None
    contents = [text[found[-1].start : end].strip()]
    following = found[-1]
    for box in reversed(found[-_MAX_BOXES:-1]):
        end = box_end(text, box, following.opening)
        if end is None or not _BETWEEN_BOXES.fullmatch(text, end if box.bare else end + 1, following.opening):
            break
        contents.append(text[box.start : end].strip())
        following = box
    return ", ".join(dict.fromkeys(reversed(contents)))
