r"""Tokens to an expression tree: precedence climbing over + and -, products, powers, and LaTeX's macros.

Reads as a mathematician does: \sin 2x is \sin(2x), \sin x\cos y a product, 3\frac{1}{2} a mixed number, 1/2x is (1/2)x,
x(x+1) a product but f(x+1) a value of f. What it does not know is Unreadable, never dropped.
"""

import re
from collections.abc import Sequence
from fractions import Fraction

from simko.verifiers.maths.nodes import Node, call, name, negative, number, product
from simko.verifiers.maths.reading.latex import MAX_DEPTH, Token, Unreadable
from simko.verifiers.maths.reading.numerals import words_value

_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
_FUNCTIONS = {
    **{f: f for f in (*_TRIGONOMETRIC, *(["sinh", "cosh", "tanh", "coth", "sech", "csch", "arcsin", "arccos", "arctan", "arccot", "arcsec", "arccsc", "arsinh", "arcosh", "artanh"]))},
    **{f: f for f in ["ln", "exp", "max", "min", "gcd", "lcm", "det", "floor", "ceil", "abs", "sqrt", "factorial", "sgn", "sign", "erf", "deg", "dim", "tr", "rank", "arg", "Re", "Im", "lg", "lb", "mod"]},
    "log": "ln", "cbrt": "cbrt", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "arcsinh": "arsinh", "arccosh": "arcosh", "arctanh": "artanh",
    "tg": "tan", "ctg": "cot", "hcf": "gcd", "GCD": "gcd", "LCM": "lcm", "Max": "max", "Min": "min", "binom": "binom", "comb": "binom", "Fraction": "divide", "Rational": "divide",
}  # fmt: skip
_RUNS = ("arcsin", "arccos", "arctan", "sqrt", "sinh", "cosh", "tanh", *_TRIGONOMETRIC, "log", "exp", "ln")
_CONSTANT_WORDS = {"pi": "pi", "infinity": "infinity", "inf": "infinity", "oo": "infinity"}
_CONSTANTS = {r"\pi": "pi", "e": "e", "i": "i", r"\infty": "infinity"}
_GREEK = set(
    """alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron rho sigma tau upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega hbar ell Re Im aleph nabla partial mho Alpha Beta Epsilon Zeta Eta Iota Kappa Mu Nu Omicron Rho Tau Chi varrho varsigma varpi varkappa odot star top bot dagger jmath wp oplus""".split()
)
_ACCENTS = set(
    """vec hat bar tilde dot ddot dddot overline overrightarrow overleftarrow check breve acute grave mathring mathbb mathcal widebar not""".split()
)
_SHAPES = ("angle", "triangle", "square", "measuredangle", "odot", "parallelogram")
_CALLED = set("""f g h F G H""".split())
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


def spelled(tokens: Sequence[Token]) -> str:
    """The tokens as text without space but between words."""
    text = ""
    for token in tokens:
        space = text[-1:].isalnum() and token.text[:1].isalnum() and (token.gap or token.kind == "macro")
        text += (" " if space else "") + (token.text if not token.cells else str(token.cells))
    return re.sub(r"\{(\w)\}", r"\1", text)


