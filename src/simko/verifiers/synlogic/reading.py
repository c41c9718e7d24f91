"""What an answer to a logic puzzle says: plain text, Python literals, integers, lists. Nothing is ever evaluated."""

import ast
import re
from collections.abc import Callable, Iterator
from typing import Any

from simko.verifiers.boxes import last_box

MAX_LITERAL = 20_000
"""Longest literal that is parsed, in characters: the largest grid of these puzzles needs a few hundred."""
MAX_DEPTH = 4
"""Deepest nesting of brackets that is parsed; Python's parser itself fails at a few hundred."""
_TRIES = 50

_PAIRS = {")": "(", "]": "[", "}": "{"}
_BRACKET = re.compile(r"[()\[\]{}]")
_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
_INTEGER = re.compile(r"[-\u2212]?[0-9]{1,18}")


def boxed(text: str) -> str | None:
    r"""The content of the last \boxed{...} as plain text, or None: \text{...}, $ and spacing commands are dropped."""
    content = last_box(text)
    if content is None:
        return None
    content = _TEXT_COMMAND.sub(r"\1", content)
    content = re.sub(r"\\[,;:! ]|\$", " ", content).replace("\\_", "_").replace("\\&", "&")
    return " ".join(content.split())


def double_bracketed(text: str) -> str | None:
    """What stands between the last [[ and the ]] after it, or None."""
    end = text.rfind("]]")
    start = text.rfind("[[", 0, end) if end >= 0 else -1
    return text[start + 2 : end] if start >= 0 and end - start <= MAX_LITERAL else None


def last_literal(text: str, fits: Callable[[Any], bool]) -> tuple[str, Any] | None:
    """The last bracketed Python literal that fits: (its text, its value), or None.

    Brackets are paired in one pass; an outer pair is tried before those inside it; the number of tries, the length and
    the nesting are bounded, so that the time is linear in the length of the text.
    """
    for number, (start, end) in enumerate(_bracketed(text)):
        if number == _TRIES:
            return None
        value = parse_literal(text[start:end])
        if value is not None and fits(value):
            return text[start:end], value
    return None


def _bracketed(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each balanced bracketed stretch within the bounds, the last to end first."""
    stack: list[tuple[str, int, int]] = []  # the bracket, where it is, how deep its content nests
    found: list[tuple[int, int]] = []
    for bracket in _BRACKET.finditer(text):
        character, place = bracket.group(), bracket.start()
        if character in "([{":
            stack.append((character, place, 0))
        elif stack and stack[-1][0] == _PAIRS[character]:
            _, start, depth = stack.pop()
            if stack:
                opener, outer, outer_depth = stack[-1]
                stack[-1] = (opener, outer, max(outer_depth, depth + 1))
            if depth < MAX_DEPTH and place + 1 - start <= MAX_LITERAL:
                found.append((start, place + 1))
        else:
            stack.clear()
    return reversed(found)


def parse_literal(text: str) -> Any:
    """The value of a Python literal; None for anything else, None itself, and text beyond the bounds."""
    if len(text) > MAX_LITERAL or _nesting(text) > MAX_DEPTH:
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _nesting(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket.group() in "([{" else -1
        deepest = max(deepest, depth)
    return deepest


def integer(text: str) -> int | None:
    """The integer that a text is, as in "-12" or "1,234", or None."""
    text = text.strip().rstrip(".").replace("\u2212", "-")
    if re.fullmatch(r"-?[0-9]{1,3}(?:,[0-9]{3}){1,5}", text):
        text = text.replace(",", "")
    return int(text) if _INTEGER.fullmatch(text) else None


def items(text: str) -> list[str]:
    """The items of a comma-separated list, in lower case, each with single spaces; empty ones are dropped."""
    parts = [" ".join(part.split()).casefold() for part in re.split(r"[,，、]", text)]
    return [part for part in parts if part]
