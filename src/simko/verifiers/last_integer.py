"""The last integer of a response, compared with the gold answer as text."""

import re

from simko.records import Problem, Verdict
from simko.verifiers.direct import Direct, Judge

# \d means any Unicode digit here, so that a run of mixed digits is one numeral; only ASCII ones are accepted below.
_NUMERAL = re.compile(r"(?:(?<![\w)\]}])[-\u2212])?\d+(?:,\d+)*(?:\.\d+)*")
_GROUPED = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+")
_GOLD = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)")


@Direct
def verify_last_integer(problem: Problem) -> Judge:
    """Whether the last integer in the response equals problem.answer.

    An integer is a run of ASCII digits. Commas that group by three belong to it (1,234); others separate integers
    (in "1,2,3" the last is 3). A minus sign (ASCII or U+2212) directly before it belongs to it, unless a letter, a
    digit or a closing bracket stands before the sign: "= -7" is -7, "12-7" ends in 7. Leading zeros are dropped and
    -0 is 0. Passed over, as no integers: numbers with a decimal point (2.0, 1.2.3), other scripts' digits.
    Nothing is ever converted to a number, so the length of a numeral costs linear time only.

    Raises ValueError if problem.answer is not an integer.
    """
    if not _GOLD.fullmatch(problem.answer):
        raise ValueError(f"problem {problem.id!r}: the gold answer {problem.answer!r} is not an integer")
    gold = _canonical(problem.answer.replace(",", ""))

    def judge(response: str) -> Verdict:
        found: str | None = None
        for numeral in _NUMERAL.finditer(response):
            found = _integer(numeral.group()) or found
        if found is None:
            return Verdict("unparsed")
        return Verdict("correct" if found == gold else "wrong", found)

    return judge


def _integer(numeral: str) -> str | None:
    """The integer that a numeral ends in, in canonical form, or None."""
    numeral = numeral.replace("\u2212", "-")
    if "." in numeral or not numeral.isascii():
        return None
    if "," in numeral:
        numeral = numeral.replace(",", "") if _GROUPED.fullmatch(numeral.lstrip("-")) else numeral.rsplit(",", 1)[1]
    return _canonical(numeral)


def _canonical(integer: str) -> str:
    digits = integer.lstrip("-").lstrip("0") or "0"
    return "-" + digits if integer.startswith("-") and digits != "0" else digits
