"""The grading pool's process: `python -m simko.verifiers.pool.worker [SLOTS, LIMITS, JUDGES]`, which `pool` starts.

It loads the judges (math-verify with SymPy; never torch), forks a child per slot, and hands each a job at a time. Forking
is safe here, as it is not in the caller: this process has one thread and imports nothing of the caller's.

Lines of JSON. In: {"id", "judge", "folder", "extracted", "problem"}. Out: {"ready"} once, then {"id", "begun"} and {"id",
"verdict", "reason"} for each job in any order; {"id", "unloadable"} where the judge cannot be imported. A closed input ends
it and its children.

What becomes of a job:
- the judge answers: "correct" or "wrong", or what else a verifier of the user's own says;
- it exhausts its CPU time (SIGPROF at its default action, so that no library can catch it and other processes' load does
  not count), its memory, the stack or a number's range, or sleeps for STALLED_TICKS: "timeout";
- it crashes the interpreter (SIGABRT, SIGSEGV ...): graded once more in a fresh child, then "timeout": the answer did it;
- the judge raises anything else, SystemExit too: graded once more in a fresh child, then "error": never the answer's fault;
- the child is ended from outside (SIGKILL ...): graded again in a fresh child, up to MAX_ENDINGS times, then "error".
"""

import gc
import importlib
import json
import logging
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Never

from simko.records import Problem
from simko.verifiers.direct import as_verdict
from simko.verifiers.importing import pinned_function
from simko.verifiers.pool.pool import MAX_ENDINGS, Limits

RETIRE_SHARE = 1 / 8
"""A child that kept this share of the memory that a job may use is replaced after its job, so that the jobs before hardly
change what a job may use."""
STALLED_TICKS = 60
"""Seconds without any CPU progress, counted by this process's own ticks: a suspended machine does not count."""

EXHAUSTED = 77
CRASHES = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_LINUX = sys.platform == "linux"

Judge = Callable[[str, Problem], object]


@dataclass
class _Job:
    id: int
    line: bytes
    failures: int = 0
    endings: int = 0


@dataclass
class _Child:
    pid: int
    jobs: int
    replies: int
    judges: int
    job: _Job | None = None
    received: bytearray = field(default_factory=bytearray)
    cpu: float = 0.0
    stalled: int = 0


