"""One evaluation: n graded samples of every problem, in a store from which an interrupted run continues."""

import hashlib
import json
import logging
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, replace
from typing import Any

from tqdm import tqdm

from simko.evaluate.store import Failures, SampleStore, Setting
from simko.records import Problem, Sample, Verdict, VerifierLike
from simko.sampling import Sampler, SamplingSettings, Served, setting_seed
from simko.verifiers import as_verifier, check_problems, grade_many, verifier_name

logger = logging.getLogger("simko")
_PROBLEM_KEYS = ("task_revision", "problems", "problems_sha256")  # what a fingerprint says of the problems
_MAX_UNGRADED = 1024  # samples that may wait in memory for their verdicts


def evaluate(
    store: SampleStore,
    sampler: Sampler,
    problems: Sequence[Problem],
    verifier: VerifierLike,
    n: int,
    settings: SamplingSettings,
    *,
    task: str,
    revision: str = "",
    seed: int = 0,
    progress: bool = True,
    max_failed: float = 0.1,
) -> Setting:
    """Draw n samples of every problem, grade them, and return the setting under which the store keeps them.

    Stored samples are not drawn again: an interrupted evaluation continues, and a larger n draws only the missing indices.
    Where problems have changed since, samples stay with those of the same prompt, and one line of the log says so (see
    `SampleStore.begin`). Samples are on disk as soon as the sampler hands them over, before they are graded in a thread beside the
    sampling. A continued evaluation first grades samples without a verdict, or with the verdict "error", and draws failed samples
    again.

    Args:
        store: where samples and verdicts are kept.
        sampler: draws the responses.
        problems: the problems.
        verifier: a name, a function, or an object with name, check and grade: see `VerifierLike`.
        n: samples per problem.
        settings: how responses are drawn.
        task: the name of the set of problems.
        revision: the revision of the problems.
        seed: the run's seed.
        progress: show a progress bar.
        max_failed: the share of failed samples, of all n of every problem, above which the run ends. One problem may always fail.

    ValueError, with nothing changed, if the store holds this task and temperature under another configuration or with none of
    the problems, or the verifier cannot judge a problem. VerifierError if the verifier raises. RuntimeError if the sampler leaves
    samples out, or too many fail.
    """
    judge = as_verifier(verifier)
    check_plan(problems, judge, n, settings)
    record = fingerprint(sampler, problems, settings, revision=revision, seed=seed)
    name = setting_name(settings)
    setting = store.begin(task, name, record, verifier_name(verifier), problems, n, _PROBLEM_KEYS)
    missing = store.missing(setting, n, failed=True)
    wanted = sum(map(len, missing.values()))
    total = len(problems) * n
    label = "".join(c for c in f"{task} {name}" if c.isprintable())  # a file name may hold control characters
    bar = tqdm(total=total, initial=total - wanted, desc=label, unit="sample", disable=not progress)
    with bar, _Grader(store, setting, judge, {p.id: p for p in problems}) as grader:
        for samples in store.ungraded(setting):
            grader.submit(samples)
        drawn = sampler.sample(problems, missing, settings, seed=setting_seed(seed, task, name)) if missing else ()
        limit = max(max_failed * total, min(n, total - 1))
        failed = 0
        with _rest_stored(store, setting, drawn):
            for samples in drawn:
                store.add(setting, samples)
                bar.update(sum(s.index < n for s in samples))
                grader.submit([s for s in samples if s.failure is None])
                failures = [s for s in samples if s.failure is not None]
                if failures and not failed:
                    said = (label, failures[0].problem_id, failures[0].failure)
                    logger.warning("%s: problem %r failed: %s. Failed samples count as incorrect", *said)
                failed += len(failures)
                if failed > limit:
                    raise RuntimeError(_too_many(store.failures(setting), total, max_failed))
    short = store.missing(setting, n)
    if short:
        raise RuntimeError(f"{len(short)} problems, {next(iter(short))!r} first, lack samples: run again to continue")
    return setting


def check_plan(problems: Sequence[Problem], verifier: VerifierLike, n: int, settings: SamplingSettings) -> None:
    """Raise the errors that `evaluate` raises before it uses the sampler. Call it before a model is loaded."""
    if not problems or len({problem.id for problem in problems}) != len(problems):
        raise ValueError("give at least one problem, and every problem an id of its own")
    if n < 1:
        raise ValueError(f"n is {n}: draw at least one sample a problem")
    if n > 1 and not settings.do_sample:
        raise ValueError(f"n is {n} at temperature 0: all responses to a problem would be the same; draw one (-n 1)")
    check_problems(verifier, problems)


