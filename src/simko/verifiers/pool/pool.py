"""The grading pool: judges whose time and memory an answer could exhaust run in processes of their own, with limits.

The caller may be anything (an unguarded script with CUDA in use, a thread, a daemonic process): the pool is one
`python -m simko.verifiers.pool.worker`, started with subprocess. Nothing of the caller is forked or imported again, as
multiprocessing would. worker.py says what an outcome means and what the limits are. Once it was ended from outside, another
one stands by with its judges loaded, so that grading goes on even where that happens again and again.
"""

import atexit
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Self, cast

from simko.records import Outcome, Problem, Verdict

MAX_WORKERS = 16
MAX_ENDINGS = 10
"""So often a process that grades a job may be ended from outside, by the kernel or another program, before the job is given
up."""
_MAX_IDLE_ENDINGS = 100
"""So often the worker may be ended in a row before any job has begun."""
logger = logging.getLogger("simko")


@dataclass(frozen=True)
class Job:
    """One call of a judge."""

    judge: str
    """ "module:function", called as (extracted, problem) -> whether the answer is correct."""
    extracted: str
    problem: Problem
    """Its metadata must be JSON."""
    folder: str | None = None
    """Where a verifier of the user's own is looked for (see `importing`)."""


@dataclass(frozen=True)
class Limits:
    """What one job may use."""

    cpu_seconds: float = 2.0
    memory_bytes: int = 512 << 20
    """Beyond what the process has when it starts."""
    file_bytes: int = 0
    """Of a file that it writes; -1: as many as the caller may."""


class _WorkerGone(Exception):
    """The worker process ended, which only something outside can make it do."""


