"""Families whose answer is a number, a few names, or a sequence: compared with the gold, or checked by its rules."""

import re
from operator import eq
from typing import Any

from simko.records import Problem
from simko.verifiers.extract import after_answer_is
from simko.verifiers.parts import last_unfenced_line
from simko.verifiers.synlogic.arithmetic import NotArithmetic, evaluate
from simko.verifiers.synlogic.family import Family, field, gold
from simko.verifiers.synlogic.reading import boxed, integer, items, last_literal, parse_literal

_LABELS = re.compile(r"[A-Z](?:[\s,，、&]+(?:and\s+)?[A-Z])*", re.ASCII)
_BRACKETS = re.compile(r"[()\[\]{}<>]{2,}")
_FRACTION = re.compile(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}")
_YES = {"yes": True, "no": False, "是": True, "否": False}
_NUMBERS = re.compile(r"[0-9]{1,6}(?:[\s,，、]+[0-9]{1,6})*")
_NOTHING = ("", '""', "''", "“”", "[]")
TOLERANCE = 1e-6
"""Relative error allowed where the gold is a rounded decimal, as in -37.71428571428572."""


def read_box(text: str) -> tuple[str, str] | None:
    r"""What the last \boxed{...} holds, not empty."""
    content = boxed(text)
    return (content, content) if content else None


def read_boxed_integer(text: str) -> tuple[str, int] | None:
    """The integer in the last box."""
    content = boxed(text)
    value = integer(content) if content is not None else None
    return None if content is None or value is None else (content, value)


def read_items(text: str) -> tuple[str, list[str]] | None:
    """The comma-separated items in the last box."""
    content = boxed(text)
    listed = items(content) if content is not None else []
    return (content or "", listed) if listed else None


def read_labels(text: str) -> tuple[str, frozenset[str]] | None:
    """The option labels in the last box, as in A,C."""
    content = boxed(text)
    if content is None or not _LABELS.fullmatch(content):
        return None
    return content, frozenset(re.findall(r"\b[A-Z]\b", content))


def labels_puzzle(problem: Problem) -> frozenset[str]:
    """The labels of the gold."""
    if not _LABELS.fullmatch(gold(problem)):
        raise ValueError("the gold answer is not a list of option labels")
    return frozenset(re.findall(r"[A-Z]", gold(problem)))


def read_integer(text: str) -> tuple[str, int] | None:
    """The integer in the last box, after the last "answer is", or that the last line is."""
    for candidate in (boxed(text), after_answer_is(text), last_unfenced_line(text)):
        value = integer(candidate) if candidate else None
        if candidate and value is not None:
            return candidate, value
    return None


def read_number(text: str) -> tuple[str, float] | None:
    r"""The number in the last box: a decimal, a \frac, a quotient or another small expression of numbers."""
    content = boxed(text)
    if not content:
        return None
    plain = _FRACTION.sub(r"((\1)/(\2))", content.replace("\u2212", "-").replace("\\left", "").replace("\\right", ""))
    plain = re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", plain)
    try:
        return content, float(evaluate(plain))
    except (NotArithmetic, OverflowError):
        return None


def number_holds(value: float, wanted: float) -> bool:
    """Equal, or within 1e-6 relatively."""
    return abs(value - wanted) <= TOLERANCE * abs(wanted)


def read_brackets(text: str) -> tuple[str, str] | None:
    r"""The last run of two or more brackets, single spaces inside it dropped; inside the last box if there is one.

    Backslashes before braces are dropped (\{ in LaTeX). An empty LaTeX group {} at the end would be read as an answer.
    """
    content = boxed(text)
    where = text if content is None else content
    if content is None and last_unfenced_line(text):
        where = last_unfenced_line(text)
    runs = _BRACKETS.findall(where.replace("\\", "").replace(" ", ""))
    return (runs[-1], runs[-1]) if runs else None


def brackets_puzzle(problem: Problem) -> str:
    """The only shortest completion of the question's sequence, worked out from it."""
    question = "".join(str(problem.metadata["metadata"]["question_sequence"]).split())
    closing = {"(": ")", "[": "]", "{": "}", "<": ">"}
    stack: list[str] = []
    for bracket in question:
        if bracket in closing:
            stack.append(closing[bracket])
        elif not stack or stack.pop() != bracket:
            raise ValueError("question_sequence cannot be completed")
    return question + "".join(reversed(stack))


