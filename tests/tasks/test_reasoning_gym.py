"""reasoning-gym tasks: the audited tables, stable and disjoint problems, golds that pass, hostile answers that do not."""

import json
import os
import re
import subprocess
import sys

import pytest

from simko.records import Problem
from simko.tasks.reasoning_gym import ALLOWED, CHOICES, REFUSED, reasoning_gym_task
from simko.verifiers import grade_many
from simko.verifiers.extract import Span
from simko.verifiers.reasoning_gym import MAX_ANSWER, extract_answer_tag, quick

pytest.importorskip("reasoning_gym")
from simko.verifiers.reasoning_gym_judge import EXACT, SKIPPING, judge

assert set(ALLOWED) >= EXACT | SKIPPING
FEW = ("chain_sum", "word_sorting", "jugs", "syllogism", "sudoku", "knights_knaves")

# Judges everything in a process of its own: a scorer that hangs or eats memory ends it, and with it the test.
SWEEP = r"""
import resource, signal, sys, time
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from simko.tasks.reasoning_gym import reasoning_gym_task
from simko.verifiers.reasoning_gym import MAX_ANSWER as N
from simko.verifiers.reasoning_gym_judge import judge

HOSTILE = ["", " ", "\n", "None", "null", "nan", "NaN", "inf", "[]", "{}", "hello", "1e9999", "1e999999999", "-1e-999999999",
    "1/0", "9**9**9**9", "__import__('os')._exit(7)", "\ud800", "[NaN, NaN]", "nan+nani", "[" * 900, "9" * N, "[" * N,
    "(" * (N // 2) + "1" + ")" * (N // 2 - 1), "A " * (N // 2), "," * N, "1\n" * (N // 2), "-" * N, "x" * N,
    "a" + " " * (N - 2) + "b", "2 x " * (N // 4), "ABC" * (N // 3), "A=1," * (N // 4), "9." * (N // 2), ":" * N,
    "F+1000000000", "0x" + "f" * (N - 2), "Move disk 1 from Peg 1 to Peg 2\n" * (N // 40), "x" * (N + 1)]
for name in sys.argv[1:]:
    problems = reasoning_gym_task(name).load("test", 2)
    for problem in problems:
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 60, -1))
        assert judge(problem.answer, problem), (name, "gold", problem.answer)
        for answer in HOSTILE:
            if answer.strip() == problem.answer.strip():
                continue
            start = time.process_time()
            assert not judge(answer, problem), (name, "passes", answer[:50])
            assert time.process_time() - start < 1.5, (name, "slow", answer[:50])
    for answer in {p.answer for p in problems}:
        for problem in problems:
            if answer != problem.answer:
                judge(answer, problem)
print("swept", len(sys.argv) - 1)
"""


def _sweep(names: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SWEEP, *names], capture_output=True, text=True, timeout=900, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"swept {len(names)}" in done.stdout


def test_hostile_answers_neither_pass_nor_hang() -> None:
    _sweep(FEW[:3])


@pytest.mark.slow
@pytest.mark.parametrize("name", ALLOWED)
def test_every_allowed_dataset_passes_its_gold_and_nothing_hostile(name: str) -> None:
    _sweep((name,))


def test_the_tables_cover_the_installed_package() -> None:
    from reasoning_gym.factory import DATASETS

    assert set(ALLOWED) | set(REFUSED) == set(DATASETS)
    assert not set(ALLOWED) & set(REFUSED)
    assert set(CHOICES) <= set(ALLOWED)
    with pytest.raises(ValueError, match=r"'countdown' is refused: its scorer runs the answer's text"):
        reasoning_gym_task("reasoning_gym/countdown")
    with pytest.raises(ValueError, match=r"no dataset 'chess'.*word_sorting"):
        reasoning_gym_task("chess")


@pytest.mark.parametrize("name", FEW)
def test_problems_are_stable_disjoint_and_survive_json(name: str) -> None:
    task = reasoning_gym_task(name)
    test, train = task.load("test", 4), task.load("train", 4)
    assert task.load("test", 4) == test
    assert task.load("test", 2) == test[:2]
    assert not {p.id for p in test} & {p.id for p in train}
    assert {p.prompt for p in test} != {p.prompt for p in train}
    for problem in test:
        stored = json.loads(json.dumps({"answer": problem.answer, "metadata": problem.metadata}))
        assert stored["metadata"] == problem.metadata
        again = Problem(problem.id, problem.prompt, stored["answer"], stored["metadata"])
        assert judge(problem.answer, again)
        assert not any(judge(other.answer, again) for other in test if other.answer != problem.answer)
        assert problem.prompt.endswith("inside <answer> and </answer> tags.")


