"""The mathematics verifier: own cases, the labelled cases, every benchmark's golds, hostile texts."""

import itertools
import json
import os
import resource
import signal
import string
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.records import Problem
from simko.verifiers.math import extract_answer, match_here, normal_form, quick_match, symbolic_match

HERE = Path(__file__).parent
BENCHMARKS = Path(__file__).parents[2].parent / "shared" / "bench-data"
NAMES = ["aime24", "aime25", "amc23", "math500", "minerva", "olympiadbench", "gsm8k"]


def rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        pytest.skip(f"{path} is not here: the benchmark files stand beside the project, in shared/bench-data")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


CASES = rows(HERE / "cases_math.jsonl")


def bounded(function: Callable[[], object], cpu_seconds: float = 5.0) -> object:
    """The function's result from a forked child, "killed" where it needs more time or memory."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
            resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
            os.write(writer, json.dumps(function()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else "killed"


def match(answer: str | None, gold: str, cpu_seconds: float = 5.0) -> object:
    if answer is None:
        return False
    sure = quick_match(answer, gold)
    if sure is not None:
        return sure
    import math_verify  # noqa: F401  once, before the fork

    return bounded(lambda: symbolic_match(answer, gold), cpu_seconds)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['response'][-40:]}|{case['gold']}")
def test_own_cases(case: dict[str, Any]) -> None:
    import math_verify  # noqa: F401

    problem = Problem("p", "", case["gold"], case.get("metadata", {}))
    assert bounded(lambda: match_here(case["response"], problem).outcome) == case["outcome"]


def test_extracted_is_the_normal_form() -> None:
    assert match_here("\\boxed{x = \\dfrac12}", Problem("p", "", "0.5")).extracted == "0.5"
    assert match_here("none", Problem("p", "", "0.5")).extracted is None


@pytest.mark.parametrize("gold", ["", "  ", "$$", "\\boxed{}", "\\boxed{5"])
def test_a_problem_without_gold_is_refused(gold: str) -> None:
    with pytest.raises(ValueError, match="'p7' has no gold answer"):
        match_here("\\boxed{5}", Problem("p7", "", gold))


@pytest.mark.parametrize("name", NAMES)
def test_every_gold_passes_against_itself(name: str) -> None:
    missed = []
    for row in rows(BENCHMARKS / f"{name}.jsonl"):
        for gold in {row["answer"], row.get("answer_latex") or row["answer"], row.get("answer_raw") or row["answer"]}:
            for form in ("So $\\boxed{%s}$.", "The answer is $%s$.", "The answer is %s.", "Answer:\n\\[\n%s\n\\]\n"):
                extracted = extract_answer(form % gold)
                if extracted is None or quick_match(extracted, row["answer"]) is not True:
                    missed.append((row["id"], form % gold, extracted))
    assert not missed


@pytest.mark.parametrize("name", ["math500", "minerva", "olympiadbench"])
def test_golds_of_other_problems_fail(name: str) -> None:
    golds = [row["answer"] for row in rows(BENCHMARKS / f"{name}.jsonl")]
    passed = [(one, other) for one, other in itertools.pairwise(golds) if quick_match(one, other)]
    assert all(normal_form(one) == normal_form(other) for one, other in passed)
    assert len(passed) < 12


def labelled() -> list[tuple[str, str | None, str, bool, str]]:
    """(id, answer, gold, label, kind) of the cases whose label is no policy choice."""
    policy = {row["id"] for row in rows(HERE / "math_policy.jsonl")}
    found = []
    for row in rows(BENCHMARKS / "grader_cases.jsonl"):
        answer, gold = extract_answer(row["prediction"]), row["gold"]
        if answer is None and not any(len(word) > 1 and word.isalpha() for word in row["prediction"].split()[:3]):
            answer = row["prediction"]  # a bare answer, not a response
        if row["form"] == "bare":
            answer = answer or row["prediction"]
        gold = (extract_answer(gold) if "\\boxed" in gold else gold) or gold
        found.append((row["id"], answer, gold, row["verdict"], row["form"]))
    for row in rows(BENCHMARKS / "grader_hard_cases.jsonl"):
        if row["expected"] is not None:
            found.append((row["id"], extract_answer(row["prediction"]), row["gold"], row["expected"], row["kind"]))
    assert policy <= {case[0] for case in found}
    return [case for case in found if case[0] not in policy]


def test_labelled_cases_that_text_and_numbers_decide() -> None:
    verdicts = [(case, quick_match(case[1], case[2])) for case in labelled() if case[1] is not None]
    assert not [case for case, verdict in verdicts if verdict is not None and verdict is not case[3]]
    assert sum(verdict is not None for _, verdict in verdicts) >= 0.75 * len(verdicts)


@pytest.mark.slow
def test_labelled_cases_agree() -> None:
    cases = labelled()
    verdicts = [match(answer, gold, 2.0 if kind == "dos" else 10.0) is True for _, answer, gold, _, kind in cases]
    missed = [case for case, verdict in zip(cases, verdicts, strict=True) if verdict is not case[3]]
    assert len(missed) <= 0.02 * len(cases), missed
    assert not [case for case in missed if case[4] in ("W_eq_chain", "W_percent", "tiny_number", "dos")]


HOSTILE = {
    "open braces": "\\boxed{" + "{" * 1_000_000,
    "boxes": "\\boxed{" * 200_000,
    "closed boxes": "\\boxed{1}" * 200_000,
    "boxes, far apart": ("\\boxed{1}" + " " * 50) * 30_000,
    "answers": "the answer is " * 100_000,
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
    "1 000 " * 160, "1,000," * 160, "\\{" * 250 + "\\}" * 250, "((1,2)," * 140, "|" * 1000, "\\\\" * 500, "." * 1000,
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


@settings(max_examples=250, deadline=None, derandomize=True)
@given(ANSWERS)
def test_normal_form_is_idempotent(answer: str) -> None:
    assert normal_form(normal_form(answer)) == normal_form(answer)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(ANSWERS, ANSWERS)
def test_quick_match_is_reflexive_and_never_raises(one: str, other: str) -> None:
    assert quick_match(one, one) is not False
    quick_match(one, other)


@settings(max_examples=150, deadline=None, derandomize=True)
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
