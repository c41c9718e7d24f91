"""A second opinion on what a run's grader said."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from simko.evaluate.store import SampleStore, Setting
from simko.records import Problem, Sample, Verdict, VerifierLike
from simko.verifiers import grade_many

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Regraded:
    """One graded sample with the verdict that it has and the one that another verifier gives."""

    problem: Problem
    sample: Sample
    before: Verdict
    after: Verdict

    @property
    def disagrees(self) -> bool:
        """Whether the outcomes differ; another extracted answer with the same outcome is no disagreement."""
        return self.before.outcome != self.after.outcome

    @property
    def kind(self) -> str:
        """ "wrong -> correct" and the like."""
        return f"{self.before.outcome} -> {self.after.outcome}"


def regraded(store: SampleStore, setting: Setting, verifier: VerifierLike) -> Iterator[Regraded]:
    """Every graded sample of a setting, judged again by `verifier`. Nothing in the store changes."""
    problems = {p.id: p for p in store.problems(setting)}
    rows = ((sample, verdict) for sample, verdict in store.rows(setting) if verdict is not None)
    while part := list(islice(rows, _ROWS_AT_ONCE)):
        verdicts = grade_many(verifier, [(sample.response, problems[sample.problem_id]) for sample, _ in part])
        for (sample, before), after in zip(part, verdicts, strict=True):
            yield Regraded(problems[sample.problem_id], sample, before, after)