@dataclass
class Zygote:
    """The event loop: reads jobs from `inbox`, writes outcomes to `outbox`, keeps at most `slots` children."""

    inbox: int
    outbox: int
    slots: int
    limits: Limits
    judges: dict[tuple[str, str | None], Judge] = field(default_factory=dict)
    queue: deque[_Job] = field(default_factory=deque)
    children: list[_Child] = field(default_factory=list)
    buffer: bytearray = field(default_factory=bytearray)
    next_tick: float = 0.0

    def serve(self) -> None:
        """Until the input ends."""
        self._send({"ready": True})
        try:
            while self._turn():
                pass
        finally:
            for child in list(self.children):
                self._reap(child, kill=True)

    def _turn(self) -> bool:
        self._dispatch()
        poll = select.poll()
        for fd in (self.inbox, *(child.replies for child in self.children)):
            poll.register(fd, select.POLLIN)
        busy = any(child.job for child in self.children)
        ready = {fd for fd, _ in poll.poll(1000 if busy else None)}
        for child in [child for child in self.children if child.replies in ready]:
            self._receive(child)
        self._watch()
        return self.inbox not in ready or self._read_jobs()

    def _read_jobs(self) -> bool:
        """Queue the jobs that have come; False at the end of the input."""
        chunk = os.read(self.inbox, 1 << 16)
        self.buffer += chunk
        if b"\n" in chunk:
            *lines, rest = bytes(self.buffer).split(b"\n")
            self.buffer = bytearray(rest)
            for line in lines:
                self._queue(line)
        return bool(chunk)

    def _queue(self, line: bytes) -> None:
        job = json.loads(line)
        key = job["judge"], job["folder"]
        if key not in self.judges:
            try:
                self.load(key)
            except Exception as error:  # whatever an import raises, the caller must hear of it
                self._send({"id": job["id"], "unloadable": f"{type(error).__name__}: {error}"})
                return
        self.queue.append(_Job(job["id"], line + b"\n"))

    def load(self, key: tuple[str, str | None]) -> None:
        """Load the judge of (name, folder)."""
        self.judges[key] = load_judge(*key)
        gc.collect()
        gc.freeze()

    def _dispatch(self) -> None:
        """Give waiting jobs to idle children, forking what is missing."""
        for child in [child for child in self.children if child.job is None]:
            if child.judges != len(self.judges):  # forked before the newest judge was loaded
                self._reap(child, kill=True)
        while self.queue:
            idle = [child for child in self.children if child.job is None]
            if not idle and len(self.children) == self.slots:
                return
            child = idle[0] if idle else self._fork()
            try:
                _write(child.jobs, self.queue[0].line)
            except BrokenPipeError:  # ended from outside while it was idle, or by the sheer length of the line
                self._reap(child, kill=True)
                self._ended_from_outside(self.queue.popleft(), "a grading process ended before it could read the job")
                continue
            child.job, child.stalled = self.queue.popleft(), 0
            self._send({"id": child.job.id, "begun": True})

    def _fork(self) -> _Child:
        jobs_out, jobs_in = os.pipe()
        replies_out, replies_in = os.pipe()
        pid = os.fork()
        if pid == 0:
            # only its own two ends stay open, or nobody would see the others' end
            for fd in (self.inbox, self.outbox, jobs_in, replies_out):
                os.close(fd)
            for sibling in self.children:
                os.close(sibling.jobs)
                os.close(sibling.replies)
            _child_main(jobs_out, replies_in, self.judges, self.limits)
        os.close(jobs_out)
        os.close(replies_in)
        child = _Child(pid, jobs_in, replies_out, len(self.judges))
        self.children.append(child)
        return child

    def _receive(self, child: _Child) -> None:
        """Take a child's reply, or note its end."""
        data = os.read(child.replies, 1 << 16)
        child.received += data
        if data and not data.endswith(b"\n"):
            return
        if not data:
            return self._child_ended(child)
        job, child.job = child.job, None
        assert job is not None
        reply = json.loads(child.received)
        child.received.clear()
        if "raised" in reply:
            self._reap(child, kill=True)
            self._fail(job, "error", reply["raised"])
            return
        if reply["retire"]:
            self._reap(child, kill=True)
        self._finish(job, reply["verdict"])

    def _child_ended(self, child: _Child) -> None:
        """Reap a child that has ended."""
        status = self._reap(child, kill=False)
        if child.job is not None:
            self._judge_ending(child.job, status, stalled=child.stalled >= STALLED_TICKS)

    def _judge_ending(self, job: _Job, status: int, *, stalled: bool) -> None:
        if stalled or status in (-signal.SIGPROF, EXHAUSTED):
            self._finish(job, {"outcome": "timeout"})
        elif status < 0 and -status not in CRASHES:
            self._ended_from_outside(job, f"a grading process was ended by signal {-status}")
        else:
            self._fail(job, "error" if status >= 0 else "timeout", f"a grading process ended with status {status}")

    def _ended_from_outside(self, job: _Job, reason: str) -> None:
        job.endings += 1
        if job.endings == MAX_ENDINGS:
            self._finish(job, {"outcome": "error"}, f"{reason} ({MAX_ENDINGS} times)")
        else:
            self.queue.appendleft(job)

    def _fail(self, job: _Job, outcome: str, reason: str) -> None:
        job.failures += 1
        if job.failures > 1:
            self._finish(job, {"outcome": outcome}, reason if outcome == "error" else "")
        else:
            self.queue.append(job)

    def _finish(self, job: _Job, verdict: dict[str, Any], reason: str = "") -> None:
        self._send({"id": job.id, "verdict": verdict, "reason": reason})

    def _send(self, message: dict[str, Any]) -> None:
        _write(self.outbox, json.dumps(message).encode() + b"\n")

    def _reap(self, child: _Child, *, kill: bool) -> int:
        """Reap a child, killed first where it may still live; its exit status, or minus the signal that ended it."""
        if kill:
            os.kill(child.pid, signal.SIGKILL)
        _, status = os.waitpid(child.pid, 0)
        os.close(child.jobs)
        os.close(child.replies)
        self.children.remove(child)
        return os.waitstatus_to_exitcode(status)

    def _watch(self) -> None:
        """Once a second, kill children whose job has made no CPU progress for STALLED_TICKS. The end of a child
        closes its pipe, unless a process that the judge started holds it open: so ends are looked for too."""
        if time.monotonic() < self.next_tick:
            return
        self.next_tick = time.monotonic() + 1.0
        for child in list(self.children):
            if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self._child_ended(child)
                continue
            cpu = _cpu_seconds(child.pid)
            child.stalled = child.stalled + 1 if child.job is not None and cpu <= child.cpu else 0
            child.cpu = cpu
            if child.stalled == STALLED_TICKS:
                os.kill(child.pid, signal.SIGKILL)


