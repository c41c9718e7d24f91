r"""A place among tokens, and what every part of the parser does there."""

import re
from collections.abc import Sequence
from fractions import Fraction

from simko.verifiers.maths.nodes import Node
from simko.verifiers.maths.reading.latex import Token, Unreadable


def spelled(tokens: Sequence[Token]) -> str:
    """The tokens as text without space but between words."""
    text = ""
    for token in tokens:
        space = text[-1:].isalnum() and token.text[:1].isalnum() and (token.gap or token.kind == "macro")
        text += (" " if space else "") + (token.text if not token.cells else _grid(token))
    return re.sub(r"\{(\w)\}", r"\1", text).replace("\\mathbb ", "\\mathbb")


def _grid(token: Token) -> str:
    return (
        rf"\begin{{{token.text}}}"
        + r"\\".join("&".join(map(spelled, row)) for row in token.cells)
        + rf"\end{{{token.text}}}"
    )


def numeral(text: str) -> Fraction:
    """The number of a num token; Unreadable where its power of ten is beyond all use."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > 1000 or len(exponent) > 5 or abs(int(exponent or 0)) > 3000:
        raise Unreadable("a number is too long")
    return Fraction(mantissa) * Fraction(10) ** int(exponent or 0)


class Cursor:
    """Walks over tokens. `sum`, `factor`, `primary` and `argument` are the grammar's: see `expression`."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = list(tokens)
        self.at = 0
        self.depth = 0

    def peek(self, ahead: int = 0) -> str:
        """The text of a coming token; "" at the end. A word reads as its text."""
        return self.tokens[self.at + ahead].text if self.at + ahead < len(self.tokens) else ""

    def take(self, text: str) -> bool:
        found = self.peek() == text
        self.at += found
        return found

    def need(self, text: str) -> None:
        if not self.take(text):
            raise Unreadable(f"{text} is missing")

    def sign(self) -> int:
        sign = 1
        while self.peek() in ("+", "-"):
            sign *= -1 if self.peek() == "-" else 1
            self.at += 1
        return sign

    def script(self) -> str:
        """The text of a subscript."""
        start = self.at
        if self.peek() == "{":
            level = 0
            while self.at < len(self.tokens):
                level += (self.peek() == "{") - (self.peek() == "}")
                self.at += 1
                if level == 0:
                    return spelled(self.tokens[start + 1 : self.at - 1])
            raise Unreadable("a subscript never closes")
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        if token is None or token.kind == "op":
            raise Unreadable("a subscript is missing")
        if token.kind == "letters" and len(token.text) > 1:
            self.tokens[self.at : self.at + 1] = [
                token._replace(text=token.text[0]),
                token._replace(text=token.text[1:], gap=False),
            ]
        self.at += 1
        return self.tokens[start].text

    def sum(self) -> Node:
        """A sum of terms."""
        raise NotImplementedError

    def term(self) -> Node:
        """A product of factors."""
        raise NotImplementedError

    def factor(self) -> Node:
        """A primary with its powers."""
        raise NotImplementedError

    def primary(self, digits: bool = True) -> Node:
        """What stands alone: a number, a name, a group, a function's value."""
        raise NotImplementedError

    def argument(self) -> Node:
        """A macro's argument."""
        raise NotImplementedError

    def exponent(self) -> Node:
        """What stands behind ^."""
        raise NotImplementedError

    def starts(self) -> bool:
        """Whether the next token begins a factor."""
        raise NotImplementedError
