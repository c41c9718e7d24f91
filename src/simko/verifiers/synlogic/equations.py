"""Families whose answer is arithmetic: the game of 24, cryptarithms and math paths. Values are exact fractions."""

import re
from collections import Counter
from fractions import Fraction

from simko.records import Problem
from simko.verifiers.extract import after_answer_is
from simko.verifiers.parts import last_code_block, last_unfenced_line
from simko.verifiers.synlogic.arithmetic import NotArithmetic, evaluate, numbers
from simko.verifiers.synlogic.family import Family, field
from simko.verifiers.synlogic.reading import boxed, double_bracketed

_ASSIGNMENT = re.compile(r"[A-Za-z_]{1,30}\s*=(?!=)")
_EQUATION = re.compile(r"[0-9]{1,30}(?:[+*-][0-9]{1,30}){1,10}=[0-9]{1,60}")


def read_expression(text: str) -> tuple[str, str] | None:
    """The expression in the last code block (perhaps with `name =` before it), else in the last box or last line."""
    block = last_code_block(text)
    candidate = block if block is not None else boxed(text) or last_unfenced_line(text)
    lines = [line for line in (candidate or "").split("\n") if line.strip() and not line.strip().startswith("#")]
    if len(lines) != 1:
        return None
    expression = _ASSIGNMENT.sub("", lines[0].strip(), count=1).strip()
    expression = expression.split("#", 1)[0].strip()
    try:
        numbers(expression)
    except NotArithmetic:
        return None
    return expression, expression


def target_puzzle(problem: Problem) -> tuple[Counter[Fraction], str, Fraction]:
    """(the numbers, the operators as one text, the result)."""
    given = Counter(Fraction(int(number)) for number in field(problem, "numbers"))
    operators = "".join(str(operator) for operator in field(problem, "operators"))
    if not set(operators) <= set("+-*/%"):
        raise ValueError("an operator is none of + - * / %")
    return given, operators, Fraction(int(field(problem, "result")))


def target_holds(expression: str, puzzle: tuple[Counter[Fraction], str, Fraction]) -> bool:
    """Each number is used exactly once, no other one and no sign, and the exact value is the result."""
    given, operators, result = puzzle
    try:
        return Counter(numbers(expression)) == given and evaluate(expression, operators, signs=False) == result
    except NotArithmetic:
        return False


def read_equation(text: str) -> tuple[str, str] | None:
    """The equation of integers after the last "answer is", else in the last box or the last line; spaces dropped."""
    for candidate in (after_answer_is(text), boxed(text), last_unfenced_line(text)):
        if candidate is None:
            continue
        plain = "".join(candidate.replace("**", "").split()).replace("$", "").replace("\u2212", "-")
        plain = plain.replace("\\times", "*").replace("×", "*").rstrip(".。")
        if _EQUATION.fullmatch(plain):
            return candidate, plain
    return None


def cryptarithm_puzzle(problem: Problem) -> tuple[list[str], list[str]]:
    """(the words, the operators between all but the last)."""
    words = [str(word) for word in field(problem, "letter_words")]
    operators = [str(operator) for operator in field(problem, "operators")]
    if len(words) != len(operators) + 2 or not set(operators) <= set("+-*"):
        raise ValueError("letter_words and operators do not make an equation")
    return words, operators


def cryptarithm_holds(equation: str, puzzle: tuple[list[str], list[str]]) -> bool:
    """Different digits for different letters, the same for the same, no leading zero, and the equation is true."""
    words, operators = puzzle
    left, right = equation.split("=")
    written = [*re.findall(r"[0-9]+", left), right]
    if re.findall(r"[+*-]", left) != operators or list(map(len, written)) != list(map(len, words)):
        return False
    pairs = {pair for word, number in zip(words, written, strict=True) for pair in zip(word, number, strict=True)}
    if len({letter for letter, _ in pairs}) != len(pairs) or len({digit for _, digit in pairs}) != len(pairs):
        return False
    if any(number[0] == "0" and len(number) > 1 for number in written):
        return False
    return evaluate(left) == int(right)


def read_path(text: str) -> tuple[str, str] | None:
    """The equation between the last [[ and ]], spaces dropped."""
    inner = double_bracketed(text)
    plain = re.sub(r"\s+", "", inner) if inner is not None and len(inner) <= 300 else ""
    return (inner or "", plain) if plain.count("=") == 1 else None


def path_puzzle(problem: Problem) -> str:
    """The equation with ? for each missing digit, spaces dropped."""
    query = re.sub(r"\s+", "", str(problem.metadata["metadata"]["query_expr"]))
    if query.count("=") != 1 or not set(query) <= set("0123456789?+-*/%()=."):
        raise ValueError("query_expr is not an equation of digits and ?")
    return query


def path_holds(equation: str, query: str) -> bool:
    """Each ? is one digit, all else as it was, and both sides have the same exact value."""
    if len(equation) != len(query):
        return False
    if any(a != q and not (q == "?" and a in "0123456789") for a, q in zip(equation, query, strict=True)):
        return False
    left, right = equation.split("=")
    try:
        return evaluate(left, "+-*/%") == evaluate(right, "+-*/%")
    except NotArithmetic:
        return False


_TARGET = Family(target_puzzle, read_expression, target_holds)

EQUATION_FAMILIES: dict[str, Family] = {
    "game_of_24": _TARGET,
    "mathador": _TARGET,
    "cryptarithm": Family(cryptarithm_puzzle, read_equation, cryptarithm_holds),
    "math_path": Family(path_puzzle, read_path, path_holds),
}
