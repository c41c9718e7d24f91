"""Exact values of small arithmetic expressions, read from Python's syntax tree and never evaluated as code."""

import ast
from collections.abc import Callable
from fractions import Fraction

MAX_CHARACTERS = 300
_MAX_DEPTH = 40
_MAX_BITS = 4000

_BINARY: dict[type[ast.operator], tuple[str, Callable[[Fraction, Fraction], Fraction]]] = {
    ast.Add: ("+", lambda a, b: a + b),
    ast.Sub: ("-", lambda a, b: a - b),
    ast.Mult: ("*", lambda a, b: a * b),
    ast.Div: ("/", lambda a, b: a / b),
    ast.Mod: ("%", lambda a, b: a % b),
}


class NotArithmetic(ValueError):
    """A text that is no arithmetic expression of the allowed kind, or one without a value (division by zero)."""


def evaluate(text: str, operators: str = "+-*/", signs: bool = True) -> Fraction:
    """The exact value of an expression of decimal numbers, parentheses and the operators given (among + - * / %).

    signs: whether a number or a parenthesis may have a sign. % is Python's: the sign of the divisor. NotArithmetic for
    anything else, including powers, names, texts of more than 300 characters and numbers of more than 4,000 bits.
    """
    return _value(parse(text), operators, signs, 0)


def numbers(text: str) -> list[Fraction]:
    """The numbers of an expression, in order; NotArithmetic as in `evaluate`."""
    return [_number(node) for node in ast.walk(parse(text)) if isinstance(node, ast.Constant)]


def parse(text: str) -> ast.expr:
    """The syntax tree of an expression within the bounds; NotArithmetic otherwise."""
    if len(text) > MAX_CHARACTERS or text.count("(") > _MAX_DEPTH or not text.isascii():
        raise NotArithmetic("too long, nested too deeply, or not ASCII")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise NotArithmetic("not an expression") from error


def _value(node: ast.expr, operators: str, signs: bool, depth: int) -> Fraction:
    if depth > MAX_CHARACTERS:
        raise NotArithmetic("nested too deeply")
    if isinstance(node, ast.Constant):
        return _number(node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub) and signs:
        value = _value(node.operand, operators, signs, depth + 1)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        sign, apply = _BINARY[type(node.op)]
        if sign not in operators:
            raise NotArithmetic(f"the operator {sign} is not allowed here")
        left = _value(node.left, operators, signs, depth + 1)
        right = _value(node.right, operators, signs, depth + 1)
        if sign in "/%" and right == 0:
            raise NotArithmetic("division by zero")
        result = apply(left, right)
        if max(result.numerator.bit_length(), result.denominator.bit_length()) > _MAX_BITS:
            raise NotArithmetic("a number is too large")
        return result
    raise NotArithmetic("neither a number nor an allowed operation")


def _number(node: ast.Constant) -> Fraction:
    if type(node.value) is int and node.value.bit_length() <= _MAX_BITS:
        return Fraction(node.value)
    if type(node.value) is float and abs(node.value) < 1e100:
        return Fraction(repr(node.value))
    raise NotArithmetic("not a number")
