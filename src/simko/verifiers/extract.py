r"""Where the answer stands in a response: boxes, tags, phrases such as "the answer is", the last line.

Every function takes any text, in time linear in its length.
"""

import re
from collections import deque
from collections.abc import Iterator

MAX_ANSWER = 1000
"""An answer of more characters counts as none: no benchmark's gold has 300, and equality costs more than linear time."""

# -- boxes -------------------------------------------------------------------------------------------------------------

_MAX_BOXES = 32
_OPEN_BOX = re.compile(r"\\(?:boxed|fbox)[ \t\r\n]*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BETWEEN_BOXES = re.compile(r"(?:[ \t$,;.&]|\\[,;:! ()]|\\q?quad|\\text\{(?:[^{}]{0,60}\W)?(?:and|or),? *\}|and|or)*")


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


def last_box(text: str) -> str | None:
    r"""The content of the last \boxed{...} to open, braces balanced (\{ and \} do not count); None if there is none."""
    box = _last_match(_OPEN_BOX, text)
    end = closing_brace(text, box.end()) if box else None
    return None if box is None or end is None else text[box.end() : end]


def last_boxes(text: str, starts: list[int]) -> str | None:
    """The content of the last box and of those that stand in one list with it; equal ones once."""
    end = closing_brace(text, starts[-1])
    if end is None:
        return None
    contents = [text[starts[-1] : end].strip()]
    following = starts[-1]
    for start in reversed(starts[-_MAX_BOXES:-1]):
        end = closing_brace(text, start, following)
        opening = max(text.rfind("\\boxed", start, following), text.rfind("\\fbox", start, following))
        if end is None or opening < 0 or not _BETWEEN_BOXES.fullmatch(text, end + 1, max(opening, end + 1)):
            break
        contents.append(text[start:end].strip())
        following = start
    return ", ".join(dict.fromkeys(reversed(contents)))


# -- tags, code blocks and lines ---------------------------------------------------------------------------------------


def answer_tag(text: str) -> str | None:
    """What stands in the last closed <answer>...</answer>; None if there is none."""
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, end) if end >= 0 else -1
    return text[start + len("<answer>") : end] if start >= 0 else None


def final_part(response: str) -> str:
    """The part that answers: after the last </think>, inside the last <answer>, closed or not."""
    text = response[response.rfind("</think>") + len("</think>") :] if "</think>" in response else response
    start, end = text.rfind("<answer>"), text.rfind("</answer>")
    if start < 0:
        return text
    return text[start + len("<answer>") : end if end > start else len(text)]


def last_code_block(text: str) -> str | None:
    """The content of the last closed ``` block, without its language name; None if there is none."""
    end = text.rfind("```")
    start = text.rfind("```", 0, end) if end >= 0 else -1
    if start < 0:
        return None
    return re.sub(r"^(?:python|py|text)?[ \t\r]*\n?", "", text[start + 3 : end]).strip()


def last_line(text: str) -> str:
    """The last line that is not blank."""
    return text.rstrip().rpartition("\n")[2]


def last_unfenced_line(text: str) -> str:
    """The last line that is not blank and no code fence, without white space and fence or emphasis marks around it."""
    for line in reversed(text.rstrip().split("\n")):
        line = line.strip(" \t\r`*$")
        if line and line not in ("python", "text"):
            return line
    return ""


# -- a short answer: an option, a word, a number -------------------------------------------------------------------------

_ANSWER_IS = re.compile(r"\banswer(?:[ \t]+is\b|[ \t]*[:=])[ \t]*:?", re.IGNORECASE)
_ANSWER_IS_IN_TWO_LANGUAGES = re.compile(r"(?:answer is|答案是|答案为)[ \t]*[:：]?", re.IGNORECASE)
_CLAUSE_END = re.compile(r"\n|[.!?](?=\s|$)|,?\s(?:because|since)\b", re.IGNORECASE)


def short_answer(response: str) -> tuple[str, bool]:
    """Where a short answer stands, and whether all of that must be the answer (on the last line); "" for nowhere."""
    if starts := list(box_starts(response)):
        return last_boxes(response, starts) or "", False
    if said := _last_match(_ANSWER_IS, response):
        return _CLAUSE_END.split(response[said.end() :].lstrip(" \t\r\n*$`"), maxsplit=1)[0], False
    return last_line(response), True


def after_answer_is(text: str) -> str | None:
    """The rest of the line after the last "answer is", in English or Chinese, without * $ quotes and the full stop;
    None if there is none."""
    said = _last_match(_ANSWER_IS_IN_TWO_LANGUAGES, text)
    if said is None:
        return None
    line = text[said.end() :].lstrip(" \t\r\n").split("\n", 1)[0]
    return line.strip(" \t\r\n.。*$`\"'") or None


# -- a mathematical answer -----------------------------------------------------------------------------------------------