def setting_name(settings: SamplingSettings) -> str:
    """A setting's name within its task: its temperature, which is all that a sweep changes."""
    return f"T={settings.temperature:g}"


def fingerprint(
    sampler: Sampler, problems: Sequence[Problem], settings: SamplingSettings, *, revision: str, seed: int
) -> dict[str, Any]:
    """All that decides the draws of a setting, as JSON values. Not n, so that more can be drawn, nor the verifier.

    Args:
        sampler: as in `evaluate`, like all others.
        problems: the problems.
        settings: how responses are drawn.
        revision: the revision of the problems.
        seed: the run's seed.
    """
    identity = sampler.identity_with(settings) if isinstance(sampler, Served) else sampler.identity
    return {
        **identity,
        **asdict(settings),
        "do_sample": settings.do_sample,
        "seed": seed,
        "task_revision": revision,
        "problems": len(problems),
        "problems_sha256": digest(problems),
    }


def digest(problems: Sequence[Problem]) -> str:
    """The SHA-256 of the problems, with prompts, gold answers and metadata, in order."""
    lines = (json.dumps(asdict(replace(p, metadata=dict(p.metadata))), sort_keys=True) for p in problems)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@contextmanager
def _rest_stored(store: SampleStore, setting: Setting, drawn: Iterable[list[Sample]]) -> Iterator[None]:
    """Whatever ends the run, what the sampler has received by then is stored."""
    try:
        yield
    except BaseException as error:
        if isinstance(drawn, Generator):
            with suppress(type(error)), closing(drawn):
                rest = drawn.throw(error)
                missing = store.missing(setting, setting.n)
                store.add(setting, [s for s in rest if s.index in missing.get(s.problem_id, ())])
        raise


def _too_many(failures: Mapping[str, Failures], total: int, max_failed: float) -> str:
    """What ends a run in which too many samples failed."""
    failed = sum(f.count for f in failures.values())
    problem, first = next(iter(failures.items()))
    return (
        f"{failed} of {total} samples failed, of {len(failures)} problems, {problem!r} first: {first.words}. That is above the "
        f"limit of {max_failed:.0%}: mend the cause and run again, which keeps all other samples and draws these anew, or "
        "raise the limit (--max-failed)"
    )


class _Grader:
    """Grades samples in another thread, all that have arrived meanwhile at once, and stores verdicts in the calling thread.

    Where grading is slower than sampling, samples above a number are left to the store, from which they are graded in the end. A
    sample that has arrived thus never waits for a verdict before it is stored. Leaving the context waits for all verdicts. After
    an exception it does not wait, and samples without a verdict stay ungraded in the store.
    """

    def __init__(
        self, store: SampleStore, setting: Setting, verifier: VerifierLike, problems: Mapping[str, Problem]
    ) -> None:
        self._store, self._setting, self._verifier, self._problems = store, setting, verifier, problems
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grading")
        self._waiting: list[Sample] = []
        self._under_way: tuple[list[Sample], Future[list[Verdict]]] | None = None
        self._left = False

    def __enter__(self) -> "_Grader":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
                if self._left:
                    for samples in self._store.ungraded(self._setting):
                        self.submit(samples)
                        self._finish()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def submit(self, samples: list[Sample]) -> None:
        if len(self._waiting) > _MAX_UNGRADED:
            self._left = True
        else:
            self._waiting += samples
        if self._under_way is None or self._under_way[1].done():
            self._next()

    def _finish(self) -> None:
        while self._under_way or self._waiting:
            self._next()

    def _next(self) -> None:
        """Store the verdicts under way, and begin on what waits."""
        if self._under_way:
            samples, graded = self._under_way
            self._store.grade(self._setting, zip(samples, graded.result(), strict=True))
            self._under_way = None
        if self._waiting:
            samples, self._waiting = self._waiting, []
            answers = [(s.response, self._problems[s.problem_id]) for s in samples]
            self._under_way = samples, self._thread.submit(grade_many, self._verifier, answers)
