"""Programs from a model, run only inside bubblewrap (`bwrap`, Linux), never beside it.

Where bubblewrap is missing or cannot start, `SandboxMissing` says what to do and nothing runs.

What is guaranteed, as far as the kernel's namespaces hold: a program sees the Python standard library and the system's
libraries, read-only, and an empty /tmp of bounded size; no package installed for Python, and no other file, process, user, network,
environment variable, device or kernel keyring of the host (no /proc at all). It has no capability and cannot gain one. It ends, with everything it started, at
the wall limit at the latest; nothing survives a call. Its output is bounded. As root, the whole sandbox is run by the
user nobody inside another one, since the kernel does not count root's processes.

What a verdict is worth: output is compared out here, where the program has never been. Tests that call the program's
functions run in a second sandbox (the judge) and speak with the program through a socket: the program sees the
arguments of the calls and nothing else, not the tests, not the expected values, not the pipe of the verdict. So it
cannot exit early, print a verdict, redefine builtins or __eq__ to pass; it can still answer the calls it sees by heart.

What is not guaranteed: a bug of the kernel is a way out (there is no system call filter). The program of an ordinary user
who guesses a key's number may see its description, and reads and changes a key whose owner has opened it to all of the
user's processes (keyctl setperm), which no key is by itself. CPU and memory are limits a
process, of which there may be 16: a hostile program can use 16 times the CPU until the wall limit and 16 times the
memory, and shared memory segments beside. On kernels before 5.14 the 16 processes are counted over all of the user's
own, so that an ordinary user with many may see every program fail to start threads.
"""

import functools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from simko.verifiers.code import inside

Ending = Literal["exit", "cpu", "memory", "wall", "output", "failed"]


SCRIPT = "/inside_sandbox.py"
"""Where `inside` lies in a sandbox."""


_ENVIRONMENT = {
    "PATH": "/usr/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONHASHSEED": "0",  # sets are ordered alike in every run
}


class SandboxMissing(ValueError):
    """No sandbox can be made here. Nothing has run."""


@dataclass(frozen=True)
class Limits:
    """What a program may use."""

    cpu_seconds: int = 5
    """Of each process."""
    memory_bytes: int = 1 << 29
    """Address space of each process."""
    wall_seconds: float = 30.0
    """Of the whole call; generous, since it depends on the machine's load."""
    output_bytes: int = 1 << 20
    """Of what it prints, or of one value that it returns."""
    tmp_bytes: int = 1 << 24
    """Of /tmp."""


@dataclass(frozen=True)
class Run:
    """How a program ended."""

    ending: Ending
    """ "exit", "cpu", "memory", "wall", "output" (more than allowed), or "failed" (the sandbox's own fault: the program
    never started)."""
    exit_code: int
    """For "exit": the program's status, 128 + signal where one killed it."""
    output: bytes


@dataclass(frozen=True)
class ProgramTests:
    """Python tests of a program."""

    code: str
    """Statements that raise where the program is incorrect."""
    names: tuple[str, ...] = ()
    """The program's names that they use, also where builtins have the same."""
    helpers: str = ""
    """Trusted code that runs before the tests, beside them."""
    setup: str = ""
    """Code that runs after the program, beside it; its imports and functions run beside the tests too."""


TestEnding = Literal["correct", "wrong", "cpu", "memory", "wall", "failed"]


def run_sandboxed(program: str, stdin: str = "", limits: Limits = Limits()) -> Run:
    """Run a Python program as a script on `stdin`; only the standard library is there. SandboxMissing without bwrap."""
    check_sandbox()
    return _run_script(program, stdin, limits)


