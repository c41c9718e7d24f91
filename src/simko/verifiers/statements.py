"""Statements that announce an answer: "the answer is", a heading, "####", in the languages of cues.toml.

Every function takes any text, in time linear in its length.
"""

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from simko.verifiers.parts import CUES, any_of

_WINDOW = 2000
_MAX_NOUNS = 40
_WORDS = CUES["statements"]
_LANGUAGES = CUES["language"]


def _language_words(key: str) -> str:
    spaced = [word for language in _LANGUAGES if language.get("spaced", True) for word in language[key]]
    unspaced = [word for language in _LANGUAGES if not language.get("spaced", True) for word in language[key]]
    return f"(?:{any_of(spaced)}|{any_of(unspaced, spaced=False)})"


_NOUNS = [
    (re.match(r"\w+(?=\w\?)|\w+", word)[0], re.compile(word + (r"(?!\w)" if language.get("spaced", True) else "")))  # type: ignore[index]
    for language in _LANGUAGES
    for word in language["answer"]
] + [("####", re.compile("#{4}(?!#)"))]
"""(letters that each match holds, the pattern of lower-case text) of each word for "answer": so that few are searched for."""
_LINK = re.compile(
    rf"[^\n.:=$\\?!：。？]{{0,60}}?(?:{_language_words('is')}(?:[ \t]*[:：])?|['’]s\b|[-=]>|[:=：→⇒➜]|[ \t][—–](?=[ \t]))|[ \t]*(?=\$|\\\(|\\\[)",
    re.IGNORECASE,
)
_HEADING = re.compile(r"[ \t*_:：#]*\n\s*")
_LINE_START = re.compile(rf"(?:[\s#*_>]|\d+[.)]|the|my|our|{any_of(_WORDS['final'], spaced=False)})*", re.IGNORECASE)
_FINAL = re.compile(any_of(_WORDS["final"], spaced=False), re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?](?=\s|$)|[。！？\n]")
_CLAUSE = re.compile(rf"[.!?](?=\s|$)|[,;:，；：。！？\n(]|{any_of(_WORDS['connectives'])}", re.IGNORECASE)
_SUBORDINATE = re.compile(rf"\s*{any_of(_WORDS['subordinate'])}", re.IGNORECASE)
_DOUBT = re.compile(f"{any_of(_WORDS['doubts'])}|{any_of(_WORDS['doubts_unspaced'], spaced=False)}", re.IGNORECASE)
_HARMLESS = re.compile(any_of(_WORDS["harmless"], spaced=False), re.IGNORECASE)
_DENIAL = re.compile(any_of(_WORDS["denials"], spaced=False), re.IGNORECASE)
_ENDING = re.compile(rf"\s*(?:{'|'.join(sorted(_WORDS['endings'], key=len, reverse=True))})\Z")
_FILLERS = re.compile(rf"(?:[\s*_`\"“]{{1,40}}|{any_of(_WORDS['fillers'])}[ \t]*,?)*", re.IGNORECASE)
_FIRST_WORDS = re.compile(r"(?:[^\W\d_]+['’]?[^\W\d_]*[ \t]+){0,2}(?:[^\W\d_]+['’]?[^\W\d_]*)?")
_DISPLAY = re.compile(r"(\$\$|\\\[)(.*?)(?:\$\$|\\\])", re.DOTALL)
_INLINE_OPEN = re.compile(r"\$(?!\$)[ \t]{0,9}\n")
_INLINE = re.compile(r"\$([^$]*)\$")
_FORMULA = re.compile(r"[-+.$\\({\[0-9\u2212]")
_REASONS = any_of(_WORDS["reasons"])
_END = re.compile(
    rf"\.(?=\s|$)|[。．]|(?<=[\w)}}\]$%°])[,;，]?\s*\(\s*{_REASONS}|(?<=[\w)}}\]$%°])(?:[,;，]\s*|\s+){_REASONS}|[,;，]\s*(?:(?:and|but)\s+)?(?:not|rather than|instead of)\b|</?[a-z_]+>",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"[.!?。？！](?=[\s*_)\"”]|$)|[？。]")
_PREAMBLE = re.compile(r"(?:(?:that|the|a|an|our|its)\b|[A-Z][a-z]+ )", re.IGNORECASE)


class Statement(NamedTuple):
    """One statement of an answer."""

    start: int
    """Where it starts in the text."""
    answer: str
    """The answer, not empty."""
    rule: str
    """phrase, heading or ####."""
    final: bool
    """Whether it says that it is the last word, as "final answer" does."""


