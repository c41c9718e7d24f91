r"""Names and constants in expressions: x_1, \\alpha', \\pi, e, f(x)."""

from simko.verifiers.maths.nodes import Node, call, name
from simko.verifiers.maths.reading.functions import FUNCTIONS, RUNS, Functions
from simko.verifiers.maths.reading.latex import Token, Unreadable
from simko.verifiers.maths.reading.words import vocabulary

_CONSTANT_WORDS = {"pi": "pi", "infinity": "infinity", "inf": "infinity", "oo": "infinity"}
CONSTANTS = {r"\pi": "pi", "e": "e", "i": "i", r"\infty": "infinity"}
GREEK = vocabulary(
    """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron rho sigma tau upsilon phi
    chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega hbar ell Re Im aleph nabla partial
    mho Alpha Beta Epsilon Zeta Eta Iota Kappa Mu Nu Omicron Rho Tau Chi varrho varsigma varpi varkappa odot
    star top bot dagger jmath wp oplus
    """
)
_CALLED = vocabulary("f g h F G H")


class Symbols(Functions):
    """The part of the parser that reads names."""

    def letters(self, token: Token) -> Node:
        text = token.text
        if text in FUNCTIONS and len(text) > 1 and (text in RUNS or self.peek() == "("):
            return self.function(text)
        if text in _CONSTANT_WORDS:
            return Node("constant", _CONSTANT_WORDS[text])
        if text in GREEK and len(text) > 2:
            return self.named("\\" + text)
        for run in RUNS:  # sinx
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
        if len(text) > 1 and text in FUNCTIONS and (text in RUNS or self.peek() in ("(", "{", "_")):
            return self.function(text)
        if not text[0].isalpha():
            raise Unreadable(f"{text} in an expression")
        return Node("constant", _CONSTANT_WORDS[text]) if text in _CONSTANT_WORDS else self.named(text)

    def named(self, text: str) -> Node:
        """A name with its subscript and primes, or a constant, or a value of f."""
        bare = text
        while True:
            if self.peek() == "_":
                self.at += 1
                script = self.script()
                text += f"_{script}" if len(script) == 1 else f"_{{{script}}}"
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
        if text in CONSTANTS:
            return Node("constant", CONSTANTS[text])
        if text == "C" and self.peek() == "(" and "," in (self.peek(2), self.peek(3)):  # C(5,2)
            return call("binom", *self.parenthesised())
        if text == bare + "'" and [self.peek(ahead) for ahead in range(3)] == ["(", "t", ")"]:  # x'(t)
            self.at += 3
            return name(rf"\dot{{{bare}}}")
        plain_value = self.peek(1).isdigit() and self.peek(2) == ")"  # I(0)
        if (bare in _CALLED or "'" in text or plain_value) and self.peek() == "(":
            return call("?" + text, *self.parenthesised())
        if len(bare) == 1 and self.peek() == "^" and self.peek(1) == "{" and self.peek(2) == "(":
            raise Unreadable("a derivative of some order")
        return name(text)
