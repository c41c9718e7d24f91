"""Runs `simko` commands as processes, a few side by side, with a progress bar each."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

_POLL_SECONDS = 1.0
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # glibc would hand every large tensor's pages back to the kernel and fault them in again
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
}


@dataclass(frozen=True)
class Job:
    """A command. done() says how many of `total` units are on disk; a job whose units are all there is not started."""

    name: str
    words: tuple[str, ...]
    done: Callable[[], int]
    total: int
    unit: str


def run_jobs(jobs: Sequence[Job], logs: Path, workers: int) -> None:
    """Run jobs in order, `workers` at a time, one thread each; RuntimeError with the end of its log where one fails.

    On an error or Ctrl-C the running ones are stopped; what they wrote stays, and the next call continues it.
    """
    logs.mkdir(parents=True, exist_ok=True)
    waiting = [job for job in jobs if job.done() < job.total]
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                slot = min(set(range(workers)) - {r.slot for r in running})
                running.append(_Running(waiting.pop(0), logs, slot))
            time.sleep(_POLL_SECONDS)
            running = [r for r in running if not r.finished()]
    finally:
        for r in running:
            r.stop()


class _Running:
    def __init__(self, job: Job, logs: Path, slot: int) -> None:
        self.job, self.slot = job, slot
        self.log = logs / f"{job.name.replace(' ', '-')}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "simko.cli", *job.words],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | _ENVIRONMENT,
            )
        interval = 0.5 if sys.stderr.isatty() else 20.0
        self.bar = tqdm(
            total=job.total, initial=job.done(), desc=job.name, unit=job.unit, position=slot, mininterval=interval
        )

    def finished(self) -> bool:
        """Whether it has ended well; RuntimeError where it has failed."""
        code = self.process.poll()
        self.bar.update(self.job.done() - self.bar.n)
        if code is None:
            return False
        self.bar.close()
        if code != 0:
            tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(
                f"{self.job.name} failed with exit code {code}: {' '.join(tail)} (whole log: {self.log})"
            )
        return True

    def stop(self) -> None:
        self.bar.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
