"""Values as text, each in one form: what verdicts report, and equal answers are grouped by."""

from fractions import Fraction

from simko.verifiers.maths.evaluation import NAMED
from simko.verifiers.maths.nodes import Node, exact
from simko.verifiers.maths.reading.numerals import spell
from simko.verifiers.maths.reading.read import read
from simko.verifiers.maths.values import (
    Cases,
    Chain,
    Clock,
    Function,
    Given,
    Interval,
    Listing,
    Matrix,
    Named,
    Option,
    Quantity,
    Region,
    Relation,
    Text,
    Tuple,
    Unread,
    Value,
)  # fmt: skip

_LONGEST = 4000
_LITERALS = ("num", "add", "mul", "div", "pow")


def normal_form(answer: str) -> str:
    r"""The form by which equal answers are grouped (duplicates, majority votes).

    \frac43, \dfrac{4}{3}, 4/3 and 8/6 are "4/3"; 0.50, .5, 1/2 and 5 \times 10^{-1} are "0.5"; 073 is "73"; 28 percent is
    "28%" (and not 0.28). A unit, a name before = and the order of a list do not count: 5 cm and x=5 are "5". What is
    no answer that can be read comes back as it is, white space apart.
    """
    text = " ".join(answer.split())
    if len(text) > _LONGEST:
        return text
    for _ in range(3):
        form = _value(read(text))
        if form == text:
            break
        text = form
    return text


def _value(value: Value) -> str:
    match value:
        case Quantity():
            return _node(value.node, 0) + ("%" if value.percent else "")
        case Text() | Unread():
            return value.text
        case Option():
            return value.letter
        case Clock():
            return ":".join(value.parts) + (f" {value.half}" if value.half else "")
        case Named():
            return (
                _value(value.value)
                if value.left is None or value.left.head == "name"
                else f"{value.name}={_value(value.value)}"
            )
        case Function():
            return _value(value.body)
        case Given():
            return _value(value.value)
        case Relation():
            return _joined([_node(side, 0) for side in value.sides], value.signs)
        case Chain():
            forms = [_value(part) for part in value.values]
            return forms[0] if len(set(forms)) == 1 else _joined(forms, value.signs)
        case Region():
            return r"\cup ".join(_interval(interval) for interval in value.intervals)
        case Tuple():
            return value.opening + ",".join(map(_value, value.items)) + value.closing
        case Listing():
            return ", ".join(sorted(map(_value, value.items))) or r"\emptyset"
        case Matrix():
            kind = "vmatrix" if value.bars else "pmatrix"
            rows = r"\\".join("&".join(map(_value, row)) for row in value.rows)
            return rf"\begin{{{kind}}}{rows}\end{{{kind}}}"
        case Cases():
            return (
                r"\begin{cases}"
                + r"\\".join(f"{_value(one)}&{_value(other)}" for one, other in value.rows)
                + r"\end{cases}"
            )


def _joined(forms: list[str], signs: tuple[str, ...]) -> str:
    return forms[0] + "".join(
        sign + (" " if sign[0] == "\\" else "") + form for sign, form in zip(signs, forms[1:], strict=True)
    )


def _interval(interval: Interval) -> str:
    if interval.low == interval.high:
        return rf"\{{{_node(interval.low, 0)}\}}"
    return (
        ("[" if interval.low_closed else "(")
        + f"{_node(interval.low, 0)},{_node(interval.high, 0)}"
        + ("]" if interval.high_closed else ")")
    )


def _node(node: Node, level: int) -> str:
    """The expression; in parentheses where it binds less than `level`: 0 a sum, 1 a product, 2 a power's base."""
    if all(part.head in _LITERALS for part in node.walk()) and (number := exact(node, 2000)) is not None:
        form = spell(number)
        return f"({form})" if level and (form[0] == "-" or "/" in form or "e" in form) else form
    text, binds = _compound(node)
    return text if binds >= level else f"({text})"


def _compound(node: Node) -> tuple[str, int]:
    args = node.args
    if node.head in ("name", "constant"):
        known = {"pi": r"\pi", "infinity": r"\infty"}
        return (known.get(str(node.value), str(node.value)) if node.head == "constant" else str(node.value)), 3
    if node.head == "num":
        return str(node.value), 0
    if node.head == "add":
        text = ""
        for part in args:
            term = _node(part, 0)
            text += term if not text or term[0] == "-" else "+" + term
        return text, 0
    if node.head == "mul":
        return _product(node), 1
    if node.head == "div":
        return rf"\frac{{{_node(args[0], 0)}}}{{{_node(args[1], 0)}}}", 2
    if node.head == "pow":
        if args[1].value == Fraction(1, 2):
            return rf"\sqrt{{{_node(args[0], 0)}}}", 2
        return f"{_node(args[0], 3)}^{{{_node(args[1], 0)}}}", 2
    if node.head in ("sum", "prod"):
        return rf"\{node.head}_{{{node.value}={_node(args[1], 0)}}}^{{{_node(args[2], 0)}}}{_node(args[0], 1)}", 1
    return _call(str(node.value), [_node(part, 0) for part in args], node)


def _product(node: Node) -> str:
    text = ""
    for place, part in enumerate(node.args):
        if place == 0 and isinstance(part.value, Fraction) and part.value == -1:
            text = "-"
            continue
        factor = _node(part, 1)
        joint = text[-1:].isalnum() and (factor[0].isdigit() or factor[0].isalpha())
        text += (r"\cdot " if joint and factor[0].isdigit() else " " if joint and text[-1:].isalpha() else "") + factor
    return text


def _call(function: str, args: list[str], node: Node) -> tuple[str, int]:
    inside = ",".join(args)
    if function in ("factorial", "double factorial", "degrees"):
        alone = node.args[0].head in ("name", "constant") or args[0].isdigit()
        ending = {"factorial": "!", "double factorial": "!!", "degrees": r"^\circ"}[function]
        return (args[0] if alone else f"({args[0]})") + ending, 2
    if function.startswith("?base "):
        return f"{args[0]}_{{{function.removeprefix('?base ')}}}", 2
    if function in ("abs", "floor", "ceil"):
        opening, closing = {"abs": ("|", "|"), "floor": (r"\lfloor ", r"\rfloor"), "ceil": (r"\lceil ", r"\rceil")}[
            function
        ]
        return opening + inside + closing, 3
    if function == "binom":
        return rf"\binom{{{args[0]}}}{{{args[1]}}}", 2
    if function.startswith("?pmod"):
        return rf"{args[0]}\pmod{{{args[1]}}}", 0
    if function.startswith("?"):
        return f"{function[1:]}({inside})", 2
    known = function in NAMED
    return (rf"\{function}" if known else rf"\operatorname{{{function}}}") + f"({inside})", 2
