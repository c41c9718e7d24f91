"""Verifiers: (response, problem) -> Verdict. The table below is the whole list; a new verifier is a new row.

Every verifier takes any string as a response without raising, in time linear in its length. A problem it cannot judge
(a gold answer in no form it knows) is the data's fault and raises ValueError naming the problem.
"""

from collections.abc import Sequence

from simko.records import Problem, Verdict, Verifier
from simko.verifiers.code import verify_code
from simko.verifiers.instructions import verify_instructions
from simko.verifiers.last_box import verify_last_box
from simko.verifiers.last_integer import verify_last_integer
from simko.verifiers.operator_puzzle import verify_operator_puzzle

__all__ = [
    "VERIFIERS",
    "VerifierError",
    "get_verifier",
    "grade_many",
    "verify_code",
    "verify_instructions",
    "verify_last_box",
    "verify_last_integer",
    "verify_operator_puzzle",
]

VERIFIERS: dict[str, Verifier] = {
    "operator_puzzle": verify_operator_puzzle,
    "last_integer": verify_last_integer,
    "last_box": verify_last_box,
    "code": verify_code,
    "instructions": verify_instructions,
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

    A verifier by name runs in the grading pool where it needs one; a callable runs here.
    """
    judge = get_verifier(verifier) if isinstance(verifier, str) else verifier
    return [judge(response, problem) for response, problem in answers]
