r"""Answers that are an option, a yes or no, or a short string, and BIG-Bench Hard, which asks for each.

The answer is looked for in three places, in this order:
1. the last \boxed{...}, with those directly before it (\boxed{A}, \boxed{B} lists two); a last box that never closes (a
   cut-off response) is no answer;
2. the text after the last "answer is" or "answer:", to the end of the line or sentence;
3. the last line that is not blank, if it is nothing but an answer; for strings, if it is the only line.
What a response says first there counts. One that lists several options ("A or B") has not chosen: it is wrong.
"""

import re
from itertools import pairwise

from simko.records import Problem, Verdict
from simko.verifiers.boxes import boxes, last_box
from simko.verifiers.direct import Direct, Judge
from simko.verifiers.extract import short_answer
from simko.verifiers.last_integer import verify_last_integer

_BRACKETS = re.compile(r"([ \t()\[\]{}<>\\]*)\}")
_WRAPPER = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt)?|math(?:bf|it|rm|sf|tt)|operatorname)(?![A-Za-z])|[*$`]")
_MARGIN = " \t\r\n.,;:!?\"'"

_LETTER = re.compile(r"\(([A-Za-z])\)|([A-Z])(?![A-Za-z0-9'])(?!\s+[a-z])|([A-Z])(?=\s+(?:and|or)\b)")
_NOT_LETTER = re.compile(
    r"(?:\b(?:not|never|neither|cannot|doubt|unless|whether|if)|n['\u2019]t)\b[^().;,]{0,60}\([A-Za-z]\)", re.IGNORECASE
)
_LONE_LETTER = re.compile(r"\(?([A-Za-z])\)?")
_LEAD = re.compile(r"(?:\s|\(?(?:the|option|choice|answer)\b\)?|[:\-])*", re.IGNORECASE)
_JOINT = re.compile(r"\s*(?:,|;|/|&)?\s*(?:and\b|or\b)?\s*(?:option\b|choice\b)?\s*", re.IGNORECASE)

_GOLD_LETTER = re.compile(r"\(?([A-Z])\)?")
_OPPOSITES = {"yes": "no", "no": "yes", "true": "false", "false": "true", "valid": "invalid", "invalid": "valid"}
_NEGATIVE = {"no", "false", "invalid"}
_WORD = re.compile(r"[^\W\d_]+(?:[-\u2010-\u2015\u00ad\u200b-\u200d\u2060_'\u2019]+[^\W\d_]+)*")
_JOINED = re.compile(r"[-\u2010-\u2015\u00ad\u200b-\u200d\u2060_]")
_NEGATES = re.compile(r"not|never|neither|nor|cannot|hardly|[a-z]+n['\u2019]t", re.IGNORECASE)
_BEFORE = {"in", "un", "non", "dis", "but", "from"}
_DENIED = re.compile(
    r"\s*(?:(?:is|was|are|would be|seems|can|could|must)\b\s*)(?:not\b|n['\u2019]t|wrong|incorrect|false|impossible|excluded|ruled out)"
    r"|\s*(?:isn|wasn|aren|can|couldn|wouldn)['\u2019]?n?['\u2019]t\b|\s*cannot\b",
    re.IGNORECASE,
)


@Direct
def verify_choice(problem: Problem) -> Judge:
    """Whether the response chooses problem.answer: a letter, (A) or A, or one of yes/no, true/false, valid/invalid.

    Letters are read as (A), (a) or A, alone or before the option's text; an article or a word is no letter. Words are
    read in any case, and "not valid" is not read at all. "unparsed": no option where an answer should stand.
    Raises ValueError if problem.answer is neither.
    """
    gold = problem.answer.strip()
    letter = _GOLD_LETTER.fullmatch(gold)
    gold = letter[1] if letter else gold.lower()
    if not letter and gold not in _OPPOSITES:
        raise ValueError(
            f"problem {problem.id!r}: the gold answer {problem.answer!r} is no option: a letter, yes/no, true/false or "
            "valid/invalid"
        )

    def judge(response: str) -> Verdict:
        chosen = _letters(response) if letter else _words(response, {gold, _OPPOSITES[gold]})
        if not chosen:
            return Verdict("unparsed")
        return Verdict("correct" if chosen == [gold] else "wrong", ", ".join(chosen))

    return judge


@Direct
def verify_exact(problem: Problem) -> Judge:
    """Whether the answer equals problem.answer as text, whatever the case.

    White space and commas separate words, however many; quotes and full stops around an answer are dropped. If the gold
    is made of brackets alone, white space does not count at all, and braces in the box need not be escaped or balanced.
    Raises ValueError if problem.answer is empty.
    """
    gold = _plain(problem.answer)
    if not gold:
        raise ValueError(f"problem {problem.id!r} has no gold answer")
    has_words = re.search(r"\w", gold)

    def judge(response: str) -> Verdict:
        brackets = None if has_words else _boxed_brackets(response)
        place, whole = short_answer(response) if brackets is None else (brackets, False)
        answer = _plain(place)
        if not answer or (whole and "\n" in response.strip()):
            return Verdict("unparsed")
        return Verdict("correct" if answer == gold else "wrong", answer)

    return judge


@Direct
def verify_bbh(problem: Problem) -> Judge:
    """BIG-Bench Hard: metadata's answer_type says how an answer is judged: multiple_choice and binary by
    `verify_choice`, string by `verify_exact`, integer by `verify_last_integer`, in the last box if there is one.

    Raises ValueError for another answer_type.
    """
    kind = problem.metadata.get("answer_type")
    if kind in ("multiple_choice", "binary"):
        return verify_choice.judge_of(problem)
    if kind == "string":
        return verify_exact.judge_of(problem)
    if kind == "integer":
        judge = verify_last_integer.judge_of(problem)
        return lambda response: judge(last_box(response) or "" if boxes(response) else response)
    raise ValueError(f"problem {problem.id!r}: metadata's answer_type is {kind!r}, not one of BIG-Bench Hard's")


def _boxed_brackets(response: str) -> str | None:
    r"""What stands in the last box if that is brackets alone: in \boxed{} ]} it is "} ]"; else None."""
    box = boxes(response)[-1:]
    found = _BRACKETS.match(response, box[0].start) if box else None
    return found[1] if found else None


def _unwrapped(text: str) -> str:
    return _WRAPPER.sub("", text).replace("{", " ").replace("}", " ")


def _letters(response: str) -> list[str]:
    """The distinct letters that are chosen, in order."""
    place, whole = short_answer(response)
    text = _unwrapped(place).strip(_MARGIN)
    lone = _LONE_LETTER.fullmatch(text)
    if lone:
        return [lone[1].upper()]
    found: list[str] = []
    position = _end_of(_LEAD, text, 0)
    while letter := _LETTER.match(text, position):
        found.append((letter[1] or letter[2] or letter[3]).upper())
        position = _end_of(_JOINT, text, letter.end())
    if found and _DENIED.match(text, position):
        return []
    if whole and text[position:].strip(_MARGIN):
        if _NOT_LETTER.search(text):
            return []
        # prose: a letter in brackets is the only sign of a choice
        found = [letter.upper() for letter in re.findall(r"\(([A-Za-z])\)", text)]
    return list(dict.fromkeys(found))


def _words(response: str, options: set[str]) -> list[str]:
    """The distinct words of `options` that are chosen, in order; none where a word stands among them that negates one.

    A word counts as a whole, in-valid too; valid is not chosen where no, false or invalid stands beside it.
    """
    place, whole = short_answer(response)
    words = [_JOINED.sub("", word.lower()) for word in _WORD.findall(_unwrapped(place))]
    chosen = list(dict.fromkeys(word for word in words if word in options))
    negated = any(_NEGATES.fullmatch(word) for word in words) or any(
        before in _BEFORE and word in options for before, word in pairwise(words)
    )
    if negated or (whole and len(words) != 1):
        return []
    return chosen if len(chosen) != 1 or chosen[0] in _NEGATIVE or not _NEGATIVE.intersection(words) else []


def _end_of(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position


def _plain(text: str) -> str:
    for escaped in "{}&<>":
        text = text.replace("\\" + escaped, escaped)
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"[*$`\"]", "", text).casefold()
    if not re.search(r"\w", text):
        return re.sub(r"\s+", "", text)
    return re.sub(r"[\s,]+", " ", text).strip(_MARGIN)