def run_tests(program: str, tests: ProgramTests, limits: Limits = Limits()) -> TestEnding:
    """Run `tests` on a Python program: see the top of this file for what that guarantees. SandboxMissing without bwrap.

    "failed" is the sandbox's own fault, or that of tests which hand the program an object that cannot leave them, or
    which fail before they ask anything of it.
    """
    check_sandbox()
    deadline = time.monotonic() + limits.wall_seconds
    ours, theirs = socket.socketpair()
    with ours, theirs:
        work = {"helpers": tests.helpers, "setup": tests.setup, "tests": tests.code, "names": tests.names}
        program_work = {"program": program, "setup": tests.setup}
        with (
            _sandbox("program", program_work, b"", limits, theirs.fileno()) as runner,
            _sandbox("judge", work, b"", limits, ours.fileno()) as judge,
        ):
            ours.close()
            theirs.close()
            said, end = _read(judge, 100, deadline)
            if end == "wall":
                return "wall"
            verdict = said.decode("ascii", "replace").strip()
            judge_ending, code = _ending(judge, deadline)
            if verdict not in ("correct", "wrong", "died", "memory", "failed"):
                if judge_ending in ("cpu", "memory", "wall"):
                    return judge_ending
                return "wrong" if code > 128 else "failed"  # a value of the program's has felled the judge
            if verdict == "died":
                ending, _ = _ending(runner, min(deadline, time.monotonic() + 1))
                return ending if ending in ("cpu", "memory") else "wrong"
            return verdict  # type: ignore[return-value]


@functools.cache
def check_sandbox() -> None:
    """SandboxMissing unless a program runs in a sandbox here. Tried once a process."""
    if shutil.which("bwrap") is None:
        raise SandboxMissing(
            "programs from a model run only inside bubblewrap, which is not installed: "
            "apt-get install bubblewrap (version 0.8 or newer; Linux only)"
        )
    with _sandbox("script", {"program": "print(6 * 7)"}, b"", Limits(), errors=subprocess.PIPE) as process:
        output, _ = _read(process, 100, time.monotonic() + 30)
        _kill(process)
        said = process.stderr.read(4000).decode(errors="replace").strip() if process.stderr else ""
    if output != b"\n42\n":
        raise SandboxMissing(
            "programs from a model run only inside bubblewrap, which cannot start a sandbox here: "
            f"{said or 'it said nothing'}. It needs bubblewrap 0.8 or newer and user namespaces: "
            "sysctl user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1 and "
            "kernel.apparmor_restrict_unprivileged_userns=0 where these exist; inside a container, one that allows "
            "them (docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined, as root also "
            "--cap-add SYS_ADMIN)"
        )


def _run_script(program: str, stdin: str, limits: Limits) -> Run:
    deadline = time.monotonic() + limits.wall_seconds
    given = stdin.encode("utf-8", "replace")
    with _sandbox("script", {"program": program}, given, limits) as process:
        output, end = _read(process, limits.output_bytes + 1, deadline)
        if end != "end":
            return Run(end, -1, output[1:])
        ending, code = _ending(process, deadline)
    if not output.startswith(b"\n"):
        return Run("failed", code, b"")
    return Run(ending, code, output[1:])


# -- one bwrap process -------------------------------------------------------------------------------------------------


