"""Runs `simko` commands as processes, a few in parallel, with a progress bar each."""

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
    # otherwise glibc returns the pages of each large tensor to the kernel, which is slow
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
}


@dataclass(frozen=True)
class Command:
    """A `simko` command that can be continued. It is not started if all of its work is done."""

    name: str
    """The name of its progress bar and log."""
    words: tuple[str, ...]
    """The words after `simko`."""
    done: Callable[[], int]
    """The number of units that are on disk."""
    total: int
    """The number of units of the finished command."""
    unit: str
    """The unit, for the progress bar."""


def run_commands(commands: Sequence[Command], logs: Path, workers: int) -> None:
    """Run commands in order, `workers` at a time, with one thread each.

    RuntimeError with the last line of the log if a command fails. An error or Ctrl-C stops the running commands. What they
    wrote stays, and the next call continues from it.
    """
    logs.mkdir(parents=True, exist_ok=True)
    waiting = [command for command in commands if command.done() < command.total]
    running: list[_CommandProcess] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                slot = min(set(range(workers)) - {r.slot for r in running})
                running.append(_CommandProcess(waiting.pop(0), logs, slot))
            time.sleep(_POLL_SECONDS)
            running = [r for r in running if not r.finished()]
    finally:
        for r in running:
            r.stop()


class _CommandProcess:
    def __init__(self, command: Command, logs: Path, slot: int) -> None:
        self.command, self.slot = command, slot
        self.log = logs / f"{command.name.replace(' ', '-')}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "simko.cli", *command.words],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | _ENVIRONMENT,
            )
        interval = 0.5 if sys.stderr.isatty() else 20.0
        self.bar = tqdm(
            total=command.total,
            initial=command.done(),
            desc=command.name,
            unit=command.unit,
            position=slot,
            mininterval=interval,
        )

    def finished(self) -> bool:
        """Whether the process has succeeded. RuntimeError if it has failed."""
        code = self.process.poll()
        self.bar.update(self.command.done() - self.bar.n)
        if code is None:
            return False
        self.bar.close()
        if code != 0:
            tail = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(
                f"{self.command.name} failed with exit code {code}: {' '.join(tail)} (whole log: {self.log})"
            )
        return True

    def stop(self) -> None:
        self.bar.close()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
