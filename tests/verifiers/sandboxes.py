"""What the tests of sandboxed programs share."""

import textwrap
import time
from pathlib import Path

from simko.verifiers.code.sandbox import Limits, ProgramTests, Run, run_sandboxed

SHORT = Limits(cpu_seconds=1, wall_seconds=5.0)
CHECK = ProgramTests(
    "def check(candidate):\n    assert candidate(3) == 77123\n    assert candidate(4) == 55321\ncheck(f)", ("f",)
)


def run(program: str, stdin: str = "", limits: Limits = SHORT) -> Run:
    return run_sandboxed(textwrap.dedent(program), stdin, limits)


def said(program: str, **options: object) -> str:
    """What a program that must end well prints."""
    result = run(program, **options)  # type: ignore[arg-type]
    assert (result.ending, result.exit_code) == ("exit", 0), result
    return result.output.decode()


def strangers(mark: str) -> list[str]:
    """Processes of the machine whose command line holds `mark`."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
        except OSError:
            continue
        if mark.encode() in line:
            found.append(folder.name)
    return found


def left_behind() -> list[str]:
    """Sandboxed processes of now that are still there after ten seconds: those of other tests have ended by then."""
    found, deadline = strangers("inside_sandbox.py"), time.monotonic() + 10
    while found and time.monotonic() < deadline:
        time.sleep(0.1)
        found = [process for process in strangers("inside_sandbox.py") if process in found]
    return found
