r"""The last \boxed{...} of a response, compared with the gold answer as text.

A strict match: equal answers in another form (1/2 for \frac{1}{2}, 0.5, x=3 for 3, reordered sets) are marked wrong.
A reward made from it is never too generous, but misses right answers; a grader of mathematical equality is planned.
"""

import re
from collections import deque
from collections.abc import Iterator

from simko.records import Problem, Verdict

_OPEN_BOX = re.compile(r"\\(?:boxed|fbox)[ \t\r\n]*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_DROPPED = re.compile(r"(?<!\\)(?:\\(?:left|right)(?![A-Za-z])|\\[!,;: ]|\$)")
_FRACTION = re.compile(r"\\[dt]frac(?![A-Za-z])")
_SPACE = re.compile(r"\s+")
_LOOSE_SPACE = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])")


def verify_last_box(response: str, problem: Problem) -> Verdict:
    r"""Whether the content of the last \boxed{...} (or \fbox{...}) equals problem.answer after `normalise_answer`.

    "unparsed": no box, an empty one, or a last box whose braces never close (a cut-off response).
    Raises ValueError if problem.answer is empty.
    """
    gold = normalise_answer(problem.answer)
    if not gold:
        raise ValueError(f"problem {problem.id!r} has no gold answer")
    content = last_box(response)
    extracted = normalise_answer(content) if content is not None else ""
    if not extracted:
        return Verdict("unparsed")
    return Verdict("correct" if extracted == gold else "wrong", extracted)


def last_box(text: str) -> str | None:
    r"""The content of the last \boxed{...} to open, braces balanced (\{ and \} do not count); None if there is none."""
    last = deque(box_starts(text), maxlen=1)
    if not last:
        return None
    end = closing_brace(text, last[0])
    return None if end is None else text[last[0] : end]


def box_starts(text: str) -> Iterator[int]:
    r"""Where the content of each \boxed{...} and \fbox{...} starts, in order."""
    return (box.end() for box in _OPEN_BOX.finditer(text))


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


def normalise_answer(answer: str) -> str:
    r"""Drop $, \left, \right and spacing commands, write \dfrac and \tfrac as \frac, and drop white space.

    White space between two letters or digits stays, as one space: "1 2" is not "12".
    """
    answer = _FRACTION.sub(r"\\frac", _DROPPED.sub("", answer))
    return _LOOSE_SPACE.sub("", _SPACE.sub(" ", answer))
