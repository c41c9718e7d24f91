"""One protocol for every verifier: check says whether a problem can be judged, grade judges."""

import pickle
from collections.abc import Sequence
from typing import Any

import pytest

from simko.records import Problem, Verdict, Verifier
from simko.verifiers import (
    VERIFIERS,
    VerifierError,
    check_problems,
    get_verifier,
    grade_many,
    verifier_name,
    verify_code,
)
from simko.verifiers.code import verify

HUMANEVAL = {"signature": "def f(x):\n", "entry_point": "f", "test": "def check(candidate):\n    assert candidate(1)\n"}
ENTRY = {"dataset": "chain_sum", "entry": {"question": "1 + 1", "answer": "2", "metadata": {}}}
GOOD: dict[str, Problem] = {
    "operator_puzzle": Problem("p", "6 6 = 12"),
    "countdown": Problem("p", "6 6 = 12"),
    "graph_paths": Problem("p", "AB BC : A C 2"),
    "mini_sudoku": Problem("p", ". . 2 . . 4 . . . . . . 3 . 4 ."),
    "last_integer": Problem("p", "", "1,234"),
    "last_box": Problem("p", "", "x"),
    "math": Problem("p", "", "\\boxed{x}", {"tolerance": 0.1}),
    "choice": Problem("p", "", "(B)"),
    "exact": Problem("p", "", "a b"),
    "bbh": Problem("p", "", "12", {"answer_type": "integer"}),
    "code": Problem("p", "", "", HUMANEVAL),
    "instructions": Problem("p", "", "", {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [None]}),
    "synlogic": Problem("p", "", "3", {"task": "object_counting", "metadata": {}}),
    "reasoning_gym": Problem("p", "", "2", ENTRY),
}
BAD: list[tuple[str, str, str, dict[str, Any]]] = [
    ("operator_puzzle", "6 6", "", {}),
    ("countdown", "6 6", "", {}),
    ("graph_paths", "AB BC : A C", "", {}),
    ("mini_sudoku", "1 2 3 4", "", {}),
    ("last_integer", "", "1.5", {}),
    ("last_box", "", "$$", {}),
    ("math", "", "", {}),
    *(("math", "", "1", {"tolerance": value}) for value in ("", "about", [1], float("nan"), float("inf"), "1/0")),
    ("choice", "", "perhaps", {}),
    ("exact", "", "$", {}),
    ("bbh", "", "12", {}),
    ("bbh", "", "1.5", {"answer_type": "integer"}),
    ("bbh", "", "1.5", {"answer_type": "binary"}),
    ("code", "", "", {}),
    ("code", "", "", {"signature": "def f(x):\n", "test_list": ["assert f(1)"]}),
    ("instructions", "", "", {"instruction_id_list": ["no:such"], "kwargs": [{}]}),
    ("synlogic", "", "", {"task": "object_counting", "metadata": {}}),
    *(("reasoning_gym", "", "2", metadata) for metadata in ({}, ENTRY | {"entry": {}}, {"entry": ENTRY["entry"]})),
]


@pytest.mark.usefixtures("bwrap")
@pytest.mark.parametrize("name", VERIFIERS)
def test_every_verifier_accepts_a_problem_that_it_can_judge(name: str) -> None:
    verifier = get_verifier(name)
    assert isinstance(verifier, Verifier)
    assert verifier_name(verifier) == verifier.name == f"verify_{name}"
    check_problems(name, [GOOD[name]])
    assert verifier.grade([]) == []
    assert pickle.loads(pickle.dumps(verifier)).name == verifier.name


@pytest.mark.usefixtures("bwrap")
@pytest.mark.parametrize(("name", "prompt", "answer", "metadata"), BAD)
def test_every_verifier_names_a_problem_that_it_cannot_judge(
    name: str, prompt: str, answer: str, metadata: dict[str, Any]
) -> None:
    problem = Problem("p7", prompt, answer, metadata)
    with pytest.raises(ValueError, match=r"^problem 'p7'"):
        check_problems(name, [GOOD[name], problem])
    with pytest.raises(ValueError, match=r"^problem 'p7'"):
        grade_many(name, [("a response", problem)])


@pytest.mark.usefixtures("bwrap")
def test_a_check_runs_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_run", lambda work: pytest.fail("a program ran"))
    check_problems(verify_code, [GOOD["code"]] * 100)


class Longest:
    """A verifier of the user's own with all of the protocol."""

    name = "longest"

    def check(self, problem: Problem) -> None:
        if not problem.answer:
            raise ValueError(f"problem {problem.id!r} has no answer")

    def grade(self, answers: Sequence[tuple[str, Problem]]) -> list[Verdict]:
        longest = max((len(response) for response, _ in answers), default=0)
        return [Verdict("correct" if len(response) == longest else "wrong") for response, _ in answers]


def test_a_verifier_of_the_users_own_checks_and_grades_whole_lists() -> None:
    problem = Problem("p", "", "x")
    assert [v.outcome for v in grade_many(Longest(), [("a", problem), ("aa", problem)])] == ["wrong", "correct"]
    assert verifier_name(Longest()) == "longest"
    with pytest.raises(ValueError, match="'q' has no answer"):
        check_problems(Longest(), [problem, Problem("q", "")])


class Own:
    """A verifier of the user's own that answers what it is told to."""

    name = "own"

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers

    def check(self, problem: Problem) -> None:
        pass

    def grade(self, answers: Sequence[tuple[str, Problem]]) -> list[Any]:
        return self.answers


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([Verdict("correct")], "the verifier own gave 1 verdicts on 2 responses"),
        ([Verdict("correct")] * 3, "gave 3 verdicts on 2 responses"),
        ([Verdict("correct"), None], "on problem 'q': it returned None, which is neither"),
        ([Verdict("right"), Verdict("wrong")], "on problem 'p': its verdict's outcome is 'right'"),
    ],
)
def test_grade_gives_one_verdict_on_each_response_or_is_named(answers: list[Any], said: str) -> None:
    with pytest.raises(VerifierError, match=said):
        grade_many(Own(answers), [("a", Problem("p", "")), ("b", Problem("q", ""))])


def test_what_grade_gives_is_read_like_a_function_s_answer() -> None:
    verdicts = grade_many(Own([True, 0.5]), [("a", Problem("p", "")), ("b", Problem("q", ""))])
    assert verdicts == [Verdict("correct"), Verdict("wrong", score=0.5)]


@pytest.mark.parametrize("other", [3, Own, object()])
def test_what_is_no_verifier_is_refused_with_what_is_one(other: Any) -> None:
    with pytest.raises(
        ValueError, match=r"is no verifier: give a name, a function .* check.problem. and grade.answers."
    ):
        check_problems(other, [Problem("p", "")])
