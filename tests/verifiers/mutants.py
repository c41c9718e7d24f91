r"""Small changes to a gold answer that make it another one: the maths verifier must refuse each.

A mutant differs from its gold in one place (see MUTATIONS). What is not tried, since it may leave the value as it is:

- letters of a gold with prose, of words and units (a run of letters that is the whole gold counts), of a name before \in or (, and of
  \text{...}; the small letter of an option;
- digits that change a decimal number by less than 1 %, for such golds are compared within a tolerance;
- the order of a list or set: only that of a tuple's entries is meant;
- brackets, unless they enclose an interval: (2, \infty), [1, 3].

Mutants that are equal to their gold all the same are listed in tests/data/equal_mutants.jsonl.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

_TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|\d*\.\d+|\d+|[A-Za-z]+|.", re.DOTALL)
_TEXT = re.compile(r"\\(?:text|mbox|mathrm|operatorname|text[a-z]{2}) *\{[^{}]*\}|(?:\\[a-z]+)?\b[A-Za-z]{3,}\b")
_RENAMED = {
    "\\sin": "\\cos", "\\cos": "\\sin", "\\tan": "\\cot", "\\cot": "\\tan", "\\ln": "\\exp", "\\log": "\\sin", "\\arcsin": "\\arccos",
    "\\exp": "\\ln", "\\sqrt": "\\sin", "\\pi": "\\phi", "\\alpha": "\\beta", "\\theta": "\\phi", "\\omega": "\\sigma", "\\gamma": "\\delta",
    "\\tau": "\\sigma", "\\infty": "\\pi", "\\cup": "\\cap", "\\cap": "\\cup", "\\le": "\\ge", "\\leq": "\\geq", "\\ge": "\\le",
    "\\geqslant": "\\leqslant", "\\lfloor": "\\lceil", "\\lceil": "\\lfloor", "\\frac": "\\binom", "\\dfrac": "\\binom", "\\binom": "\\frac",
    "\\ddot": "\\dot", "\\times": "\\div", "\\lambda": "\\mu", "\\Delta": "\\Lambda", "\\zeta": "\\xi",
}  # fmt: skip
_OPERATORS = {
    "+": "-",
    "-": "+",
    "/": "+",
    "\\cdot": "+",
    "\\times": "+",
    "\\pm": "+",
    "=": "+",
    "<": ">",
    ">": "<",
    "!": "",
    "^": "_",
}


class Mutant(NamedTuple):
    """A changed gold, and what was changed."""

    mutation: str
    text: str


class Token(NamedTuple):
    """A command, number, run of letters or other character of a gold, and where it stands."""

    text: str
    start: int
    end: int
    in_text: bool


def tokens(gold: str) -> list[Token]:
    """The tokens of a gold, each with whether it belongs to words."""
    words = [found.span() for found in _TEXT.finditer(gold) if not found[0].startswith("\\") or "{" in found[0]]
    return [
        Token(found[0], *found.span(), any(start <= found.start() < end for start, end in words))
        for found in _TOKEN.finditer(gold)
        if not found[0].isspace()
    ]


def mutants(gold: str) -> list[Mutant]:
    """The gold's mutants, each once."""
    gold = gold.replace("$", "").strip()
    found = dict.fromkeys(mutant for mutate in MUTATIONS for mutant in mutate(gold))
    return [mutant for mutant in found if mutant.text.replace(" ", "") != gold.replace(" ", "")]


def _changed(gold: str, token: Token, text: str) -> str:
    return gold[: token.start] + text + gold[token.end :]


def numbers(gold: str) -> Iterator[Mutant]:
    """A digit changed, added or dropped; a decimal point moved."""
    for token in tokens(gold):
        if re.fullmatch(r"[\d.]*\d", token.text) and not token.in_text:
            whole, point, decimals = token.text.partition(".")
            for place, digit in enumerate(token.text):
                if digit != ".":
                    text = token.text[:place] + str((int(digit) + 1) % 10) + token.text[place + 1 :]
                    if not point or abs(float(text) - float(token.text)) > float(token.text) / 100:
                        yield Mutant("digit", _changed(gold, token, text))
            yield Mutant("digit added", _changed(gold, token, f"{whole}7{point}{decimals}"))
            if len(whole) > 1:
                yield Mutant("digit dropped", _changed(gold, token, whole[:-1] + point + decimals))
            if point:
                yield Mutant("point moved", _changed(gold, token, whole + decimals))


def signs(gold: str) -> Iterator[Mutant]:
    """A sign or operator changed; the sign of the whole."""
    for token in tokens(gold):
        if token.text in _OPERATORS and not token.in_text and "\\circ" not in gold[token.end : token.end + 7]:
            yield Mutant("operator", _changed(gold, token, f"{_OPERATORS[token.text]} "))
    if re.fullmatch(r"[\d.]+|\\[dt]?frac *\{?\d+\}? *\{?\d+\}?|[\d ]*\\sqrt\{?\d+\}?|[\d ]*\\pi", gold) and gold.strip(
        "0."
    ):
        yield Mutant("sign", f"-{gold}")


