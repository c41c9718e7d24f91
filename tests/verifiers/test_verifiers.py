"""Each verifier against its case file, hostile input included, and against any text at all."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.records import Problem, Verdict
from simko.verifiers import (
    VERIFIERS,
    get_verifier,
    verify_bbh,
    verify_choice,
    verify_exact,
    verify_graph_paths,
    verify_last_box,
    verify_last_integer,
    verify_operator_puzzle,
)

HERE = Path(__file__).parent
_EVERY_INSTRUCTION: dict[str, dict[str, Any]] = json.loads(
    (HERE / "every_instruction.json").read_text(encoding="utf-8")
)
PROBLEMS = {
    "operator_puzzle": Problem("p", "6 6 5 4 1 = 10"),
    "countdown": Problem("p", "3 7 5 2 = 24"),
    "graph_paths": Problem("p", "AB BC AC CD BD : A D 3"),
    "mini_sudoku": Problem("p", ". . 2 . . 4 . . . . . . 3 . 4 ."),
    "last_integer": Problem("p", "", "162"),
    "last_box": Problem("p", "", r"\frac{1}{2}"),
    "choice": Problem("p", "", "(B)"),
    "exact": Problem("p", "", "] >"),
    "bbh": Problem("p", "", "No", {"answer_type": "binary"}),
    "instructions": Problem(
        "p", "", "", {"instruction_id_list": list(_EVERY_INSTRUCTION), "kwargs": list(_EVERY_INSTRUCTION.values())}
    ),
}


def _cases(name: str) -> list[Any]:
    rows = json.loads((HERE / f"cases_{name}.json").read_text(encoding="utf-8"))
    return [pytest.param(name, row, id=f"{name}-{row['why']}") for row in rows]


def _text(response: str | list[list[Any]]) -> str:
    """A case's response: text, or [[text, times], ...] for the long ones."""
    return response if isinstance(response, str) else "".join(part * times for part, times in response)


@pytest.mark.parametrize(("name", "row"), [case for name in PROBLEMS for case in _cases(name)])
def test_case_file(name: str, row: dict[str, Any]) -> None:
    problem = Problem("p", row.get("prompt", ""), row.get("answer", ""), row.get("metadata", {}))
    response = _text(row["response"])
    start = time.process_time()
    verdict = VERIFIERS[name](response, problem)
    assert time.process_time() - start < 3.0, "not linear in the length of the response"
    assert verdict.outcome == row["outcome"]
    if "extracted" in row:
        assert verdict.extracted == row["extracted"]
    if row["outcome"] == "unparsed":
        assert verdict.extracted is None


def test_every_verifier_is_tested() -> None:
    assert set(VERIFIERS) == {*PROBLEMS, "code", "math", "synlogic", "reasoning_gym"}, "these have files of their own"


# st.text() is any text, lone surrogates included; the pieces reach deeper into the parsers
_PIECES = ["+", "-", "*", "/", " ", "0", "1", "26", ",", ".", "{", "}", "\\", "$", "\n", "\0", "\u0662", "\\boxed{"]
_PIECES += ["answer is", "(A)", "B", "or", "no", "because", "\\text{"]
_ANY_TEXT = st.text() | st.lists(st.sampled_from(_PIECES)).map("".join)


@given(response=_ANY_TEXT)
@settings(max_examples=100, deadline=None)
def test_any_text_gets_a_verdict(response: str) -> None:
    for name, problem in PROBLEMS.items():
        assert VERIFIERS[name](response, problem).outcome in ("correct", "wrong", "unparsed")


@given(st.integers())
def test_last_integer_reads_every_integer_back(value: int) -> None:
    for text in (str(value), f"{value:,}", f"the answer is {value:,}."):
        assert verify_last_integer(text, Problem("p", "", str(value))).outcome == "correct"


def test_an_integer_too_long_for_int_is_compared_as_text() -> None:
    digits = "7" * 5000
    assert verify_last_integer(digits, Problem("p", "", digits)).outcome == "correct"


@given(st.recursive(st.sampled_from(["1", "x+y", r"\{", r"\}"]), lambda inner: inner.map(lambda s: f"{{{s}}}{s}")))
def test_last_box_returns_what_stands_between_balanced_braces(content: str) -> None:
    response = f"first \\boxed{{no}} then \\boxed{{{content}}} end }}"
    assert verify_last_box(response, Problem("p", "", content)).outcome == "correct"


@pytest.mark.parametrize("prompt", ["", "6 6 = x", "6 0 = 6", "12 3 = 15", "6  6 = 12", "6 6 = 012", "6 6 = 12\n"])
def test_a_malformed_puzzle_is_named(prompt: str) -> None:
    with pytest.raises(ValueError, match="problem 'p'"):
        verify_operator_puzzle("+ 12", Problem("p", prompt))


