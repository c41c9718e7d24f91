"""Numbers and expressions with what stands around them: currency, unit, per cent, scale words; and plain words."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from simko.verifiers.maths.nodes import Node, call, number, product
from simko.verifiers.maths.reading.expression import expression
from simko.verifiers.maths.reading.latex import Token
from simko.verifiers.maths.reading.numerals import words_value
from simko.verifiers.maths.reading.units import CURRENCIES, conversion, is_money, read_unit
from simko.verifiers.maths.reading.words import scale
from simko.verifiers.maths.values import Quantity, Unit

PERCENT = frozenset(["%", "percent", "pct", "percentage", "percents"])
_ENDS = frozenset(["}", ")", "|", "!", r"\pi", "]", r"\infty"])
_MOST_WORDS = 6
_VARIABLES = "eidxyznk"
_ORDINAL = frozenset(["th", "st", "nd", "rd"])


def quantity(tokens: Sequence[Token]) -> Quantity | None:
    """The number or expression that the tokens are; None if they are none."""
    first = tokens[0]
    if (
        first.kind == "word"
        and len(first.text) > 1
        and first.text not in CURRENCIES
        and tokens[1:2]
        and tokens[1].kind != "op"
    ):
        return None  # prose
    decimal = _is_decimal(tokens)
    words = sum(token.kind == "word" or (token.kind == "letters" and len(token.text) > 2) for token in tokens)
    if words > _MOST_WORDS and sum(token.kind == "num" for token in tokens) > 2:  # a sentence, and costly to try
        return None
    money, rest = _money(_mixed(tokens) or tokens)
    if money is None and not _has_words(rest) and (node := expression(rest)) is not None:
        if rest[-1].text == "%" and (alone := expression(rest[:-1])) is not None:
            return Quantity(alone, None, True, decimal)
        return Quantity(*_degrees(node), decimal=decimal)
    for end in range(1, len(rest) + 1):
        if end == len(rest) or _may_end(rest[end - 1], rest[end]):
            found = _with_tail(rest[:end], rest[end:], decimal)
            if found is not None and money is not None:
                rate = found.unit is not None and all(power < 0 for _, power in found.unit)  # $12 per hour
                known = found.unit is None or rate or is_money(found.unit)
                return (
                    replace(found, unit=(*money, *(found.unit or ())) if rate else money, bare=None) if known else None
                )
            if found is not None:
                return found
    return None


def _with_tail(head: Sequence[Token], tail: Sequence[Token], decimal: bool) -> Quantity | None:
    """A number with an ordinal's ending, a scale word, per cent, or a unit behind it."""
    node = expression(head)
    if node is None:
        return None
    ending = [token.text for token in tail if token.text not in ("^", "{", "}", "(", ")", "in")]
    if len(ending) == 2 and ending[0] == "base":
        return Quantity(call(f"?base {words_value([ending[1]]) or ending[1]}", node))
    if len(ending) == 1 and ending[0] in _ORDINAL and not tail[0].gap:
        return Quantity(node, None, False, decimal)
    whole = [*head, *tail]
    while tail and tail[0].kind in ("word", "letters") and (factor := scale(tail[0].text)) is not None:
        node, tail, whole = product(node, number(factor)), tail[1:], []
        if tail and tail[0].text == "of":
            tail = tail[1:]
    if not tail:
        return Quantity(*_degrees(node), decimal=decimal)
    if tail[0].text.casefold() in PERCENT:
        unit = read_unit(tail[1:])
        return Quantity(node, unit, True, decimal) if unit is not None or len(tail) == 1 else None
    if tail[0].text == "^":  # ^\circ C
        tail = [token for token in tail[1:] if token.text not in ("{", "}")]
        if not tail or tail[0].text not in (r"\circ", r"\degree"):
            return None
    unit = read_unit(tail)
    if unit is not None:
        return Quantity(node, unit, False, decimal, expression(whole))
    return _compound(node, tail)