def test_partial_credit_is_no_pass() -> None:
    words = reasoning_gym_task("word_sorting").load("test", 1)[0]
    first, *rest = words.answer.split(", ")
    assert judge(",".join([first, *rest]), words)  # another spacing: only the scorer knows
    assert not judge(", ".join([*rest, first]), words)


@pytest.mark.slow  # its generator takes seconds a problem
def test_scoring_leaves_the_entry_alone() -> None:
    problem = next(p for p in reasoning_gym_task("knight_swap").load("test", 6) if p.answer != "No")
    before = json.dumps(problem.metadata)
    assert judge(problem.answer + " ", problem)
    assert json.dumps(problem.metadata) == before


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("<answer>4</answer>", "4"),
        ("<answer>4</answer> no: <answer> 5 </answer>", "5"),
        ("<answer>4</answer> and <answer>5", "4"),
        ("so <answer>5", None),
        ("<answer> </answer>", None),
        (r"\boxed{4} then \boxed{5}", "5"),
        ("I think\n5\n", "5"),
        ("", None),
        (" \n ", None),
        ("<answer>" * 50_000 + "1" + "</answer>" * 50_000, "1"),
    ],
)
def test_extraction(response: str, answer: str | None) -> None:
    found = extract_answer_tag(response, Problem("p", ""))
    assert (found and found.text) == answer


def test_extraction_says_where_the_answer_stood_and_reads_no_thought() -> None:
    def span(response: str, **metadata: object) -> Span | None:
        return extract_answer_tag(response, Problem("p", "", "", metadata))

    assert span("<think><answer>4</answer></think>\\boxed{5}") == Span("5", "box")
    assert span("<think>4</think>\n<answer>5</answer><|im_end|>") == Span("5", "answer tag")
    assert span("<think>\n4") is None
    assert span("5\n\nQuestion: 2 + 2?\n4") == Span("4", "last line")
    assert span("5\n\nQuestion: 2 + 2?\n4", run_on=True) == Span("5", "last line")


def hedges(answer: str, other: str) -> list[str]:
    """Texts that hold a right answer and say more than it."""
    both = [
        f"{a}{mark}{b}" for mark in (" or ", ", ", "\n", " / ", "; not ") for a, b in ((answer, other), (other, answer))
    ]
    return [
        *both,
        f"-{answer}",
        f"{answer} weeks",
        f"{answer}:7",
        f"no {answer}",
        f"not {answer}",
        f"{answer} (or not)",
    ]


@pytest.mark.parametrize("name", sorted(EXACT))
def test_an_answer_is_read_as_a_whole(name: str) -> None:
    problems = reasoning_gym_task(name).load("test", 6)
    for problem, other in zip(problems, [*problems[1:], problems[0]], strict=True):
        assert judge(f" {problem.answer.upper()} ", problem)
        wrong = [text for text in hedges(problem.answer, other.answer) if judge(text, problem)]
        assert not wrong
    assert judge(" 1,234.50", Problem("p", "", "1234.5", {"dataset": name, "entry": {"answer": "1234.5"}}))


@pytest.mark.parametrize("name", sorted(SKIPPING))
def test_a_list_of_candidates_is_no_answer_to_a_scorer_that_skips(name: str) -> None:
    for problem in reasoning_gym_task(name).load("test", 3):
        other = problem.answer.translate(str.maketrans("0123456789acegU", "5678901234bdfhD"))
        assert judge(problem.answer, problem)
        assert not [text for text in hedges(problem.answer, other)[:10] if judge(text, problem)]


def test_a_fraction_may_be_written_in_another_style() -> None:
    problem = reasoning_gym_task("fraction_simplification").load("test", 1)[0]
    top, bottom = re.findall("[0-9]+", problem.answer)
    assert judge(f"{top}/{bottom}", problem)
    assert judge(rf"$\frac{{{top}}}{{{bottom}}}$", problem)


def test_quick_knows_the_gold_the_empty_and_the_endless() -> None:
    problem = Problem("p", "", "5")
    assert quick("5", problem) is True
    assert quick("6", problem) is None
    assert quick("", problem) is False
    assert quick("5" * (MAX_ANSWER + 1), problem) is False
    with pytest.raises(ValueError, match="problem 'p'"):
        judge("6", problem)


def test_wrong_answers_through_the_pool_are_wrong_and_not_timeouts() -> None:
    problems = reasoning_gym_task("simple_equations").load("test", 2)
    answers = [(f"<answer>{i}x</answer>", problem) for problem in problems for i in range(20)]
    answers += [(f"<answer>{problem.answer}</answer>", problem) for problem in problems]
    outcomes = [verdict.outcome for verdict in grade_many("reasoning_gym", answers)]
    assert outcomes == ["wrong"] * 40 + ["correct"] * 2
