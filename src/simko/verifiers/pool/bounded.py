"""Bounded verifiers: the text work is done here, in linear time, and what is left goes to the grading pool."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from simko.records import Problem, Verdict
from simko.verifiers.direct import CallableVerifier
from simko.verifiers.extract import Span
from simko.verifiers.pool.pool import SHARED, GradingPool, Job, content

logger = logging.getLogger("simko")


@dataclass(frozen=True)
class Bounded(CallableVerifier):
    """A verifier whose last step may take any time and memory."""

    name: str
    check: Callable[[Problem], None]
    """ValueError, naming the problem, where it cannot be judged, whatever the answer."""
    extract: Callable[[str, Problem], Span | None]
    """(response, problem) -> the answer that is judged, and where it stood; None if there is none ("unparsed")."""
    quick: Callable[[str, Problem], bool | None]
    """(extracted, problem) -> whether it is correct where text can tell, else None; in linear time."""
    judge: str
    """ "module:function" of (extracted, problem) -> bool, imported and called in the pool only."""
    form: Callable[[str], str] = str
    """The normal form under which a verdict reports the answer, so that equal answers are counted as one."""

    def grade(self, answers: Sequence[tuple[str, Problem]], pool: GradingPool = SHARED) -> list[Verdict]:
        """The verdicts on (response, problem) pairs, in order; equal answers to equal problems are judged once.

        Raises ValueError for a problem that cannot be judged. Whatever an answer makes `extract`, `quick` or `form`
        raise is logged, and that answer's verdict is "error": one answer never ends a run.
        """
        contents = {key: content(problem) for key, problem in {id(p): p for _, p in answers}.items()}
        problems = {contents[id(problem)]: problem for _, problem in answers}
        for problem in problems.values():
            self.check(problem)

        @cache
        def quick(extracted: str, text: str) -> Verdict | tuple[str, str, str]:
            correct = self.quick(extracted, problems[text])
            form = self.form(extracted)
            return (extracted, text, form) if correct is None else Verdict("correct" if correct else "wrong", form)

        @cache
        def read(response: str, text: str) -> tuple[Verdict | tuple[str, str, str], str | None]:
            """The verdict, or what the pool is to judge: the answer, the problem's content, the answer's form; the rule."""
            try:
                span = self.extract(response, problems[text])
                return (Verdict("unparsed"), None) if span is None else (quick(span.text, text), span.rule)
            except Exception as error:  # whatever a hostile answer raises must not end the run
                failure = f"{self.name} raised {type(error).__name__} on problem {problems[text].id!r}: {error}"
                logger.warning("%s (response %r)", failure, response[-80:])
                return Verdict("error"), None

        found = [read(response, contents[id(problem)]) for response, problem in answers]
        left = list(dict.fromkeys(item for item, _ in found if isinstance(item, tuple)))
        jobs = [Job(self.judge, extracted, problems[text]) for extracted, text, _ in left]
        outcomes = dict(zip(left, pool.grade(jobs) if jobs else [], strict=True))
        return [
            replace(Verdict(outcomes[item], item[2]) if isinstance(item, tuple) else item, rule=rule)
            for item, rule in found
        ]