def letters(gold: str) -> Iterator[Mutant]:
    """A variable replaced by another, its case changed, a prime added."""
    prose = re.search(r"(?<![\\A-Za-z])[A-Za-z]{5,} ", gold)
    for token in [] if prose else tokens(gold):
        after = gold[token.end :].lstrip()
        if token.text.isalpha() and not token.in_text and not after.startswith(("(", "\\in ")) and len(gold) > 1:
            for place, letter in enumerate(token.text):
                other = "w" if letter != "w" else "q"
                for mutation, text in (("letter", other), ("case", letter.swapcase()), ("prime", letter + "'")):
                    if mutation == "case" and letter in "ieIE":  # 2I may be meant for 2i
                        continue
                    changed = token.text[:place] + text + token.text[place + 1 :]
                    yield Mutant(mutation, _changed(gold, token, changed))


def words(gold: str) -> Iterator[Mutant]:
    """A letter of a one-word gold changed, the word negated or turned round."""
    word = re.fullmatch(r"(\\text *\{)?([A-Za-z]{3,})(\})?", gold)
    if word:
        before, name, after = word[1] or "", word[2], word[3] or ""
        yield Mutant("word", f"{before}{name[:-1]}{'x' if name[-1] != 'x' else 'y'}{after}")
        yield Mutant("word", f"{before}not {name}{after}")
        yield Mutant("word", f"{before}{name[::-1]}{after}")


def commands(gold: str) -> Iterator[Mutant]:
    """A command renamed or dropped; primes and \\not."""
    for token in tokens(gold):
        if token.text in _RENAMED and not token.in_text:
            yield Mutant("command", _changed(gold, token, f"{_RENAMED[token.text]} "))
        if token.text in ("=", "<", ">", "\\in", "\\leq", "\\geq", "\\le", "\\ge"):
            yield Mutant("\\not", _changed(gold, token, f"\\not{token.text} "))
        if token.text in ("\\prime", "'"):
            yield Mutant("prime dropped", _changed(gold, token, "{}" if token.text == "\\prime" else ""))


def factors(gold: str) -> Iterator[Mutant]:
    """A factor or function dropped: a number before a letter or command, a letter in a product, π, a root."""
    found = tokens(gold)
    for token, after in zip(found, [*found[1:], None], strict=True):
        number = re.fullmatch(r"[\d.]*\d", token.text) and float(token.text) != 1
        product = after is not None and (
            after.text[0].isalpha() or after.text in ("\\pi", "\\sqrt", "(", "\\sin", "\\cos")
        )
        if token.in_text or (after is not None and after.in_text):
            continue
        if (number and product and gold[: token.start].rstrip()[-1:] not in ("^", "_")) or token.text in (
            "\\pi",
            "\\sqrt",
        ):
            yield Mutant("factor dropped", _changed(gold, token, "" if product else " "))


def brackets(gold: str) -> Iterator[Mutant]:
    """A bracket of an interval turned open or closed."""
    for found in re.finditer(r"(?=([(\[])(?=[^()\[\]]*,)[^()\[\]]*([)\]]))", gold):
        opening, closing = found.start(1), found.start(2)
        inside = gold[opening + 1 : closing]
        if gold[opening] + gold[closing] == "()" and "infty" not in inside and "\\cup" not in gold:
            continue
        for place in (opening, closing):
            side = inside.partition(",")[0] if place == opening else inside.rpartition(",")[2]
            if "infty" not in side:
                yield Mutant("bracket", gold[:place] + "[(])"["([)]".index(gold[place])] + gold[place + 1 :])


def entries(gold: str) -> Iterator[Mutant]:
    """Two entries of a tuple, or the values of two names, exchanged."""
    for found in re.finditer(r"\(([^(),\[\]]*),([^(),\[\]]*)\)", gold):
        if "infty" not in found[0] and "\\cup" not in gold and found[1].strip() != found[2].strip():
            yield Mutant("entries", f"{gold[: found.start()]}({found[2]},{found[1]}){gold[found.end() :]}")
    named = re.fullmatch(r"([^=,]+)=([^=,]+),([^=,]+)=([^=,]+)", gold)
    if named and named[1].strip() != named[3].strip() and named[2].strip() != named[4].strip():
        yield Mutant("entries", f"{named[1]}={named[4]},{named[3]}={named[2]}")


MUTATIONS: tuple[Callable[[str], Iterator[Mutant]], ...] = (
    numbers, signs, letters, words, commands, factors, brackets, entries,
)  # fmt: skip