_MAX_CUES = 20
_LAST_WORD = re.compile(r"\bfinal[ \t]+answer[ \t]+is\b[ \t]*:?[\s*_]{0,40}(?=[-+.$\\({\[0-9\u2212])", re.IGNORECASE)
_CUE = re.compile(
    r"\b(?:final[ \t]+)?answers?\b(?:[^\n.:=$\\]{0,60}?(?:\b(?:is|are)\b(?:[ \t]*:)?|[:=])|[ \t]*(?=\$|\\\(|\\\[))|\#{4}",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    r"\b(?:if|whether|suppos(?:e|ing)|assum(?:e|ing)|unless)(?:[ \t]+(?:that|the|an|our|your|this|final|correct)){0,4}[ \t]*\Z",
    re.IGNORECASE,
)
_SPACE = re.compile(r"[\s*_]{0,40}")
_DISPLAY = re.compile(r"(\$\$|\\\[)(.*?)(?:\$\$|\\\])", re.DOTALL)
_INLINE_OPEN = re.compile(r"\$(?!\$)[ \t]{0,9}\n")
_INLINE = re.compile(r"\$([^$]*)\$")
_HASH_ANSWER = re.compile(r"[-+.$\\({\[0-9\u2212]")
_SENTENCE_END = re.compile(
    r"\.(?=\s|$)|(?<=[\w)}\]$%])[,;]?\s+(?:because|since|as|which|so|thus|hence|when|if|but|therefore|for (?:all|any|the|part))\b|</?[a-z]+>"
)
_PREAMBLE = re.compile(r"(?:(?:that|the|a|an|our|its)\b|[A-Z][a-z]+ )", re.IGNORECASE)


def extract_answer(response: str) -> str | None:
    r"""The response's final answer as it stands, or None: unparsed.

    1. The content of the last \boxed{...} (or \fbox{...}). Boxes directly before it, separated only by "and", "or",
       commas and spacing on one line, belong to it: \boxed{1}, \boxed{2} is "1, 2". A last box that never closes
       (a cut-off response) is no answer; an empty one is passed over. "The final answer is" with a number or formula
       after the last box overrides it: boxes were steps then.
    2. Else what follows the last of "answer is", "answers are", "answer:", "answer =", "####", or "answer" directly
       before $, \( or \[: a display formula whole, otherwise the rest of the line up to the end of the sentence or a
       word such as "because". A lead-in is dropped: "The largest n is 34." gives 34. "####" needs a number or formula.
       Not where it is only supposed: "if the answer is 3".
    3. None too where the answer is empty or longer than MAX_ANSWER characters.

    Takes any text, in linear time.
    """
    starts = list(box_starts(response))
    if starts:
        if overriding := _after_last_box(response, starts[-1]):
            return _bounded(overriding)
        boxed = last_boxes(response, starts)
        if boxed is None or boxed.strip():
            return _bounded(boxed)
    for cue in reversed(_last_cues(response)):
        found = _after_cue(response, cue)
        if found:
            return _bounded(found)
    return None


def _bounded(answer: str | None) -> str | None:
    if answer is None or len(answer) > MAX_ANSWER:
        return None
    return answer.strip() or None


def _after_last_box(text: str, start: int) -> str:
    """What the last "the final answer is" after the last box gives, "" where there is none."""
    end = closing_brace(text, start)
    last = None if end is None else _last_match(_LAST_WORD, text, end)
    return _after_cue(text, last) if last else ""


def _last_cues(text: str) -> list[re.Match[str]]:
    cues: list[re.Match[str]] = []
    for cue in _CUE.finditer(text):
        if _SUPPOSED.search(text, max(0, cue.start() - 40), cue.start()):
            continue
        cues.append(cue)
        if len(cues) > 2 * _MAX_CUES:
            del cues[:_MAX_CUES]
    return cues[-_MAX_CUES:]


def _after_cue(text: str, cue: re.Match[str]) -> str:
    """The answer that stands after a cue, "" where none does."""
    rest = text[cue.end() : cue.end() + 2 * MAX_ANSWER]
    rest = rest[_SPACE.match(rest).end() :]  # type: ignore[union-attr]
    if cue.group().startswith("#"):
        return rest.split("\n", 1)[0].strip() if _HASH_ANSWER.match(rest) else ""
    if display := _DISPLAY.match(rest):
        return display.group(2).strip()
    if _INLINE_OPEN.match(rest) and (inline := _INLINE.match(rest)):
        return inline.group(1).strip()
    line = rest.split("\n", 1)[0].replace("\\(", "$").replace("\\)", "$")
    end = _SENTENCE_END.search(line)
    line = (line[: end.start()] if end else line).strip(" \t*_")
    if _PREAMBLE.match(line) and " is " in line:
        line = line.rsplit(" is ", 1)[1]
    return line.rstrip(".,;:").strip(" \t*_")


def _last_match(pattern: re.Pattern[str], text: str, start: int = 0) -> re.Match[str] | None:
    last = deque(pattern.finditer(text, start), maxlen=1)
    return last[0] if last else None
