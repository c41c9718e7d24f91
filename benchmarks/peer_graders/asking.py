"""A peer in a process of its own, asked one pair at a time and ended when it takes too long."""

import json
import os
import select
import signal
import subprocess
from pathlib import Path
from typing import Any


class Peer:
    """The peer `name` under the interpreter `python`. `about`: title and version, or why it is left out."""

    def __init__(self, name: str, python: str) -> None:
        self.command = [python, "-m", "peer_graders.worker", name]
        self.about = self._start()

    def _start(self) -> dict[str, str]:
        outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(
            self.command,
            cwd=Path(__file__).parent.parent,
            env=outside,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self._line(120) or {"left_out": "it does not start"}

    def _line(self, seconds: float) -> Any:
        """What the peer says within that time, or None."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else b""
        return json.loads(line) if line else None

    def ask(self, response: str, gold: str, limit: float) -> list[Any]:
        """Its outcome (correct, wrong, error, timeout) and the seconds it took."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"response": response, "gold": gold}).encode() + b"\n")
        self.process.stdin.flush()
        answer = self._line(limit)
        if answer is None:
            ended = self.process.poll() is not None
            self.close()
            self._start()
            return ["error", 0.0] if ended else ["timeout", limit]
        return list(answer)

    def close(self) -> None:
        """End the process and its children."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
