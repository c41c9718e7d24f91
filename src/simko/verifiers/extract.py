r"""The answer of a response: which span of it is judged, and by which rule it was found.

The rules, in this order; the first that finds a place decides:

    answer tag      <answer>...</answer>, the last one that is closed
    box             the last \boxed{...} to open, with those that stand in one list with it
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

from simko.verifiers.boxes import box_end, boxes, closing_brace, last_box, last_boxes
from simko.verifiers.parts import CUES, answer_tag, final_part, last_code_block, last_line, next_question
from simko.verifiers.statements import Statement, doubted, statements

__all__ = [
    "MAX_ANSWER",
    "Span",
    "after_answer_is",
    "closing_brace",
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
    if inside is not None and inside.strip():
        found = _ruled(inside)
        return _bounded(found.text if found else _unwrapped(inside), "answer tag")
    return _ruled(text)


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
    """The last boxes, unless a later statement that is final, or bare mathematics, takes their place."""
    found = list(boxes(text))
    if not found:
        return None
    end = box_end(text, found[-1])
    if end is None:
        return Span("", "box")
    for said in statements(text, end):
        formula = _FORMULA.match(said.answer) and (said.final or is_maths(said.answer))
        if formula and next_question(text, end, said.start) is None:
            return Span(said.answer, said.rule)
    content = last_boxes(text, found)
    return Span(content, "box") if content else None


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
    return Span(_unwrapped(answer) if isinstance(answer, str) else "", "JSON")


def _stated(text: str) -> Span | None:
    said: Statement | None = next(statements(text), None)
    return Span(said.answer, said.rule) if said else None


def _whole(text: str) -> Span | None:
    answer = text.strip()
    if len(answer) > 2 * MAX_ANSWER or "box" in answer:
        return None
    answer = _EMPHASIS.sub(r"\2", answer)
    return Span(_unwrapped(answer), "whole response") if is_maths(answer) else None


RULES: tuple[Callable[[str], Span | None], ...] = (_boxed, _json, _stated, _whole)

_KEYS = {key.replace("_", "") for key in CUES["answer_tags"]["keys"]}
_FORMULA = re.compile(r"[-+.$\\({\[0-9\u2212]")
_EMPHASIS = re.compile(r"\A(\*{1,3}|_{1,3}|`)([^*`]+)\1\Z")
_WRAPPED = re.compile(
    r"\$\$(?P<a>[^$]+)\$\$|\\\[(?P<b>(?:(?!\\\[|\\\]).)+)\\\]|\$(?P<c>[^$\n]+)\$|\\\((?P<d>(?:(?!\\\(|\\\)).)+)\\\)",
    re.DOTALL,
)


def _unwrapped(text: str) -> str:
    """The text without the marks of one formula that it is."""
    text = text.strip()
    formula = _WRAPPED.fullmatch(text.rstrip(".。 "))
    return (formula[formula.lastgroup or 0] if formula else text).strip()


# -- one line of mathematics ---------------------------------------------------------------------------------------------

_MATHS_WORD = re.compile(
    r"(?:arc)?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|lg|exp|sqrt|max|min|gcd|lcm|mod|pi|inf(?:inity|ty)?|[ap]\.?m\.?|deg"
)
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathbb|mathcal|operatorname|begin|end)\*?\s*\{([^{}]*)\}"
)
_MACRO = re.compile(r"\\[A-Za-z]+|\\.")
_RUN = re.compile(r"[^\W\d_]{2,}")
_SHORT_WORDS = {
    "or",
    "is",
    "if",
    "no",
    "so",
    "it",
    "to",
    "of",
    "an",
    "in",
    "at",
    "by",
    "we",
    "be",
    "as",
    "do",
    "he",
    "my",
    "on",
    "ok",
}
_LISTED = re.compile(r"\\(?:lor|vee|quad|qquad)(?![A-Za-z])|[;；、]|\d[ \t]+\d(?!\d*/\d)(?!\d\d(?:[ \t]\d{3})*(?!\d))")
_ITEM = re.compile(r"\d+[.)]\s|[-*•]\s")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))|\{,\}")


def is_maths(text: str) -> bool:
    """Whether the text is one line of mathematics: a formula or a number, no prose, no list of candidates."""
    text = text.strip().rstrip(".。").strip()
    inner = _unwrapped(text)
    wrapped = inner != text
    if not inner or "$" in inner.replace("\\$", "") or (not wrapped and ("\n" in inner or _ITEM.match(inner))):
        return False
    if not (wrapped or re.search(r"\d|\\[A-Za-z]", inner)) or re.search(r"[?？!]\Z|[=:]\Z", inner):
        return False
    words = _RUN.findall(_MACRO.sub(" ", _TEXT.sub(lambda m: m[1] if " or" in m[0] or " and" in m[0] else " ", inner)))
    if any((len(word) > 2 or word.lower() in _SHORT_WORDS) and not _MATHS_WORD.fullmatch(word) for word in words):
        return False
    return not _LISTED.search(inner) and not _lists(_GROUPED.sub("", inner))


def _lists(text: str) -> bool:
    """Whether commas outside brackets separate anything but values of different names."""
    depth, start, parts = 0, 0, []
    for mark in re.finditer(r"\\.|[(\[{)\]}，,]", text):
        if mark.group() in ("(", "[", "{", "\\{"):
            depth += 1
        elif mark.group() in (")", "]", "}", "\\}"):
            depth -= 1
        elif mark.group() in ",，" and depth <= 0:
            parts.append(text[start : mark.start()])
            start = mark.end()
    parts.append(text[start:])
    names = [part.partition("=")[0].strip() for part in parts]
    return len(parts) > 1 and (not all("=" in part for part in parts) or len(set(names)) < len(names))


# -- a short answer: an option, a word, a number -------------------------------------------------------------------------

_ANSWER_IS = re.compile(r"\banswer(?:[ \t]+is\b|[ \t]*[:=])[ \t]*:?", re.IGNORECASE)
_ANSWER_IS_IN_TWO_LANGUAGES = re.compile(r"(?:answer is|答案是|答案为)[ \t]*[:：]?", re.IGNORECASE)
_CLAUSE_END = re.compile(r"\n|[.!?](?=\s|$)|,?\s(?:because|since)\b", re.IGNORECASE)


def short_answer(response: str) -> tuple[str, bool]:
    """Where a short answer stands, and whether all of that must be the answer (on the last line); "" for nowhere."""
    if found := list(boxes(response)):
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
