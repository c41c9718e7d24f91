"""One evaluation: n samples of every problem, graded, in a store that an interrupted run picks up again."""

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

_KEEP_ROWS = 64
_KEEP_SECONDS = 1.0
_GRADING_AHEAD = 8  # lists of samples that may wait for their grades


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
    """Draw n samples of every problem and grade them, into the store; the setting under which they are kept.

    What is kept is not drawn again: an interrupted evaluation continues, and a larger n draws the missing indices
    alone. Samples are on disk before they are graded, in a thread beside the sampling; those without a verdict, and
    those whose verdict is "error" (our own fault), are graded first when an evaluation continues. A kill loses what was
    drawn in the last second.

    task, revision: what the problems are called and at which revision they were read; verifier: a name for
    `get_verifier`, or a callable; seed: the run's.

    Raises ValueError where the store holds this task and temperature under another configuration, or the verifier
    cannot judge a problem (nothing is changed); VerifierError where the verifier raises; RuntimeError where the sampler left samples out.
    """
    judge = as_verifier(verifier)
    check_plan(problems, judge, n, settings)
    record = fingerprint(sampler, problems, settings, revision=revision, seed=seed)
    name = setting_name(settings)
    setting = store.begin(task, name, record, verifier_name(verifier), problems, n)
    missing = store.missing(setting, n)
    wanted = sum(map(len, missing.values()))
    total = len(problems) * n
    label = "".join(c for c in f"{task} {name}" if c.isprintable())  # a file's name may hold what acts unseen
    bar = tqdm(total=total, initial=total - wanted, desc=label, unit="sample", disable=not progress)
    with bar, _Grader(store, setting, judge, {p.id: p for p in problems}) as grader:
        for samples in store.ungraded(setting):
            grader.submit(samples)
        drawn = sampler.sample(problems, missing, settings, seed=setting_seed(seed, task, name)) if missing else ()
        for samples in _gathered(drawn):
            store.add(setting, samples)
            bar.update(sum(s.index < n for s in samples))
            grader.submit(samples)
    short = store.missing(setting, n)
    if short:
        raise RuntimeError(f"{len(short)} problems, {next(iter(short))!r} first, lack samples: run again to continue")
    return setting


def check_plan(problems: Sequence[Problem], verifier: VerifierLike, n: int, settings: SamplingSettings) -> None:
    """Raise what `evaluate` raises before it asks anything of the sampler: call it before a model is loaded."""
    if not problems or len({problem.id for problem in problems}) != len(problems):
        raise ValueError("give at least one problem, and every problem an id of its own")
    if n < 1:
        raise ValueError(f"n is {n}: draw at least one sample a problem")
    if n > 1 and not settings.do_sample:
        raise ValueError(f"n is {n} at temperature 0: all responses to a problem would be the same; draw one (-n 1)")
    check_problems(verifier, problems)


def setting_name(settings: SamplingSettings) -> str:
    """What a setting is called within its task: by its temperature, the one thing that a sweep changes."""
    return f"T={settings.temperature:g}"


def fingerprint(
    sampler: Sampler, problems: Sequence[Problem], settings: SamplingSettings, *, revision: str, seed: int
) -> dict[str, Any]:
    """All that decides the draws of a setting, as JSON values: never n, so that more can be drawn, nor the verifier."""
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
    """SHA-256 over the problems, their prompts, golds and metadata, in order."""
    lines = (json.dumps(asdict(replace(p, metadata=dict(p.metadata))), sort_keys=True) for p in problems)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class _Grader:
    """Grades lists of samples in a thread, one after the other, and keeps their verdicts in the calling thread.

    Leaving the context waits for all of them, unless an exception leaves it: what has no verdict then stays ungraded in
    the store.
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
                self._keep(leave=0)
        finally:
            self._thread.shutdown(cancel_futures=True)

    def submit(self, samples: list[Sample]) -> None:
        answers = [(s.response, self._problems[s.problem_id]) for s in samples]
        self._waiting.append((samples, self._thread.submit(grade_many, self._verifier, answers)))
        self._keep(leave=_GRADING_AHEAD)

    def _keep(self, leave: int) -> None:
        """Keep the verdicts that are there; wait until no more than `leave` lists are without."""
        while self._waiting and (len(self._waiting) > leave or self._waiting[0][1].done()):
            samples, graded = self._waiting[0]
            self._store.grade(self._setting, zip(samples, graded.result(), strict=True))
            self._waiting.popleft()


def _gathered(lists: Iterable[list[Sample]]) -> Iterator[list[Sample]]:
    """Lists joined until they hold 64 samples or a second has passed: a transaction each would cost more than it keeps."""
    waiting: list[Sample] = []
    last = time.monotonic()
    try:
        for samples in lists:
            waiting += samples
            if len(waiting) >= _KEEP_ROWS or time.monotonic() - last > _KEEP_SECONDS:
                yield waiting
                waiting, last = [], time.monotonic()
    except GeneratorExit:
        raise
    except BaseException:  # what was drawn before an interruption is kept
        if waiting:
            yield waiting
        raise
    if waiting:
        yield waiting
