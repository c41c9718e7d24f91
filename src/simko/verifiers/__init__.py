"""Verifiers: (response, problem) -> Verdict. The table below is the whole list of simko's own; a new one is a new row.

Everywhere that takes a name takes the user's own too, as package.module:function or ./file.py:function: see `custom`.

Every verifier takes any string as a response without raising, in time linear in its length. A problem it cannot judge
(a gold answer in no form it knows) is the data's fault and raises ValueError naming the problem.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from simko.records import Problem, Verdict, Verifier
from simko.verifiers.bounded import Bounded
from simko.verifiers.choice import verify_bbh, verify_choice, verify_exact
from simko.verifiers.code import verify_code, verify_code_many
from simko.verifiers.custom import Custom, VerifierError, as_verdict, import_function
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
    "Custom",
    "VerifierError",
    "check_problems",
    "get_verifier",
    "grade_many",
    "grade_math",
    "import_function",
    "verifier_name",
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


def get_verifier(name: str, *, folder: Path | None = None) -> Verifier:
    """The verifier called `name`: one of VERIFIERS, or package.module:function or ./file.py:function (see
    `import_function`, which `folder` is for). ValueError if there is none."""
    if name in VERIFIERS:
        return VERIFIERS[name]
    if ":" in name or name.endswith(".py"):
        return Custom.at(name, folder)
    raise ValueError(
        f"no verifier is called {name!r}; choose one of: {', '.join(VERIFIERS)}, or your own: package.module:function or "
        "./file.py:function"
    )


def verifier_name(verifier: str | Verifier) -> str:
    """What a store keeps of a verifier: a name of simko's, a callable's, or that of the user's own with a digest of its
    source."""
    if isinstance(verifier, str) and verifier in VERIFIERS:
        return verifier
    return str(getattr(_judge_of(verifier), "__name__", "verifier"))


def grade_many(verifier: str | Verifier, answers: Sequence[tuple[str, Problem]]) -> list[Verdict]:
    """The verdicts on (response, problem) pairs, in order. Thread-safe.

    A Bounded verifier uses the grading pool, one named by the user another, programs run side by side in their
    sandboxes; any other callable runs here, may return what `custom` lists, and a VerifierError says where it raised.
    """
    judge = _judge_of(verifier)
    if isinstance(judge, Bounded | Custom):
        return judge.grade_many(answers)
    if judge is verify_code:
        return verify_code_many(answers)
    return [_judge(judge, response, problem) for response, problem in answers]


def check_problems(verifier: str | Verifier, problems: Iterable[Problem]) -> None:
    """Raise ValueError for the first problem that a verifier of the table cannot judge, where programs cannot be run, or
    where one named by the user fails on an empty response to the first: call it before sampling. What another callable
    can judge is not known before it is called."""
    judge = _judge_of(verifier)
    if judge is verify_code:
        check_sandbox()
    for problem in problems:
        if isinstance(judge, Custom):
            judge.check(problem)
            return
        if isinstance(judge, Bounded):
            judge.quick("", problem)
        elif judge in VERIFIERS.values():
            judge("", problem)


def _judge_of(verifier: str | Verifier) -> Verifier:
    return get_verifier(verifier) if isinstance(verifier, str) else verifier


def _judge(verifier: Verifier, response: str, problem: Problem) -> Verdict:
    try:
        return as_verdict(verifier(response, problem))
    except (Exception, SystemExit) as error:  # an exit would end the whole evaluation as if it were done
        raise VerifierError(
            f"the verifier raised {type(error).__name__} on problem {problem.id!r}: {error} (response {response[:80]!r})"
        ) from error
