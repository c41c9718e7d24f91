"""The SynLogic families against their case file, against generated puzzles with golds, and against hostile text."""

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.records import Problem
from simko.tasks.logic import SYNLOGIC_EASY, synlogic_problems
from simko.tasks.synlogic import synlogic_problem
from simko.verifiers.synlogic import FAMILIES, verify_synlogic
from simko.verifiers.synlogic.arithmetic import NotArithmetic, evaluate

HERE = Path(__file__).parent
CASES = [json.loads(line) for line in (HERE / "synlogic_cases.jsonl").read_text(encoding="utf-8").splitlines()]
# the golds of the whole generated file that break the rules which their own prompts state, counted by family
BROKEN_GOLDS = {"futoshiki": 9, "star_placement_puzzle": 10, "calcudoko": 4}


def _problem(row: dict[str, Any]) -> Problem:
    metadata = {"task": row["task"], "metadata": row["metadata"] or {}}
    return Problem(row.get("id", "p"), row.get("problem", ""), row["answer"], metadata)


@pytest.mark.parametrize("row", CASES, ids=[f"{row['task']}-{row['why']}" for row in CASES])
def test_case(row: dict[str, Any]) -> None:
    verdict = verify_synlogic(row["response"], _problem(row))
    assert verdict.outcome == row["outcome"]
    assert (verdict.extracted is None) == (verdict.outcome == "unparsed")
    thought = f"<think>perhaps [[1, 2], [3, 4]] or \\boxed{{7}}</think>\n<answer>{row['response']}</answer>"
    assert verify_synlogic(thought, _problem(row)).outcome == row["outcome"]


def test_every_family_has_right_wrong_and_unreadable_cases() -> None:
    outcomes = {(row["task"], row["outcome"]) for row in CASES}
    assert outcomes == {(name, outcome) for name in FAMILIES for outcome in ("correct", "wrong", "unparsed")}


def _tuples(value: Any) -> Any:
    """Lists of two integers as tuples, as the prompts write places."""
    if isinstance(value, list):
        return tuple(value) if all(isinstance(v, int) for v in value) else [_tuples(v) for v in value]
    return value


def _gold_response(row: dict[str, Any]) -> str:
    """The gold in the form that its prompt asks for."""
    task, answer, data = row["task"], row["answer"], row["metadata"] or {}
    if task == "game_of_24":
        return f"```python\n{_solve_24(data['numbers'], data['result'])}\n```"
    if task == "star_placement_puzzle":
        found = re.findall(r"([A-Z])\((\d+),(\d+)\)", answer)
        return f"```python\n{ {region: [(int(r), int(c))] for region, r, c in found} }\n```"
    if task in ("campsite", "kukurasu", "numbrix", "number_wall"):
        return str(data["solution"])
    if task in ("norinori", "minesweeper"):
        return str(_tuples(data["solution" if task == "norinori" else "current_mines"]))
    form = {"math_path": "[[%s]]", "cryptarithm": "The answer is %s.", "web_of_lies": "The answer is **%s**."}
    form |= dict.fromkeys(("sudoku", "survo", "goods_exchange"), "```python\n%s\n```")
    plain = "calcudoko futoshiki time_sequence dyck_language dyck_language_errors dyck_language_reasoning_errors"
    form |= dict.fromkeys(plain.split(), "%s")
    return form.get(task, r"\boxed{%s}") % answer


def _solve_24(numbers: list[int], result: int) -> str | None:
    """An expression of all the numbers with that value, by trying every pair first."""

    def search(terms: list[str]) -> str | None:
        if len(terms) == 1:
            return terms[0] if evaluate(terms[0]) == result else None
        for i, left in enumerate(terms):
            for j, right in enumerate(terms):
                for operator in "+-*/" if i != j else "":
                    rest = [term for k, term in enumerate(terms) if k not in (i, j)]
                    try:
                        found = search([*rest, f"({left}{operator}{right})"])
                    except NotArithmetic:
                        continue
                    if found:
                        return found
        return None

    return search([str(number) for number in numbers])


