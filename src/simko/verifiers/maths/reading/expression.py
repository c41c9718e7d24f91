r"""Tokens to an expression tree: precedence climbing over + and -, products, powers, and LaTeX's macros.

Reads as a mathematician does: \sin 2x is \sin(2x), \sin x\cos y a product, 3\frac{1}{2} a mixed number, 1/2x is (1/2)x,
x(x+1) a product but f(x+1) a value of f. What it does not know is Unreadable, never dropped.
"""

from collections.abc import Sequence
from fractions import Fraction

from simko.verifiers.maths.nodes import Node, call, name, negative, number, product
from simko.verifiers.maths.reading.cursor import numeral
from simko.verifiers.maths.reading.functions import FUNCTIONS
from simko.verifiers.maths.reading.latex import MAX_DEPTH, Token, Unreadable
from simko.verifiers.maths.reading.numerals import words_value
from simko.verifiers.maths.reading.symbols import CONSTANTS, GREEK, Symbols
from simko.verifiers.maths.reading.words import vocabulary

_ACCENTS = vocabulary(
    """
    vec hat bar tilde dot ddot dddot overline overrightarrow overleftarrow check breve acute grave mathring
    mathbb mathcal widebar not
    """
)
_SHAPES = ("angle", "triangle", "square", "measuredangle", "odot", "parallelogram")
_FLOORS = {r"\lfloor": (r"\rfloor", "floor"), r"\lceil": (r"\rceil", "ceil")}
_OPENING = {"(": ")", "[": "]", "{": "}"}
_ROOTS = {r"\sqrt*": 2, r"\cbrt*": 3, r"\qdrt*": 4}


def parse(tokens: Sequence[Token]) -> Node:
    """The tree of an expression; Unreadable where the tokens are none, or not one."""
    parser = _Parser(tokens)
    found = parser.sum()
    if parser.at != len(parser.tokens):
        raise Unreadable(f"an expression ends before {parser.peek()}")
    return found


def expression(tokens: Sequence[Token]) -> Node | None:
    """The tokens' tree; None where they have none."""
    try:
        return parse(tokens) if tokens else None
    except (Unreadable, ArithmeticError, ValueError, IndexError):
        return None