class GradingPool:
    """Grades jobs in `workers` processes (by default as many as this process may use CPUs, at most MAX_WORKERS).

    Starts at the first `grade`; usable again after `close`. Threads take turns. A forked copy of the caller gets
    a pool of its own.
    """

    def __init__(self, workers: int | None = None, limits: Limits = Limits()) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"a grading pool needs at least one worker, not {workers}")
        self.workers = workers or min(_usable_cpus(), MAX_WORKERS)
        self.limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._spare: subprocess.Popen[bytes] | None = None
        self._judges: dict[tuple[str, str | None], None] = {}
        self._begin()
        _POOLS.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; they are gone when this returns."""
        with self._lock:
            self._stop_all()

    def grade(self, jobs: Sequence[Job]) -> list[Outcome]:
        """The outcomes of the jobs, in order: "correct", "wrong", "timeout" or "error" (never "unparsed").

        Raises RuntimeError where the worker cannot start or a judge cannot be imported, ValueError for a problem whose
        metadata is not JSON.
        """
        results = self.results(jobs)
        for job, (_, reason) in zip(jobs, results, strict=True):
            if reason:
                _report(job, reason)
        return [verdict.outcome for verdict, _ in results]

    def results(self, jobs: Sequence[Job]) -> list[tuple[Verdict, str]]:
        """As `grade`, but whole verdicts, with the reasons of those that are "error" because a judge failed."""
        lines = [_line(number, job) for number, job in enumerate(jobs)]
        with self._lock:
            try:
                return self._results(jobs, lines)
            except BaseException:  # an interrupt too: answers to this call must not reach the next
                self._stop_all()
                raise

    def _results(self, jobs: Sequence[Job], lines: Sequence[bytes]) -> list[tuple[Verdict, str]]:
        results: dict[int, tuple[Verdict, str]] = {}
        waiting, sent, begun, suspects = deque(range(len(jobs))), set[int](), set[int](), set[int]()
        endings, idle_endings = [0] * len(jobs), 0
        self._judges |= dict.fromkeys((job.judge, job.folder) for job in jobs)
        while len(results) < len(jobs):
            try:
                if self._process is None:
                    self._start()
                while waiting and len(sent) < 4 * self.workers and not (sent and suspects & {waiting[0], *sent}):
                    sent.add(waiting[0])
                    self._write(lines[waiting.popleft()])
                message = self._read()
            except _WorkerGone:
                self._stop()
                self._was_ended = True
                if len(sent) == 1 and sent == begun:
                    endings[min(sent)] += 1
                    if endings[min(sent)] == MAX_ENDINGS:
                        results[sent.pop()] = Verdict("error"), f"ended from outside {MAX_ENDINGS} times"
                idle_endings = 0 if begun else idle_endings + 1
                if idle_endings == _MAX_IDLE_ENDINGS:
                    raise RuntimeError(
                        f"the grading process was ended {idle_endings} times before it could begin"
                    ) from None
                suspects |= (
                    begun  # each is graded alone from here on: one that ends the worker costs no other's verdict
                )
                waiting.extendleft(sorted(sent, reverse=True))
                sent.clear()
                begun.clear()
                continue
            number = message["id"]
            if "unloadable" in message:
                raise RuntimeError(f"the judge {jobs[number].judge} cannot be loaded: {message['unloadable']}")
            if "begun" in message:
                begun.add(number)
                continue
            sent.remove(number)
            begun.discard(number)
            results[number] = (Verdict(**message["verdict"]), message["reason"])
        return [results[number] for number in range(len(jobs))]

    def _start(self) -> None:
        process = self._process = self._spare or self._launched()
        self._spare = self._launched() if self._was_ended else None
        self._received = bytearray()
        try:
            self._read()
        except _WorkerGone:
            if process.wait() < 0:  # by a signal
                raise
            raise RuntimeError(
                f"the grading process ({sys.executable} -m simko.verifiers.pool.worker) ended as it started: its own message "
                "stands on stderr"
            ) from None

    def _launched(self) -> subprocess.Popen[bytes]:
        # the worker finds simko and the judges where this process finds them; -P: never in its current directory
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if isinstance(p, str))}
        arguments = json.dumps([self.workers, asdict(self.limits), list(self._judges)])
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "simko.verifiers.pool.worker", arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment, start_new_session=True,
        )  # fmt: skip

    def _write(self, line: bytes) -> None:
        """Send a line, meanwhile receiving: so neither side waits for the other to empty a full pipe."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        there, back = self._process.stdin.fileno(), self._process.stdout.fileno()
        poll = select.poll()
        poll.register(there, select.POLLOUT)
        poll.register(back, select.POLLIN)
        view = memoryview(line)
        try:
            while view:
                ready = dict(poll.poll())
                if back in ready:
                    self._receive()
                if there in ready:
                    view = view[os.write(there, view[: select.PIPE_BUF]) :]
        except BrokenPipeError:
            raise _WorkerGone from None

    def _read(self) -> dict[str, Any]:
        """The worker's next line."""
        while b"\n" not in self._received:
            self._receive()
        line, _, self._received = self._received.partition(b"\n")
        return cast(dict[str, Any], json.loads(line))

    def _receive(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        chunk = os.read(self._process.stdout.fileno(), 1 << 16)
        if not chunk:
            raise _WorkerGone
        self._received += chunk

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()  # upon which it ends its children and itself
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        if process.returncode != 0:  # killed, or stuck: its children are in its process group
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()

    def _stop_all(self) -> None:
        self._stop()
        self._process, self._spare = self._spare, None
        self._stop()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._process = self._spare = None
        self._received = bytearray()
        self._was_ended = False

    def _leave_to_parent(self) -> None:
        """In a forked copy of the caller: the processes are not ours, and another thread may have held the lock."""
        for process in (self._process, self._spare):
            if process is not None and process.stdin is not None and process.stdout is not None:
                process.stdin.close()
                process.stdout.close()
                process.returncode = 0
        self._begin()


_POOLS: "weakref.WeakSet[GradingPool]" = weakref.WeakSet()


def _after_fork() -> None:
    for pool in _POOLS:
        pool._leave_to_parent()


if hasattr(os, "register_at_fork"):  # not on Windows, where the pool cannot start either
    os.register_at_fork(after_in_child=_after_fork)


def content(problem: Problem) -> str:
    """All that a judge may read of a problem as JSON: equal problems have equal content."""
    fields = {"id": problem.id, "prompt": problem.prompt, "answer": problem.answer, "metadata": dict(problem.metadata)}
    try:
        return json.dumps(fields)
    except TypeError as error:
        raise ValueError(f"problem {problem.id!r}: its metadata must be JSON to be graded ({error})") from error


def _line(number: int, job: Job) -> bytes:
    head = json.dumps({"id": number, "judge": job.judge, "folder": job.folder, "extracted": job.extracted})
    return f'{head[:-1]}, "problem": {content(job.problem)}}}\n'.encode()


def _report(job: Job, reason: str) -> None:
    logger.warning("%s failed on problem %r: %s (answer %.80r)", job.judge, job.problem.id, reason, job.extracted)


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


SHARED = GradingPool()
"""The pool that every verifier of simko's uses; it costs nothing until the first answer that needs it."""


@atexit.register
def _close_all() -> None:
    for pool in _POOLS:
        # while a daemon thread still grades, leave it: the worker ends by itself when its pipe closes
        if pool._lock.acquire(blocking=False):
            pool._stop_all()
