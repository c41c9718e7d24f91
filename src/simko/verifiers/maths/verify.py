"""The maths verifier: read both sides (`reading`), compare them (`comparing`); the grading pool decides what takes long."""

import functools
import re
from fractions import Fraction

from simko.records import Problem, Verdict
from simko.verifiers.extract import Span, extract_answer, find_answer
from simko.verifiers.maths.comparing.compare import judge_with
from simko.verifiers.maths.reading.read import read
from simko.verifiers.maths.spelling import normal_form
from simko.verifiers.parts import runs_on
from simko.verifiers.pool.bounded import Bounded


def gold_answer(problem: Problem) -> str:
    r"""The problem's gold answer, out of its \boxed{...} where it stands in one; ValueError if there is none."""
    gold = _gold(problem.answer)
    if gold is None:
        raise ValueError(f"problem {problem.id!r} has no gold answer: {problem.answer!r}")
    return gold


_SOLUTION = re.compile(r"\\boxed|####|answer is", re.IGNORECASE)
"""What a gold that is a whole solution holds."""


@functools.lru_cache(maxsize=4096)
def _gold(answer: str) -> str | None:
    gold = extract_answer(answer) if _SOLUTION.search(answer) else answer
    return gold if gold is not None and normal_form(gold) else None


def check_gold(problem: Problem) -> None:
    """ValueError where the problem has no gold answer, or a tolerance that is no number of at least 0."""
    gold_answer(problem)
    tolerance(problem)


def tolerance(problem: Problem) -> Fraction | None:
    """How far a number may be from the gold, absolute: metadata's "tolerance"; None for the usual relative ones."""
    given = problem.metadata.get("tolerance")
    try:
        number = None if given is None else Fraction(given)
    except (TypeError, ValueError, ArithmeticError):
        number = Fraction(-1)
    if isinstance(given, bool) or (number is not None and number < 0):
        raise ValueError(f"problem {problem.id!r}: its tolerance {given!r:.80} is not a number of at least 0")
    return number


def _extract(response: str, problem: Problem) -> Span | None:
    return find_answer(response, run_on=runs_on(problem))


def _quick(extracted: str, problem: Problem) -> bool | None:
    gold = gold_answer(problem)
    if _squeezed(extracted) == _squeezed(gold):
        return True
    return judge_with(False, tolerance(problem)).same(read(gold), read(extracted))


def _squeezed(text: str) -> str:
    """The text without space, but between digits."""
    return re.sub(r"(?<![0-9])\s|\s(?![0-9])", "", text)


verify_math = Bounded(
    "verify_math", check_gold, _extract, _quick, "simko.verifiers.maths.judge:judge", form=normal_form
)
"""Judges answers to maths problems as `grade_math` does, in processes with limits."""


def grade_math(response: str, gold: str) -> Verdict:
    r"""The verdict on a response to a maths problem with the given gold answer (LaTeX or plain, without \boxed{}).

    Its `extracted` is the answer's normal form. Safe on any response: what could exhaust time or memory runs in the
    shared grading pool. ValueError if gold is empty.
    Many at once go faster with grade_many("math", ...).
    """
    return verify_math(response, Problem("grade_math", "", gold))