@contextmanager
def _sandbox(
    mode: str, work: dict[str, Any], stdin: bytes, limits: Limits, channel: int | None = None, errors: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A started sandbox, whose processes are all gone afterwards."""
    arguments = [mode, str(limits.cpu_seconds), str(limits.memory_bytes), str(limits.output_bytes)]
    with _readable(json.dumps(work).encode() + b"\n" + stdin) as descriptor:
        process = subprocess.Popen(
            [*_command(limits.tmp_bytes), *arguments, *([] if channel is None else [str(channel)])],
            stdin=descriptor,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if errors is None else errors,
            pass_fds=() if channel is None else (channel,),
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath)},
            bufsize=0,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _kill(process)
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@contextmanager
def _readable(content: bytes) -> Iterator[int]:
    """A read-only descriptor of a file in memory."""
    writable = os.memfd_create("program")
    try:
        with open(writable, "wb", closefd=False) as file:
            file.write(content)
        readable = os.open(f"/proc/self/fd/{writable}", os.O_RDONLY)
    finally:
        os.close(writable)
    try:
        yield readable
    finally:
        os.close(readable)


def _read(
    process: subprocess.Popen[bytes], limit: int, deadline: float
) -> tuple[bytes, Literal["end", "wall", "output"]]:
    """What the process prints until its end, the deadline or the limit; past these, everything in it is killed."""
    assert process.stdout is not None
    output, descriptor, poll = bytearray(), process.stdout.fileno(), select.poll()
    poll.register(descriptor, select.POLLIN)
    while len(output) <= limit:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            _kill(process)
            return bytes(output), "wall"
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            return bytes(output), "end"
        output += chunk
    _kill(process)
    return bytes(output[:limit]), "output"


def _ending(process: subprocess.Popen[bytes], deadline: float) -> tuple[Ending, int]:
    """How a process that has closed its output ended; one that goes on until the deadline is killed."""
    try:
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _kill(process)
        return "wall", -1
    if code == inside.MEMORY_EXIT:
        return "memory", code
    return ("cpu" if code in (128 + signal.SIGXCPU, 128 + signal.SIGKILL) else "exit"), code


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill all of a sandbox and reap it.

    The child of bwrap is process 1 of its namespace: with it die all others, and only then does bwrap itself end. If
    bwrap were killed first, it would leave an orphan behind.
    """
    if process.poll() is not None:
        return  # its number may be another process's by now
    try:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        process.wait(5)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()
        process.wait()


def _command(tmp_bytes: int) -> list[str]:
    """The command line up to the script's arguments."""
    interpreter = [_python(), "-s", "-S", "-B", "-X", "utf8", SCRIPT]
    as_root = os.geteuid() == 0
    script = SCRIPT if as_root else inside.__file__
    isolated = ["bwrap", "--unshare-all", "--unshare-user", "--disable-userns", "--as-pid-1"]
    inner = [*isolated, *_common(script, tmp_bytes), "--chdir", "/tmp", "--", *interpreter]
    if not as_root:
        return inner
    become_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--"]
    outer = ["bwrap", "--unshare-pid", "--as-pid-1", "--unshare-net", "--unshare-ipc"]
    outer += [*_open_folders(), "--proc", "/proc"]
    for name in ("bwrap", "setpriv", "sh"):
        program = os.path.realpath(shutil.which(name) or f"/bin/{name}")
        outer += ["--ro-bind", program, f"/usr/bin/{name}"]
    # process 1 of the outer one stays root: else the outer bwrap may not kill it when the caller dies
    outer_first = ["sh", "-c", '"$@"; exit $?', "sh"]
    return [
        *outer,
        *_common(inside.__file__, tmp_bytes),
        "--cap-add",
        "ALL",
        "--",
        *outer_first,
        *become_nobody,
        *inner,
    ]


def _open_folders() -> list[str]:
    """Folders above what is bound, which bwrap would else make for its own user alone."""
    bound = [*_libraries(), _python(), "/usr/bin/sh", "/etc/ld.so.cache"]
    above = {folder for path in bound for folder in Path(path).parents}
    return [
        argument for folder in sorted(above - {Path("/")}) for argument in ("--perms", "0755", "--dir", str(folder))
    ]


@functools.cache
def _python() -> str:
    """The base interpreter's real path: a virtual environment's is a link to it."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _libraries() -> list[str]:
    """The folders of the system's and the base interpreter's libraries. The rest of its prefix stays
    hidden: there may be other interpreters, with their packages."""
    prefixes = dict.fromkeys(["/usr", "/", os.path.realpath(sys.base_prefix)])
    folders = [os.path.join(prefix, name) for prefix in prefixes for name in ("lib", "lib32", "lib64")]
    return [folder for folder in folders if os.path.isdir(folder)]


def _common(script: str, tmp_bytes: int) -> Sequence[str]:
    """Files, environment and death of a sandbox."""
    arguments: list[str] = []
    for library in _libraries():
        if os.path.islink(library):
            arguments += ["--symlink", os.readlink(library), library]
            continue
        arguments += ["--ro-bind", library, library]
        for packages in sorted(Path(library).glob("python*/*-packages")):
            arguments += ["--size", "4096", "--tmpfs", str(packages), "--remount-ro", str(packages)]
    arguments += ["--ro-bind", _python(), _python()]
    arguments += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    arguments += ["--ro-bind", script, SCRIPT]
    arguments += f"--dev /dev --remount-ro /dev --size {tmp_bytes} --perms 1777 --tmpfs /tmp --clearenv".split()
    for name, value in _ENVIRONMENT.items():
        arguments += ["--setenv", name, value]
    return [*arguments, "--die-with-parent", "--new-session", "--remount-ro", "/"]
