"""One evaluation: n graded samples of every problem, in a store from which an interrupted run continues."""

import hashlib
import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from tqdm import tqdm

from simko.evaluate.store import SampleStore, Setting
from simko.records import Problem, Sample, Verdict, VerifierLike
from simko.sampling import Sampler, SamplingSettings, setting_seed
from simko.verifiers import as_verifier, check_problems, grade_many, verifier_name

_BATCH_ROWS = 64
_BATCH_SECONDS = 1.0
_PROBLEM_KEYS = ("task_revision", "problems", "problems_sha256")  # what a fingerprint says of the problems
_MAX_UNGRADED = 8  # lists of samples that may wait for their verdicts


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
) -> Setting:
    """Draw n samples of every problem, grade them, and return the setting under which the store keeps them.

    Stored samples are not drawn again: an interrupted evaluation continues, and a larger n draws only the missing indices.
    Where problems have changed since, samples stay with those of the same prompt, and one line of the log says so (see
    `SampleStore.begin`). Samples are on disk before they are graded, in a thread beside the sampling. A continued evaluation first
    grades samples without a verdict, or with the verdict "error". A kill loses the samples of the last second.

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

    ValueError, with nothing changed, if the store holds this task and temperature under another configuration or with none of
    the problems, or the verifier cannot judge a problem. VerifierError if the verifier raises. RuntimeError if the sampler leaves
    samples out.
    """
    judge = as_verifier(verifier)
    check_plan(problems, judge, n, settings)
    record = fingerprint(sampler, problems, settings, revision=revision, seed=seed)
    name = setting_name(settings)
    setting = store.begin(task, name, record, verifier_name(verifier), problems, n, _PROBLEM_KEYS)
    missing = store.missing(setting, n)
    wanted = sum(map(len, missing.values()))
    total = len(problems) * n
    label = "".join(c for c in f"{task} {name}" if c.isprintable())  # a file name may hold control characters
    bar = tqdm(total=total, initial=total - wanted, desc=label, unit="sample", disable=not progress)
    with bar, _Grader(store, setting, judge, {p.id: p for p in problems}) as grader:
        for samples in store.ungraded(setting):
            grader.submit(samples)
        drawn = sampler.sample(problems, missing, settings, seed=setting_seed(seed, task, name)) if missing else ()
        for samples in _join_lists(drawn):
            store.add(setting, samples)
            bar.update(sum(s.index < n for s in samples))
            grader.submit(samples)
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
    return {
        **sampler.identity,
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


class _Grader:
    """Grades lists of samples one by one in another thread, and stores their verdicts in the calling thread.

    Leaving the context waits for all verdicts. After an exception it does not wait, and samples without a verdict stay ungraded
    in the store.
    """

    def __init__(
        self, store: SampleStore, setting: Setting, verifier: VerifierLike, problems: Mapping[str, Problem]
    ) -> None:
        self._store, self._setting, self._verifier, self._problems = store, setting, verifier, problems
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grading")
        self._waiting: deque[tuple[list[Sample], Future[list[Verdict]]]] = deque()

    def __enter__(self) -> "_Grader":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._store_verdicts(max_waiting=0)
        finally:
            self._thread.shutdown(cancel_futures=True)

    def submit(self, samples: list[Sample]) -> None:
        answers = [(s.response, self._problems[s.problem_id]) for s in samples]
        self._waiting.append((samples, self._thread.submit(grade_many, self._verifier, answers)))
        self._store_verdicts(max_waiting=_MAX_UNGRADED)

    def _store_verdicts(self, max_waiting: int) -> None:
        """Store the finished verdicts, and wait until at most `max_waiting` lists have none."""
        while self._waiting and (len(self._waiting) > max_waiting or self._waiting[0][1].done()):
            samples, graded = self._waiting[0]
            self._store.grade(self._setting, zip(samples, graded.result(), strict=True))
            self._waiting.popleft()


def _join_lists(lists: Iterable[list[Sample]]) -> Iterator[list[Sample]]:
    """Joins lists until they hold 64 samples or a second has passed, because a transaction per list is slow."""
    waiting: list[Sample] = []
    last = time.monotonic()
    try:
        for samples in lists:
            waiting += samples
            if len(waiting) >= _BATCH_ROWS or time.monotonic() - last > _BATCH_SECONDS:
                yield waiting
                waiting, last = [], time.monotonic()
    except GeneratorExit:
        raise
    except BaseException:  # samples drawn before an interruption are stored
        if waiting:
            yield waiting
        raise
    if waiting:
        yield waiting
