"""Verifiers of the user's own: a function by import path or in a file, called as function(response: str, problem: Problem).

The function is trusted, the responses are not: it runs in a grading pool, so that a response on which it hangs or eats
the memory ends neither the evaluation nor the machine. `OWN_LIMITS` are wider than those of simko's own judges, and it
may write files; what it prints is lost. A judge that holds a model, or waits for a service for long, is passed to `evaluate` as a
callable instead, which runs where it is called, without limits.

What it may return:
- True or False: correct or incorrect;
- a number from 0 to 1: the reward in training; the response counts as correct where it is exactly 1;
- a Verdict, for all else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simko.records import Problem, Verdict
from simko.verifiers.direct import CallableVerifier, VerifierError
from simko.verifiers.importing import pinned_function
from simko.verifiers.pool.pool import GradingPool, Job, Limits

OWN_LIMITS = Limits(cpu_seconds=10.0, memory_bytes=4 << 30, file_bytes=-1)
"""Of one call: enough to import a large library on the way."""

_POOL = GradingPool(limits=OWN_LIMITS)
_TRIED: set[tuple["Custom", frozenset[str]]] = set()


@dataclass(frozen=True)
class Custom(CallableVerifier):
    """A verifier of the user's own, from `Custom.at`."""

    place: str
    """As `import_function` takes it."""
    folder: str
    """What the place is relative to."""
    digest: str
    """Of its source."""

    @classmethod
    def at(cls, name: str, folder: Path | None = None) -> "Custom":
        """The verifier called `name`, as `import_function` takes it or as a store has kept it (see `name`).

        ValueError where there is none, or where a store's is another by now.
        """
        folder = (folder or Path.cwd()).absolute()
        place, _, digest = pinned_function(name, folder)
        return cls(place, str(folder), digest)

    @property
    def name(self) -> str:
        """judge.py:function@sha256:0123456789abcdef, so that two files of one name are told apart."""
        source, _, function = self.place.rpartition(":")
        return f"{Path(source).name}:{function}@sha256:{self.digest}"

    def check(self, problem: Problem) -> None:
        """Try the function on an empty response, which any model may give: it alone knows what it can judge.

        Once for all problems whose metadata have the same fields, since a call may take long. VerifierError where it
        raises or exhausts its limits.
        """
        kind = self, frozenset(problem.metadata)
        if kind in _TRIED:
            return
        if self("", problem).outcome == "timeout":
            raise VerifierError(
                f"the verifier {self.place} used up its {OWN_LIMITS.cpu_seconds:g} CPU-seconds, memory or stack on an empty "
                f"response to problem {problem.id!r}"
            )
        _TRIED.add(kind)

    def grade(self, answers: Sequence[tuple[str, Problem]]) -> list[Verdict]:
        """The verdicts on (response, problem) pairs, in order; VerifierError where the function raises, ends its
        process, or returns what is no verdict."""
        place = f"{self.place}@sha256:{self.digest}"
        results = _POOL.results([Job(place, response, problem, self.folder) for response, problem in answers])
        for (response, problem), (_, reason) in zip(answers, results, strict=True):
            if reason:
                raise VerifierError(
                    f"the verifier {self.place} failed on problem {problem.id!r}: {reason} (response {response[:80]!r})"
                )
        return [verdict for verdict, _ in results]
