"""Programming and instruction tasks from local files in their published columns."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simko.tasks import Task, read_file
from simko.tasks.code_file import code_task
from simko.tasks.ifeval_file import ifeval_task
from simko.verifiers import get_verifier

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": 'def double(x: int) -> int:\n    """ Twice x.\n    >>> double(2)\n    4\n    """\n',
    "entry_point": "double",
    "canonical_solution": "    return 2 * x\n",
    "test": "\n\nMETADATA = {}\n\n\ndef check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
}
MBPP = {
    "text": "Write a function to add two numbers.",
    "code": "def helper(a):\r\n  return a\r\ndef sum(a, b):\r\n  return helper(a) + b",
    "task_id": 126,
    "test_setup_code": "",
    "test_list": ["assert sum(10, 15) == 25", "assert sum(0, 0) == 0"],
    "challenge_test_list": [],
}
SANITIZED = {
    **{k: v for k, v in MBPP.items() if k not in ("text", "test_setup_code")},
    "prompt": "Add.",
    "test_imports": ["import math"],
}
STDIN = {"id": "echo", "prompt": "Print the line you read.", "tests": [{"input": "a b\n", "output": "a b\n"}]}
IFEVAL = {
    "key": 1000,
    "prompt": "Write without commas.",
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{"num_words": None}, {"relation": "at least", "num_words": 2, "language": None}],
}


def written(folder: Path, *rows: Any) -> Path:
    path = folder / "rows.jsonl"
    path.write_text(
        "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows) + "\n", encoding="utf-8"
    )
    return path


@pytest.mark.usefixtures("bwrap")
@pytest.mark.parametrize("chat", [True, False])
def test_reference_solutions_pass_and_others_do_not(tmp_path: Path, chat: bool) -> None:
    task = code_task(written(tmp_path, HUMANEVAL, MBPP, STDIN), chat)
    humaneval, mbpp, stdin = task.load("test")
    assert (task.verifier, task.chat, humaneval.id, mbpp.id, stdin.id) == ("code", chat, "HumanEval/0", "126", "echo")
    verify = get_verifier(task.verifier)
    assert verify(humaneval.answer, humaneval).outcome == "correct"
    assert verify("    return x + 2\n", humaneval).outcome == "wrong"
    assert verify(f"```python\n{mbpp.answer}\n```", mbpp).outcome == "correct"
    assert verify("```python\ndef helper(a): return 0\n```", mbpp).outcome == "wrong"
    assert verify("```python\nprint(input())\n```", stdin).outcome == "correct"
    assert verify("```python\nprint('b')\n```", stdin).outcome == "wrong"


def test_prompts(tmp_path: Path) -> None:
    path = written(tmp_path, HUMANEVAL, MBPP, SANITIZED | {"task_id": 2}, STDIN)
    asked, continued = code_task(path, chat=True).load("test"), code_task(path, chat=False).load("test")
    assert continued[0].prompt == HUMANEVAL["prompt"]
    assert all(problem.prompt.endswith("```python\n") for problem in continued[1:])
    assert all("starts with ```python" in problem.prompt for problem in asked)
    assert all(test in asked[1].prompt for test in MBPP["test_list"])
    assert asked[1].metadata["names"] == ["helper", "sum"]
    assert asked[2].metadata["test_setup_code"] == "import math"
    assert code_task(path).load("train", 1) == asked[:1]


def test_the_expected_output_is_not_in_the_prompt_of_a_stdin_problem(tmp_path: Path) -> None:
    row = STDIN | {"tests": [{"input": "q", "output": "secret"}]}
    assert "secret" not in code_task(written(tmp_path, row)).load("test")[0].prompt


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["{"], "line 1: not JSON"),
        ([[1]], "line 1: expected an object"),
        ([{"prompt": "x"}], "line 1: expected one of the columns entry_point, test_list, tests"),
        ([HUMANEVAL, HUMANEVAL], "line 2: the id 'HumanEval/0' occurs twice"),
        ([{k: v for k, v in HUMANEVAL.items() if k != "test"}], "line 1: the column 'test' is missing"),
        ([HUMANEVAL | {"test": 3}], "line 1: the column 'test' must be a text"),
        ([MBPP | {"test_list": []}], "line 1: the column 'test_list' must be a list of assert statements"),
        ([MBPP | {"code": "def ("}], "line 1: the column 'code' is not Python"),
        ([STDIN | {"tests": [{"input": "a"}]}], "line 1: each of the column 'tests'"),
        ([{k: v for k, v in STDIN.items() if k != "id"}], "line 1: the column 'task_id' is missing"),
        (["", " "], "holds no problems"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        code_task(written(tmp_path, *rows)).load("test")


def test_other_formats_give_the_same_problems(tmp_path: Path) -> None:
    pq, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    path = tmp_path / "rows.parquet"
    for make, rows in ((code_task, [HUMANEVAL, MBPP, STDIN]), (ifeval_task, [IFEVAL])):
        # a table has every column in every row, null where a row has none
        columns = {column for row in rows for column in row}
        texts = {"task_id": lambda value: None if value is None else str(value)}
        table = [{c: texts.get(c, lambda value: value)(row.get(c)) for c in sorted(columns)} for row in rows]
        pq.write_table(pa.Table.from_pylist(table), path)
        expected = make(written(tmp_path, *rows)).load("test")
        assert [(p.id, p.prompt, p.answer) for p in make(path).load("test")] == [
            (p.id, p.prompt, p.answer) for p in expected
        ]
    with (tmp_path / "rows.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(HUMANEVAL))
        writer.writeheader()
        writer.writerow(HUMANEVAL)
    assert code_task(tmp_path / "rows.csv").load("test") == code_task(written(tmp_path, HUMANEVAL)).load("test")


@pytest.mark.parametrize(("make", "row"), [(code_task, STDIN), (ifeval_task, IFEVAL)])
def test_the_revision_is_the_files_digest(tmp_path: Path, make: Callable[[Path], Task], row: dict[str, Any]) -> None:
    path = written(tmp_path, row)
    assert make(path).revision == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_file_is_read_in_its_verifiers_form_for_the_prompts_that_are_sent(tmp_path: Path) -> None:
    path = written(tmp_path, HUMANEVAL)
    assert read_file(path, "code").load("test") == code_task(path, chat=True).load("test")
    assert read_file(path, "code", chat=False).load("test") == code_task(path, chat=False).load("test")
    assert read_file(written(tmp_path, IFEVAL), "instructions").verifier == "instructions"
    with pytest.raises(ValueError, match="take no template"):
        read_file(path, "code", "{problem}")


def test_ifeval_rows(tmp_path: Path) -> None:
    task = ifeval_task(written(tmp_path, IFEVAL))
    (problem,) = task.load("test")
    assert (problem.id, problem.prompt, task.verifier, task.chat) == ("1000", IFEVAL["prompt"], "instructions", True)
    verify = get_verifier(task.verifier)
    assert verify("two words", problem).outcome == "correct"
    assert verify("two, words", problem).outcome == "wrong"
    assert verify("one", problem).outcome == "wrong"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": 3}, "line 1: the column 'prompt' must be a text"),
        ({"instruction_id_list": ["no:such"], "kwargs": [{}]}, "line 1: problem '1000': no instruction is called"),
        ({"kwargs": []}, "line 1: problem '1000': its metadata needs"),
        (
            {"kwargs": [{}, {"relation": "at least"}]},
            "line 1: problem '1000': length_constraints:number_words lacks the argument 'num_words'",
        ),
    ],
)
def test_ifeval_rows_that_do_not_fit_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ifeval_task(written(tmp_path, IFEVAL | change)).load("test")


def test_a_language_is_refused_at_loading_without_langdetect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    row = IFEVAL | {"instruction_id_list": ["language:response_language"], "kwargs": [{"language": "de"}]}
    with pytest.raises(ValueError, match=r"line 1: .*pip install 'simko\[instructions\]'"):
        ifeval_task(written(tmp_path, row)).load("test")
