"""What is left when a sandboxed program or its caller ends: nothing; and what happens where there is no sandbox."""

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from sandboxes import CHECK, left_behind, said, strangers

from simko.verifiers.code import sandbox
from simko.verifiers.code.sandbox import SandboxMissing, check_sandbox, run_sandboxed, run_tests

pytestmark = pytest.mark.usefixtures("bwrap")


def test_a_daemon_does_not_outlive_its_program() -> None:
    daemon = """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for fd in range(3): os.close(fd)
                time.sleep(100)
            os._exit(0)
        print('done')
    """
    start = time.monotonic()
    assert said(daemon) == "done\n"
    assert time.monotonic() - start < 4
    assert left_behind() == []
    holds_output = daemon.replace("for fd in range(3): os.close(fd)", "pass")
    assert said(holds_output) == "done\n"
    assert left_behind() == []


def test_no_zombie_is_left_behind() -> None:
    script = """
        import ctypes, os
        from simko.verifiers.code.sandbox import Limits, ProgramTests, run_sandboxed, run_tests
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # orphans become this process's children
        run_sandboxed("import time; time.sleep(100)", limits=Limits(wall_seconds=1.0))
        run_sandboxed("print(1)")
        run_tests("import time; time.sleep(100)", ProgramTests("f()"), Limits(wall_seconds=1.0))
        try:
            print(os.waitpid(-1, os.WNOHANG))
        except ChildProcessError:
            print("no child")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "no child\n"


def test_everything_dies_with_the_caller() -> None:
    script = """
        from simko.verifiers.code.sandbox import Limits, check_sandbox, run_sandboxed
        check_sandbox()
        print("ready", flush=True)
        run_sandboxed("import time; time.sleep(60)", limits=Limits(wall_seconds=60.0))
    """
    caller = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE)
    assert caller.stdout is not None
    with caller.stdout as output:
        assert output.readline() == b"ready\n"
    deadline = time.monotonic() + 20
    while not (alive := strangers("inside_sandbox.py")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    assert alive
    caller.kill()
    caller.wait()
    assert left_behind() == []


def test_programs_run_side_by_side_from_threads() -> None:
    results: dict[int, str] = {}
    threads = [threading.Thread(target=lambda i=i: results.update({i: said(f"print({i})")})) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: f"{i}\n" for i in range(6)}


# -- no sandbox --------------------------------------------------------------------------------------------------------


def test_without_bubblewrap_nothing_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_sandbox.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    try:
        with pytest.raises(SandboxMissing, match="apt-get install bubblewrap"):
            run_sandboxed("print(1)")
        (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'no namespaces here' >&2\nexit 1\n")
        (tmp_path / "bwrap").chmod(0o755)
        with pytest.raises(SandboxMissing, match=r"no namespaces here.*user namespaces"):
            run_tests("def f(x): return 1", CHECK)
    finally:
        check_sandbox.cache_clear()


def test_a_sandbox_that_fails_later_is_our_own_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    check_sandbox()
    monkeypatch.setattr(sandbox, "_command", lambda tmp_bytes: ["/bin/false"])
    assert run_sandboxed("print(1)").ending == "failed"
    assert run_tests("def f(x): return 1", CHECK) == "failed"