_NO_PATH_PROBLEMS = ["", ": A B 1", "AB : A B", "AB : A B 0", "AB : A B 1\n", "AB  BC : A C 2", "AB BC : A C 100"]
_NO_PATH_PROBLEMS += ["AA AB : A B 1", "ABC : A B 1", "ab : a b 1", "AB : A A 1", "AB BC:A C 2", "A B : A B 1"]


@pytest.mark.parametrize("prompt", _NO_PATH_PROBLEMS)
def test_a_malformed_path_problem_is_named(prompt: str) -> None:
    with pytest.raises(ValueError, match="problem 'p'"):
        verify_graph_paths("B", Problem("p", prompt))


@pytest.mark.parametrize("answer", ["", "x", "1.5", "1,2", "\u0662", "12\n"])
def test_a_gold_answer_that_is_no_integer_is_named(answer: str) -> None:
    with pytest.raises(ValueError, match="problem 'p'"):
        verify_last_integer("5", Problem("p", "", answer))


def test_an_empty_gold_answer_is_named() -> None:
    with pytest.raises(ValueError, match="problem 'p'"):
        verify_last_box(r"\boxed{5}", Problem("p", "", " "))


@pytest.mark.parametrize("answer", ["", "AB", "perhaps", "(1)"])
def test_a_gold_answer_that_is_no_option_is_named(answer: str) -> None:
    with pytest.raises(ValueError, match=r"problem 'p'.*no option"):
        verify_choice(r"\boxed{(A)}", Problem("p", "", answer))


def test_an_empty_string_to_match_and_an_unknown_kind_of_answer_are_named() -> None:
    with pytest.raises(ValueError, match="problem 'p' has no gold answer"):
        verify_exact("x", Problem("p", "", " $ "))
    with pytest.raises(ValueError, match=r"problem 'p'.*answer_type is None"):
        verify_bbh("x", Problem("p", "", "x"))


@given(st.sampled_from("ABCDEFGHIJKLMNOPQR"), st.sampled_from(["{}", "({})", "({}) a text", "{}.", r"\text{{({})}}"]))
def test_every_letter_is_read_in_every_usual_form(letter: str, form: str) -> None:
    answer = form.format(letter)
    for response in (f"\\boxed{{{answer}}}", f"Hence the answer is {answer}", f"Thinking.\nAnswer: {answer}\n"):
        assert verify_choice(response, Problem("p", "", f"({letter})")) == Verdict("correct", letter)


@pytest.mark.parametrize("word", ["valid", "true", "yes"])
@pytest.mark.parametrize("form", ["\\boxed{%s}", "The answer is %s.", "The answer is: %s", "%s"])
def test_a_negated_word_is_not_chosen(word: str, form: str) -> None:
    negated = [
        f"in-{word}",
        f"in\u2011{word}",
        f"non-{word}",
        f"un_{word}",
        f"in {word}",
        f"not {word}",
        f"never {word}",
        f"isn't {word}",
    ]
    negated += [f"anything but {word}", f"in\\text{{{word}}}", f"in\u00ad{word}", f"{word}: no", f"{word} is false"]
    for said in negated:
        assert verify_choice(form % said, Problem("p", "", word)).outcome != "correct", said
    assert verify_choice(form % word.upper(), Problem("p", "", word)).outcome == "correct"


def test_a_word_of_two_parts_is_the_word() -> None:
    assert verify_choice("The answer is in-valid.", Problem("p", "", "invalid")) == Verdict("correct", "invalid")
    assert verify_choice("The answer is: No, in this case.", Problem("p", "", "no")) == Verdict("correct", "no")


@pytest.mark.parametrize(
    "said",
    [
        "I doubt the answer is (A).",
        "If the answer is (A), we lose.",
        "\\boxed{(A) is not the answer}",
        "The answer is (A) is wrong.",
        "The answer cannot be (A).",
    ],
)
def test_a_denied_letter_is_not_chosen(said: str) -> None:
    assert verify_choice(said, Problem("p", "", "A")).outcome == "unparsed"
    assert verify_choice(f"The answer is (B). {said}", Problem("p", "", "A")).outcome != "correct"


def test_an_unknown_verifier_lists_the_known_ones() -> None:
    assert get_verifier("last_box") is verify_last_box
    with pytest.raises(ValueError, match="operator_puzzle, countdown, graph_paths, mini_sudoku, last_integer"):
        get_verifier("last_word")
