"""Programs taken out of responses, run on tests in the real sandbox."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from simko.records import Problem
from simko.verifiers import code
from simko.verifiers.code import extract_program, verify_code, verify_code_many
from simko.verifiers.sandbox import Limits

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


@pytest.mark.usefixtures("bwrap")
def test_many_keep_their_order_and_equal_programs_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    run = code._run
    monkeypatch.setattr(code, "_run", lambda work: (ran.append(work.program), run(work))[1])
    good, bad = "```python\nprint(int(input()) * 2)\n```", "```python\nprint(7)\n```"
    double = problem("double")
    verdicts = verify_code_many([(bad, double), (good, double), ("no program", double), (good, double), (bad, double)])
    assert [verdict.outcome for verdict in verdicts] == ["wrong", "correct", "unparsed", "correct", "wrong"]
    assert len(ran) == 2
    assert verify_code_many([]) == []


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


@pytest.mark.parametrize("piece", ["```python\n", "```\n", "`", " ", "\n", "def ", "x", "a = ", "\r\n", "# "])
def test_extraction_is_linear(piece: str) -> None:
    start = time.process_time()
    extract_program(piece * 20_000)
    for name in PROBLEMS:
        code._work(piece * 20_000, problem(name))
    assert time.process_time() - start < 2
