"""Verifiers: (response, problem) -> Verdict. The table below is the whole list; a new verifier is a new row.

Every verifier takes any string as a response without raising, in time linear in its length. A problem it cannot judge
(a gold answer in no form it knows) is the data's fault and raises ValueError naming the problem.
"""

from collections.abc import Iterable, Sequence

from simko.records import Problem, Verdict, Verifier
from simko.verifiers.bounded import Bounded
from simko.verifiers.choice import verify_bbh, verify_choice, verify_exact
from simko.verifiers.code import verify_code, verify_code_many
from simko.verifiers.instructions import verify_instructions
from simko.verifiers.last_box import verify_last_box
from simko.verifiers.last_integer import verify_last_integer
from simko.verifiers.math_pool import grade_math, verify_math
from simko.verifiers.operator_puzzle import verify_operator_puzzle
from simko.verifiers.reasoning_gym import verify_reasoning_gym
from simko.verifiers.sandbox import check_sandbox
from simko.verifiers.synlogic import verify_synlogic

__all__ = [
    "VERIFIERS",
    "Bounded",
    "VerifierError",
    "check_problems",
    "get_verifier",
    "grade_many",
    "grade_math",
    "verify_bbh",
    "verify_choice",
    "verify_code",
    "verify_exact",
    "verify_instructions",
    "verify_last_box",
    "verify_last_integer",
    "verify_math",
    "verify_operator_puzzle",
    "verify_reasoning_gym",
    "verify_synlogic",
]

VERIFIERS: dict[str, Verifier] = {
    "operator_puzzle": verify_operator_puzzle,
    "last_integer": verify_last_integer,
    "last_box": verify_last_box,
    "math": verify_math,
    "choice": verify_choice,
    "exact": verify_exact,
    "bbh": verify_bbh,
    "code": verify_code,
    "instructions": verify_instructions,
    "synlogic": verify_synlogic,
    "reasoning_gym": verify_reasoning_gym,
}


class VerifierError(ValueError):
    """A verifier raised: never the model's fault. The message names the problem and the sample."""


def get_verifier(name: str) -> Verifier:
    """The verifier called `name`; ValueError with the known names if there is none."""
    if name not in VERIFIERS:
        raise ValueError(f"no verifier is called {name!r}; choose one of: {', '.join(VERIFIERS)}")
    return VERIFIERS[name]


def grade_many(verifier: str | Verifier, answers: Sequence[tuple[str, Problem]]) -> list[Verdict]:
    """The verdicts on (response, problem) pairs, in order. Thread-safe.

    A Bounded verifier uses the grading pool, programs run side by side in their sandboxes; any other callable runs
    here, and a VerifierError says where it raised.
    """
    judge = get_verifier(verifier) if isinstance(verifier, str) else verifier
    if isinstance(judge, Bounded):
        return judge.grade_many(answers)
    if judge is verify_code:
        return verify_code_many(answers)
    return [_judge(judge, response, problem) for response, problem in answers]


def check_problems(verifier: str | Verifier, problems: Iterable[Problem]) -> None:
    """Raise ValueError for the first problem that a verifier of the table cannot judge, or where programs cannot be
    run: call it before sampling. What another callable can judge is not known before it is called."""
    judge = get_verifier(verifier) if isinstance(verifier, str) else verifier
    if judge is verify_code:
        check_sandbox()
    for problem in problems:
        if isinstance(judge, Bounded):
            judge.quick("", problem)
        elif judge in VERIFIERS.values():
            judge("", problem)


def _judge(verifier: Verifier, response: str, problem: Problem) -> Verdict:
    try:
        return verifier(response, problem)
    except Exception as error:
        raise VerifierError(
            f"the verifier raised {type(error).__name__} on problem {problem.id!r}: {error} (response {response[:80]!r})"
        ) from error
