"""Which part of a response answers: not its thoughts, not what follows the end of its turn. One rule for every verifier.

Every function takes any text, in time linear in its length. The spellings are those of cues.toml.
"""

import re
import tomllib
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simko.records import Problem

CUES: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("cues.toml").read_text("utf-8"))
"""What cues.toml holds."""


def any_of(patterns: list[str], *, spaced: bool = True) -> str:
    """A pattern for one of the patterns, as whole words where `spaced`, the longest first."""
    found = "|".join(sorted(patterns, key=len, reverse=True)) or "(?!)"
    return rf"(?<!\w)(?:{found})(?!\w)" if spaced else f"(?:{found})"


_NAMES, _PAIRS = "|".join(CUES["thoughts"]["names"]), CUES["thoughts"]["pairs"]
# a tag in quotes or backticks is spoken of
_THOUGHT_TAG = re.compile(
    rf"[<◁\[](?<![`\"'].)(?:(?P<close>/)?(?P<name>{_NAMES})(?:\s[^<>]{{0,80}})?[>▷]|"
    + "|".join(f"(?P<open{i}>{opening})|(?P<close{i}>{closing})" for i, (opening, closing) in enumerate(_PAIRS))
    + ")",
    re.IGNORECASE,
)
_BLANK_LINES = re.compile(r"\A(?:[ \t\r]*\n)+")
_TURN_TOKEN = re.compile("|".join(CUES["turns"]["tokens"]) + "|</?s>")
_NEXT_QUESTION = re.compile(
    r"\n[ \t]*(?:[*_>]{0,4}[ \t]*WORD[ \t]*\d{0,4}[ \t]*[*_]{0,3}[ \t]*[:：]|#{1,6}[ \t]*[*_]{0,3}WORD\b[^\n]{0,20}(?=\n|\Z))".replace(
        "WORD", f"(?:{'|'.join(CUES['next_questions']['words'])})"
    ),
    re.IGNORECASE,
)
_ANSWER_TAG = re.compile(rf"[<\[](/)?(?:{'|'.join(CUES['answer_tags']['names'])})[>\]]", re.IGNORECASE)


def final_part(response: str, *, run_on: bool = False) -> str:
    """The part of a response that answers, which is all that a verifier of simko's reads.

    1. What stands in a thought, <think>...</think> and the like, is dropped, and so is what follows one that is never
       closed. A tag that closes what was never opened ends a thought that the prompt opened.
    2. The turn ends at the first token of a chat template, as <|im_end|>.
    3. With `run_on` it ends where another question begins too: base models go on with one.
    """
    part = _turn(without_thoughts(response))
    if not run_on:
        return part
    part = part.lstrip("\r\n")
    return part[: next_question(part)]


def runs_on(problem: Problem) -> bool:
    """Whether responses to the problem are cut where another question begins: metadata's run_on, true or false."""
    return str(problem.metadata.get("run_on", "")).lower() in ("true", "1", "yes")


def without_thoughts(response: str) -> str:
    """The response without its thoughts; unchanged if it has none."""
    kept: list[str] = []
    start, opened, changed = 0, "", False
    for tag in _THOUGHT_TAG.finditer(response):
        group = tag.lastgroup or ""
        closing = bool(tag["close"]) or group.startswith("close")
        name = tag["name"].lower() if group == "name" else group.removeprefix("close").removeprefix("open")
        if not opened and closing:
            kept.clear()
        elif not opened:
            kept.append(response[start : tag.start()])
            opened = name
        elif closing and name == opened:
            opened = ""
        start, changed = tag.end(), True
    if not changed:
        return response
    if not opened:
        kept.append(response[start:])
    return _BLANK_LINES.sub("", "".join(kept))


def _turn(text: str) -> str:
    """The text up to the token that ends it; tokens before any text are dropped."""
    start = last = 0
    said = struck = False
    for token in _TURN_TOKEN.finditer(text):
        said = said or bool(text[last : token.start()].strip())
        last = token.end()
        if not said:
            start = last
        elif token.group() == "<s>":  # <s>...</s> in a text is struck out
            struck = True
        elif token.group() != "</s>" or not struck:
            return text[start : token.start()]
    return text[start:]


def next_question(text: str, start: int = 0, stop: int | None = None) -> int | None:
    """Where the first line that begins another question starts, between `start` and `stop`; None if there is none."""
    found = _NEXT_QUESTION.search(text, start, len(text) if stop is None else stop)
    return found.start() if found else None


# -- tags, code blocks and lines ---------------------------------------------------------------------------------------


def answer_tag(text: str, *, unclosed: bool = False) -> str | None:
    """What stands in the last closed <answer>...</answer>, or with `unclosed` in the last one; None if there is none."""
    if not unclosed and "/" not in text:
        return None
    start = end = None
    found = None
    for tag in _ANSWER_TAG.finditer(text):
        if not tag[1]:
            start, end = tag.end(), None
        elif start is not None and end is None:
            end = tag.start()
            found = text[start:end]
    return text[start:] if unclosed and start is not None and end is None else found


def after_answer_tag(text: str) -> int:
    """Where what follows the last tag of an answer starts; 0 if there is none."""
    last = last_match(_ANSWER_TAG, text)
    return last.end() if last else 0


def opens_answer(text: str) -> bool:
    """Whether the text has a tag that opens an answer."""
    return any(not tag[1] for tag in _ANSWER_TAG.finditer(text))


def last_code_block(text: str) -> str | None:
    """The content of the last closed ``` block, without its language name; None if there is none."""
    end = text.rfind("```")
    start = text.rfind("```", 0, end) if end >= 0 else -1
    if start < 0:
        return None
    return re.sub(r"^(?:python|py|text|json)?[ \t\r]*\n?", "", text[start + 3 : end]).strip()


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


def last_match(pattern: re.Pattern[str], text: str, start: int = 0) -> re.Match[str] | None:
    """The pattern's last match in the text, from `start`; None if there is none."""
    last = deque(pattern.finditer(text, start), maxlen=1)
    return last[0] if last else None
