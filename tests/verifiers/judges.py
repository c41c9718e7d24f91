"""Judges for the pool's tests: well-behaved, hostile and broken ones. The extracted answer says what to do."""

import ctypes
import mmap
import os
import signal
import sys
import time
from pathlib import Path

from simko.records import Problem
from simko.verifiers import Bounded
from simko.verifiers.boxes import last_box
from simko.verifiers.extract import Span


def obey(extracted: str, problem: Problem) -> bool:
    """Right if the answer equals the gold, after doing what it asks for."""
    order, _, argument = extracted.partition(" ")
    if order == "burn":
        end = time.process_time() + float(argument)
        while time.process_time() < end:
            pass
    elif order == "burn_in_c":
        pow(9, 9**9)
    elif order == "hog":
        return len(bytearray(1 << 30)) > 0
    elif order == "keep":
        kept.append(mmap.mmap(-1, int(argument) << 20))
    elif order == "recurse":
        return obey(extracted, problem)
    elif order == "raise":
        raise KeyError(argument)
    elif order == "exit":
        sys.exit(3)
    elif order == "signal":
        os.kill(os.getpid(), int(argument))
    elif order == "patricide":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    elif order == "crash":
        ctypes.string_at(0)
    elif order == "sleep":
        time.sleep(float(argument))
    elif order == "write":
        Path(argument).write_text("x" * 1000)
    elif order == "print":
        print(argument * 1000, flush=True)
        os.write(1, b'{"id": 0, "outcome": "correct"}\n')
        print(argument * 1000, file=sys.stderr)
    elif order == "first":  # signal, but at the first attempt only: an empty file marks it
        number, path = argument.split(" ", 1)
        if not Path(path).exists():
            Path(path).touch()
            os.kill(os.getpid(), int(number))
        return True
    elif order == "modules":
        return argument in sys.modules
    return extracted == problem.answer


kept: list[mmap.mmap] = []


def never_gives_up(extracted: str, problem: Problem) -> bool:
    """What a library that catches everything does."""
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    while True:
        try:
            pow(9, 9**9)
        except BaseException:
            continue


def symbolic(extracted: str, problem: Problem) -> bool:
    """math-verify without limits of its own."""
    from math_verify import parse, verify

    parsed = [parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in (problem.answer, extracted)]
    return bool(verify(*parsed, timeout_seconds=None))


def boxed(response: str, problem: Problem) -> Span | None:
    content = last_box(response)
    return None if content is None else Span(content, "box")


def has_gold(problem: Problem) -> None:
    if not problem.answer:
        raise ValueError(f"problem {problem.id!r} has no gold answer")


def same_text(extracted: str, problem: Problem) -> bool | None:
    return True if extracted == problem.answer else None


OBEY = Bounded("obey", has_gold, boxed, same_text, "judges:obey")
MATHS = Bounded("maths", has_gold, boxed, same_text, "judges:symbolic")
