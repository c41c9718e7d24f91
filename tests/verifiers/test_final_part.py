"""The part of a response that answers: no thought, nothing after the end of the turn, no further question."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from simko.records import Problem
from simko.tasks import file_task
from simko.verifiers import VERIFIERS, grade_many, grade_math
from simko.verifiers.extract import find_answer
from simko.verifiers.parts import final_part


def of(response: str, *, run_on: bool = False) -> tuple[str, str] | None:
    found = find_answer(response, run_on=run_on)
    return None if found is None else (found.text.strip("$ ").rstrip("."), found.rule)


def thoughts() -> Iterator[tuple[str, str]]:
    """(what opens a thought, what closes it) in many spellings."""
    for name in ("think", "Think", "thinking", "thought", "reasoning", "scratchpad", "seed:think"):
        yield f"<{name}>", f"</{name}>"
    yield "◁think▷", "◁/think▷"
    yield "[THINK]", "[/THINK]"
    yield "<|begin_of_thought|>", "<|end_of_thought|>"
    yield "<|START_THINKING|>", "<|END_THINKING|>"
    yield "<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"


@pytest.mark.parametrize(("opening", "closing"), thoughts())
@pytest.mark.parametrize(
    "inside", ["Perhaps \\boxed{12}.", "<answer>12</answer>", "The answer is 12.", "Final answer\n12", "#### 12"]
)
def test_a_thought_holds_no_answer(opening: str, closing: str, inside: str) -> None:
    for answer in ("The answer is 15.", "$\\boxed{15}$", "<answer>15</answer>", "$15$"):
        assert of(f"{opening}\n{inside} No.\n{closing}\n\n{answer}")[0] == "15"  # type: ignore[index]
        assert of(f"{inside} No.\n{closing}\n\n{answer}")[0] == "15", "the prompt opened it"  # type: ignore[index]
        assert of(f"{answer}\n{opening}\n{inside}\n{closing}")[0] == "15"  # type: ignore[index]
    assert find_answer(f"{opening}\n{inside} But wait, so") is None
    assert find_answer(f"{opening}\n{inside}\n{closing}\n") is None
    assert grade_math(f"{opening}{inside}{closing} The answer is 15.", "12").outcome == "wrong"


def test_thoughts_in_thoughts_and_tags_that_are_spoken_of() -> None:
    assert of("<thinking>a <reflection>\\boxed{1}</reflection> \\boxed{2}</thinking> \\boxed{3}") == ("3", "box")
    assert of("<think>a <think> \\boxed{1}</think> \\boxed{2}</think> \\boxed{3}") == ("3", "box")
    assert find_answer("<thinking>a <reflection>b</reflection> \\boxed{2}") is None
    assert of("The tag `<think>` opens a thought. \\boxed{3}") == ("3", "box")


_EXACT = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
VERDICTS = [
    ("last_integer", Problem("p", "", "15"), "12", "15"),
    ("last_box", Problem("p", "", "15"), "\\boxed{12}", "\\boxed{15}"),
    ("math", Problem("p", "", "15"), "\\boxed{12}", "\\boxed{15}"),
    ("choice", Problem("p", "", "B"), "The answer is (A).", "The answer is (B)."),
    ("exact", Problem("p", "", "b c"), "The answer is a.", "The answer is b c."),
    ("bbh", Problem("p", "", "15", {"answer_type": "integer"}), "\\boxed{12}", "15"),
    ("instructions", Problem("p", "", "", _EXACT), "one, two", "one"),
    ("operator_puzzle", Problem("p", "6 6 5 4 1 = 28"), "+ 12", "+ 12 - 7 * 28 / 28"),
    ("countdown", Problem("p", "6 5 = 11"), "6 + 5", "6 + 5 = 11"),
    ("graph_paths", Problem("p", "AB BC AC CD BD : A D 3"), "B C", "C B D"),
    ("mini_sudoku", Problem("p", ". . 2 . . 4 . . . . . . 3 . 4 ."), "1 2", "1 3 2 4 2 4 1 3 4 1 3 2 3 2 4 1"),
    ("synlogic", Problem("p", "", "15", {"task": "object_counting"}), "\\boxed{12}", "\\boxed{15}"),
    (
        "reasoning_gym",
        Problem("p", "", "15", {"dataset": "x", "entry": {"answer": "15"}}),
        "<answer>12</answer>",
        "<answer>15</answer>",
    ),
]


@pytest.mark.parametrize(
    ("name", "problem", "inside", "answer"), VERDICTS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_verifier_reads_the_final_part_alone(name: str, problem: Problem, inside: str, answer: str) -> None:
    def outcome(response: str, **metadata: bool) -> str:
        return VERIFIERS[name](
            response, Problem("p", problem.prompt, problem.answer, {**problem.metadata, **metadata})
        ).outcome

    for response in (
        f"<think>{inside}</think>\n{answer}",
        f"{inside}\n</think>\n\n{answer}",
        f"{answer}<think>{inside}",
        f"{answer}<|im_end|>\n{inside}",
    ):
        assert outcome(response) == "correct", response
    assert outcome(f"<think>{answer}") == "unparsed"
    assert outcome(f"{answer}\n\nQuestion: what else?\n{inside}", run_on=True) == "correct"
    assert outcome(f"{answer}\n\nQuestion: what else?\n{inside}") != "correct"


def test_a_function_of_the_users_gets_the_whole_response() -> None:
    whole = "<think>a</think>b<|im_end|>"
    assert grade_many(lambda response, problem: response == whole, [(whole, Problem("p", ""))])[0].outcome == "correct"


TOKENS = ["<|im_end|>", "<|end|>", "<|eot_id|>", "<|endoftext|>", "</s>", "<end_of_turn>", "<eos>", "[/INST]", "<｜end▁of▁sentence｜>", "<|im_start|>", "<|return|>", "<pad>", "<|new_model_end|>", "<turn|>"]  # fmt: skip


@pytest.mark.parametrize("token", TOKENS)
def test_the_first_token_of_a_template_ends_the_turn(token: str) -> None:
    for before, rule in (
        ("The answer is <V>", "phrase"),
        ("#### <V>", "####"),
        ("$\\boxed{<V>}$", "box"),
        ("<V>", "whole response"),
    ):
        for after in (token, f" {token}", f"\n{token}\nuser\nThe answer is 13. \\boxed{{13}}\n#### 13"):
            assert of(before.replace("<V>", "12") + after) == ("12", rule)
    assert of(f"{token}12") == ("12", "whole response")


@pytest.mark.parametrize("text", ["$|a|<|b|$", "a < b > c", "|x|<|y|>|z|", "x <y> z", "<s>12</s> 13", "if a<b and c>d"])
def test_what_is_no_token_ends_nothing(text: str) -> None:
    assert final_part(f"Then {text}") == f"Then {text}"


QUESTIONS = ["\n\nQ: 3 + 4?", "\nProblem: x", "\nQuestion: x", "\n\nHuman: x", "\n### Instruction\nx", "\n## Problem 2\nx", "\nUser: x", "\n**Question 3:** x", "\nQuestion 12: x", "\n> Q: x", "\n问题：x", "\nВопрос: x", "\nPregunta: x"]  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_run_on_response_is_cut_where_another_question_begins(question: str) -> None:
    for answer, rule in (("The answer is 12.", "phrase"), ("$\\boxed{12}$", "box"), ("12", "whole response")):
        text = f"{answer}{question}\nA: \\boxed{{13}} The final answer is 14."
        assert of(text, run_on=True) == ("12", rule)
        assert of(text) != ("12", rule), "off by default"
    assert of(f"{question} The answer is 5.", run_on=True) == of(f"{question} The answer is 5.")


@pytest.mark.parametrize(("written", "cut"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_a_file_says_by_a_column_that_its_responses_run_on(written: str, cut: bool, tmp_path: Path) -> None:
    path = tmp_path / "sums.csv"
    path.write_text(f"prompt,answer,run_on\n1+1=,2,{written}\n", encoding="utf-8")
    (problem,) = file_task(path, "math").load("test")
    verdict = VERIFIERS["math"]("The answer is 2.\n\nQ: 2+2=\nThe answer is 4.", problem)
    assert (verdict.outcome == "correct") is cut
