r"""What stands around an answer: prose before it, an option's label, conditions behind it; and commas in numbers."""

import re
from collections.abc import Sequence
from itertools import pairwise

from simko.verifiers.maths.reading.cursor import spelled
from simko.verifiers.maths.reading.latex import Token, op
from simko.verifiers.maths.reading.splitting import split
from simko.verifiers.maths.reading.words import ASKED, CHANGES, LEADS, NEGATIONS, is_noun, vocabulary

_LABELS = frozenset("ABCDEFGHIJ")
_OPTION_WORDS = vocabulary("option choice answer")
_OPERATORS = vocabulary(r"+ * / ^ _ ! = < > <= >= != | \in \to \and \or")
_CONDITION_STARTS = frozenset({"for", "where", "with", r"\forall", "given", "für", "pour", "для"})
_CONDITION_WORDS = vocabulary(
    """
    integer integers real reals natural whole number numbers constant constants arbitrary any every all is are
    an a the some each parameter positive nonnegative negative non nonzero complex rational be being in of fixed
    """
)  # fmt: skip
_PLAIN_LEADS = (LEADS | {"minus", "negative"}) - {"a", "max", "min"}
_INTEGERS = vocabulary("integer integers natural whole")
_ORDER = vocabulary("< > <= >= !=")
_SET = re.compile(r"\\mathbb *\{?([NZQRC])")


def without_prose(tokens: Sequence[Token]) -> list[Token] | None:
    r"""What follows a lead-in: \text{exactly } 42, \text{The answer is } 42, \text{Total: } 42; a \text{minus } is a sign.

    None where the words are none, or say that the rest is not the answer, or another one.
    """
    end = 0
    while end < len(tokens) and (_is_word(tokens[end]) or (end and tokens[end].text in (":", ",", ".", "-", "'"))):
        end += 1
    lead, rest = list(tokens[:end]), list(tokens[end:])
    words = [token.text.casefold() for token in lead if token.kind != "op"]
    if not rest or rest[0].text in _OPERATORS or not any(len(word) > 1 for word in words):
        return None
    if words[-1] in ("minus", "negative") and rest[0].text != "-":
        words, rest = words[:-1], [op("-"), *rest]
    announced = lead[-1].text in (":", ",") or words[-1:] in (["is"], ["are"], ["be"], ["equals"]) or not words
    safe = LEADS | ASKED if announced else LEADS  # "the sum is 5", but no "sum of 5"
    if set(words) & (NEGATIONS | (CHANGES - safe)):
        return None
    return rest if all(word in safe or (announced and is_noun(word)) for word in words) else None


def _is_word(token: Token) -> bool:
    if token.kind == "letters":
        return token.text.casefold() in _PLAIN_LEADS
    return token.kind == "word" and token.text[0].isalpha() and (len(token.text) > 1 or token.text in "aA")


def label(tokens: Sequence[Token]) -> tuple[str, list[Token]] | None:
    """The letter and the rest of an answer that is an option, or begins with its label; None if it does not.

    A rest that goes on with an operator, or names another option, makes it no choice.
    """
    texts = [token.text for token in tokens] + ["", "", ""]
    start = 0
    while texts[start].casefold() in _OPTION_WORDS | {"the", "is", "correct"}:
        start += 1
    if start and not {text.casefold() for text in texts[:start]} & _OPTION_WORDS:
        return None
    opened = texts[start] == "("
    letter, mark = texts[start + opened], texts[start + opened + 1]
    marked = mark == ")" if opened else mark in (")", ":", ".")
    rest = list(tokens[start + opened + 1 + marked :])
    if (
        letter not in _LABELS
        or ((rest or opened) and not marked)
        or {token.text.casefold() for token in rest} & NEGATIONS
    ):
        return None
    if rest and rest[0].text in (":", "."):
        rest = rest[1:]
    if rest and rest[0].kind == "op" and rest[0].text not in ("(", "[", "{", r"\{", "-", "|"):
        return None
    others = [token.text in _LABELS and after.text in (")", ".", ":", ",") for token, after in pairwise(rest)]
    last = [token.text for token in rest[-2:]]
    if any(others) or (
        last[-1:] and last[-1] in _LABELS and (len(rest) == 1 or last[0] in (",", ";", r"\and", r"\or"))
    ):
        return None
    return letter, rest


