"""Verifiers that judge where they are called: simko's own that read text alone, and functions of the user's."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

from simko.records import Outcome, Problem, Verdict, Verifier
from simko.verifiers.parts import final_part, runs_on

Judge = Callable[[str], Verdict]
"""Judges the responses to one problem."""


class VerifierError(ValueError):
    """A verifier raised, or gave no verdict: never the model's fault. The message names the problem and the sample."""


class CallableVerifier:
    """Makes a verifier callable with one response and its problem."""

    def __call__(self: Verifier, response: str, problem: Problem) -> Verdict:
        return self.grade([(response, problem)])[0]


class Direct(CallableVerifier):
    """A verifier from a function of a problem that returns the judge of its responses.

    The function raises ValueError, naming the problem, where it cannot be judged; the judge takes any text in linear
    time. It is given the part of a response that answers: see `final_part`. The verifier has the function's name.
    """

    def __init__(self, judge_of: Callable[[Problem], Judge]) -> None:
        self.judge_of, self.name = judge_of, judge_of.__name__
        self.__module__, self.__doc__ = judge_of.__module__, judge_of.__doc__

    def __reduce__(self) -> str:
        return self.name  # pickled by reference, as a function is

    def check(self, problem: Problem) -> None:
        """ValueError where the problem cannot be judged."""
        self.judge_of(problem)

    def grade(self, answers: Sequence[tuple[str, Problem]]) -> list[Verdict]:
        """The verdicts, in order; ValueError for a problem that cannot be judged."""
        parts = [final_part(response, run_on=runs_on(problem)) for response, problem in answers]
        return [
            judged(partial(self.judge_of(problem), part), part, problem)
            for part, (_, problem) in zip(parts, answers, strict=True)
        ]


@dataclass(frozen=True)
class Function(CallableVerifier):
    """A verifier from any function of a response and its problem that returns what `as_verdict` takes."""

    function: Callable[[str, Problem], Any]

    @property
    def name(self) -> str:
        """The function's name."""
        return str(getattr(self.function, "__name__", "verifier"))

    def check(self, problem: Problem) -> None:
        """Nothing: what a function can judge is not known before it is called."""

    def grade(self, answers: Sequence[tuple[str, Problem]]) -> list[Verdict]:
        """The verdicts, in order; VerifierError where the function raises, exits, or returns no verdict."""
        return [judged(partial(self.function, response, problem), response, problem) for response, problem in answers]


def judged(judge: Callable[[], object], response: str, problem: Problem) -> Verdict:
    """The verdict that `judge` returns on a response; VerifierError where it raises, exits, or returns none."""
    try:
        return as_verdict(judge())
    except (Exception, SystemExit) as error:  # an exit would end the whole evaluation as if it were done
        raise VerifierError(
            f"the verifier raised {type(error).__name__} on problem {problem.id!r}: {error} (response {response[:80]!r})"
        ) from error


def as_verdict(result: object) -> Verdict:
    """The verdict that a verifier returned, or that a bool or a number from 0 to 1 stands for: see `custom`. TypeError
    for anything else."""
    if isinstance(result, Verdict):
        outcomes = [outcome for outcome in get_args(Outcome) if outcome != "failed"]  # of what no verifier gets
        if result.outcome not in outcomes:
            raise TypeError(f"its verdict's outcome is {result.outcome!r:.80}: give one of {', '.join(outcomes)}")
        if not isinstance(result.extracted, str | None):
            raise TypeError(f"its verdict's extracted is {result.extracted!r:.80}: give a text, or None")
        if not isinstance(result.rule, str | None):
            raise TypeError(f"its verdict's rule is {result.rule!r:.80}: give a text, or None")
        if not (result.score is None or (isinstance(result.score, int | float) and math.isfinite(result.score))):
            raise TypeError(f"its verdict's score is {result.score!r:.80}: give a finite number, or None")
        return result
    if callable(item := getattr(result, "item", None)):  # NumPy's and torch's scalars
        result = item()
    if isinstance(result, bool):
        return Verdict("correct" if result else "wrong")
    if isinstance(result, int | float) and 0 <= result <= 1:
        return Verdict("correct" if result == 1 else "wrong", score=float(result))
    raise TypeError(f"it returned {result!r:.80}, which is neither a bool, nor a number from 0 to 1, nor a Verdict")
