r"""LaTeX to tokens, without typesetting: what remains says something about the value.

Spacing, sizes, fonts, colours, tags and layout environments end here, by the class of the macro. A token is

    num      12, 0.5, 4.5e33: digits without thousands separators (those by comma are joined by the reader)
    letters  a run of plain letters: a product, or a word or unit that stands without \text
    word     a run of upright letters (\text, \mathrm, other scripts)
    op       + - * / ^ _ ! | % ( ) [ ] { } \{ \} = < > <= >= != , ; : ' & \or \and and other signs
    macro    any other command: \frac, \alpha, \sin
    grid     a matrix, an array or cases, with its `cells`
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from simko.verifiers.maths.reading.characters import to_latex
from simko.verifiers.maths.reading.macros import (
    AND,
    DROPS,
    GRIDS,
    KEEPS_ARGUMENT,
    LAYOUTS,
    LENGTH,
    NOT,
    OR,
    SAME,
    SINGLE,
    SIUNITX,
    SWITCH,
    TEXT,
    TYPESETTING,
)  # fmt: skip
from simko.verifiers.maths.reading.numerals import plain_numbers

MAX_TOKENS = 1500
MAX_DEPTH = 30


class Token(NamedTuple):
    """One token; `gap` says whether white space stands before it."""

    kind: str
    text: str
    gap: bool = False
    cells: "tuple[tuple[tuple[Token, ...], ...], ...]" = ()


class Unreadable(ValueError):
    """The text is no answer that this grader can read."""


def op(text: str) -> Token:
    """An operator's token."""
    return Token("op", text)


_RAW = re.compile(
    r"\\(?:begin|end)\s*\{[A-Za-z]+\*?\}|\\[A-Za-z]+\*?|\\.|\.?[0-9]+(?:\.[0-9]+|\.(?=[/*^)}+-]))?(?:[eE][+-]?[0-9]+(?![A-Za-z0-9.]))?|[A-Za-z]+|\s+"
    r"|\*\*|[<>!=:]=|\.\.\.|[^\W\d_]+|.",
    re.DOTALL,
)
_NOTATIONS: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"(?<![A-Za-z])per\s+cent(?![A-Za-z])"), "percent"),
    (
        re.compile(r"\^\s*\{\s*((?:\\prime\s*)+)\}|\^\s*\\prime(?![A-Za-z])"),
        lambda run: "'" * run.group().count("prime"),
    ),
    (re.compile(r"(?:\{\}|^)\s*\^\{?(\w+)\}?\s*(?:\\mathrm\{C\}|C)_\{?(\w+)\}?"), r"\\binom{\1}{\2}"),
    (re.compile(r"\{([:=<>+-])\}"), r"\1"),  # 3{:}5
    (re.compile(r"\\\\\s*\[[0-9. ]+(?:pt|e[mx]|[mc]m|in)\]"), r"\\\\"),  # the height of a row
    (re.compile(r"(?<![A-Za-z])([aApP])\.\s?[mM](?:\.|(?![A-Za-z]))"), r"\1m"),
    (
        re.compile(
            r"\(\s*(?:\\(?:text|mathrm|operatorname)\s*\{\s*mod(?:ulo)?\s*\}|\\?b?mod(?![A-Za-z]))\s*([^()]{1,20})\)"
        ),
        r"\\pmod{\1}",
    ),
    (re.compile(r"\\(?:overset|underset|stackrel)\s*\{\s*\}"), ""),
]
_DOUBLED = re.compile(r"(?<!\\)(\\+)(?=[A-Za-z])")
_BOLD = re.compile(r"(?:(?<=\s)|^)(\*\*|__)(?=\S)([^*]+?)\1(?=\W|$)")
_MARGIN = re.compile(r"^(?:[\s,;:`\"\u201c\u201d$}]|\.(?![0-9.]))+|(?:[\s.,;:`\"\u201c\u201d*]|(?<!\\)\$)+$")


def tokenise(text: str) -> list[Token]:
    """The tokens of an answer; Unreadable where they are too many, its groups too deep, or it defines macros."""
    text = to_latex(text)
    doubled = [len(run[1]) for run in _DOUBLED.finditer(text)]
    if doubled and not any(length % 2 for length in doubled):  # a JSON string that was escaped twice
        text = text.replace("\\\\", "\\")
    text = _MARGIN.sub("", _BOLD.sub(r"\2", text))
    for pattern, replacement in _NOTATIONS:
        text = pattern.sub(replacement, text)
    text = plain_numbers(re.sub(r"(?<![A-Za-z])(?:np|numpy|math|sympy|sp)\.(?=[a-z])", "", text))
    if re.search(
        r"\\(?:[xeg]?def|let|(?:re)?newcommand|providecommand|DeclareMathOperator|catcode|csname|input|include)(?![A-Za-z])",
        text,
    ):
        raise Unreadable("it defines macros")
    raw = [piece.group() for piece in _RAW.finditer(text)]
    if len(raw) > MAX_TOKENS:
        raise Unreadable("it is too long")
    return _trimmed(_negated(list(_Cleaner(raw).tokens(0, len(raw), False, 0))))


