"""What runs inside the sandbox, as a script of its own on the standard library: see `sandbox`.

    inside.py script CPU MEMORY OUTPUT        run a program on the rest of stdin
    inside.py program CPU MEMORY OUTPUT FD    run a program, then answer the judge's calls on the socket FD
    inside.py judge CPU MEMORY OUTPUT FD      run tests, calling the program of another sandbox on the socket FD

The first line of stdin is a JSON object with what to run. The judge and the program speak in lines of JSON: plain
values travel by value, every other object of the program stays there and the judge holds a `Remote` of it.
"""

import ast
import builtins
import json
import operator
import os
import resource
import sys
import types
from collections.abc import Callable
from typing import Any

MEMORY_EXIT = 112
"""Exit status of a program that ran out of memory and said so."""
KEYCTL = {"x86_64": 250, "ppc64le": 271, "s390x": 280}.get(os.uname().machine, 219)
"""The system call's number here."""
_PROCESSES = 16
_OPEN_FILES = 64
_FILE_BYTES = 1 << 24


class Unsupported(Exception):
    """A test hands the program an object that cannot leave the judge."""


class ProgramDied(BaseException):
    """The program's process is gone, or answers nonsense: not an Exception, so that no test takes it for one."""


# -- values on the wire ------------------------------------------------------------------------------------------------


def encode(value: Any, keep: Callable[[Any], int]) -> Any:
    """A JSON value for a Python value; keep(object) -> number of an object that stays on this side."""
    if value is None or isinstance(value, bool | float | str):
        return ["v", value]
    if isinstance(value, int):
        return ["i", hex(value)]
    if isinstance(value, complex):
        return ["c", [value.real, value.imag]]
    if isinstance(value, bytes | bytearray):
        return ["b" if isinstance(value, bytes) else "a", value.hex()]
    if isinstance(value, dict):
        return ["d", [[encode(k, keep), encode(v, keep)] for k, v in value.items()]]
    for tag, kind in _CONTAINERS.items():
        if isinstance(value, kind):
            return [tag, [encode(item, keep) for item in value]]
    return ["o", keep(value)]


def decode(wire: Any, find: Callable[[int], Any]) -> Any:
    """The Python value of an encoded one; find(number) -> what stands for an object that stayed on the other side."""
    tag, content = wire
    if tag in _CONTAINERS:
        return _CONTAINERS[tag]([decode(item, find) for item in content])
    if tag == "d":
        return {decode(k, find): decode(v, find) for k, v in content}
    return find(content) if tag == "o" else _SCALARS[tag](content)


_CONTAINERS: dict[str, Any] = {"l": list, "t": tuple, "s": set, "f": frozenset}
_SCALARS: dict[str, Callable[[Any], Any]] = {
    "v": lambda content: content,
    "i": lambda content: int(content, 16),
    "c": lambda content: complex(*content),
    "b": bytes.fromhex,
    "a": bytearray.fromhex,
}


class Channel:
    """A socket that carries lines of JSON."""

    def __init__(self, descriptor: int) -> None:
        self.reader, self.writer = os.fdopen(descriptor, "rb"), os.fdopen(os.dup(descriptor), "wb")

    def send(self, message: Any) -> None:
        """Write one line; ProgramDied where nobody listens."""
        try:
            self.writer.write(json.dumps(message).encode() + b"\n")
            self.writer.flush()
        except OSError as error:
            raise ProgramDied("closed") from error

    def receive(self, line_bytes: int = -1) -> Any:
        """The next message; ProgramDied at the end, or where it is longer than line_bytes or no JSON."""
        line = self.reader.readline(line_bytes)
        if not line.endswith(b"\n"):
            raise ProgramDied("too long" if line else "closed")
        try:
            return json.loads(line)
        except ValueError as error:
            raise ProgramDied("no JSON") from error


# -- the program's side ------------------------------------------------------------------------------------------------

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "call": lambda function, *args, **kwargs: function(*args, **kwargs),
    "getattr": getattr,
    "getitem": operator.getitem,
    "len": len,
    "bool": bool,
    "iter": iter,
    "next": next,
}


def run_script(work: dict[str, Any]) -> None:
    """Run work["program"] as __main__; a byte on stdout before it says that the sandbox stands."""
    os.write(1, b"\n")
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = ["program.py"]
    _silence(2)
    try:
        exec(_compiled(work["program"]), module.__dict__)
    except MemoryError:
        os._exit(MEMORY_EXIT)


