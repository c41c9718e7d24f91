"""Statements that announce an answer: "the answer is", a heading, "####", in the languages of cues.toml.

Every function takes any text, in time linear in its length.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from simko.verifiers.formulas import is_maths
from simko.verifiers.parts import CUES, any_of

_WINDOW = 2000
_MAX_NOUNS = 40
_WORDS = CUES["statements"]


def _link(words: list[str], spaced: bool) -> re.Pattern[str]:
    """What stands between a word for "answer" and the answer: a verb, a sign, or nothing before a formula."""
    return re.compile(
        rf"[^\n.:=$\\?!：。？]{{0,60}}?(?:{any_of(words, spaced=spaced)}(?:[ \t]*[:：])?|['’]s\b|[-=]>|[:=：→⇒➜]|[ \t][—–](?=[ \t]))"
        r"|[ \t]*(?=\$|\\\(|\\\[)",
        re.IGNORECASE,
    )


class _Noun(NamedTuple):
    """A word for "answer"."""

    letters: str
    """What each match holds: the word is searched for where they occur."""
    pattern: re.Pattern[str]
    """Of lower-case text."""
    link: re.Pattern[str]
    """What may follow it, in its language."""


def _nouns_of(language: Mapping[str, Any]) -> Iterator[_Noun]:
    spaced = language.get("spaced", True)
    for word in language["answer"]:
        letters = re.match(r"\w+(?=\w\?)|\w+", word)
        yield _Noun(letters[0], re.compile(word + (r"(?!\w)" if spaced else "")), _link(language["is"], spaced))  # type: ignore[index]


_NOUNS = [noun for language in CUES["language"] for noun in _nouns_of(language)]
_HASHES = _Noun("####", re.compile("#{4}(?!#)"), re.compile(r"[ \t*_]*"))
_HEADING = re.compile(r"[ \t*_:：#]*\n\s*")
_LINE_START = re.compile(rf"(?:[\s#*_>]|\d+[.)]|the|my|our|{any_of(_WORDS['final'], spaced=False)})*", re.IGNORECASE)
_BEFORE = re.compile(
    rf"\s*(?:{any_of(_WORDS['connectives'])}\s+)*([^\n]{{1,100}}?)\s+(?:is|are)\s+(?:the|our|my)\s+(?:(?:final|correct|required|desired)\s+)?",
    re.IGNORECASE,
)
_PIECE = re.compile(r"[.!?](?=\s|$)|[,;:，；：。！？\n(]")
_SAID = re.compile(r"[ \t]*[.!。]?[ \t*]*(?:\n|\Z)")
_FINAL = re.compile(any_of(_WORDS["final"], spaced=False), re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?](?=\s|$)|[。！？\n]")
_CLAUSE = re.compile(rf"[.!?](?=\s|$)|[,;:，；：。！？\n(]|{any_of(_WORDS['connectives'])}", re.IGNORECASE)
_SUBORDINATE = re.compile(rf"\s*{any_of(_WORDS['subordinate'])}", re.IGNORECASE)
_NEGATION = f"{any_of(_WORDS['negations'])}|{any_of(_WORDS['negations_unspaced'], spaced=False)}"
_DOUBT = re.compile(
    f"{_NEGATION}|{any_of(_WORDS['doubts'])}|{any_of(_WORDS['doubts_unspaced'], spaced=False)}", re.IGNORECASE
)
_CONDITIONAL = re.compile(any_of(_WORDS["conditional"]), re.IGNORECASE)
_CONDITION = re.compile(any_of(_WORDS["conditions"]), re.IGNORECASE)
_HARMLESS = re.compile(any_of(_WORDS["harmless"], spaced=False), re.IGNORECASE)
_DENIAL = re.compile(any_of(_WORDS["denials"], spaced=False), re.IGNORECASE)
_NOUNS_OF_ANSWERS, _LEADS_OF_NOUNS = set(_WORDS["nouns"]), set(_WORDS["leads"])
_LINKS = _NOUNS_OF_ANSWERS | set(_WORDS["links"])
_WORD = re.compile(r"[^\s$*_`\"“(\[\\:=]+")
_PART = re.compile(r"[.!?](?=\s)|[,;，；。！？]")
_NEGATED = re.compile(rf"(?:{_NEGATION})\Z", re.IGNORECASE)
_DOUBTED = re.compile(rf"(?:{_DOUBT.pattern})\Z", re.IGNORECASE)
_DENIED = re.compile(
    rf"[\s$*_)\]\\]*(?:\?|[.,;!]?\s*(?:(?:and|but|wait|no|hm+|actually|oops|sorry|hold on)[,.!]*\s+){{0,3}}(?:(?:which|that|this|it)\s+)?{any_of(_WORDS['denials'], spaced=False)}(?!\s+(?:that|to)\b))",
    re.IGNORECASE,
)
_ENDING = re.compile(rf"\s*(?:{'|'.join(sorted(_WORDS['endings'], key=len, reverse=True))})\Z")
_INLINE_TAG = r"</?(?:b|i|em|strong|u|code|mark|span|font|tt)(?:\s[^<>]{0,80})?>"
_FILLERS = re.compile(rf"(?:[\s*_`\"“'‘]{{1,40}}|{_INLINE_TAG}|{any_of(_WORDS['fillers'])}[ \t]*,?)*", re.IGNORECASE)
_FIRST_WORDS = re.compile(r"(?:[^\W\d_]+['’]?[^\W\d_]*[ \t]+){0,2}(?:[^\W\d_]+['’]?[^\W\d_]*)?")
_ONE_WORD = re.compile(r"\W*[^\W\d_]+\W*")
_DISPLAY = re.compile(r"(\$\$|\\\[)(.*?)(?:\$\$|\\\])", re.DOTALL)
_INLINE_OPEN = re.compile(r"\$(?!\$)[ \t]{0,9}\n")
_INLINE = re.compile(r"\$([^$]*)\$")
_FORMULA = re.compile(r"[-+.$\\({\[0-9\u2212]")
# an emphasis or quotation ends where no operand follows: 2**3 is none
_CLOSING = re.compile(rf"{_INLINE_TAG}|(?<=\S)(?:\*{{1,3}}|_{{2,3}}|[`\"”])(?=[\s.,;:)]|\Z)")
_IN_TEXT = re.compile(r"\\(?:text|mbox|mathrm|operatorname)[a-z]*\s*\{[^{}]{0,60}\Z")
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
    for match, noun in _said(text[:start] + _lower(text[start:]), start):
        found = _hashes(text, match) if noun is _HASHES else _statement(text, match, noun.link)
        if found:
            yield found


def _said(lower: str, start: int) -> list[tuple[re.Match[str], _Noun]]:
    """The last words for "answer" and "####" from `start`, the last one first."""
    found: list[tuple[re.Match[str], _Noun]] = []
    for noun in (*_NOUNS, _HASHES):
        if lower.find(noun.letters, start) >= 0:
            whole = (match for match in noun.pattern.finditer(lower, start) if not _continues(lower, match.start()))
            found += ((match, noun) for match in deque(whole, maxlen=_MAX_NOUNS))
    return sorted(found, key=lambda said: -said[0].start())[:_MAX_NOUNS]


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


def _statement(text: str, noun: re.Match[str], links: re.Pattern[str]) -> Statement | None:
    if _IN_TEXT.search(text, max(0, noun.start() - 80), noun.start()):
        return None
    heading = (
        _HEADING.match(text, noun.end())
        if _LINE_START.fullmatch(text, _line(text, noun.start()), noun.start())
        else None
    )
    link = heading or links.match(text, noun.end())
    if link is None:
        return _reversed(text, noun)
    lead = _FILLERS.match(text, link.end(), link.end() + 200)
    begin = lead.end() if lead else link.end()
    rest = text[begin : begin + _WINDOW]
    line = rest.split("\n", 1)[0]
    answer = _answer(rest, text[begin - 1])
    ended = _QUESTION.search(line)
    stop = ended.end() if ended else len(line)
    # "Answer: False" doubts nothing
    words = None if _ONE_WORD.fullmatch(line, 0, stop) else _FIRST_WORDS.match(rest)
    if doubted(text, noun.start(), begin + (words.end() if words else 0)):
        return None
    reason = next((end.start() for end in _END.finditer(line, 0, stop) if "which" not in end[0].lower()), stop)
    if (ended and ended.group() in "?？") or _DENIAL.search(line, 0, reason):
        return None
    if _CONDITIONAL.search(text, noun.end(), begin) and _CONDITION.search(_sentence(text, noun.start()) + line[:stop]):
        return None
    if not answer or (heading and len(re.findall(r"(?<![\\\w])[^\W\d_]{2,}", line)) > 12):
        return None
    final = _FINAL.search(text[max(0, noun.start() - 20) : begin]) is not None
    return Statement(noun.start(), answer, "heading" if heading else "phrase", final)


def _reversed(text: str, noun: re.Match[str]) -> Statement | None:
    """ "42 is the answer" at the end of a sentence, where 42 is a formula and nothing but a connective stands before it."""
    said = (
        _BEFORE.fullmatch(_PIECE.split(text[max(0, noun.start() - 200) : noun.start()])[-1])
        if _SAID.match(text, noun.end())
        else None
    )
    found = said is not None and is_maths(said[1])
    return Statement(noun.start(), said[1].strip(), "phrase", False) if found and said else None


def doubted(text: str, start: int, end: int) -> bool:
    """Whether the clause that holds text[start:end] and leads to its end denies, doubts or supposes."""
    return _DOUBT.search(_HARMLESS.sub(" ", _clause(text, start) + text[start:end])) is not None


def denied(text: str, start: int, end: int) -> bool:
    """Whether what leads to text[start:end], a formula, denies or doubts it, or what follows denies or asks it."""
    if _DENIED.match(text, end):
        return True
    words = _WORD.findall(_PART.split(text[max(0, start - 120) : start])[-1].lower())
    if "=" in text[start - 3 : start]:
        words = words[:-1]
    last, said = len(words), False
    while last and (words[last - 1] in _LINKS or (said and words[last - 1] in _LEADS_OF_NOUNS)):
        last -= 1
        said = said or words[last] in _NOUNS_OF_ANSWERS
    doubt = _DOUBTED if said else _NEGATED
    lead = " ".join(words[max(0, last - 4) : last])
    return bool(doubt.search(lead) and doubt.search(_HARMLESS.sub(" ", lead).rstrip()))


def _line(text: str, place: int) -> int:
    """Where the line of `place` starts, at most 60 characters before it."""
    return max(text.rfind("\n", 0, place) + 1, place - 60)


def _clause(text: str, place: int) -> str:
    """The clause that leads to `place`; its whole sentence where the clause hangs on another ("Suppose, ..., that")."""
    window = text[max(0, place - 200) : place]
    start = max((mark.end() for mark in _CLAUSE.finditer(window)), default=0)
    return _sentence(text, place) if _SUBORDINATE.match(window, start) else window[start:]


def _sentence(text: str, place: int) -> str:
    """The sentence that leads to `place`."""
    return _SENTENCE.split(text[max(0, place - 200) : place])[-1]


def _answer(rest: str, before: str) -> str:
    """The answer at the start of `rest`: a display formula, else the line up to the end of what it says of the answer.

    `before` is the character in front of it, which may open a quotation.
    """
    if display := _DISPLAY.match(rest):
        return display.group(2).strip()
    if _INLINE_OPEN.match(rest) and (inline := _INLINE.match(rest)):
        return inline.group(1).strip()
    line = _CLOSING.sub("", rest.split("\n", 1)[0]).replace("\\(", "$").replace("\\)", "$")
    if before in "'‘":
        line = re.sub(r"['’](?=[\s.,;:]|\Z)", "", line, count=1)
    end = _END.search(line)
    line = (line[: end.start()] if end else line).strip(" \t*_")
    if _PREAMBLE.match(line) and " is " in line:
        line = line.rsplit(" is ", 1)[1]
    return _ENDING.sub("", line.rstrip(".,;:，！").strip(' \t*_`"”')).strip()