class _Parser(Symbols):
    # -- sums, products, powers ------------------------------------------------------------------------------------

    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("its groups are too deep")
        terms = []
        sign = self.sign()
        while True:
            term = self.term()
            terms.append(negative(term) if sign < 0 else term)
            if self.peek() not in ("+", "-"):
                break
            sign = self.sign()
        self.depth -= 1
        found = terms[0] if len(terms) == 1 else Node("add", args=tuple(terms))
        if self.peek() in (r"\choose", r"\over"):
            function = "binom" if self.peek() == r"\choose" else ""
            self.at += 1
            below = self.sum()
            found = call("binom", found, below) if function else Node("div", args=(found, below))
        if self.take(r"\pmod") or self.take(r"\pod"):
            found = call("?pmod", found, self.argument())
        return found

    def term(self) -> Node:
        found, divisions = self.factor(), 0
        while True:
            if self.take("*"):
                sign = self.sign()
                right = self.factor()
                found = product(found, negative(right) if sign < 0 else right)
            elif self.take("/"):
                divisions += 1
                found = Node("div", args=(found, self.divisor()))
                if divisions > MAX_DEPTH:
                    raise Unreadable("it divides too often")
            elif self.peek() in (r"\mod", "mod"):
                self.at += 1
                found = call("mod", found, self.factor())
            elif self.starts():
                if self.tokens[self.at].kind == "num" and self.at and self.tokens[self.at - 1].kind == "num":
                    raise Unreadable("two numbers without an operator")
                found = product(found, self.factor())
            else:
                return found

    def divisor(self) -> Node:
        """What stands behind a slash: one factor, or letters without a space between them: t/RC is t/(RC)."""
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        run = token.text if token is not None and token.kind == "letters" and token.text not in FUNCTIONS else ""
        factors = [self.factor()]
        for _ in run[1:]:
            token = self.tokens[self.at] if self.at < len(self.tokens) else None
            if token is None or token.kind != "letters" or token.gap:
                break
            factors.append(self.factor())
        return product(*factors)

    def starts(self) -> bool:
        """Whether the next token begins a factor."""
        if self.at >= len(self.tokens):
            return False
        token = self.tokens[self.at]
        if token.kind == "op":
            return token.text in ("(", "[", "{") or (token.text == "|" and not self.bars)
        return token.text not in (
            r"\rfloor",
            r"\rceil",
            r"\choose",
            r"\over",
            r"\pmod",
            r"\pod",
            r"\mod",
            r"\to",
            r"\approx",
            r"\Vert",
        ) or (token.text == r"\Vert" and not self.bars)

    bars = 0

    def factor(self) -> Node:
        return self.powers(self.primary())

    def powers(self, found: Node) -> Node:
        for _ in range(MAX_DEPTH):
            if found.value == "degrees" and self.peek() in ("^", r"\degree", r"\circ"):
                raise Unreadable("degrees of degrees")
            if self.peek() == "^":
                self.at += 1
                if self.peek() in (r"\circ", r"\degree") or (
                    self.peek() == "{" and self.peek(1) in (r"\circ", r"\degree") and self.peek(2) == "}"
                ):
                    self.at += 3 if self.peek() == "{" else 1
                    found = call("degrees", found)
                    continue
                found = Node("pow", args=(found, self.exponent()))
                if self.peek() == "^":
                    raise Unreadable("a double superscript")
            elif self.take(r"\degree") or (self.peek() == r"\circ" and found.head == "num" and self.take(r"\circ")):
                found = call("degrees", found)
            elif self.peek() == "!":
                self.at += 1
                found = call("double factorial" if self.take("!") else "factorial", found)
            elif self.take("%"):
                found = Node("div", args=(found, number(100)))
            elif self.peek() == "_" and found.head == "num":
                self.at += 1
                base = self.script()
                base = str(words_value([base.casefold()]) or base)
                found = call(f"?base {base}", found)
            else:
                return found
        raise Unreadable("too many powers")

    def exponent(self) -> Node:
        if self.peek() in ("-", "+"):
            sign = self.sign()
            power = self.primary(digits=False)
            return negative(power) if sign < 0 else power
        if self.peek() == "{" and self.peek(1) in ("*", "+", "-", "'") and self.peek(2) == "}":
            self.at += 3
            return name("^" + self.tokens[self.at - 2].text)
        if self.peek() in ("*", r"\ast"):
            self.at += 1
            return name("^*")
        return self.primary(digits=False)

    # -- what stands alone -----------------------------------------------------------------------------------------

    def argument(self) -> Node:
        r"""A macro's argument: a group, one digit, one letter, or one macro: \frac43 is 4/3."""
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        if token is not None and token.kind in ("num", "letters") and len(token.text) > 1:
            self.tokens[self.at : self.at + 1] = [
                token._replace(text=token.text[0]),
                token._replace(text=token.text[1:], gap=False),
            ]
            if token.text[1] == ".":
                raise Unreadable("an argument is half a number")
        return self.primary()

    def primary(self, digits: bool = True) -> Node:
        if self.at >= len(self.tokens):
            raise Unreadable("an expression ends too early")
        token = self.tokens[self.at]
        self.at += 1
        if token.kind == "num":
            return self.mixed(numeral(token.text)) if digits else number(numeral(token.text))
        if token.text in _OPENING and token.kind == "op":
            found = self.sum()
            self.need(_OPENING[token.text])
            return found
        if token.text in ("|", r"\Vert"):
            self.bars, outer = self.bars + 1, self.bars
            found = self.sum()
            self.need(token.text)
            self.bars = outer
            return call("abs", found)
        if token.text in _FLOORS:
            close, function = _FLOORS[token.text]
            found = self.sum()
            self.need(close)
            return call(function, found)
        if token.kind == "letters":
            return self.letters(token)
        if token.kind == "word":
            return self.word(token)
        if token.kind == "macro":
            return self.macro(token.text)
        raise Unreadable(f"{token.text} where an expression should begin")

    def mixed(self, whole: Fraction) -> Node:
        r"""A number, or a mixed one where \frac of two integers follows it: 3\frac{1}{2}."""
        start = self.at
        if self.peek() == r"\frac" and whole.denominator == 1:
            self.at += 1
            parts = (self.argument(), self.argument())
            top, bottom = (part.value for part in parts)
            if (
                isinstance(top, Fraction)
                and isinstance(bottom, Fraction)
                and 0 < top < bottom
                and top.denominator == bottom.denominator == 1
            ):
                return number(whole + top / bottom)
            self.at = start
        return number(whole)

    def points(self) -> str:
        """The letters behind \\angle, with their subscripts; the same read from either end."""
        found: list[str] = []
        while self.at < len(self.tokens) and self.tokens[self.at].kind == "letters" and len(found) < 4:
            letters = self.tokens[self.at].text
            self.at += 1
            found += letters
            if self.take("_"):
                found[-1] += "_" + self.script()
        return "".join(min(found, found[::-1]))

    def macro(self, text: str) -> Node:
        if text == r"\frac":
            if (derivative := self.derivative()) is not None:
                return derivative
            return Node("div", args=(self.argument(), self.argument()))
        if text == r"\binom":
            return call("binom", self.argument(), self.argument())
        if text in _ROOTS:
            return Node("pow", args=(self.primary(digits=False), number(Fraction(1, _ROOTS[text]))))
        if text == r"\sqrt":
            degree = number(2)
            if self.take("["):
                degree = self.sum()
                self.need("]")
            return Node(
                "pow",
                args=(
                    self.argument(),
                    Node("div", args=(number(1), degree)) if degree.head != "num" else _inverse(degree),
                ),
            )
        if text in (r"\sum", r"\prod"):
            return self.series(text[1:])
        if text[1:] in FUNCTIONS:
            return self.function(text[1:])
        if text[1:] in _ACCENTS and text != r"\not":
            return self.named(text + "{" + self.script() + "}")
        if text[1:] in _SHAPES and self.at < len(self.tokens) and self.tokens[self.at].kind == "letters":
            return name(f"{text} {self.points()}")
        if text == r"\Delta" and self.at < len(self.tokens) and self.tokens[self.at].kind in ("letters", "macro"):
            following = self.primary(digits=False)
            return name(rf"\Delta {following.value}") if following.head == "name" else product(name(text), following)
        if text in CONSTANTS or text[1:] in GREEK:
            return self.named(text)
        raise Unreadable(f"the macro {text}")


def _inverse(degree: Node) -> Node:
    if not isinstance(degree.value, Fraction) or degree.value == 0:
        raise Unreadable("a root of degree 0")
    return number(1 / degree.value)
