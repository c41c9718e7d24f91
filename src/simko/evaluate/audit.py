"""Grading the samples of a run again, with another verifier."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from simko.evaluate.store import SampleStore, Setting
from simko.records import Problem, Sample, Verdict, VerifierLike
from simko.verifiers import grade_many

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class RegradedSample:
    """One graded sample with its stored verdict and another verifier's."""

    problem: Problem
    """Its problem."""
    sample: Sample
    """The sample."""
    before: Verdict
    """The stored verdict."""
    after: Verdict
    """The other verifier's."""

    @property
    def disagrees(self) -> bool:
        """Whether the outcomes differ. Extracted answers may differ without a disagreement."""
        return self.before.outcome != self.after.outcome

    @property
    def kind(self) -> str:
        """The outcomes, such as "wrong -> correct"."""
        return f"{self.before.outcome} -> {self.after.outcome}"


def check_responses(setting: Setting) -> None:
    """ValueError for a setting of counts, which has no responses to grade."""
    if setting.holds_counts:
        raise ValueError(f"{setting.task} at {setting.name} holds counts, without responses that could be graded again")


def regrade_samples(store: SampleStore, setting: Setting, verifier: VerifierLike) -> Iterator[RegradedSample]:
    """Every graded sample of a setting, judged again by `verifier`; not those that failed. The store does not change.

    ValueError as in `check_responses`.
    """
    check_responses(setting)
    problems = {p.id: p for p in store.problems(setting)}
    rows = ((s, verdict) for s, verdict in store.rows(setting) if verdict is not None and s.failure is None)
    while part := list(islice(rows, _ROWS_AT_ONCE)):
        verdicts = grade_many(verifier, [(sample.response, problems[sample.problem_id]) for sample, _ in part])
        for (sample, before), after in zip(part, verdicts, strict=True):
            yield RegradedSample(problems[sample.problem_id], sample, before, after)
