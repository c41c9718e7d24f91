"""The maths verifier: text first, math-verify in the grading pool where text cannot tell."""

import functools
from fractions import Fraction

from simko.records import Problem, Verdict
from simko.verifiers.extract import Span, extract_answer, find_answer
from simko.verifiers.maths.equal import quick_match
from simko.verifiers.maths.form import normal_form
from simko.verifiers.parts import runs_on
from simko.verifiers.pool.bounded import Bounded


def gold_answer(problem: Problem) -> str:
    r"""The problem's gold answer, out of its \boxed{...} where it stands in one; ValueError if there is none."""
    gold = _gold(problem.answer)
    if gold is None:
        raise ValueError(f"problem {problem.id!r} has no gold answer: {problem.answer!r}")
    return gold


@functools.lru_cache(maxsize=4096)
def _gold(answer: str) -> str | None:
    gold = extract_answer(answer) if "\\boxed" in answer or "####" in answer else answer
    return gold if gold is not None and normal_form(gold) else None


def check_gold(problem: Problem) -> None:
    """ValueError where the problem has no gold answer, or a tolerance that is no number."""
    gold_answer(problem)
    tolerance = problem.metadata.get("tolerance")
    try:
        Fraction(0 if tolerance is None else tolerance)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"problem {problem.id!r}: its tolerance {tolerance!r} is not a number") from error


def _extract(response: str, problem: Problem) -> Span | None:
    return find_answer(response, run_on=runs_on(problem))


def _quick(extracted: str, problem: Problem) -> bool | None:
    return quick_match(extracted, gold_answer(problem), tolerance=problem.metadata.get("tolerance"))


# problem.metadata["tolerance"], where given, is how far a number may be from the gold, absolute
verify_math = Bounded(
    "verify_math", check_gold, _extract, _quick, "simko.verifiers.maths.judge:judge", form=normal_form
)


def grade_math(response: str, gold: str) -> Verdict:
    r"""The verdict on a response to a maths problem with the given gold answer (LaTeX or plain, without \boxed{}).

    Its `extracted` is the answer's normal form. Safe on any response: what could exhaust time or memory runs in the
    shared grading pool. ValueError if gold is empty.
    Many at once go faster with grade_many("math", ...).
    """
    return verify_math(response, Problem("grade_math", "", gold))
