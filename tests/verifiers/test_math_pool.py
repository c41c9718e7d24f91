"""The maths verifier through the grading pool: right whatever stands beside, before or in an answer."""

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.records import Problem, Verdict
from simko.verifiers import check_problems, get_verifier, grade_many, grade_math, verifier_name, verify_math
from simko.verifiers.pool.pool import GradingPool, Job

HERE = Path(__file__).parent
HOSTILE = [
    "".join(part * times for part, times in row) for row in json.loads((HERE / "hostile_answers.json").read_text())
]
RIGHT = [
    (rf"So it is \boxed{{{answer}}}.", gold)
    for answer, gold in [
        ("42", "42"),
        ("x^2+1", "1+x^2"),
        (r"\frac{\sqrt{8}}{2}", r"\sqrt{2}"),
        ("(a+b)^2", "a^2+2ab+b^2"),
    ]
]
WRONG = [
    (rf"\boxed{{{answer}}}", gold) for answer, gold in [("41", "42"), ("x^2-1", "1+x^2"), (r"\sqrt{3}", r"\sqrt{2}")]
]
JUDGE = "simko.verifiers.maths.judge:judge"


def pairs(rows: list[tuple[str, str]]) -> list[tuple[str, Problem]]:
    return [(response, Problem("p", "", gold)) for response, gold in rows]


def outcomes(verdicts: list[Verdict]) -> list[str]:
    return [verdict.outcome for verdict in verdicts]


@pytest.fixture(scope="module")
def pool() -> Iterator[GradingPool]:
    with GradingPool(2) as made:
        yield made


@pytest.mark.parametrize(("rows", "outcome"), [(RIGHT, "correct"), (WRONG, "wrong")])
def test_equality_is_mathematical(rows: list[tuple[str, str]], outcome: str) -> None:
    assert outcomes(grade_many("math", pairs(rows))) == [outcome] * len(rows)
    assert outcomes([grade_math(response, gold) for response, gold in rows]) == [outcome] * len(rows)


def test_the_judge_alone_decides_as_the_text_does(pool: GradingPool) -> None:
    jobs = [Job(JUDGE, answer, Problem("p", "", gold)) for answer, gold in [("42", "42"), ("x+y", "y+x"), ("x", "y")]]
    assert pool.grade(jobs) == ["correct", "correct", "wrong"]


def test_unparsed_and_extracted() -> None:
    assert grade_math("I do not know", "42") == Verdict("unparsed")
    assert grade_math(r"\boxed{42}", "42") == Verdict("correct", "42", rule="box")


@pytest.mark.parametrize("gold", ["", " ", "\n", "\\boxed{}"])
def test_a_problem_without_gold_is_named(gold: str) -> None:
    with pytest.raises(ValueError, match="no gold answer"):
        grade_math(r"\boxed{42}", gold)
    with pytest.raises(ValueError, match="'q' has no gold answer"):
        check_problems("math", [Problem("p", "", "42"), Problem("q", "", gold)])


def test_a_hostile_answer_beside_good_ones(pool: GradingPool) -> None:
    rows = [(r"\boxed{\int_0^1 e^{x^{x^x}} dx}", "42"), *RIGHT, *WRONG]
    expected = ["timeout", *["correct"] * len(RIGHT), *["wrong"] * len(WRONG)]
    assert outcomes(verify_math.grade(pairs(rows), pool)) == expected


_PIECES = [
    "\\boxed{",
    "}",
    "{",
    "\\frac",
    "^",
    "_",
    "(",
    ")",
    "9",
    "!",
    ",",
    "=",
    "%",
    "\\sqrt",
    "x",
    "\\",
    "$",
    " ",
    "\0",
    "\u0662",
]


@given(response=st.lists(st.sampled_from(_PIECES), max_size=12).map(lambda parts: "\\boxed{" + "".join(parts) + "}"))
@settings(max_examples=30, deadline=None)
def test_any_answer_gets_a_verdict(response: str) -> None:
    assert grade_math(response, "42").outcome in ("correct", "wrong", "unparsed", "timeout")


@pytest.mark.parametrize("length", [200_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_the_work_outside_the_pool_is_linear(length: int) -> None:
    texts = ["9" * length, "(" * length, "\\boxed{" * (length // 7), "{" * length + "}" * length, "1," * (length // 2)]
    for text in texts:
        for response in (text, f"\\boxed{{{text}}}", f"The answer is {text}"):
            start = time.process_time()
            assert grade_math(response, "42").outcome in ("wrong", "unparsed", "timeout")
            assert time.process_time() - start < 2.0


@pytest.mark.slow
def test_good_and_hostile_answers_together() -> None:
    """200 good among 200 hostile: all right, within 120 s of CPU time, so that load does not matter."""
    golds = [str(number) for number in range(100)] + [rf"\frac{{{n}}}{{{n + 1}}}+x^{{{n}}}" for n in range(2, 102)]
    rows = [(rf"\boxed{{{gold}}}" if "x" not in gold else rf"\boxed{{1 - 1 + {gold}}}", gold) for gold in golds]
    others = ["42", r"\frac{x}{2}", r"\int_0^1 x dx", "(1,2)", "x=3", r"\sqrt{2}", "1,2,3", "12\\text{ cm}", "x>2"]
    nasty = [(text, gold) for gold in others for text in HOSTILE][:200]
    mixed = [(row, True) for row in pairs(rows)]
    mixed += [((rf"\boxed{{{text}}}", Problem("h", "", gold)), False) for text, gold in nasty]
    random.Random(0).shuffle(mixed)
    before = os.times()
    with GradingPool(2) as made:
        verdicts = verify_math.grade([row for row, _ in mixed], made)
    after = os.times()
    good = [verdict.outcome for verdict, (_, is_good) in zip(verdicts, mixed, strict=True) if is_good]
    hostile = [verdict.outcome for verdict, (_, is_good) in zip(verdicts, mixed, strict=True) if not is_good]
    assert len(hostile) == 200
    assert good == ["correct"] * 200
    assert set(hostile) <= {"wrong", "timeout", "unparsed"}
    assert hostile.count("timeout") >= 2
    assert sum(after[:4]) - sum(before[:4]) < 120


@pytest.mark.slow
def test_hostile_answers_first(pool: GradingPool) -> None:
    hostile = [(rf"\boxed{{{text}}}", gold) for text in HOSTILE for gold in ("42", "43")]
    rows = hostile + RIGHT * 4
    assert len(hostile) == 48
    verdicts = outcomes(verify_math.grade(pairs(rows), pool))
    assert verdicts[48:] == ["correct"] * 16
    assert "correct" not in verdicts[:48]
    assert "error" not in verdicts


def test_by_name() -> None:
    assert get_verifier("math") is verify_math
    assert (verifier_name("math"), verifier_name(verify_math)) == ("math", "verify_math")