def read_step_numbers(text: str) -> tuple[str, frozenset[int]] | None:
    r"""The numbers in the last box, after "answer is", or on the last line; none for "" or an empty box.

    A response without any answer is unparsed: silence does not say that there is no error.
    """
    for candidate in (boxed(text), after_answer_is(text), last_unfenced_line(text) or None):
        if candidate is None:
            continue
        if candidate in _NOTHING:
            return candidate, frozenset()
        plain = candidate.strip("\"'“”[](). ")
        if _NUMBERS.fullmatch(plain):
            return plain, frozenset(int(number) for number in re.findall(r"[0-9]+", plain))
    return None


def read_owners(text: str) -> tuple[str, dict[str, str]] | None:
    """The last tuple or list of (name, item) pairs, no name twice."""
    found = last_literal(text, _is_owners)
    return None if found is None else (found[0], _owners(found[1]))


def _is_owners(value: Any) -> bool:
    pairs = (
        isinstance(value, tuple | list)
        and bool(value)
        and all(
            isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
            for pair in value
        )
    )
    return bool(pairs) and len({pair[0] for pair in value}) == len(value)


def _owners(pairs: Any) -> dict[str, str]:
    return {" ".join(name.split()).casefold(): " ".join(item.split()).casefold() for name, item in pairs}


def owners_puzzle(problem: Problem) -> dict[str, str]:
    """Who owns what at the end, from the gold."""
    value = parse_literal(gold(problem))
    if not _is_owners(value):
        raise ValueError("the gold answer is not a tuple of (name, item) pairs")
    return _owners(value)


def read_yes_no(text: str) -> tuple[str, list[bool]] | None:
    """The list of yes and no (是, 否) after the last "answer is", else in the last box."""
    candidate = after_answer_is(text) or boxed(text)
    words = items(candidate.replace("*", "").rstrip(".。")) if candidate else []
    if not words or any(word not in _YES for word in words):
        return None
    return candidate or "", [_YES[word] for word in words]


def read_meeting(text: str) -> tuple[str, tuple[int, int]] | None:
    """The last [minutes, options]; a last line of 0 stands for [0, 0]."""
    found = last_literal(text, lambda v: isinstance(v, list) and len(v) == 2 and all(type(n) is int for n in v))
    if found is not None:
        return found[0], (found[1][0], found[1][1])
    return ("0", (0, 0)) if last_unfenced_line(text).strip("[]. ") == "0" else None


def meeting_puzzle(problem: Problem) -> tuple[int, int]:
    """(minutes, options) of the gold."""
    value = parse_literal(gold(problem))
    if value == 0:
        return 0, 0
    minutes, options = value
    return int(minutes), int(options)


def _word_puzzle(problem: Problem) -> str:
    return " ".join(gold(problem).split()).casefold()


def _word_holds(value: str, wanted: str) -> bool:
    return " ".join(value.split()).casefold() == wanted


TEXT_FAMILIES: dict[str, Family] = {
    "boolean_expressions": Family(labels_puzzle, read_labels, eq),
    "dyck_language": Family(brackets_puzzle, read_brackets, eq),
    "dyck_language_errors": Family(lambda p: int(gold(p)), read_integer, eq),
    "dyck_language_reasoning_errors": Family(
        lambda p: frozenset(map(int, field(p, "error_indices"))), read_step_numbers, eq
    ),
    "goods_exchange": Family(owners_puzzle, read_owners, eq),
    "object_counting": Family(lambda p: int(gold(p)), read_boxed_integer, eq),
    "object_properties": Family(lambda p: int(gold(p)), read_boxed_integer, eq),
    "operation": Family(lambda p: float(gold(p)), read_number, number_holds),
    "space_reasoning": Family(_word_puzzle, read_box, _word_holds),
    "space_reasoning_tree": Family(lambda p: frozenset(items(gold(p))), read_items, lambda v, w: frozenset(v) == w),
    "time_sequence": Family(meeting_puzzle, read_meeting, eq),
    "web_of_lies": Family(lambda p: [_YES[word] for word in items(gold(p))], read_yes_no, eq),
    "word_sorting": Family(lambda p: items(gold(p)), read_items, eq),
    "word_sorting_mistake": Family(lambda p: p.answer.strip().casefold() or "no", read_box, _word_holds),
}
