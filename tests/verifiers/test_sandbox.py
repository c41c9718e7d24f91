"""Hostile programs against the real sandbox: each test looks for the damage itself, not only for the verdict."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sandboxes import left_behind, run, said

from simko.verifiers.code import inside, sandbox
from simko.verifiers.code.sandbox import Limits

pytestmark = pytest.mark.usefixtures("bwrap")


def refused(attempt: str, *errors: str) -> None:
    """The attempt, an expression or statement, must raise OSError (or one of `errors`) inside."""
    kinds = ", ".join(("OSError", *errors))
    program = f"import os, socket, ctypes\ntry:\n    {attempt}\nexcept ({kinds}) as e:\n    print('refused', e)\n"
    assert said(program).startswith("refused"), attempt


# -- honest programs ---------------------------------------------------------------------------------------------------


def test_a_program_reads_stdin_and_prints() -> None:
    assert said("print(int(input()) * 2)\nprint(repr(input()))", stdin="21\nzwei\n") == "42\n'zwei'\n"


def test_exit_status_unicode_and_large_input() -> None:
    assert run("import sys; sys.exit(3)").exit_code == 3
    assert said("print('é', input())", stdin="漢\n") == "é 漢\n"
    assert said("import sys; print(len(sys.stdin.read()))", stdin="x" * 3_000_000) == "3000000\n"
    assert said("if __name__ == '__main__': print('main'); exit(0)") == "main\n"


def test_sets_are_ordered_alike_every_time() -> None:
    assert len({said("print(set('abcdefgh'))") for _ in range(2)}) == 1


def test_a_surrogate_and_a_null_byte_in_the_program_are_its_own_fault() -> None:
    assert said("print('ok')  # \ud800") == "ok\n"
    assert run("print('a')\0").exit_code == 1


def test_binary_output_comes_out_whole() -> None:
    assert run("import sys; sys.stdout.buffer.write(bytes(range(256)))").output == bytes(range(256))


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "ending"),
    [
        ("while True: pass", "cpu"),
        pytest.param(
            "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
            "cpu",
            marks=pytest.mark.slow,
        ),
        ("import time; time.sleep(100)", "wall"),
        ("import os, time\nos.close(1)\ntime.sleep(100)", "wall"),
        ("x = []\nwhile True: x.append(bytearray(1 << 24))", "memory"),
        ("while True: print('x' * 1000)", "output"),
        ("import os\nwhile True: os.write(1, bytes(1 << 16))", "output"),
    ],
)
def test_limits(program: str, ending: str) -> None:
    # one CPU second only where it is the limit in question: filling the memory may take a slow machine more
    limits = Limits(cpu_seconds=1 if ending == "cpu" else 20, wall_seconds=1.0 if ending == "wall" else 20.0)
    start = time.monotonic()
    result = run(program, limits=limits)
    assert result.ending == ending
    assert len(result.output) <= limits.output_bytes
    assert time.monotonic() - start < 25


def test_deep_recursion_ends_as_the_programs_own_failure() -> None:
    assert run("def f(n): return f(n + 1)\nf(0)").exit_code == 1


@pytest.mark.slow
def test_a_deep_value_ends_as_the_programs_own_failure() -> None:
    deep = "import sys; sys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**5): x = [x]\nprint(repr(x))"
    assert run(deep).exit_code != 0


def test_a_fork_bomb_is_bounded_and_dies() -> None:
    program = """
        import os, time
        made = 0
        try:
            while True:
                if os.fork() == 0:
                    time.sleep(100)
                made += 1
        except OSError:
            print(made, flush=True)
    """
    assert int(said(program)) < 20
    bomb = run(
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", limits=Limits(1, wall_seconds=1.0)
    )
    assert bomb.ending in ("wall", "cpu")
    assert left_behind() == []


def test_tmp_is_bounded_and_no_other_place_is_writable() -> None:
    program = """
        import os
        total = 0
        try:
            for i in range(1000):
                with open(f'/tmp/{i}', 'wb') as file:
                    total += file.write(bytes(1 << 20))
                    file.flush()
        except OSError:
            print(total)
    """
    assert 0 < int(said(program)) <= 1 << 24
    for folder in ("/", "/dev", "/dev/shm", "/usr/lib", sys.base_prefix, "/etc"):
        refused(f"open('{folder}/x', 'w')")
    refused("open('/inside_sandbox.py', 'w')")
    refused("os.truncate('/inside_sandbox.py', 0)")


def test_nothing_is_left_from_one_run_to_the_next() -> None:
    said("open('/tmp/left', 'w').write('x')")
    assert said("import os; print(os.listdir('/tmp'))") == "[]\n"


# -- the host ----------------------------------------------------------------------------------------------------------


def test_files_of_the_host_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o644)
    monkeypatch.setenv("SIMKO_TEST_TOKEN", "s3cret")
    for path in (
        str(secret),
        "/etc/shadow",
        "/etc/passwd",
        "/proc/self/environ",
        "/proc/1/cmdline",
        os.path.expanduser("~/.bashrc"),
    ):
        refused(f"open({path!r}).read()")
    refused(f"[os.symlink({str(secret)!r}, '/tmp/link'), open('/tmp/link').read()]")
    refused(f"os.listdir({str(tmp_path)!r})")
    listing = said("import os; print(dict(os.environ), os.listdir('/'), os.listdir(os.path.expanduser('~')))")
    assert "s3cret" not in listing
    assert "TOKEN" not in listing
    assert "home" not in listing
    assert "proc" not in listing


def test_descriptors_of_the_host_are_not_there(tmp_path: Path) -> None:
    with open(tmp_path / "open", "w") as file:
        os.set_inheritable(file.fileno(), True)
        program = "import os\nfor fd in range(3, 200):\n    try: os.write(fd, b'x')\n    except OSError: pass"
        run(program)
    assert (tmp_path / "open").read_text() == ""


def test_no_network() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(0.2)
    port = server.getsockname()[1]
    socket.create_connection(("127.0.0.1", port)).close()
    server.accept()
    refused(f"socket.create_connection(('127.0.0.1', {port}), 1)")
    with pytest.raises(TimeoutError):
        server.accept()
    server.close()


def test_processes_of_the_host_are_out_of_reach() -> None:
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        program = f"""
            import ctypes, os, signal
            for pid in [{victim.pid}, {os.getpid()}, 1, os.getppid()]:
                try: os.kill(pid, signal.SIGKILL)
                except OSError: pass
                print(ctypes.CDLL(None).ptrace(16, pid, 0, 0)) if pid > 2 else None
            try: os.kill(-1, signal.SIGKILL)
            except OSError: pass
            print('alive')
        """
        assert said(program) == "-1\n-1\nalive\n"
        assert victim.poll() is None
        refused(f"os.kill({victim.pid}, 0)")
    finally:
        victim.kill()
        victim.wait()


KEYS = f"""
import ctypes, errno
libc, KEYCTL, ADD_KEY = ctypes.CDLL(None, use_errno=True), {inside.KEYCTL}, {inside.KEYCTL - 2}
JOIN, LINK, SEARCH, READ, SESSION = 1, 8, 10, 11, -3

