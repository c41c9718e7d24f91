"""`simko tasks NAME --parquet FILE`: the rows that verl reads, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simko.cli.main import main
from simko.records import Problem
from simko.tasks import TASKS, verl_rows, write_verl_rows
from simko.verifiers import get_verifier

PUZZLE = TASKS["operator_puzzle"]


@pytest.mark.parametrize(
    ("name", "split"), [("operator_puzzle", "train"), ("mini_sudoku", "train"), ("multiplication", "test")]
)
def test_every_row_is_a_problem_of_the_task(tmp_path: Path, capsys: pytest.CaptureFixture[str], name, split) -> None:
    file = tmp_path / "new" / "rows.parquet"
    assert main(["tasks", name, "--split", split, "--parquet", str(file)]) == 0
    problems = TASKS[name].load(split)
    assert capsys.readouterr().out == f"{len(problems)} problems of {name} ({split}) in {file}\n"
    rows = pq.read_table(file).to_pylist()
    for index, (row, problem) in enumerate(zip(rows, problems, strict=True)):
        assert row["data_source"] == name
        assert row["prompt"] == [{"role": "user", "content": problem.prompt}]
        assert row["ability"] == row["extra_info"]["verifier"] == TASKS[name].verifier
        assert row["reward_model"] == {"style": "rule", "ground_truth": problem.answer}
        assert row["extra_info"]["index"] == index
        assert Problem(**json.loads(row["extra_info"]["problem"])) == problem


def test_a_problem_is_judged_alike_after_the_way_through_the_file(tmp_path: Path) -> None:
    given = {"input": "é\n", "output": "3\n"}
    problem = Problem("a", "Add.", "", {"tests": [given], "text": "\u2028", "number": 0.1})
    file = tmp_path / "rows.parquet"
    assert write_verl_rows(PUZZLE, [problem] * 100, file) == 100
    (text,) = {row["extra_info"]["problem"] for row in pq.read_table(file).to_pylist()}
    assert Problem(**json.loads(text)) == problem


def test_a_file_of_ones_own_names_its_verifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.jsonl").write_text('{"prompt": "1+1=", "answer": "2"}\n')
    (tmp_path / "judge.py").write_text("def right(response, problem):\n    return problem.answer in response\n")
    own = f"{tmp_path}/judge.py:right"
    for verifier in ("last_integer", own):
        words = [
            "tasks",
            str(tmp_path / "mine.jsonl"),
            "--verifier",
            verifier,
            "--parquet",
            str(tmp_path / "a.parquet"),
        ]
        assert main(words) == 0
        (row,) = pq.read_table(tmp_path / "a.parquet").to_pylist()
        assert (row["data_source"], row["extra_info"]["verifier"]) == ("mine", verifier)
        problem = Problem(**json.loads(row["extra_info"]["problem"]))
        assert get_verifier(verifier)("so 2", problem).outcome == "correct"
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--parquet", "a.parquet"], "needs a task or a file"),
        (["operator_puzzle", "--parquet", "a.csv"], "a.csv: name a file that ends in .parquet"),
        (["operator_puzle", "--parquet", "a.parquet"], "did you mean operator_puzzle"),
        (["operator_puzzle", "--parquet", "a.parquet", "--verifier", "math"], "leave --verifier out"),
        (["mine.jsonl", "--parquet", "a.parquet"], "mine.jsonl needs --verifier, one of: "),
        (["mine.jsonl", "--parquet", "a.parquet", "--verifier", "mth"], "no verifier is called 'mth'"),
        (["mine.jsonl", "--parquet", "a.parquet", "--verifier", "math"], "mine.jsonl"),
        (["aime24", "--parquet", "a.parquet"], "no split 'train'"),
        (["operator_puzzle", "--split", "dev", "--parquet", "a.parquet"], "invalid choice"),
        (["operator_puzzle", "--split", "train"], "belong to --parquet"),
        (["operator_puzzle", "--verifier", "math"], "belong to --parquet"),
    ],
)
def test_what_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys, words, said) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["tasks", *words])
    except SystemExit as exit:  # argparse's own
        code = exit.code
    assert code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path: Path, monkeypatch, capsys) -> None:
    """What JSON cannot hold, met after rows have been written."""
    file = tmp_path / "rows.parquet"
    file.write_text("old")
    bad = [Problem(str(i), "?", "2") for i in range(70)] + [Problem("odd", "?", "2", {"set": {1}})]
    with pytest.raises(ValueError, match="problem 'odd' cannot be written as JSON"):
        list(verl_rows(PUZZLE, bad))
    monkeypatch.setitem(TASKS, "odd", replace(PUZZLE, load=lambda split: bad, verifier="last_integer"))
    assert main(["tasks", "odd", "--parquet", str(file)]) == 2
    assert "problem 'odd'" in capsys.readouterr().err
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("rows.parquet", "old")]


@pytest.mark.parametrize(
    ("answer", "target", "said"),
    [("5/6", "a.parquet", "5/6"), ("2", "mine.parquet", "is the file of problems itself")],
)
def test_what_cannot_be_judged_or_would_be_lost_is_not_written(tmp_path, capsys, answer, target, said) -> None:
    file = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"prompt": ["1+1="], "answer": [answer]}), file)
    before = file.read_bytes()
    words = ["tasks", str(file), "--verifier", "last_integer", "--parquet", str(tmp_path / target)]
    assert main(words) == 2
    assert said in capsys.readouterr().err
    assert file.read_bytes() == before
    assert not (tmp_path / "a.parquet").exists()


def test_a_verifier_in_a_file_is_named_by_its_whole_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.jsonl").write_text('{"prompt": "1+1=", "answer": "2"}\n')
    Path("judge.py").write_text("def right(response, problem):\n    return problem.answer in response\n")
    assert main(["tasks", "mine.jsonl", "--verifier", "./judge.py:right", "--parquet", "a.parquet"]) == 0
    (row,) = pq.read_table("a.parquet").to_pylist()
    assert row["extra_info"]["verifier"] == f"{tmp_path}/judge.py:right"