def _compound(node: Node, tail: Sequence[Token]) -> Quantity | None:
    """2 hours 15 minutes, in hours: a quantity whose tail holds another number with a unit of the same kind."""
    if sum(token.kind == "num" for token in tail) > 2:
        return None
    for place, token in enumerate(tail):
        if token.kind == "num" and place:
            unit, rest = read_unit(tail[:place]), quantity(tail[place:])
            return None if unit is None or rest is None else added(Quantity(node, unit), rest)
    return None


def added(one: Quantity, other: Quantity) -> Quantity | None:
    """The sum of two quantities with different units of one kind, in the first's; None if they have none such."""
    if one.unit is None or other.unit is None or one.unit == other.unit or one.percent or other.percent:
        return None
    factor = conversion(other.unit, one.unit)
    if factor is None or factor == 1:
        return None
    return Quantity(Node("add", args=(one.node, product(other.node, number(factor)))), one.unit)


def _degrees(node: Node) -> tuple[Node, Unit | None]:
    """A trailing degree sign is a unit."""
    if node.head == "call" and node.value == "degrees":
        return node.args[0], (("degree", 1),)
    if node.head == "mul" and node.args[-1].value == "degrees" and node.args[0] == number(-1):
        return product(number(-1), node.args[-1].args[0]), (("degree", 1),)
    return node, None


def _may_end(last: Token, following: Token) -> bool:
    """Whether a number may end between two tokens, and its unit begin."""
    begins = following.kind in ("word", "letters", "macro") or following.text in ("^", "/", "%", "(", "'")
    words = following.kind == "word" and last.kind in ("letters", "macro", "word")
    return begins and (last.kind == "num" or last.text in _ENDS or words)


def _has_words(tokens: Sequence[Token]) -> bool:
    """Whether a unit or a word may stand behind the first token; single upright letters that name variables are none."""
    for before, token, after in zip(tokens[:-1], tokens[1:], [*tokens[2:], None], strict=False):
        word = token.kind == "word" and not (len(token.text) == 1 and token.text in _VARIABLES)
        degrees = token.text in ("C", "F") and before.text in (r"\circ", r"\degree", "}")
        per = token.text == "/" and after is not None and after.kind == "letters"
        if (
            word
            or degrees
            or per
            or token.text in (r"\Omega", r"\mu")
            or (token.kind == "letters" and len(token.text) > 1)
        ):
            return True
    return False


def _money(tokens: Sequence[Token]) -> tuple[Unit | None, list[Token]]:
    """The currency that stands before a number, behind its sign; and the tokens without it."""
    signs = 1 if tokens[0].text in ("-", "+") else 0
    after = list(tokens[signs:])
    if after[:1] and after[0].text == "US" and len(after) > 1 and after[1].text == "$":
        after = after[1:]
    if len(after) > 1 and after[0].text in CURRENCIES:
        rest = after[2:] if after[1].text == "." else after[1:]
        return ((CURRENCIES[after[0].text], 1),), [*tokens[:signs], *rest]
    return None, list(tokens)


def _mixed(tokens: Sequence[Token]) -> list[Token] | None:
    """3 1/2 as 3\\frac{1}{2}, with what follows."""
    signs = 1 if tokens and tokens[0].text in ("-", "+") else 0
    part = tokens[signs : signs + 4]
    if (
        len(part) < 4
        or [token.kind for token in part] != ["num", "num", "op", "num"]
        or part[2].text != "/"
        or not part[1].gap
    ):
        return None
    if not all(token.text.isdigit() for token in (part[0], part[1], part[3])) or int(part[1].text) >= int(part[3].text):
        return None
    whole = Fraction(int(part[0].text)) + Fraction(int(part[1].text), int(part[3].text))
    value = [
        Token("macro", r"\frac"),
        Token("op", "{"),
        Token("num", str(whole.numerator)),
        Token("op", "}"),
        Token("op", "{"),
        Token("num", str(whole.denominator)),
        Token("op", "}"),
    ]
    return [*tokens[:signs], *value, *tokens[signs + 4 :]]


def _is_decimal(tokens: Sequence[Token]) -> bool:
    return any(token.kind == "num" and ("." in token.text or "e" in token.text.lower()) for token in tokens)