def labelled_parts(tokens: Sequence[Token]) -> list[list[Token]]:
    """The parts of (a) 4, (b) 9; empty where the labels do not begin the answer, or miss one."""
    parts: list[list[Token]] = []
    for place, token in enumerate(tokens):
        around = [other.text for other in tokens[max(0, place - 1) : place + 2]]
        if around == ["(", "abcdefgh"[len(parts) : len(parts) + 1], ")"]:
            if (len(parts) == 0) != (place == 1):
                return []
            if parts:
                parts[-1].pop()  # the bracket that opens this label
            parts.append([])
        elif parts:
            parts[-1].append(token)
    return [_plain(part[1:]) for part in parts]


def _plain(part: list[Token]) -> list[Token]:
    while part and part[-1].text in (",", ";", ".", r"\and"):
        part = part[:-1]
    return part


def conditions(tokens: Sequence[Token]) -> tuple[list[Token], frozenset[str], frozenset[str]]:
    r"""The answer without the conditions on its names, these, and the names said to be integers.

    \ldots for all n \ge 1; \ldots, x \in \mathbb{R}; \ldots (k \in \mathbb{Z}); \ldots where k is an integer.
    """
    main, parts = list(tokens), list[list[Token]]()
    for place, token in enumerate(tokens):
        if place and token.text.casefold() in _CONDITION_STARTS and token.kind != "op":
            main, parts = list(tokens[:place]), split(tokens[place + 1 :], [",", r"\and"])
            break
    else:
        if len(tokens) > 4 and tokens[-1].text == ")" and "(" in (texts := [token.text for token in tokens]):
            start = len(texts) - 1 - texts[::-1].index("(")
            if start and (r"\in" in texts[start:] or _INTEGERS & {text.casefold() for text in texts[start:]}):
                main, parts = list(tokens[:start]), [list(tokens[start + 1 : -1])]
        if not parts:
            pieces = split(tokens, [",", ";"])
            while len(pieces) > 1:
                before = [token for piece in pieces[:-1] for token in piece]
                listed = (
                    bool(parts) and len(pieces[-1]) == 1 and _is_condition([*pieces[-1], *parts[-1][1:]], before)
                )  # a, b \in
                if not (listed or _is_condition(pieces[-1], before)):
                    break
                parts.append([*pieces.pop(), *parts[-1][1:]] if listed else pieces.pop())
            if parts:
                cut = sum(len(piece) for piece in pieces) + len(pieces) - 1
                main = list(tokens[:cut])
    while main and main[-1].text in (",", ";", ":"):
        main.pop()
    if not parts or not main or not all(_is_condition(part, main) for part in parts if part):
        return list(tokens), frozenset(), frozenset()
    names = frozenset(name for part in parts for name in _names(part))
    said = {token.text.casefold() for part in parts for token in part}
    sets = {found[1] for part in parts for found in _SET.finditer(spelled(part))}
    whole = bool(said & _INTEGERS or sets & {"Z", "N"})
    return main, frozenset(spelled(part) for part in parts if part), names if whole else frozenset()


def _names(part: Sequence[Token]) -> list[str]:
    found = []
    for place, token in enumerate(part):
        single = token.kind == "letters" and len(token.text) == 1
        greek = token.kind == "macro" and token.text not in (r"\in", r"\mathbb", r"\pi", r"\infty", r"\forall", r"\ne")
        if (
            (single or greek)
            and not (place > 1 and part[place - 2].text == r"\mathbb")
            and not (place and part[place - 1].text == r"\mathbb")
        ):
            found.append(token.text)
    return found


def _is_condition(part: Sequence[Token], main: Sequence[Token]) -> bool:
    """Whether the part says only what the names of the main part may be."""
    names, inside = (
        _names(part),
        {character for token in main for character in ([token.text] if token.kind == "macro" else token.text)},
    )
    texts = {token.text for token in part}
    words = {
        token.text.casefold()
        for token in part
        if token.kind == "word" or (token.kind == "letters" and len(token.text) > 1)
    }
    if not names or not set(names) <= inside or "=" in texts or not words <= _CONDITION_WORDS:
        return False
    if texts & _ORDER:
        return not any(token.text in _ORDER for token in main) and bool(re.search(r"[0-9]|mathbb", spelled(part)))
    return r"\mathbb" in texts or bool(words & _CONDITION_WORDS - {"a", "is", "an", "the", "are", "be", "in", "of"})