def numeral(text: str) -> Fraction:
    """The number of a num token; Unreadable where its power of ten is beyond all use."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > 1000 or len(exponent) > 5 or abs(int(exponent or 0)) > 4000:
        raise Unreadable("a number is too long")
    return Fraction(mantissa) * Fraction(10) ** int(exponent or 0)


class _Parser:
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

    def sign(self) -> int:
        sign = 1
        while self.peek() in ("+", "-"):
            sign *= -1 if self.peek() == "-" else 1
            self.at += 1
        return sign

    def term(self) -> Node:
        found = self.factor()
        while True:
            if self.take("*"):
                sign = self.sign()
                right = self.factor()
                found = product(found, negative(right) if sign < 0 else right)
            elif self.take("/"):
                found = Node("div", args=(found, self.divisor()))
            elif self.peek() == r"\mod":
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
        run = token.text if token is not None and token.kind == "letters" and token.text not in _FUNCTIONS else ""
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
        while True:
            if self.peek() == "^":
                self.at += 1
                if self.peek() in (r"\circ", r"\degree") or (
                    self.peek() == "{" and self.peek(1) in (r"\circ", r"\degree") and self.peek(2) == "}"
                ):
                    self.at += 3 if self.peek() == "{" else 1
                    found = call("degrees", found)
                    continue
                found = Node("pow", args=(found, self.exponent()))
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
                found = call(f"?base {words_value([base.casefold()]) or base}", found)
            else:
                return found

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

    def letters(self, token: Token) -> Node:
        text = token.text
        if text in _FUNCTIONS and len(text) > 1 and (text in _RUNS or self.peek() == "("):
            return self.function(text)
        if text in _CONSTANT_WORDS:
            return Node("constant", _CONSTANT_WORDS[text])
        if text in _GREEK and len(text) > 2:
            return self.named("\\" + text)
        for run in _RUNS:  # sinx
            if text.startswith(run) and len(text) <= len(run) + 2:
                self.tokens.insert(self.at, token._replace(text=text[len(run) :], gap=True))
                return self.function(run)
        if len(text) > 1:
            self.tokens[self.at - 1 : self.at] = [
                token._replace(text=text[0]),
                token._replace(text=text[1:], gap=False),
            ]
        return self.named(text[0])

    def word(self, token: Token) -> Node:
        text = token.text
        if len(text) > 1 and text in _FUNCTIONS and (text in _RUNS or self.peek() in ("(", "{", "_")):
            return self.function(text)
        if not text[0].isalpha():
            raise Unreadable(f"{text} in an expression")
        return Node("constant", _CONSTANT_WORDS[text]) if text in _CONSTANT_WORDS else self.named(text)

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
        if text[1:] in _FUNCTIONS:
            return self.function(text[1:])
        if text[1:] in _ACCENTS and text != r"\not":
            return self.named(text + "{" + self.script() + "}")
        if text[1:] in _SHAPES and self.at < len(self.tokens) and self.tokens[self.at].kind == "letters":
            self.at += 1
            letters = self.tokens[self.at - 1].text
            return self.named(f"{text} {min(letters, letters[::-1])}")
        if text == r"\Delta" and self.at < len(self.tokens) and self.tokens[self.at].kind in ("letters", "macro"):
            following = self.primary(digits=False)
            return name(rf"\Delta {following.value}") if following.head == "name" else product(name(text), following)
        if text in _CONSTANTS or text[1:] in _GREEK:
            return self.named(text)
        raise Unreadable(f"the macro {text}")

    def named(self, text: str) -> Node:
        """A name with its subscript and primes, or a constant, or a value of f."""
        bare = text
        while True:
            if self.peek() == "_":
                self.at += 1
                text += "_" + self.script()
            elif self.peek() == "'":
                self.at += 1
                text += "'"
            elif self.peek() == "^" and self.peek(1) == "'":
                self.at += 2
                text += "'"
            elif self.peek() == "^" and self.peek(1) == "{" and self.peek(2) == "'":
                self.at += 2
                while self.take("'"):
                    text += "'"
                self.need("}")
            else:
                break
        if text in _CONSTANTS:
            return Node("constant", _CONSTANTS[text])
        if text == "C" and self.peek() == "(" and "," in (self.peek(2), self.peek(3)):  # C(5,2)
            return call("binom", *self.parenthesised())
        if (bare in _CALLED or "'" in text) and self.peek() == "(":
            return call("?" + text, *self.parenthesised())
        if len(bare) == 1 and self.peek() == "^" and self.peek(1) == "{" and self.peek(2) == "(":
            raise Unreadable("a derivative of some order")
        return name(text)

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

    # -- functions -------------------------------------------------------------------------------------------------

    def parenthesised(self, opening: str = "(", closing: str = ")") -> list[Node]:
        self.need(opening)
        found = [self.sum()]
        while self.take(",") or self.take(";"):
            found.append(self.sum())
        self.need(closing)
        return found

    def function(self, text: str) -> Node:
        function = _FUNCTIONS[text]
        base = power = None
        for _ in range(2):
            if self.peek() == "_" and function in ("ln", "log", "max", "min"):
                self.at += 1
                base = self.argument() if self.peek() != "{" else self.primary()
            elif self.peek() == "^":
                self.at += 1
                power = self.exponent()
        if self.peek() == "(":
            args = self.parenthesised()
        elif self.peek() == r"\{":
            args = self.parenthesised(r"\{", r"\}")
        elif self.peek() == "{":
            args = [self.primary()]
        else:
            args = [self.bare_argument()]
        if function == "divide":
            found = Node("div", args=(args[0], args[1] if len(args) == 2 else number(1)))
        elif base is not None:
            found = Node("div", args=(call("ln", *args), call("ln", base)))
        elif text in ("lg", "lb"):
            found = Node("div", args=(call("ln", *args), call("ln", number(10 if text == "lg" else 2))))
        elif function in ("sqrt", "cbrt"):
            found = Node("pow", args=(args[0], number(Fraction(1, 2 if function == "sqrt" else 3))))
        elif function == "exp":
            found = Node("pow", args=(Node("constant", "e"), args[0]))
        else:
            if power is not None and power == number(-1) and function in _TRIGONOMETRIC:
                function, power = "arc" + function, None
            found = call(function, *args)
        return found if power is None else Node("pow", args=(found, power))

    def bare_argument(self) -> Node:
        r"""What \sin takes without parentheses: the product up to a sign, another function, a bracket."""
        sign = self.sign()
        found = self.factor()
        while self.starts():
            token = self.tokens[self.at]
            known = token.text.lstrip("\\") in _FUNCTIONS and len(token.text) > 1
            if token.text in ("(", "[", "|") or known or token.kind == "grid":
                break
            found = product(found, self.factor())
        constant = any(part.value == "pi" for part in found.walk()) and not found.names
        if (
            constant
            and self.peek() == "/"
            and self.at + 1 < len(self.tokens)
            and self.tokens[self.at + 1].kind == "num"
        ):
            self.at += 1
            found = Node("div", args=(found, self.factor()))
        return negative(found) if sign < 0 else found

    def series(self, head: str) -> Node:
        r"""\sum_{k=1}^{n} of the product that follows."""
        low = high = index = None
        for _ in range(2):
            if self.take("_"):
                self.need("{")
                index = self.primary(digits=False)
                self.need("=")
                low = self.sum()
                self.need("}")
            elif self.take("^"):
                high = self.primary(digits=False)
        if index is None or low is None or high is None or index.head not in ("name", "constant"):
            raise Unreadable(f"{head} without its range")
        return Node(head, index.value, (self.term(), low, high))

    def derivative(self) -> Node | None:
        r"""\frac{dv}{dt}, \frac{\partial^2 u}{\partial x^2}: one name, for a quotient of d's it is not."""
        texts = [token.text for token in self.tokens[self.at : self.at + 40]]
        if texts[:1] != ["{"] or not (
            (texts[1][:1] == "d" and (self.tokens[self.at + 1].kind != "macro")) or texts[1] == r"\partial"
        ):
            return None
        start = self.at
        self.script()
        below = self.peek(1) if self.peek() == "{" else ""
        if not (below[:1] == "d" or below == r"\partial"):
            self.at = start
            return None
        self.script()
        return name(r"\frac" + spelled(self.tokens[start : self.at]))


def _inverse(degree: Node) -> Node:
    if not isinstance(degree.value, Fraction) or degree.value == 0:
        raise Unreadable("a root of degree 0")
    return number(1 / degree.value)