def run_program(work: dict[str, Any], channel: Channel) -> None:
    """Run work["program"] and work["setup"] as a module, then answer requests [function, name or values...]."""
    channel.send("ready")
    _silence(0, 1, 2)
    module = types.ModuleType("program")
    sys.modules["program"] = module
    kept: list[Any] = []

    def keep(value: Any) -> int:
        kept.append(value)
        return len(kept) - 1

    def answer(request: list[Any]) -> Any:
        if request[0] == "name":
            return [encode(getattr(module, request[1]), keep), []]
        args = [decode(wire, kept.__getitem__) for wire in request[1]]
        kwargs = {name: decode(wire, kept.__getitem__) for name, wire in request[2].items()}
        result = encode(_FUNCTIONS[request[0]](*args, **kwargs), keep)
        after = [wire if wire[0] == "o" else encode(arg, keep) for wire, arg in zip(request[1], args, strict=True)]
        return [result, [[i, new] for i, (old, new) in enumerate(zip(request[1], after, strict=True)) if old != new]]

    def load(_: object) -> Any:
        exec(_compiled(work["program"]), module.__dict__)
        exec(_compiled(work["setup"]), module.__dict__)

    _answer(channel, load, None)
    while True:
        _answer(channel, answer, channel.receive())


def _compiled(program: str) -> types.CodeType:
    return compile(program.encode("utf-8", "replace").decode(), "program.py", "exec")


def _answer(channel: Channel, respond: Callable[[Any], Any], request: Any) -> None:
    try:
        message = {"result": respond(request)}
    except Exception as error:  # whatever the program raises is its answer
        message = {"exception": type(error).__name__}
    channel.send(message)


# -- the judge's side --------------------------------------------------------------------------------------------------


class Program:
    """The judge's end of the channel. Nothing that comes through it is more than a plain value or a number."""

    def __init__(self, channel: Channel, line_bytes: int) -> None:
        self.channel, self.line_bytes = channel, line_bytes
        self.asked = True  # whether the tests depend on it by now; that it loads is the first question

    def result(self) -> Any:
        """The result in the next message, or the exception there, as one of the builtin ones where it is one."""
        message = self.channel.receive(self.line_bytes)
        if "exception" in message:
            kind = getattr(builtins, str(message["exception"]), None)
            known = isinstance(kind, type) and issubclass(kind, Exception)
            raise kind("in the program") if known else RuntimeError("in the program")
        return message["result"]

    def name(self, name: str) -> Any:
        """The program's global of that name."""
        self.asked = True
        try:
            self.channel.send(["name", name])
            return self.decode(self.result()[0])
        except AttributeError:
            raise NameError(f"name {name!r} is not defined") from None

    def ask(self, function: str, *args: Any, **kwargs: Any) -> Any:
        """function(*args, **kwargs) over there; what it changed in list, dict and set arguments is changed here."""
        self.asked = True
        self.channel.send([function, [_leave(a) for a in args], {k: _leave(v) for k, v in kwargs.items()}])
        result, changed = self.result()
        for index, wire in changed:
            _become(args[index], self.decode(wire))
        return self.decode(result)

    def decode(self, wire: Any) -> Any:
        """A received value."""
        return decode(wire, lambda number: Remote(self, number))


