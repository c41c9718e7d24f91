"""Bounded verifiers: the text work is done here, in linear time, and what is left goes to the grading pool."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simko.records import Outcome, Problem, Verdict
from simko.verifiers.pool import SHARED, GradingPool, Job, content


@dataclass(frozen=True)
class Bounded:
    """A verifier (call it with a response and a problem) whose last step may take any time and memory.

    extract: (response, problem) -> the answer that is judged, None if there is none ("unparsed");
    quick: (extracted, problem) -> whether it is right where text can tell, else None; in linear time; ValueError where
    the problem cannot be judged, whatever the answer;
    judge: "module:function" of (extracted, problem) -> bool, imported and called in the pool only;
    form: the normal form under which a verdict reports the answer, so that equal answers are counted as one.
    """

    name: str
    extract: Callable[[str, Problem], str | None]
    quick: Callable[[str, Problem], bool | None]
    judge: str
    form: Callable[[str], str] = str

    @property
    def __name__(self) -> str:
        return f"verify_{self.name}"

    def __call__(self, response: str, problem: Problem) -> Verdict:
        return self.grade_many([(response, problem)])[0]

    def grade_many(self, answers: Sequence[tuple[str, Problem]], pool: GradingPool = SHARED) -> list[Verdict]:
        """The verdicts on (response, problem) pairs, in order; equal answers to equal problems are judged once."""
        contents = {key: content(problem) for key, problem in {id(p): p for _, p in answers}.items()}
        extracted: dict[tuple[str, str], str | None] = {}
        outcomes: dict[tuple[str, str], Outcome] = {}
        forms: dict[str, str] = {}
        jobs: dict[tuple[str, str], Job] = {}
        for response, problem in answers:
            text = contents[id(problem)]
            if (response, text) in extracted:
                continue
            answer = extracted[response, text] = self.extract(response, problem)
            if answer is None or (answer, text) in outcomes or (answer, text) in jobs:
                continue
            right = self.quick(answer, problem)
            if answer not in forms:
                forms[answer] = self.form(answer)
            if right is None:
                jobs[answer, text] = Job(self.judge, answer, problem)
            else:
                outcomes[answer, text] = "correct" if right else "wrong"
        if jobs:
            outcomes |= zip(jobs, pool.grade(list(jobs.values())), strict=True)
        verdicts = []
        for response, problem in answers:
            text = contents[id(problem)]
            found = extracted[response, text]
            verdicts.append(Verdict("unparsed") if found is None else Verdict(outcomes[found, text], forms[found]))
        return verdicts
