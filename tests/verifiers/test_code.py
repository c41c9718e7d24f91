"""Programs taken out of responses, run on tests in the real sandbox."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from simko.records import Problem
from simko.verifiers import verify_code
from simko.verifiers.code import verify as code
from simko.verifiers.code.sandbox import Limits
from simko.verifiers.code.verify import extract_program

HERE = Path(__file__).parent
ROWS = json.loads((HERE / "cases_code.json").read_text(encoding="utf-8"))
PROBLEMS: dict[str, dict[str, Any]] = ROWS["problems"]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "LIMITS", Limits(cpu_seconds=1, wall_seconds=8.0))


def problem(name: str) -> Problem:
    return Problem(name, "", "", PROBLEMS[name])


@pytest.mark.usefixtures("bwrap")
@pytest.mark.parametrize("row", ROWS["cases"], ids=lambda row: row["why"])
def test_case_file(row: dict[str, Any]) -> None:
    verdict = verify_code(row["response"], problem(row["problem"]))
    assert verdict.outcome == row["outcome"]
    if "extracted" in row:
        assert verdict.extracted == row["extracted"]
    assert (verdict.extracted is None) == (row["outcome"] == "unparsed")


@pytest.mark.parametrize("label", ["python", "py", "Python3", "python3.11", "{.python}", 'python title="a.py"', "PY"])
@pytest.mark.parametrize(
    "output", ["4", "x = 4", "print(4)", "def f(): return 4", "", "Input: 2\nOutput: 4", "import os"]
)
@pytest.mark.parametrize("mark", ["```", "````", "~~~"])
def test_a_labelled_block_counts_before_sample_output(label: str, output: str, mark: str) -> None:
    program, fence = "n = int(input())\nprint(n * 2)", f"{mark}\n{output}\n{mark}\n"
    labelled = f"{mark}{label}\n{program}\n{mark}\n"
    for response in (f"{labelled}gives\n{fence}", f"{fence}so\n{labelled}", f"{fence}{labelled}{fence}{fence}"):
        assert extract_program(response) == program
    assert extract_program(f"{labelled.replace(program, 'print(1)')}better:\n{labelled}{fence}") == program


@pytest.mark.parametrize("output", ["4", "Input: 2\nOutput: 4", "[1, 2]", "True"])
def test_of_blocks_without_a_label_one_with_a_statement_counts(output: str) -> None:
    for program in (
        "print(int(input()) * 2)",
        "    return sum(xs)",
        "def f(x):\n    return x",
        "from math import pi\nprint(pi)",
    ):
        assert extract_program(f"```\n{program}\n```\nOutput:\n```\n{output}\n```") == program
    assert extract_program(f"```json\n{output}\n```") is None
    assert extract_program(f"```\n{output}\n```") == output


@pytest.mark.usefixtures("bwrap")
def test_many_keep_their_order_and_equal_programs_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    run = code._run
    monkeypatch.setattr(code, "_run", lambda work: (ran.append(work.program), run(work))[1])
    good, bad = "```python\nprint(int(input()) * 2)\n```", "```python\nprint(7)\n```"
    double = problem("double")
    verdicts = verify_code.grade([(bad, double), (good, double), ("no program", double), (good, double), (bad, double)])
    assert [verdict.outcome for verdict in verdicts] == ["wrong", "correct", "unparsed", "correct", "wrong"]
    assert len(ran) == 2
    assert verify_code.grade([]) == []


def test_the_sandboxes_own_fault_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    endings = iter(["error", "correct", "error", "error"])
    monkeypatch.setattr(code, "_run", lambda work: next(endings))
    response = "```python\nprint(1)\n```"
    assert verify_code(response, problem("double")).outcome == "correct"
    assert verify_code(response, problem("double")).reward is None


@pytest.mark.parametrize("metadata", [{}, {"tests": []}, {"tests": [{"input": "1"}]}, {"test": "x"}, {"test_list": []}])
def test_a_problem_without_tests_is_named(metadata: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="problem 'p7'"):
        verify_code("```python\n1\n```", Problem("p7", "", "", metadata))


CHECK = "def check(candidate):\n    assert candidate([1, 2]) == 3\n"


@pytest.mark.parametrize(
    ("metadata", "fault"),
    [
        ({"test": "def check(candidate):\n    asert candidate(1)\n", "entry_point": "f"}, "its test is not Python"),
        ({"test": "METADATA = {}\n", "entry_point": "f"}, "its test does not define check"),
        ({"test": "check(f)\n", "entry_point": "f"}, "its test does not define check"),
        ({"test": CHECK, "entry_point": "f", "signature": "def f(xs:\n"}, "its signature is not Python"),
        ({"test": "import numpy as np\n" + CHECK, "entry_point": "f"}, "its test imports 'numpy'"),
        ({"test_list": ["assert f(1) = 1"]}, "its test_list is not Python"),
        ({"test_list": ["return f(1)"]}, "its test_list is not Python"),
        ({"test_list": ["assert f(1)"], "test_setup_code": "from numpy.linalg import inv"}, "'numpy.linalg'"),
    ],
)
def test_tests_that_no_program_could_pass_are_refused_before_sampling(metadata: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=f"problem 'p7' cannot be judged: .*{fault}"):
        verify_code("", Problem("p7", "", "", metadata))


@pytest.mark.usefixtures("bwrap")
@pytest.mark.parametrize("signature", ["def f(xs):\n", "import math\n\ndef f(xs):\n    # the sum\n"])
def test_a_signature_without_a_docstring_is_completed(signature: str) -> None:
    bare = Problem("p", "", "", {"signature": signature, "entry_point": "f", "test": CHECK})
    responses = ["    return sum(xs)\n", "```python\ndef f(xs):\n    return sum(xs)\n```", "    return 0\n"]
    assert [verify_code(response, bare).outcome for response in responses] == ["correct", "correct", "wrong"]


@pytest.mark.usefixtures("bwrap")
@pytest.mark.parametrize("fault", ["import numpy", "1 / 0", "assert isinstance(candidate, type)", "raise SystemExit"])
def test_tests_that_fail_before_they_call_the_program_are_an_error(fault: str) -> None:
    def outcome(line: str, program: str) -> str:
        test = f"def check(candidate):\n    {line}\n    assert candidate(1) == 1\n"
        return verify_code(
            f"```python\n{program}\n```", Problem("p", "", "", {"entry_point": "f", "test": test})
        ).outcome

    good = "def f(x): return x"
    assert outcome(fault, good) == "error"
    # from here on it could be the program's doing, which must have no way out of "wrong"
    assert outcome(f"candidate(2); {fault}", good) == "wrong"
    assert [outcome(fault, bad) for bad in ("f = 5", "g = 5", "1 / 0", "import numpy")] == ["wrong"] * 4


@pytest.mark.parametrize("piece", ["```python\n", "```\n", "`", " ", "\n", "def ", "x", "a = ", "\r\n", "# "])
def test_extraction_is_linear(piece: str) -> None:
    start = time.process_time()
    extract_program(piece * 20_000)
    for name in PROBLEMS:
        code._work(piece * 20_000, problem(name))
    assert time.process_time() - start < 2
