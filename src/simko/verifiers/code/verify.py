"""Programs judged by tests, run in a sandbox: see `sandbox` for what that guarantees."""

import ast
import functools
import os
import re
import symtable
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from simko.records import Outcome, Problem, Verdict
from simko.verifiers.code.sandbox import Limits, ProgramTests, check_sandbox, run_sandboxed, run_tests
from simko.verifiers.direct import CallableVerifier
from simko.verifiers.parts import final_part, runs_on

LIMITS = Limits()

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})([^`]*)")
_PYTHON = re.compile(r"(?:python|py)[0-9.]*(?![\w-])")
_COMPLETION_ENDS = re.compile(r"\n(?:class |def |@|#|if |print\(|assert |```)")
_BODY = re.compile(r"^[ \t]+(?:return|yield|for|while|if)\b", re.MULTILINE)
_STATEMENT = re.compile(r"^(?:def |class |import |from \w|@\w|print\(|\w+ = )", re.MULTILINE)


@dataclass(frozen=True)
class _Work:
    """One program and what judges it: (stdin, expected stdout) pairs, or tests that call it."""

    program: str
    examples: tuple[tuple[str, str], ...] = ()
    tests: ProgramTests | None = None


class Code(CallableVerifier):
    """Runs the program of a response on the problem's tests.

    The program is the last closed block labelled as Python, else the last one without a label (one with a statement rather
    than sample output); an unfinished block counts where there is no other. Without any fence it is, for a problem with a signature to complete (metadata["signature"]), that followed by
    the response up to the end of the function, else the whole response where a line of it looks like a statement.

    problem.metadata holds one of: "tests", a list of {"input": stdin, "output": stdout}, compared word by word, line by
    line; "test" and "entry_point" (HumanEval: check(candidate)); "test_list" (MBPP: assert statements), perhaps with
    "test_setup_code" and "names", what the program is to define.

    "unparsed": no program; "timeout": out of CPU, memory or wall time; "error": the sandbox's own fault, twice, or
    tests which hand the program an object that cannot leave them or which fail before they ask anything of it.
    `extracted` is the program. Only the standard library is there.
    """

    name = "verify_code"

    def check(self, problem: Problem) -> None:
        """ValueError where the problem has no tests, or tests that fail whatever the program is (no Python, no check, a
        package); SandboxMissing where there is no sandbox."""
        check_sandbox()
        _tests(problem)

    def grade(self, answers: Sequence[tuple[str, Problem]]) -> list[Verdict]:
        """The verdicts in order; equal programs on equal tests run once, as many at a time as there are cores."""
        works = [_work(response, problem) for response, problem in answers]
        distinct = list(dict.fromkeys(works))
        if any(distinct):
            check_sandbox()
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            verdicts = dict(zip(distinct, pool.map(_judge, distinct), strict=True))
        return [verdicts[work] for work in works]


verify_code = Code()
"""Runs the program in a response in a sandbox and judges it by the problem's tests: HumanEval's, MBPP's, or stdin and stdout."""


def extract_program(response: str) -> str | None:
    """The last closed block labelled as Python, else the last closed one without a label, one with a statement first,
    else an unfinished last one, else None."""
    found: str | None = None
    best = 1
    block: list[str] | None = None
    fence = label = ""
    for line in response.split("\n"):
        bare = line.rstrip("\r")
        if block is None:
            if opening := _FENCE.fullmatch(bare):
                block, fence, label = [], opening[1][0], opening[2].strip(" \t{}.").lower()
        elif len(marks := bare.strip()) >= 3 and marks == fence * len(marks):
            text = "\n".join(block)
            if (rank := _rank(label, text)) >= best:
                found, best = text, rank
            block = None
        else:
            block.append(bare)
    return "\n".join(block) if found is None and block is not None and _rank(label, "") else found


def _rank(label: str, block: str) -> int:
    """How much a block counts: 3 labelled as Python, 2 without a label and with a statement, 1 without, 0 another's."""
    if _PYTHON.match(label):
        return 3
    return 0 if label else 2 if _STATEMENT.search(block) or _BODY.search(block) else 1


def _work(response: str, problem: Problem) -> _Work | None:
    examples, tests = _tests(problem)
    signature = str(problem.metadata.get("signature", ""))
    response = final_part(response, run_on=runs_on(problem))
    program = extract_program(response)
    if signature:
        entry = re.compile(rf"^(?:async )?def {re.escape(str(problem.metadata['entry_point']))}\b", re.MULTILINE)
        if program is None:
            program = response if entry.search(response) else signature + _function_body(response)
        elif not entry.search(program):
            program = signature + program
    elif program is None and _STATEMENT.search(response):
        program = response
    return None if program is None or not program.strip() else _Work(program, examples, tests)


def _function_body(completion: str) -> str:
    end = _COMPLETION_ENDS.search(completion)
    return completion[: end.start()] + "\n" if end else completion


def _tests(problem: Problem) -> tuple[tuple[tuple[str, str], ...], ProgramTests | None]:
    data, tests, fault = problem.metadata, None, ""
    if data.get("signature") and "entry_point" not in data:
        fault = "it has a signature, but no entry_point"
    elif "tests" in data:
        pairs = tuple((_text(problem, test, "input"), _text(problem, test, "output")) for test in data["tests"])
        if pairs:
            return pairs, None
    elif "test" in data and "entry_point" in data:
        entry, test, helpers = str(data["entry_point"]), str(data["test"]), _with_body(str(data.get("signature", "")))
        fault = _fault(helpers, "signature") or _fault(test, "test", defines="check") or _fault(entry, "entry_point")
        tests = ProgramTests(f"{test}\ncheck({entry})\n", (entry,), helpers)
    elif data.get("test_list"):
        code, names = "\n".join(data["test_list"]), tuple(data.get("names", ()))
        setup = str(data.get("test_setup_code") or "")
        fault = _fault(setup, "test_setup_code") or _fault(code, "test_list")
        tests = ProgramTests(code, names, setup=setup)
    if fault:
        raise ValueError(f"problem {problem.id!r} cannot be judged: {fault}")
    if tests:
        return (), tests
    raise ValueError(
        f"problem {problem.id!r} has no tests: its metadata needs tests (a list of objects with input and output), "
        "test and entry_point, or test_list"
    )


def _with_body(signature: str) -> str:
    """The signature as a statement of its own: without a docstring it needs a body."""
    if not _syntax_error(signature):
        return signature
    last = signature.rstrip().rpartition("\n")[2]
    indent = last[: len(last) - len(last.lstrip())]
    return f"{signature.rstrip()}\n{indent}    pass\n"


@functools.lru_cache(maxsize=4096)
def _fault(code: str, column: str, defines: str = "") -> str:
    """Why this part of the tests fails whatever the program is; "" where it need not."""
    error = _syntax_error(code)
    if error:
        return f"its {column} is not Python ({error})"
    for node in ast.parse(code).body:
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            if module.partition(".")[0] not in sys.stdlib_module_names:
                return f"its {column} imports {module or 'a relative module'!r}, but only the standard library is there"
    symbols = {symbol.get_name(): symbol for symbol in symtable.symtable(code, "tests", "exec").get_symbols()}
    if defines and not (defines in symbols and (symbols[defines].is_assigned() or symbols[defines].is_imported())):
        return f"its {column} does not define {defines}"
    return ""


@functools.lru_cache(maxsize=4096)
def _syntax_error(code: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tests have invalid escapes such as "\d"
            compile(code, "tests", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        return str(error) or type(error).__name__
    return ""


def _text(problem: Problem, test: Any, column: str) -> str:
    if not isinstance(test, dict) or not isinstance(test.get(column), str):
        raise ValueError(f"problem {problem.id!r}: each of its tests must be an object with input and output, texts")
    return str(test[column])


def _judge(work: _Work | None) -> Verdict:
    if work is None:
        return Verdict("unparsed")
    outcome = _run(work)
    return Verdict(_run(work) if outcome == "error" else outcome, work.program)


def _run(work: _Work) -> Outcome:
    if work.tests is not None:
        ending: str = run_tests(work.program, work.tests, LIMITS)
        return _OUTCOMES[ending]
    for given, expected in work.examples:
        run = run_sandboxed(work.program, given, LIMITS)
        if run.ending != "exit":
            return _OUTCOMES[run.ending]
        if run.exit_code != 0 or _words(run.output.decode("utf-8", "replace")) != _words(expected):
            return "wrong"
    return "correct"


def _words(text: str) -> list[list[str]]:
    return [line.split() for line in text.strip().split("\n")]


_OUTCOMES: dict[str, Outcome] = {
    "correct": "correct",
    "wrong": "wrong",
    "output": "wrong",
    "cpu": "timeout",
    "memory": "timeout",
    "wall": "timeout",
    "failed": "error",
}
