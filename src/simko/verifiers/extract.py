r"""The answer of a response: which span of it is judged, and by which rule it was found.

The rules, in this order; the first that finds a place decides:

    answer tag      <answer>...</answer>, the last one that is closed
    box             the last \boxed{...} that stands in no other, with those that stand in one list with it
    JSON            an object with an "answer", which is the whole response or its last code block
    phrase          the last of "the answer is", "answer:", in many languages (cues.toml)
    heading         "Final Answer" on a line of its own, the answer on the next
    ####            as in GSM8K
    whole response  one line of mathematics and nothing else

Before them, `parts.final_part` cuts thoughts and what follows the end of the turn. Every function takes any text, in time
linear in its length.
"""

import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from simko.verifiers.boxes import Box, boxes, last_box, last_boxes
from simko.verifiers.formulas import is_maths, unwrapped
from simko.verifiers.parts import (
    CUES,
    after_answer_tag,
    answer_tag,
    final_part,
    last_code_block,
    last_line,
    next_question,
)
from simko.verifiers.statements import Statement, denied, doubted, statements

__all__ = [
    "MAX_ANSWER",
    "Span",
    "after_answer_is",
    "extract_answer",
    "find_answer",
    "last_box",
    "short_answer",
]

MAX_ANSWER = 1000
"""An answer of more characters counts as none: no benchmark's gold has 300, and equality costs more than linear time."""


@dataclass(frozen=True)
class Span:
    """An answer, and where it stood."""

    text: str
    """The answer as it stands in the response, without white space around it."""
    rule: str
    """The rule that found it."""


def find_answer(response: str, *, run_on: bool = False) -> Span | None:
    """The answer of a response, or None: unparsed.

    None too where the place of an answer is there, but holds none: a last box that never closes (a response that was cut off),
    an answer of more than MAX_ANSWER characters. An empty tag or box is passed over.

    Args:
        response: any text.
        run_on: cut the response where it goes on with another question, as base models do.
    """
    text = final_part(response, run_on=run_on)
    inside = answer_tag(text)
    if inside is None or not inside.strip():
        return _ruled(text)
    end = after_answer_tag(text)
    if later := _boxed(text[end : next_question(text, end)]) or _later(text, end):
        return _bounded(later.text, later.rule)
    found = _ruled(inside)
    return _bounded(found.text if found else unwrapped(inside), "answer tag")


def extract_answer(response: str) -> str | None:
    """The text that `find_answer` finds."""
    found = find_answer(response)
    return None if found is None else found.text


def _ruled(text: str) -> Span | None:
    for rule in RULES:
        found = rule(text)
        if found is not None:
            return _bounded(found.text, found.rule)
    return None


def _bounded(answer: str, rule: str) -> Span | None:
    answer = answer.strip()
    return Span(answer, rule) if 0 < len(answer) <= MAX_ANSWER else None


# -- the rules: each gives the span it finds, an empty one where there is no answer, or None where another may find one ----


def _boxed(text: str) -> Span | None:
    """The last boxes, unless a later statement takes their place."""
    found = _standing(text)
    if not found:
        return None
    if found[-1].end is None:
        return Span("", "box")
    content = last_boxes(text, found)
    return _later(text, found[-1].after) or (Span(content, "box") if content else None)


def _standing(text: str) -> list[Box]:
    """The last boxes of the text, without those at the end that the text denies."""
    found = boxes(text)[-_MAX_BOXES:]
    while (
        found
        and found[-1].end is not None
        and (denied(text, found[-1].opening, found[-1].after) or _retracted(text, found[-1]))
    ):
        found.pop()
    return found


def _retracted(text: str, box: Box) -> bool:
    """Whether a later sentence says that the answer is not what the box holds."""
    content = text[box.start : box.end].strip()
    if not 0 < len(content) <= _MAX_RETRACTED:
        return False
    denial = rf"\b(?:answer|it|this|that) (?:is|was) not[ $(\\]*(?:boxed\{{)?{re.escape(content)}(?![\w.]*\w)"
    return re.search(denial, text[box.after :], re.IGNORECASE) is not None


def _later(text: str, end: int) -> Span | None:
    """What takes the place of an answer that ends at `end`: a later statement that is final, or bare mathematics."""
    stop = next_question(text, end)
    for said in statements(text if stop is None else text[:stop], end):
        if _FORMULA.match(said.answer) and (said.final or is_maths(said.answer)):
            return Span(said.answer, said.rule)
    return None


def _json(text: str) -> Span | None:
    text = text.strip()
    block = last_code_block(text) if text.endswith("```") else text
    if not block or not (block.startswith("{") and block.endswith("}")):
        return None
    try:
        value = json.loads(block, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    answers = [answer for key, answer in value.items() if re.sub(r"[\W_]", "", key).lower() in _KEYS]
    if len(answers) != 1:
        return None
    answer = answers[0]
    if isinstance(answer, list):
        answer = json.dumps(answer, ensure_ascii=False).replace('"', "")
    return Span(unwrapped(answer) if isinstance(answer, str) else "", "JSON")


def _stated(text: str) -> Span | None:
    said: Statement | None = next(statements(text), None)
    return Span(said.answer, said.rule) if said else None


def _whole(text: str) -> Span | None:
    answer = text.strip()
    if len(answer) > 2 * MAX_ANSWER or "box" in answer:
        return None
    answer = _EMPHASIS.sub(r"\2", answer)
    return Span(unwrapped(answer), "whole response") if is_maths(answer) else None


RULES: tuple[Callable[[str], Span | None], ...] = (_boxed, _json, _stated, _whole)

_MAX_BOXES = 32
_MAX_RETRACTED = 60
_KEYS = {key.replace("_", "") for key in CUES["answer_tags"]["keys"]}
_FORMULA = re.compile(r"[-+.$\\({\[0-9\u2212]")
_EMPHASIS = re.compile(r"\A(\*{1,3}|_{1,3}|`)([^*`]+)\1\Z")


# -- a short answer: an option, a word, a number -------------------------------------------------------------------------

_ANSWER_IS = re.compile(r"\banswer(?:[ \t]+is\b|[ \t]*[:=])[ \t]*:?", re.IGNORECASE)
_ANSWER_IS_IN_TWO_LANGUAGES = re.compile(r"(?:answer is|答案是|答案为)[ \t]*[:：]?", re.IGNORECASE)
_CLAUSE_END = re.compile(r"\n|[.!?](?=\s|$)|,?\s(?:because|since)\b", re.IGNORECASE)


def short_answer(response: str) -> tuple[str, bool]:
    """Where a short answer stands, and whether all of that must be the answer (on the last line); "" for nowhere."""
    if found := _standing(response):
        return last_boxes(response, found) or "", False
    if said := _last_said(_ANSWER_IS, response):
        return _CLAUSE_END.split(response[said.end() :].lstrip(" \t\r\n*$`"), maxsplit=1)[0], False
    return last_line(response), True


def _last_said(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The pattern's last match that is not doubted."""
    last = deque(pattern.finditer(text), maxlen=20)
    return next((said for said in reversed(last) if not doubted(text, said.start(), said.end())), None)


def after_answer_is(text: str) -> str | None:
    """The rest of the line after the last "answer is", in English or Chinese, without * $ quotes and the full stop;
    None if there is none."""
    said = _last_said(_ANSWER_IS_IN_TWO_LANGUAGES, text)
    if said is None:
        return None
    line = text[said.end() :].lstrip(" \t\r\n").split("\n", 1)[0]
    return line.strip(" \t\r\n.。*$`\"'") or None
