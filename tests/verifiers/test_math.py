"""The mathematics verifier: own cases, the labelled cases, the benchmarks' golds, hostile texts."""

import itertools
import json
import string
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.records import Problem, Verdict
from simko.verifiers import grade_many, verify_math
from simko.verifiers.extract import extract_answer
from simko.verifiers.maths.comparing.compare import judge_with
from simko.verifiers.maths.reading.read import read
from simko.verifiers.maths.spelling import normal_form

HERE = Path(__file__).parent
NAMES = ["aime24", "aime25", "amc23", "math500", "minerva", "olympiadbench", "gsm8k"]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def quick_match(answer: str, gold: str) -> bool | None:
    return judge_with(thorough=False).same(read(gold), read(answer))


CASES = rows(HERE / "cases_math.jsonl")


@pytest.fixture(scope="module")
def own_verdicts() -> list[Verdict]:
    problems = [Problem("p", "", case["gold"], case.get("metadata", {})) for case in CASES]
    return grade_many("math", [(case["response"], problem) for case, problem in zip(CASES, problems, strict=True)])


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{c['response'][-40:]}|{c['gold']}" for c in CASES])
def test_own_cases(number: int, own_verdicts: list[Verdict]) -> None:
    assert own_verdicts[number].outcome == CASES[number]["outcome"]


def test_extracted_is_the_normal_form() -> None:
    half = Problem("p", "", "0.5")
    answers = ["\\boxed{x = \\dfrac12}", "\\boxed{\\frac{2}{4}}", "\\boxed{ \\sqrt{ 2}}", "none"]
    assert [verify_math(answer, half).extracted for answer in answers] == ["0.5", "0.5", "\\sqrt{2}", None]


@pytest.mark.parametrize("gold", ["", "  ", "$$", "\\boxed{}", "\\boxed{5"])
def test_a_problem_without_gold_is_refused(gold: str) -> None:
    with pytest.raises(ValueError, match="'p7' has no gold answer"):
        verify_math("\\boxed{5}", Problem("p7", "", gold))


@pytest.mark.parametrize("name", NAMES)
def test_every_gold_passes_against_itself(name: str, bench_data: Path) -> None:
    missed = []
    for row in rows(bench_data / f"{name}.jsonl"):
        for gold in {row["answer"], row.get("answer_latex") or row["answer"], row.get("answer_raw") or row["answer"]}:
            for form in ("So $\\boxed{%s}$.", "The answer is $%s$.", "The answer is %s.", "Answer:\n\\[\n%s\n\\]\n"):
                extracted = extract_answer(form % gold)
                if extracted is None or quick_match(extracted, row["answer"]) is not True:
                    missed.append((row["id"], form % gold, extracted))
    assert not missed


@pytest.mark.parametrize("name", ["math500", "minerva", "olympiadbench"])
def test_golds_of_other_problems_fail(name: str, bench_data: Path) -> None:
    golds = [row["answer"] for row in rows(bench_data / f"{name}.jsonl")]
    passed = [(one, other) for one, other in itertools.pairwise(golds) if quick_match(one, other)]
    assert all(normal_form(one) == normal_form(other) for one, other in passed)
    assert len(passed) < 12


POLICY = {row["id"] for row in rows(HERE / "math_policy.jsonl")}
LABELLED = [
    row for row in rows(HERE.parent / "data" / "grader_cases.jsonl") if row["id"] not in POLICY and not row.get("taste")
]


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_labelled_cases_agree(every: int) -> None:
    """Through the pool, at its limits."""
    cases = LABELLED[::every]
    verdicts = grade_many("math", [(case["response"], Problem(case["id"], "", case["gold"])) for case in cases])
    missed = [
        (verdict.outcome, case)
        for case, verdict in zip(cases, verdicts, strict=True)
        if (verdict.outcome == "correct") is not case["correct"]
    ]
    print(len(cases), *missed, sep="\n")
    assert [case for _, case in missed if "missed" not in case] == []
    assert "error" not in {verdict.outcome for verdict in verdicts}


def test_text_and_numbers_decide_most_labelled_cases() -> None:
    sure = [
        quick_match(answer, case["gold"])
        for case in LABELLED
        if case["source"] != "made up"
        if (answer := extract_answer(case["response"])) is not None
    ]
    assert sum(verdict is not None for verdict in sure) >= 0.75 * len(sure)


