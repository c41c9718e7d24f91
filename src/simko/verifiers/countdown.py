"""Countdown: join all numbers, two at a time and in any order, so that the last result is the target.

The prompt reads "3 7 5 2 = 24". A response gives one step after another, each on two of the numbers and earlier results that
no step has used: "7 - 3 = 4 ; 4 * 5 = 20 ; 20 + 2 = 22" (and misses the target 24).
"""

import re

from simko.records import Problem, Verdict
from simko.verifiers.direct import Direct, Judge

MAX_VALUE = 50
"""Numbers, results and targets lie in 1..MAX_VALUE."""

_PROMPT = re.compile(r"[1-9][0-9]?(?: [1-9][0-9]?)+ = [1-9][0-9]?")
_TOKEN = re.compile(r"[^ \t\r\n]+")
_STEPS = re.compile(r"(?:{v} [-+*/] {v} = {v})(?: ; {v} [-+*/] {v} = {v})*".format(v="(?:0|[1-9][0-9]*)"))


@Direct
def verify_countdown(problem: Problem) -> Judge:
    """Check each step of a response to problem.prompt exactly; any correct solution passes.

    Tokens are separated by ASCII spaces, tabs and line ends. A step reads "a + b = c", with an operator of + - * /; a ";"
    separates steps; values are ASCII numerals without leading zeros. "unparsed": a response of another form. "wrong": a false
    step, a value that is not available (any more), a result outside 1..50, an inexact division, too few or too many steps,
    another last value than the target. `extracted` is the response with single spaces.

    Raises ValueError if the prompt is not "n n ... n = target" with numbers 1-99.
    """
    if not _PROMPT.fullmatch(problem.prompt):
        raise ValueError(
            f"problem {problem.id!r}: a countdown problem's prompt reads like '3 7 5 2 = 24', not {problem.prompt!r}"
        )
    left, _, target = problem.prompt.partition(" = ")
    numbers = left.split()

    def judge(response: str) -> Verdict:
        extracted = " ".join(_TOKEN.findall(response))
        if not _STEPS.fullmatch(extracted):
            return Verdict("unparsed")
        steps = extracted.split(" ; ")
        if len(steps) != len(numbers) - 1:
            return Verdict("wrong", extracted)
        available = list(numbers)
        for a, operator, b, _, result in map(str.split, steps):
            for value in (a, b):
                if value not in available:
                    return Verdict("wrong", extracted)
                available.remove(value)
            if result != str(apply_operator(int(a), operator, int(b))):
                return Verdict("wrong", extracted)
            available.append(result)
        return Verdict("correct" if available == [target] else "wrong", extracted)

    return judge


def apply_operator(a: int, operator: str, b: int) -> int | None:
    """a operator b for positive values, or None where the result leaves 1..MAX_VALUE or a division is not exact."""
    result = {"+": a + b, "-": a - b, "*": a * b, "/": a // b if a % b == 0 else 0}[operator]
    return result if 1 <= result <= MAX_VALUE else None