def statements(text: str, start: int = 0) -> Iterator[Statement]:
    """The statements of an answer in the text from `start`, the last one first.

    One that denies ("cannot be", "I doubt that"), supposes ("if the answer were") or asks is none.
    """
    for noun in _nouns(_lower(text), start):
        found = _hashes(text, noun) if noun.group() == "####" else _statement(text, noun)
        if found:
            yield found


def _nouns(lower: str, start: int) -> list[re.Match[str]]:
    """The last words for "answer" and "####", the last one first."""
    found: list[re.Match[str]] = []
    for letters, noun in _NOUNS:
        if letters in lower:
            whole = (match for match in noun.finditer(lower, start) if not _continues(lower, match.start()))
            found += deque(whole, maxlen=_MAX_NOUNS)
    return sorted(found, key=lambda match: -match.start())[:_MAX_NOUNS]


def _lower(text: str) -> str:
    """The text in lower case, with as many characters."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(c if len(c.lower()) > 1 else c.lower() for c in text)


def _continues(text: str, place: int) -> bool:
    """Whether a word of Latin letters and the like, or a run of #, goes on at `place`."""
    before, after = text[place - 1 : place], text[place]
    return before == after == "#" or (before.isalnum() and before < "\u3000" and after < "\u3000")


def _hashes(text: str, noun: re.Match[str]) -> Statement | None:
    line = text[noun.end() : noun.end() + _WINDOW].lstrip(" \t*_").split("\n", 1)[0].strip()
    return Statement(noun.start(), line, "####", True) if _FORMULA.match(line) else None


def _statement(text: str, noun: re.Match[str]) -> Statement | None:
    heading = (
        _HEADING.match(text, noun.end())
        if _LINE_START.fullmatch(text, _line(text, noun.start()), noun.start())
        else None
    )
    link = heading or _LINK.match(text, noun.end())
    if link is None:
        return None
    lead = _FILLERS.match(text, link.end(), link.end() + 200)
    begin = lead.end() if lead else link.end()
    rest = text[begin : begin + _WINDOW]
    words = _FIRST_WORDS.match(rest)
    if doubted(text, noun.start(), begin + (words.end() if words else 0)):
        return None
    line = rest.split("\n", 1)[0]
    ended = _QUESTION.search(line)
    if (ended and ended.group() in "?？") or _DENIAL.search(line, 0, ended.end() if ended else len(line)):
        return None
    answer = _answer(rest)
    if not answer or (heading and len(re.findall(r"(?<![\\\w])[^\W\d_]{2,}", answer)) > 8):
        return None
    final = _FINAL.search(text[max(0, noun.start() - 20) : begin]) is not None
    return Statement(noun.start(), answer, "heading" if heading else "phrase", final)


def doubted(text: str, start: int, end: int) -> bool:
    """Whether the clause that holds text[start:end] and leads to its end denies, doubts or supposes."""
    return _DOUBT.search(_HARMLESS.sub(" ", _clause(text, start) + text[start:end])) is not None


def _line(text: str, place: int) -> int:
    """Where the line of `place` starts, at most 60 characters before it."""
    return max(text.rfind("\n", 0, place) + 1, place - 60)


def _clause(text: str, place: int) -> str:
    """The clause that leads to `place`; its whole sentence where the clause hangs on another ("Suppose, ..., that")."""
    window = text[max(0, place - 200) : place]
    start = max((mark.end() for mark in _CLAUSE.finditer(window)), default=0)
    if _SUBORDINATE.match(window, start):
        start = max((mark.end() for mark in _SENTENCE.finditer(window)), default=0)
    return window[start:]


def _answer(rest: str) -> str:
    """The answer at the start of `rest`: a display formula, else the line up to the end of what it says of the answer."""
    if display := _DISPLAY.match(rest):
        return display.group(2).strip()
    if _INLINE_OPEN.match(rest) and (inline := _INLINE.match(rest)):
        return inline.group(1).strip()
    line = rest.split("\n", 1)[0].replace("\\(", "$").replace("\\)", "$")
    end = _END.search(line)
    line = (line[: end.start()] if end else line).strip(" \t*_")
    if _PREAMBLE.match(line) and " is " in line:
        line = line.rsplit(" is ", 1)[1]
    return _ENDING.sub("", line.rstrip(".,;:，！").strip(' \t*_`"”')).strip()
