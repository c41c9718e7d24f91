"""The operator puzzle: put an operator between digits, left to right, so that the last value is the target.

The prompt reads "6 6 5 4 1 = 10". A response gives an operator and the running value for every digit after the first:
"+ 12 - 7 * 28 / 28" stands for 6 + 6 = 12, 12 - 5 = 7, 7 * 4 = 28, 28 / 1 = 28 (and misses the target 10).
"""

import re

from simko.records import Problem, Verdict
from simko.verifiers.direct import Direct, Judge

MAX_VALUE = 40
"""Running values and targets lie in 0..MAX_VALUE."""

_PROMPT = re.compile(r"[1-9](?: [1-9])+ = (?:0|[1-9][0-9]?)")
_TOKEN = re.compile(r"[^ \t\r\n]+")
_VALUE = re.compile(r"0|[1-9][0-9]*")


@Direct
def verify_operator_puzzle(problem: Problem) -> Judge:
    """Check each step of a response to problem.prompt exactly; any correct solution passes.

    Tokens are separated by ASCII spaces, tabs and line ends; operators are + - * /; values are ASCII numerals without
    leading zeros. "unparsed": no token, or one that is neither where it should be, or an operator without its value.
    "wrong": a false step, a value outside 0..40, an inexact division, too few or too many steps, another last value
    than the target. `extracted` is the response with single spaces.

    Raises ValueError if the prompt is not "d d ... d = target" with digits 1-9.
    """
    if not _PROMPT.fullmatch(problem.prompt):
        raise ValueError(
            f"problem {problem.id!r}: an operator puzzle's prompt reads like '6 6 5 4 1 = 10', not {problem.prompt!r}"
        )
    left, _, target = problem.prompt.partition(" = ")
    first, *digits = map(int, left.split())

    def judge(response: str) -> Verdict:
        tokens = _TOKEN.findall(response)
        operators, values = tokens[::2], tokens[1::2]
        if not tokens or len(operators) != len(values):
            return Verdict("unparsed")
        if any(o not in ("+", "-", "*", "/") for o in operators) or any(not _VALUE.fullmatch(v) for v in values):
            return Verdict("unparsed")
        extracted = " ".join(tokens)
        if len(operators) != len(digits):
            return Verdict("wrong", extracted)
        running = first
        for operator, written, digit in zip(operators, values, digits, strict=True):
            result = apply_operator(running, operator, digit)
            if result is None or written != str(result):
                return Verdict("wrong", extracted)
            running = result
        return Verdict("correct" if running == int(target) else "wrong", extracted)

    return judge


def apply_operator(value: int, operator: str, digit: int) -> int | None:
    """value operator digit, or None where the result leaves 0..MAX_VALUE or a division is not exact."""
    if operator == "/":
        result = value // digit if value % digit == 0 else -1
    else:
        result = {"+": value + digit, "-": value - digit, "*": value * digit}[operator]
    return result if 0 <= result <= MAX_VALUE else None