@pytest.fixture
def generated(bench_data: Path) -> list[dict[str, Any]]:
    lines = (bench_data / "synlogic_generated.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_generated_golds_pass_unless_they_break_their_own_rules(generated: list[dict[str, Any]]) -> None:
    failed: dict[str, int] = {}
    for row in generated:
        response = "First [(1, 2)], then I check (all of it.\n\n" + _gold_response(row)
        verdict = verify_synlogic(response, _problem(row))
        assert verdict.outcome in ("correct", "wrong"), row["id"]
        if verdict.outcome == "wrong":
            failed[row["task"]] = failed.get(row["task"], 0) + 1
    assert failed == (dict(Counter(row["task"] for row in generated if "broken_gold" in row)) or BROKEN_GOLDS)


def _mutated(response: str) -> str:
    """The response with its last digit, bracket or word changed."""
    for pattern, change in (
        (r"[0-9](?=[^0-9]*$)", lambda m: str((int(m.group()) + 1) % 10)),
        (r"\b(?:yes|no)\b(?!.*\b(?:yes|no)\b)", lambda m: "no" if m.group() == "yes" else "yes"),
        (r"[\])}>](?=[^\])}>]*$)", lambda m: "(" if "boxed" not in response else "x}"),
    ):
        if "boxed" in response and "0" not in response and pattern.startswith("[0-9]"):
            continue
        changed = re.sub(pattern, change, response, count=1)
        if changed != response:
            return changed
    raise AssertionError(response)


def test_a_changed_gold_fails_in_every_family(generated: list[dict[str, Any]]) -> None:
    tried = set()
    for row in generated:
        response = _gold_response(row)
        if verify_synlogic(response, _problem(row)).outcome == "correct":
            tried.add(row["task"])
            assert verify_synlogic(_mutated(response), _problem(row)).outcome != "correct", (row["id"], response)
    assert tried == {row["task"] for row in generated} - {"star_placement_puzzle"}


HOSTILE = {
    "deep": "[" * 20_000 + "]" * 20_000,
    "deep in a block": "```python\n" + "(" * 20_000 + "1" + ")" * 20_000 + "\n```",
    "many lists": "[[1, 2], [3, 4]] " * 7_000,
    "boxes": "\\boxed{" * 20_000 + "1" + "}" * 20_000,
    "digits": "\\boxed{" + "9" * 20_000 + "}",
    "minus signs": "```python\n" + "-" * 20_000 + "1\n```",
    "answers": "The answer is " * 20_000,
    "fences": "```" * 20_001,
    "commas": "\\boxed{" + "," * 20_000 + "}",
    "spaces": "[[" + " " * 20_000 + "]]",
    "tags": "<answer></think>" * 10_000,
    "brackets": "()" * 15_000 + "<" * 20_000,
    "surrogate": "\ud800\\boxed{\ud800}",
    "stars": "The answer is " + "* " * 20_000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_judged_fast_and_never_right(kind: str) -> None:
    first = {row["task"]: row for row in CASES}
    for row in first.values():
        start = time.process_time()
        assert verify_synlogic(HOSTILE[kind], _problem(row)).outcome in ("wrong", "unparsed")
        assert time.process_time() - start < 1.0, row["task"]


_PIECES = st.sampled_from(
    ["[", "]", "(", ")", "{", "}", "1", ",", "'A'", "\\boxed{", "```", "=", "+", "/", "**", "\n", "<", "答案是"]
)


@given(response=st.text() | st.lists(_PIECES).map("".join))
@settings(max_examples=25, deadline=None)
def test_any_text_gets_a_verdict(response: str) -> None:
    for row in {row["task"]: row for row in CASES}.values():
        assert verify_synlogic(response, _problem(row)).outcome in ("correct", "wrong", "unparsed")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_puzzle_without_its_data_is_named(name: str) -> None:
    if name == "word_sorting_mistake":  # an empty gold stands for "no mistake"
        return
    with pytest.raises(ValueError, match="problem 'p'"):
        verify_synlogic("1", Problem("p", "", "", {"task": name, "metadata": {}}))


def test_an_unknown_family_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"problem 'p'.*'chess'.*sudoku"):
        verify_synlogic("1", Problem("p", "", "1", {"task": "chess", "metadata": {}}))


def test_arithmetic_is_exact_and_bounded() -> None:
    assert evaluate("8/(3-8/3)") == 24
    assert evaluate("0.1+0.2") == evaluate("0.3")
    assert evaluate("-7 % 3", "+-*/%") == 2
    for text in ("2**3", "1//2", "x", "1/0", "7 % 3", "1 if 1 else 2", "True", "1j", "1e999", "1 < 2", "(1,)"):
        with pytest.raises(NotArithmetic):
            evaluate(text)
    with pytest.raises(NotArithmetic):
        evaluate("-1", signs=False)


@pytest.mark.parametrize("bench_data", [pytest.param("whole", marks=pytest.mark.slow)], indirect=True)
def test_the_task_says_how_many_generated_golds_are_broken(generated: list[dict[str, Any]]) -> None:
    made = Counter(row["task"] for row in generated)
    for family, broken in BROKEN_GOLDS.items():
        assert re.search(rf"{broken} of {made[family]} of {family}", SYNLOGIC_EASY.known_defects[0])


def test_problems_of_families_without_a_verifier_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    known = {
        "data_source": "val/object_counting",
        "prompt": [{"role": "user", "content": "How many?"}],
        "extra_info": {"game_data_str": json.dumps({"answer": "1"})},
    }
    cipher, maze = ({**known, "data_source": f"val/{family}"} for family in ("cipher", "arrow_maze"))
    problems = synlogic_problems("validation", [known, cipher, maze, cipher, known])
    assert [problem.id for problem in problems] == ["synlogic/validation/00000", "synlogic/validation/00004"]
    assert len(synlogic_problems("train", [known])) == 1
    (record,) = caplog.records
    assert record.name == "simko"
    assert re.search(r"3 of 5 problems are left out.*arrow_maze 1, cipher 2", record.getMessage())


def test_a_hub_row_becomes_a_problem() -> None:
    game = {"answer": "179", "difficulty": 1, "metadata": json.dumps({"n": 3})}
    row = {
        "data_source": "val/object_counting",
        "prompt": [{"role": "user", "content": "How many?"}],
        "extra_info": {"game_data_str": json.dumps(game), "index": 4},
    }
    problem = synlogic_problem(row, "synlogic/1")
    assert (problem.id, problem.prompt, problem.answer) == ("synlogic/1", "How many?", "179")
    assert problem.metadata == {"task": "object_counting", "difficulty": 1, "metadata": {"n": 3}}
    assert verify_synlogic(r"\boxed{179}", problem).outcome == "correct"
    for broken in ({"data_source": "val/chess"}, {"extra_info": {"game_data_str": "{"}}, {"prompt": None}):
        with pytest.raises(ValueError, match="problem 'q'"):
            synlogic_problem({**row, **broken}, "q")