def call(*arguments):
    found = libc.syscall(*arguments)
    return found if found >= 0 else errno.errorcode[ctypes.get_errno()]

def add(name, ring=SESSION):
    return call(ADD_KEY, b"user", name, b"x", 1, ring)

def find(name):
    return call(KEYCTL, SEARCH, SESSION, b"user", name, 0)
"""
INSIDE = (
    KEYS
    + """
secret, ring = map(int, input().split())
print(find(b"secret"), call(KEYCTL, READ, secret, None, 0), call(KEYCTL, READ, ring, None, 0))
print(call(KEYCTL, LINK, secret, SESSION), add(b"planted", ring))
add(b"planted")
"""
)
OUTSIDE = (
    KEYS
    + f"""
from simko.verifiers.code.sandbox import run_sandboxed
if call(KEYCTL, JOIN, None) in ("ENOSYS", "EPERM"):
    raise SystemExit("keyctl is not allowed here")
secret, ring = add(b"secret"), call(KEYCTL, 0, SESSION, 0)
print(run_sandboxed({INSIDE!r}, f"{{secret}} {{ring}}").output.decode(), end="")
print(find(b"planted"), find(b"secret") == secret, call(KEYCTL, 0, SESSION, 0) == ring)
"""
)


def test_the_callers_keyring_is_out_of_reach() -> None:
    done = subprocess.run([sys.executable, "-c", OUTSIDE], capture_output=True, text=True)
    if "keyctl is not allowed here" in done.stderr:
        pytest.skip("keyctl is not allowed here")
    # by its number, a user's own process may list what a keyring of the user's holds, but read no key of it
    said = re.sub(r"^ENOKEY EACCES \d+\n", "ENOKEY EACCES EACCES\n", done.stdout)
    assert said == "ENOKEY EACCES EACCES\nEACCES EACCES\nENOKEY True True\n", done.stderr


def _installed_packages() -> list[str]:
    """What a program finds in the folders of installed packages, where it cannot write either."""
    program = """
        import ctypes, json, os, sqlite3, ssl  # the interpreter's compiled parts work
        top = os.path.dirname(os.path.dirname(os.__file__))
        folders = [os.path.join(lib, python, name) for lib in {top, '/usr/lib', '/usr/local/lib'} if os.path.isdir(lib)
                   for python in os.listdir(lib) if python.startswith('python')
                   for name in os.listdir(os.path.join(lib, python)) if name.endswith('-packages')]
        assert folders
        for folder in folders:
            try: open(folder + '/x', 'w')
            except OSError: pass
        print(json.dumps([os.path.join(folder, name) for folder in folders for name in os.listdir(folder)]))
    """
    found: list[str] = json.loads(said(program))
    return found


def test_installed_packages_are_not_there() -> None:
    base = Path(sys.base_prefix)
    if not any(base.glob("lib/python*/*-packages/*")):
        pytest.skip("the base interpreter has no packages")
    assert _installed_packages() == []
    refused(f"os.listdir({str(base / 'share')!r})")


def test_debians_interpreter_works_and_hides_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    system = Path("/usr/bin/python3")
    if not system.exists() or not Path("/usr/lib/python3/dist-packages").is_dir():
        pytest.skip("no Debian")
    monkeypatch.setattr(sys, "_base_executable", str(system))
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    sandbox._python.cache_clear()
    try:
        assert said("import sys; print(sys.executable)") == f"{system.resolve()}\n"
        assert _installed_packages() == []
    finally:
        sandbox._python.cache_clear()


def test_no_rights_and_no_way_to_more() -> None:
    refused("os.setuid(0)")
    refused("os.chroot('/tmp')")
    refused("os.mknod('/tmp/null', 0o20666, os.makedev(1, 3))")
    refused("os.sethostname('x') if hasattr(os, 'sethostname') else socket.sethostname('x')")
    libc = "ctypes.CDLL(None, use_errno=True)"
    program = f"import ctypes\nlibc = {libc}\nprint(libc.mount(b'none', b'/tmp', b'tmpfs', 0, 0), libc.unshare(0x10000000), libc.unshare(0x20000))"
    assert said(program) == "-1 -1 -1\n"
    assert (
        said(
            "import os\nprint([d for d in os.listdir('/dev') if d.startswith(('sd', 'vd', 'nvme', 'kvm', 'mem', 'fuse'))])"
        )
        == "[]\n"
    )
    assert said("import ctypes; print(ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))") == "1\n", "no_new_privs"
