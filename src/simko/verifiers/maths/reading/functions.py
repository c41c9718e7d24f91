r"""Functions in expressions: \\sin 2x, \\log_2 3, \\max(a, b), \\sum_{k=1}^n, \\frac{dv}{dt}."""

import re
from fractions import Fraction

from simko.verifiers.maths.nodes import Node, call, name, negative, number, product
from simko.verifiers.maths.reading.cursor import Cursor
from simko.verifiers.maths.reading.latex import MAX_DEPTH, Unreadable
from simko.verifiers.maths.reading.words import vocabulary

_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
_PLAIN = vocabulary(
    """
    sin cos tan cot sec csc sinh cosh tanh coth sech csch arcsin arccos arctan arccot arcsec arccsc arsinh arcosh artanh ln log exp max min
    gcd lcm det floor ceil abs sqrt cbrt factorial sgn sign erf deg dim tr rank arg Re Im lg lb mod binom
    """
)
FUNCTIONS = {name: name for name in _PLAIN} | {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "arcsinh": "arsinh", "arccosh": "arcosh", "arctanh": "artanh", "tg": "tan", "ctg": "cot",
    "hcf": "gcd", "GCD": "gcd", "LCM": "lcm", "Max": "max", "Min": "min", "comb": "binom", "Fraction": "divide", "Rational": "divide",
}  # fmt: skip
"""The functions that are read, by each of their names."""

_OF_SEVERAL = ("max", "min", "gcd", "lcm", "divide")
RUNS = ("arcsin", "arccos", "arctan", "sqrt", "sinh", "cosh", "tanh", *_TRIGONOMETRIC, "log", "exp", "ln")


class Functions(Cursor):
    """The part of the parser that reads functions."""

    def parenthesised(self, opening: str = "(", closing: str = ")") -> list[Node]:
        self.need(opening)
        found = [self.sum()]
        while self.take(",") or self.take(";"):
            found.append(self.sum())
        self.need(closing)
        return found

    def function(self, text: str) -> Node:
        function = FUNCTIONS[text]
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("its functions are too deep")
        base = power = None
        for _ in range(2):
            if self.peek() == "_" and function in ("log", "max", "min"):
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
        if len(args) != (2 if function in ("binom", "mod", "divide") else 1) and function not in _OF_SEVERAL:
            raise Unreadable(f"{function} of {len(args)}")
        if function == "divide":
            found = Node("div", args=(args[0], args[1] if len(args) == 2 else number(1)))
        elif base is not None and function == "log":
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
        self.depth -= 1
        return found if power is None else Node("pow", args=(found, power))

    def bare_argument(self) -> Node:
        r"""What \sin takes without parentheses: the product up to a sign, another function, a bracket."""
        sign = self.sign()
        found = self.factor()
        while self.starts():
            token = self.tokens[self.at]
            known = token.text.lstrip("\\") in FUNCTIONS and len(token.text) > 1
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
        r"""\frac{dv}{dt}, \frac{\partial^2 u}{\partial x^2}: one name, for a quotient of d's it is not; \dot{v} by t."""
        start = self.at
        above, below = (self.script() if self.peek() == "{" else "" for _ in range(2))
        above, below = above.replace(" ", ""), below.replace(" ", "")
        kinds = [re.match(r"d(?=[A-Za-z\\^])|\\partial", text) for text in (above, below)]
        if not all(kinds) or (above[:1] == "d" and len(above) == 1):
            self.at = start
            return None
        by_time = re.fullmatch(r"d(?P<square>\^2)?(?P<name>[A-Za-z]|\\[A-Za-z]+)", above)
        if by_time and below == ("dt^2" if by_time["square"] else "dt"):
            return name(rf"\{'ddot' if by_time['square'] else 'dot'}{{{by_time['name']}}}")
        return name(rf"\frac{{{above}}}{{{below}}}")
