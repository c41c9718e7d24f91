"""Verifiers judge responses to problems. The table below is the whole list of simko's own; a new one is a new row.

Each is a `Verifier` of `simko.records`: `check(problem)` raises ValueError, naming the problem, where the data are at
fault (a gold answer in no form that it knows); `grade(answers)` gives the verdicts on (response, problem) pairs, and
takes any string as a response, in time linear in its length. All can be called with one response and its problem.

    direct      verifiers that read text alone, each one function of a problem; functions of the user's
    pool/       verifiers whose last step needs limits: maths/, reasoning_gym
    code/       programs, run in a sandbox
    custom      functions of the user's by name, package.module:function or ./file.py:function
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from simko.records import Problem, Verdict, Verifier, VerifierLike
from simko.verifiers.choice import verify_bbh, verify_choice, verify_exact
from simko.verifiers.code.verify import verify_code
from simko.verifiers.countdown import verify_countdown
from simko.verifiers.custom import Custom
from simko.verifiers.direct import Function, VerifierError, judged
from simko.verifiers.graph_paths import verify_graph_paths
from simko.verifiers.importing import import_function
from simko.verifiers.instructions import verify_instructions
from simko.verifiers.last_box import verify_last_box
from simko.verifiers.last_integer import verify_last_integer
from simko.verifiers.maths.verify import grade_math, verify_math
from simko.verifiers.mini_sudoku import verify_mini_sudoku
from simko.verifiers.operator_puzzle import verify_operator_puzzle
from simko.verifiers.pool.bounded import Bounded
from simko.verifiers.reasoning_gym import verify_reasoning_gym
from simko.verifiers.synlogic import verify_synlogic

__all__ = [
    "VERIFIERS",
    "Bounded",
    "Custom",
    "VerifierError",
    "as_verifier",
    "check_problems",
    "get_verifier",
    "grade_many",
    "grade_math",
    "import_function",
    "verifier_name",
    "verify_bbh",
    "verify_choice",
    "verify_code",
    "verify_countdown",
    "verify_exact",
    "verify_graph_paths",
    "verify_instructions",
    "verify_last_box",
    "verify_last_integer",
    "verify_math",
    "verify_mini_sudoku",
    "verify_operator_puzzle",
    "verify_reasoning_gym",
    "verify_synlogic",
]

VERIFIERS: dict[str, Verifier] = {
    "operator_puzzle": verify_operator_puzzle,
    "countdown": verify_countdown,
    "graph_paths": verify_graph_paths,
    "mini_sudoku": verify_mini_sudoku,
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
"""{name: verifier}: all of simko's own."""


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


def as_verifier(verifier: VerifierLike) -> Verifier:
    """The verifier of a name (see `get_verifier`), a verifier itself, or one that calls a function."""
    if isinstance(verifier, str):
        return get_verifier(verifier)
    if isinstance(verifier, type) or not (isinstance(verifier, Verifier) or callable(verifier)):
        raise ValueError(
            f"{verifier!r} is no verifier: give a name, a function of a response and its problem, or an object with name, "
            "check(problem) and grade(answers)"
        )
    return verifier if isinstance(verifier, Verifier) else Function(verifier)


def verifier_name(verifier: VerifierLike) -> str:
    """What a store keeps of a verifier: a name of simko's, a function's, or that of the user's own with a digest of its
    source."""
    return verifier if isinstance(verifier, str) and verifier in VERIFIERS else as_verifier(verifier).name


def grade_many(verifier: VerifierLike, answers: Sequence[tuple[str, Problem]]) -> list[Verdict]:
    """The verdicts on (response, problem) pairs, in order. Thread-safe.

    Equal answers and programs are judged once, where judging takes long. A function may return what `custom` lists.
    ValueError for a problem that cannot be judged; VerifierError where a verifier raises, or where its `grade` returns
    anything but a verdict on each pair.
    """
    judge = as_verifier(verifier)
    verdicts = list(judge.grade(answers))
    if len(verdicts) != len(answers):
        raise VerifierError(f"the verifier {judge.name} gave {len(verdicts)} verdicts on {len(answers)} responses")
    return [judged(lambda i=i: verdicts[i], *answer) for i, answer in enumerate(answers)]


def check_problems(verifier: VerifierLike, problems: Iterable[Problem]) -> None:
    """Raise ValueError for the first problem that a verifier cannot judge, or where it cannot run here: call it before
    sampling. What a function can judge is not known before it is called."""
    judge = as_verifier(verifier)
    for problem in problems:
        judge.check(problem)