def load_judge(path: str, folder: str | None) -> Judge:
    """The function behind "package.module:function", or the user's own behind a name that `folder` belongs to."""
    if folder is not None:
        return pinned_function(path, Path(folder))[1]
    module, _, name = path.partition(":")
    judge: Judge = getattr(importlib.import_module(module), name)
    return judge


def _child_main(jobs: int, replies: int, judges: dict[tuple[str, str | None], Judge], limits: Limits) -> Never:
    """Grade jobs from one pipe, reply on the other, and exit."""
    code, own = 1, os.getpid()
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 2)
        _limit_resources(limits)
        born = _address_space()
        with open(jobs, "rb") as lines:
            for line in lines:
                reply = _grade(line, judges, limits)
                if os.getpid() != own:  # a copy that the judge forked: its answer would pass for the next job's
                    break
                reply["retire"] = _address_space() - born > RETIRE_SHARE * limits.memory_bytes
                _write(replies, json.dumps(reply).encode() + b"\n")
        code = 0
    except (MemoryError, RecursionError, OverflowError):
        code = EXHAUSTED
    finally:
        os._exit(code)


def _grade(line: bytes, judges: dict[tuple[str, str | None], Judge], limits: Limits) -> dict[str, Any]:
    signal.setitimer(signal.ITIMER_PROF, limits.cpu_seconds)
    try:
        job = json.loads(line)
        judge = judges[job["judge"], job["folder"]]
        return {"verdict": asdict(as_verdict(judge(job["extracted"], Problem(**job["problem"]))))}
    except (MemoryError, RecursionError, OverflowError):
        raise
    except BaseException as error:  # whatever a judge raises must become an outcome
        at = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error}"[:300]
        return {"raised": ascii(f"{said} ({os.path.basename(at.filename)}, line {at.lineno})")[1:-1]}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _limit_resources(wanted: Limits) -> None:
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: wanted.file_bytes}
    if _LINUX:
        limits[resource.RLIMIT_AS] = _address_space() + wanted.memory_bytes
    for name, most in limits.items():
        _, hard = resource.getrlimit(name)
        if most != resource.RLIM_INFINITY:
            resource.setrlimit(name, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _address_space() -> int:
    """Bytes of address space of this process (0 where the system does not say)."""
    if not _LINUX:
        return 0
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _cpu_seconds(pid: int) -> float:
    """CPU seconds that a process has used (0 where the system does not say, which makes STALLED_TICKS wall-clock)."""
    with suppress(OSError):
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def main() -> None:
    # the caller's signal mask and ignored signals are inherited
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    inbox, outbox = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)  # what a library prints must not reach the protocol
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with suppress(BrokenPipeError):  # the caller is gone
        slots, limits, judges = json.loads(sys.argv[1])
        zygote = Zygote(inbox, outbox, slots, Limits(**limits))
        for judge in judges:
            with suppress(Exception):  # whatever an import raises: said with the first job for it
                zygote.load(tuple(judge))
        zygote.serve()
    os._exit(0)


if __name__ == "__main__":
    main()