class Remote:
    """An object of the program. It is equal only to itself: no __eq__ of the program's is ever asked."""

    def __init__(self, program: Program, number: int) -> None:
        self._program, self._number = program, number

    def __getattr__(self, name: str) -> Any:
        return self._program.ask("getattr", self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._program.ask("call", self, *args, **kwargs)

    def __getitem__(self, key: Any) -> Any:
        return self._program.ask("getitem", self, key)

    def __len__(self) -> int:
        return int(self._program.ask("len", self))

    def __bool__(self) -> bool:
        return self._program.ask("bool", self) is True

    def __iter__(self) -> Any:
        return self._program.ask("iter", self)

    def __next__(self) -> Any:
        return self._program.ask("next", self)


class Names(dict[str, Any]):
    """The tests' globals: their own, then builtins, then the program's."""

    def __init__(self, program: Program) -> None:
        super().__init__({"__name__": "tests", "__builtins__": builtins})
        self.program = program

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            return getattr(builtins, name)
        return self.program.name(name)


def run_judge(work: dict[str, Any], channel: Channel, line_bytes: int) -> str:
    """What work["tests"] say of the program: "correct", "wrong", "died", "memory", or "failed" (not its fault)."""
    program = Program(channel, line_bytes)
    names = Names(program)
    try:
        if channel.receive(100) != "ready":
            return "failed"
    except ProgramDied:
        return "failed"
    try:
        program.result()
        found = {name: program.name(name) for name in work["names"]}
        program.asked = any(not isinstance(value, Remote) for value in found.values())
        for code in (work["helpers"], _imports_and_functions(work["setup"])):
            exec(compile(code, "helpers.py", "exec"), names)
        names.update(found)
        exec(compile(work["tests"], "tests.py", "exec"), names)
    except MemoryError:
        return "memory"
    except ProgramDied:
        return "died"
    except Unsupported:
        return "failed"
    except BaseException:  # whatever a test raises is its verdict
        return "wrong" if program.asked else "failed"  # any other program would have met the same
    return "correct"


def _leave(value: Any) -> Any:
    """The encoded argument; Unsupported where a test hands over an object of its own."""

    def number(item: Any) -> int:
        if isinstance(item, Remote):
            return item._number
        raise Unsupported(type(item).__name__)

    return encode(value, number)


def _become(old: Any, new: Any) -> None:
    """Change a list, dict, set or bytearray in place."""
    if isinstance(old, list | bytearray) and type(old) is type(new):
        old[:] = new
    elif isinstance(old, dict | set) and type(old) is type(new):
        old.clear()
        old.update(new)


def _imports_and_functions(code: str) -> ast.Module:
    """The part of a setup that the judge needs too; classes and objects live with the program alone."""
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef)
    return ast.Module([node for node in ast.parse(code).body if isinstance(node, kinds)], [])


# -- start -------------------------------------------------------------------------------------------------------------


def _limit(cpu_seconds: int, memory_bytes: int) -> None:
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1),
        (resource.RLIMIT_AS, memory_bytes, memory_bytes),
        (resource.RLIMIT_NPROC, _PROCESSES, _PROCESSES),
        (resource.RLIMIT_NOFILE, _OPEN_FILES, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, _FILE_BYTES, _FILE_BYTES),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(kind, (soft, hard))


def _silence(*descriptors: int) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


def _first_line() -> bytes:
    """The first line of stdin, byte for byte: what follows belongs to the program."""
    line = bytearray()
    while not line.endswith(b"\n"):
        chunk = os.pread(0, 1 << 16, len(line))
        end = chunk.find(b"\n") + 1
        line += chunk[: end or len(chunk)]
    os.lseek(0, len(line), os.SEEK_SET)
    return bytes(line)


def main() -> None:
    """As process 1: run the mode on the command line in a child, reap whatever ends, and end as the child does.

    The kernel lets process 1 end only after everything else in its namespace is dead.
    """
    mode, cpu_seconds, memory_bytes, output_bytes = sys.argv[1], *map(int, sys.argv[2:5])
    work = json.loads(_first_line())
    _leave_keyring()
    _limit(cpu_seconds, memory_bytes)  # before the fork: the program may lay hands on process 1
    child = os.fork()
    if child == 0:
        return _run(mode, work, output_bytes)
    ended, status = 0, 0
    while ended != child:
        ended, status = os.wait()
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _leave_keyring() -> None:
    """Take an empty session keyring in place of the caller's, which no namespace hides. Where the system call is not
    allowed, the program has no way to that either."""
    import ctypes
    import errno

    join_session_keyring = 1
    if ctypes.CDLL(None, use_errno=True).syscall(KEYCTL, join_session_keyring, None) < 0:
        reason = ctypes.get_errno()
        if reason not in (errno.ENOSYS, errno.EPERM):
            raise OSError(reason, "the caller's kernel keyring cannot be left")


def _run(mode: str, work: dict[str, Any], output_bytes: int) -> None:
    import site

    site.setquit()  # exit() and quit(), which -S leaves out
    if mode == "script":
        return run_script(work)
    channel = Channel(int(sys.argv[5]))
    if mode == "program":
        return run_program(work, channel)
    verdict = os.dup(1)
    _silence(0, 1, 2)
    os.write(verdict, run_judge(work, channel, output_bytes).encode() + b"\n")
    os._exit(0)


if __name__ == "__main__":
    main()