HOSTILE = {
    "open braces": "\\boxed{" + "{" * 1_000_000,
    "boxes": "\\boxed{" * 200_000,
    "closed boxes": "\\boxed{1}" * 200_000,
    "boxes, far apart": ("\\boxed{1}" + " " * 50) * 30_000,
    "answers": "the answer is " * 100_000,
    "final answers after a box": "\\boxed{1}" + "the final answer is 1 final " * 50_000,
    "boxes and texts": "\\boxed{1}\\text{ for and }" * 50_000,
    "answer then spaces": "answer" + " " * 1_000_000,
    "answer: per line": "answer:\n" * 200_000,
    "dollars": "answer is " + "$" * 1_000_000,
    "hashes": "#" * 1_000_000,
    "backslashes": "\\" * 1_000_000,
    "long answer": "\\boxed{" + "9" * 1_000_000 + "}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_extraction_is_linear(text: str) -> None:
    began = time.process_time()
    extract_answer(text)
    assert time.process_time() - began < 2.0


SHORT_HOSTILE = [
    "9" * 1000, "(" * 500 + "5" + ")" * 500, "{" * 500 + "5" + "}" * 500, "\\frac" * 200, "\\frac{" * 166, "\\sqrt" * 199,
    "1," * 500, "(1,2)," * 166, "1=" * 500, " " * 1000, "\\text{" * 166, "10^{999999999}", "1e999999999", "1\\pm2," * 160,
    "1" + "0" * 990 + "/3", "x_" * 500, "f(x)" * 250, "\\approx" * 140, "a \\in " * 160, "1/" * 500, "5 " + "abc " * 249,
    "1 000 " * 160, "1,000," * 160, "3 cats " * 16, r"1\% 2 cm " * 16, "1e3000" * 15, "x" + "!" * 60, "x" + "!" * 900, "5" + r"^\circ" * 20, "x" + "^2" * 480,
    r"\log_2" * 160 + "5", "5" + "%" * 990, "9" * 900 + "e3000", "3 apples 4 pears 5 plums 6 figs 7 dates 8 nuts 9 limes 10 kiwis", "5 " + "word " * 190,
    "step 0 gives 0 step 1 gives 1 step 2 gives 2 step 3 gives 3 step 4 gives 4 step 5 gives 5 step 6 gives 6 step 7 gives 7", "\\{" * 250 + "\\}" * 250, "((1,2)," * 140, "|" * 1000, "\\\\" * 500, "." * 1000,
]  # fmt: skip


@pytest.mark.parametrize("answer", SHORT_HOSTILE, ids=lambda answer: answer[:12])
def test_quick_match_is_cheap_on_any_answer(answer: str) -> None:
    began = time.process_time()
    for gold in ("149", "0.5", "\\frac{1}{3}", "(1,2),(3,4)", "x=2", "28\\%", answer):
        quick_match(answer, gold)
    assert normal_form(normal_form(answer)) == normal_form(answer)
    assert time.process_time() - began < 1.0


PIECES = st.sampled_from(
    [
        *["\\frac", "\\dfrac", "\\sqrt", "{", "}", "(", ")", "[", "]", "\\{", "\\}", "\\text{", " and ", "\\pm ", ",", ", ", "=", "x", "f(x)"],
        *["1", "23", "000", "0.5", ".", "/", "-", "%", "\\%", "$", "\\$", "^", "_", "\\circ", "\\approx ", "\\times 10^{", "e", "\\pi ", " "],
        *["cm", "miles", "\\left(", "\\right)", "\\\\", "\\boxed{", "\\in ", ";", ":", "\\!", "\\,", "abc", "<", "\\le "],
    ]
)  # fmt: skip
ANSWERS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=12).map("".join))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(ANSWERS)
def test_normal_form_is_idempotent(answer: str) -> None:
    assert normal_form(normal_form(answer)) == normal_form(answer)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ANSWERS, ANSWERS)
def test_quick_match_is_reflexive_and_never_raises(one: str, other: str) -> None:
    assert quick_match(one, one) is not False or not normal_form(one)
    quick_match(one, other)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.one_of(ANSWERS, ANSWERS.map("\\boxed{%s}".__mod__)), ANSWERS), max_size=3))
def test_no_answer_ends_a_run(pairs: list[tuple[str, str]]) -> None:
    problems = [Problem("p", "", gold if normal_form(gold) and "boxed" not in gold else "3") for _, gold in pairs]
    answers = [(response, problem) for (response, _), problem in zip(pairs, problems, strict=True)]
    assert "error" not in {verdict.outcome for verdict in grade_many("math", answers)}


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.lists(st.one_of(st.text(alphabet=string.printable, max_size=8), PIECES, st.just("the answer is ")), max_size=12)
)
def test_extract_answer_never_raises(pieces: list[str]) -> None:
    answer = extract_answer("".join(pieces))
    assert answer is None or 0 < len(answer) <= 1000


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6), st.integers(-(10**12), 10**12), st.integers(1, 10**6))
def test_fractions_match_exactly(a: int, b: int, c: int, d: int) -> None:
    written = f"\\frac{{{a}}}{{{b}}}"
    assert quick_match(written, f"{a * d}/{b * d}") is True
    if abs(Fraction(a, b) - Fraction(c, d)) > abs(Fraction(c, d)) / 1000:
        assert quick_match(written, f"{c}/{d}") is False