def _negated(tokens: list[Token]) -> list[Token]:
    r"""With \not and its sign as one: \not= is !=, \not\in is \notin."""
    for place in range(len(tokens) - 2, -1, -1):
        if tokens[place].text == r"\not" and tokens[place + 1].text in NOT:
            tokens[place : place + 2] = [tokens[place]._replace(kind="op", text=NOT[tokens[place + 1].text])]
    return tokens


def _trimmed(tokens: list[Token]) -> list[Token]:
    ends = {",", ";", ":", ".", r"\or", r"\and"}
    while tokens and tokens[-1].text in ends and tokens[-1].kind == "op":
        tokens.pop()
    while tokens and tokens[0].text in {*ends, "="} and tokens[0].kind == "op":
        tokens.pop(0)
    return tokens


class _Cleaner:
    """Walks over the raw pieces of a text and gives the tokens that count."""

    def __init__(self, raw: list[str]) -> None:
        self.raw = raw

    def tokens(self, at: int, end: int, upright: bool, depth: int) -> Iterator[Token]:
        if depth > MAX_DEPTH:
            raise Unreadable("its groups are too deep")
        gap = False
        while at < end:
            piece = self.raw[at]
            at += 1
            if piece.isspace() or piece in ("~", "`") or (upright and piece in ("$", r"\ ")):
                gap = True
                continue
            if piece in ("$", r"\(", r"\)", r"\[", r"\]") or piece == "\\":
                continue
            if piece == "{" and at < end and SWITCH.fullmatch(self.raw[at]):  # {\rm m}
                start, at = at + 1, self.argument(at - 1, end)[1]
                inner = list(self.tokens(start, at - 1, True, depth + 1))
                yield from [token._replace(gap=token.gap or gap) for token in inner[:1]] + inner[1:]
                gap = False
                continue
            if piece == "\\$":
                yield Token("word", "$", gap)
            elif TYPESETTING.fullmatch(piece):
                gap = gap or not piece[1:].isalpha() or "quad" in piece or "space" in piece
                if piece in (r"\left", r"\right", r"\middle") and at < end and self.raw[at] == ".":
                    at += 1
                elif piece in (r"\left", r"\right") and at < end and re.fullmatch(r"\.[0-9]+(\.[0-9]+)?", self.raw[at]):
                    self.raw[at] = self.raw[at][1:]  # a null delimiter before a number
                continue
            elif piece[0] == "\\" and piece[1:].rstrip("*") in DROPS:
                for _ in range(DROPS[piece[1:].rstrip("*")]):
                    at = self.argument(self.option(at, end), end)[1]
                gap = True
                continue
            elif LENGTH.fullmatch(piece):
                at = self.argument(at, end)[1]
                if at < end and self.raw[at] in ("mu", "pt", "em", "ex", "mm", "cm", "in"):
                    at += 1
                continue
            elif TEXT.fullmatch(piece) or KEEPS_ARGUMENT.fullmatch(piece) or SIUNITX.fullmatch(piece):
                text_mode = upright or bool(TEXT.fullmatch(piece))
                start, at = self.argument(self.option(at, end), end)
                yield from self.wrapped(start, at, text_mode, gap, depth)
                if SIUNITX.fullmatch(piece):
                    start, at = self.argument(at, end)
                    yield from self.wrapped(start, at, True, True, depth)
                if piece.endswith("brace") and at < end and self.raw[at] in ("_", "^"):
                    at = self.argument(at + 1, end)[1]
            elif piece.startswith((r"\begin", r"\end")):
                token, at = self.environment(at, end, upright, depth)
                yield from token
            elif piece == r"\\":
                yield Token("op", ",", gap)
            else:
                yield from self.token(piece, upright, gap)
            gap = False

    def token(self, piece: str, upright: bool, gap: bool) -> Iterator[Token]:
        logical = piece in (r"\wedge", r"\land", r"\vee", r"\lor")
        piece = SAME.get(piece, piece)
        if logical:  # "and" and "or" in words are operators
            yield Token("macro", piece, gap)
        elif piece[0].isdigit() or (piece[0] == "." and piece[1:2].isdigit()):
            yield Token("num", piece, gap)
        elif piece in SINGLE or piece in ("{", "}", r"\{", r"\}", "<=", ">=", "!=", r"\or", r"\and"):
            yield Token("op", piece, gap)
        elif piece[0].isalpha():
            low = piece.casefold()
            if (len(piece) > 1 or not piece.isascii()) and (low in AND or low in OR):
                yield Token("op", r"\and" if low in AND else r"\or", gap)
            else:
                plain = piece.isascii() and not upright
                yield Token("letters" if plain else "word", piece, gap)
        elif piece[0] == "\\" and piece[1:2].isalpha():
            yield Token("macro", piece.rstrip("*") if piece not in (r"\sqrt*", r"\cbrt*", r"\qdrt*") else piece, gap)
        elif piece == "\\#":
            return
        else:
            yield Token("word", piece, gap)

    def wrapped(self, start: int, end: int, upright: bool, gap: bool, depth: int) -> Iterator[Token]:
        """The tokens of a macro's argument, in its group's place."""
        content = "".join(self.raw[start:end]).strip("{}")
        word = content.strip(" ~,").casefold()
        if upright and (word in AND | OR or (word in ("y", "e", "o", "i", "u") and content.strip() != content)):
            yield Token("op", r"\and" if word in AND or word in ("y", "e", "i") else r"\or", gap)
            return
        found = list(self.tokens(start, end, upright, depth + 1))
        bare = upright and len(found) == 3 and found[1].kind == "word"  # \mathrm{s}^2: the group is the font's alone
        inner = found[1:-1] if found and found[0].text == "{" and (upright or len(found) <= 3 or bare) else found
        if inner:
            yield inner[0]._replace(gap=inner[0].gap or gap)
            yield from inner[1:]

    def environment(self, at: int, end: int, upright: bool, depth: int) -> tuple[Iterator[Token], int]:
        name = re.sub(r".*\{(.*)\}", r"\1", self.raw[at - 1])
        level, close = 1, at
        while close < end and level:
            level += self.raw[close].startswith(r"\begin") - self.raw[close].startswith(r"\end")
            close += 1
        if level or self.raw[at - 1].startswith(r"\end"):
            raise Unreadable("an environment never ends")
        if name.startswith(("array", "alignat", "alignedat")):
            at = self.argument(self.option(at, end), end)[1]
        rows = [
            [self.cell(*span, upright, depth) for span in self.split(*row, "&")]
            for row in self.split(at, close - 1, r"\\")
        ]
        rows = [row for row in rows if any(row)]
        if LAYOUTS.fullmatch(name) or (len(rows) == 1 and len(rows[0]) == 1 and name.startswith("array")):
            joined = [[token for cell in row for token in cell] for row in rows]
            return iter(
                [token for number, row in enumerate(joined) for token in ([op(",")] if number else []) + row]
            ), close
        if not GRIDS.fullmatch(name):
            raise Unreadable(f"an environment of another kind: {name}")
        return iter(
            [Token("grid", name.rstrip("*"), False, tuple(tuple(tuple(cell) for cell in row) for row in rows))]
        ), close

    def cell(self, at: int, end: int, upright: bool, depth: int) -> list[Token]:
        return _trimmed(list(self.tokens(at, end, upright, depth + 1)))

    def split(self, at: int, end: int, mark: str) -> list[tuple[int, int]]:
        """The spans between the marks that stand in no inner environment or group."""
        spans, level, start = [], 0, at
        for place in range(at, end):
            piece = self.raw[place]
            level += (piece == "{" or piece.startswith(r"\begin")) - (piece == "}" or piece.startswith(r"\end"))
            if piece == mark and level == 0:
                spans.append((start, place))
                start = place + 1
        return [*spans, (start, end)]

    def option(self, at: int, end: int) -> int:
        """After a macro's [...], where one stands."""
        if at < end and self.raw[at] == "[":
            for place in range(at, end):
                if self.raw[place] == "]":
                    return place + 1
        return at

    def argument(self, at: int, end: int) -> tuple[int, int]:
        """Where a macro's argument starts, its brace included, and where it ends."""
        while at < end and self.raw[at].isspace():
            at += 1
        if at < end and self.raw[at] == "{":
            level = 0
            for place in range(at, end):
                level += (self.raw[place] == "{") - (self.raw[place] == "}")
                if level == 0:
                    return at, place + 1
            raise Unreadable("a group never closes")
        return at, min(at + 1, end)
