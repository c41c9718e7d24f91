"""Bounded verifiers: the text work is done here, in linear time, and what is left goes to the grading pool."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simko.records import Problem, Verdict
from simko.verifiers.direct import CallableVerifier
from simko.verifiers.pool.pool import SHARED, GradingPool, Job, content

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bounded(CallableVerifier):
    """A verifier whose last step may take any time and memory."""

    name: str
    check: Callable[[Problem], None]
    """ValueError, naming the problem, where it cannot be judged, whatever the answer."""
    extract: Callable[[str, Problem], str | None]
    """(response, problem) -> the answer that is judged; None if there is none ("unparsed")."""
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
        for problem in {contents[id(p)]: p for _, p in answers}.values():
            self.check(problem)
        verdicts: dict[tuple[str, str], Verdict] = {}  # by response
        judged: dict[tuple[str, str], Verdict | None] = {}  # by answer; None: the pool's to judge
        waiting: dict[tuple[str, str], tuple[str, str]] = {}
        jobs: dict[tuple[str, str], Job] = {}
        forms: dict[str, str] = {}
        for response, problem in answers:
            text = contents[id(problem)]
            if (response, text) in verdicts or (response, text) in waiting:
                continue
            try:
                answer = self.extract(response, problem)
                if answer is None:
                    verdicts[response, text] = Verdict("unparsed")
                    continue
                if (answer, text) not in judged:
                    judged[answer, text] = self._quick_verdict(answer, problem, forms)
            except Exception as error:
                verdicts[response, text] = Verdict("error")
                _LOG.warning(
                    "%s raised %s on problem %r: %s (response %r)",
                    *(self.name, type(error).__name__, problem.id, error, response[-80:]),
                )
                continue
            if (verdict := judged[answer, text]) is not None:
                verdicts[response, text] = verdict
            else:
                waiting[response, text] = (answer, text)
                jobs[answer, text] = Job(self.judge, answer, problem)
        outcomes = dict(zip(jobs, pool.grade(list(jobs.values())), strict=True)) if jobs else {}
        for key, job in waiting.items():
            verdicts[key] = Verdict(outcomes[job], forms[job[0]])
        return [verdicts[response, contents[id(problem)]] for response, problem in answers]

    def _quick_verdict(self, answer: str, problem: Problem, forms: dict[str, str]) -> Verdict | None:
        right = self.quick(answer, problem)
        if answer not in forms:
            forms[answer] = self.form(answer)
        return None if right is None else Verdict("correct" if right else "wrong", forms[answer])
