"""The tasks' splits, prompts and files; nothing here needs a network."""

import csv
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simko.records import Problem
from simko.tasks import PREFIXES, TASKS, file_task, get_task, operator_puzzle_traces
from simko.tasks.operator_puzzle import is_test
from simko.verifiers import verify_operator_puzzle

PINNED = {"test": ["99129=18", "52625=7", "72821=15"], "train": ["88886=0", "91776=8", "64484=18"]}


def _digits(problems: list[Problem]) -> set[str]:
    return {p.id.split("=")[0] for p in problems}


def _solve(problem: Problem) -> str | None:
    """The first response that passes, by trying all operators."""
    digits, target = problem.prompt.split(" = ")
    partial: list[tuple[int, str]] = [(int(digits[0]), "")]
    for digit in map(int, digits.split()[1:]):
        grown = []
        for value, text in partial:
            steps = {"+": value + digit, "-": value - digit, "*": value * digit}
            if value % digit == 0:
                steps["/"] = value // digit
            grown += [(r, f"{text} {o} {r}") for o, r in steps.items() if 0 <= r <= 40]
        partial = grown
    return next((text for value, text in partial if value == int(target)), None)


def test_every_row_of_the_table_is_complete() -> None:
    for name, task in TASKS.items():
        assert task.name == name
        assert task.source
        assert task.sizes
        assert task.licence
        assert task.description
        assert task.max_new_tokens > 0
        assert task.temperature > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sums", "choose one of: operator_puzzle, countdown, graph_paths, mini_sudoku, multiplication, aime24"),
        ("math-500", "did you mean math500"),
        ("bbh/snark", "did you mean: snarks"),
        ("bbh/", "no subtask ''; did you mean: boolean_expressions, "),
        ("runs/mine.jsonl", "runs/mine.jsonl: no such file"),
        (__file__, "cannot read files that end in '.py'"),
        (str(Path(__file__).parent), "is a folder: give one file of problems in it"),
        (str(Path(__file__).parent / "no.json"), "cannot read files that end in '.json'"),
    ],
)
def test_an_unknown_name_is_answered_with_close_ones(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        get_task(name)


def test_a_file_is_no_task_by_name(tmp_path: Path) -> None:
    for name, said in (
        ("mine.jsonl", "it needs a verifier"),
        ("words.json", "a JSON object a line"),
        ("p", "end in ''"),
    ):
        (tmp_path / name).write_text("[]")
        with pytest.raises(ValueError, match=said):
            get_task(str(tmp_path / name))


def test_families_are_found_by_their_prefix() -> None:
    assert get_task("bbh/snarks").name == "bbh/snarks"
    assert not set(PREFIXES) & {name for name in TASKS if "/" in name}


@pytest.mark.parametrize("name", ["operator_puzzle", "countdown", "graph_paths", "mini_sudoku", "multiplication"])
def test_generated_tasks_are_distinct_stable_and_prefix_ordered(name: str) -> None:
    task = get_task(name)
    for split in ("train", "test"):
        problems = task.load(split)
        assert len({p.id for p in problems}) == len({p.prompt for p in problems}) == len(problems)
        assert task.load(split, 50) == problems[:50]
        assert task.sizes[split] == len(problems)
    assert task.revision == "1"
    with pytest.raises(ValueError, match="no split 'dev'"):
        task.load("dev")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="limit is 0"):
        task.load("test", 0)


def test_operator_puzzle_sides_share_no_digits_and_every_problem_is_solvable() -> None:
    task = get_task("operator_puzzle")
    train, test = task.load("train"), task.load("test")
    assert (len(train), len(test)) == (20_000, 128)
    assert not _digits(train) & _digits(task.load("test", 5_000))
    for problem in test:
        solution = _solve(problem)
        assert solution is not None
        assert verify_operator_puzzle(solution, problem).outcome == "correct"


def test_operator_puzzle_first_problems_are_pinned() -> None:
    # other problems under the same name would make old figures incomparable
    assert [p.id for p in get_task("operator_puzzle").load("test", 3)] == PINNED["test"]
    assert [p.id for p in get_task("operator_puzzle").load("train", 3)] == PINNED["train"]


def test_operator_puzzle_says_when_it_runs_out() -> None:
    with pytest.raises(ValueError, match="lower the limit"):
        get_task("operator_puzzle").load("test", 10**7)


def test_traces_are_correct_walks_on_the_training_side() -> None:
    for prompt, response in operator_puzzle_traces(300, seed=3, shuffled_targets=0.0):
        assert verify_operator_puzzle(response, Problem("p", prompt)).outcome == "correct"
    rows = operator_puzzle_traces(2_000, seed=3)
    digits = np.array([[int(d) for d in prompt.split(" = ")[0].split()] for prompt, _ in rows])
    assert not is_test(digits).any()
    reached = 0
    for prompt, response in rows:
        walked = f"{prompt.split(' = ')[0]} = {response.split()[-1]}"
        assert verify_operator_puzzle(response, Problem("p", walked)).outcome == "correct"
        reached += walked == prompt
    assert 0.28 < reached / len(rows) < 0.40  # 30 % untouched, and a few exchanged targets that happen to fit


def test_traces_are_seeded_and_quick() -> None:
    start = time.process_time()
    rows = operator_puzzle_traces(60_000, seed=0)
    assert time.process_time() - start < 2.0
    assert len(rows) == 60_000
    assert operator_puzzle_traces(100, seed=0) == operator_puzzle_traces(100, seed=0)
    assert operator_puzzle_traces(100, seed=0) != operator_puzzle_traces(100, seed=1)
    with pytest.raises(ValueError, match="share from 0 to 1"):
        operator_puzzle_traces(10, seed=0, shuffled_targets=70)


def test_multiplication_keeps_both_orders_on_one_side() -> None:
    train, test = (get_task("multiplication").load(split) for split in ("train", "test"))
    assert len(test) >= 100
    assert len(train) + len(test) == 28 * 10
    pairs = [{frozenset(p.id.split("x")) for p in side} for side in (train, test)]
    assert not pairs[0] & pairs[1]
    assert any(p.id == "7x8" for p in train + test)
    assert any(p.id == "8x7" for p in train + test)
    problem = next(p for p in train + test if p.id == "27x6")
    assert problem == Problem("27x6", "Question: What is 27 times 6?\nAnswer:", "162")


def test_file_task_reads_problems(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(
        '{"prompt": "1+1=", "answer": "2", "source": "x"}\n\n{"prompt": "2+2=", "answer": "4", "id": "b"}\n',
        encoding="utf-8",
    )
    task = file_task(path, "last_integer", stop=("\n",))
    assert task.load("test") == [Problem("1", "1+1=", "2", {"source": "x"}), Problem("b", "2+2=", "4")]
    assert task.load("train", 1) == task.load("test")[:1]
    assert (task.name, task.verifier, task.stop) == ("mine", "last_integer", ("\n",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a", "answer": "1"}\n{"prompt": "b"}\n', "line 2: the column 'answer' is missing"),
        ('{"answer": "1"}\n', "line 1: there is no column prompt, problem or question"),
        ('{"problem": ["a"], "answer": "1"}\n', "line 1: the column 'problem' must be a text, not list"),
        ('{"prompt": "a", "answer": true}\n', "line 1: the column 'answer' must be a text or a number, not bool"),
        ('{"prompt": 1, "answer": "1"}\n', "line 1: the column 'prompt' must be a text, not int"),
        ('{"prompt": "a\\ud800", "answer": "1"}\n', r"line 1: the prompt holds '\ud800', half of a surrogate pair"),
        ('{"prompt": "a", "answer": "1", "id": "\\udfff"}\n', r"line 1: the id holds '\udfff', half of a surrogate"),
        ('{"prompt": "a", "answer": "\\ud83d"}\n', r"line 1: the answer holds '\ud83d', half of a surrogate pair"),
        ('{"prompt": "a", "answer": "1"}\n{"prompt": "", "answer": "1"}\n', "line 2: the prompt is empty"),
        ('{"prompt": "a"\n', "line 1: not JSON"),
        ("[1]\n", "line 1: expected an object"),
        ('{"prompt": "a", "answer": "1", "id": "x"}\n' * 2, "line 2: the id 'x' occurs twice"),
        ("\n", "holds no problems"),
    ],
)
def test_a_bad_file_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(str(path))) as refusal:
        file_task(path, "last_box").load("test")
    assert message in str(refusal.value)


def test_a_file_task_is_refused_early_or_plainly(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no verifier is called"):
        file_task(tmp_path / "x.jsonl", "nothing")
    with pytest.raises(ValueError, match="no such file"):
        file_task(tmp_path / "x.jsonl", "last_box").load("test")
    with pytest.raises(ValueError, match="no such file"):
        assert file_task(tmp_path / "x.jsonl", "last_box").revision
    with pytest.raises(ValueError, match=r"has no \{problem\}"):
        file_task(tmp_path / "x.jsonl", "last_box", template="Solve this.")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(ValueError, match=r"cannot read files that end in '.txt'; give one of: .jsonl, .csv, .parquet"):
        file_task(tmp_path / "x.txt", "last_box").load("test")


ROWS = [
    {"question": 'What is $\\frac{1}{2}$, "halved"?\nSay it.', "answer": "025", "source": "x"},
    {"question": "2+2", "answer": "4", "source": ""},
]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet", ".CSV"])
def test_every_format_gives_the_same_problems(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    _write(path, ROWS)
    problems = file_task(path, "exact", template="{problem}\nGive \\boxed{}.").load("test")
    assert problems == [
        Problem(str(i), row["question"] + "\nGive \\boxed{}.", row["answer"], {"source": row["source"]})
        for i, row in enumerate(ROWS, start=1)
    ]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_bad_row_of_a_table_is_refused_by_number(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bad{suffix}"
    for rows, message in (
        ([{"question": "a"}], "row 1: the column 'answer' is missing"),
        ([{"text": "a", "answer": "b"}], "row 1: there is no column prompt, problem or question"),
        ([{"prompt": "a", "answer": "b", "id": "x"}] * 2, "row 2: the id 'x' occurs twice"),
        ([], "holds no problems"),
    ):
        _write(path, rows)
        with pytest.raises(ValueError, match=re.escape(f"{path}") + ".*" + re.escape(message)):
            file_task(path, "exact").load("test")
    path.write_bytes(b'prompt,answer\n"a,b')
    with pytest.raises(ValueError, match=r"not CSV|not a Parquet file"):
        file_task(path, "exact").load("test")


@pytest.mark.parametrize("line", ["a", "a,b,c"])
def test_a_csv_row_of_another_length_than_the_header_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"prompt,answer\nq,1\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"row 2: it has not as many cells"):
        file_task(path, "exact").load("test")


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_an_integer_answer_is_its_digits(tmp_path: Path, suffix: str) -> None:
    _write(tmp_path / f"mine.{suffix}", [{"prompt": "\U0001f600", "answer": 2}, {"prompt": "b", "answer": -10}])
    problems = file_task(tmp_path / f"mine.{suffix}", "exact").load("test")
    assert [(problem.prompt, problem.answer) for problem in problems] == [("\U0001f600", "2"), ("b", "-10")]


def test_a_number_is_an_answer_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    written = ["3.5", "2", "2.0", "0.50", "5e-1", "-10", "3.14159265358979323846", "12345678901234567890"]
    path.write_text("".join(f'{{"prompt": "a", "answer": {n}, "weight": 0.50}}\n' for n in written))
    problems = file_task(path, "exact").load("test")
    assert [p.answer for p in problems] == written
    assert problems[0].metadata == {"weight": 0.5}
    assert json.dumps(dict(problems[0].metadata)) == '{"weight": 0.5}'


def test_a_number_out_of_parquet_is_its_shortest_text(tmp_path: Path) -> None:
    _write(tmp_path / "mine.parquet", [{"prompt": str(n), "answer": n} for n in (3.5, 2.0, -0.125, 1e-9)])
    answers = [p.answer for p in file_task(tmp_path / "mine.parquet", "exact").load("test")]
    assert answers == ["3.5", "2", "-0.125", "1e-09"]


@pytest.mark.parametrize("answer", ["NaN", "-Infinity", "1e999", "null", "[2]"])
def test_what_is_no_number_is_no_answer(tmp_path: Path, answer: str) -> None:
    (tmp_path / "bad.jsonl").write_text(f'{{"prompt": "a", "answer": {answer}}}\n')
    with pytest.raises(ValueError, match="line 1: the column 'answer' must be a text or a"):
        file_task(tmp_path / "bad.jsonl", "exact").load("test")


def test_a_files_revision_changes_with_its_content(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    _write(path, ROWS)
    task = file_task(path, "exact")
    before = task.revision
    assert before == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    _write(path, ROWS[:1])
    assert task.revision != before


def test_the_benchmark_files_are_tasks_as_they_stand(bench_data: Path) -> None:
    for name in ("aime24", "minerva", "math500"):
        path = bench_data / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        problems = file_task(path, "last_box").load("test")
        assert [(p.id, p.prompt, p.answer) for p in problems] == [(r["id"], r["problem"], r["answer"]) for r in rows]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq = pytest.importorskip("pyarrow.parquet")
        pq.write_table(pytest.importorskip("pyarrow").Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]) if rows else ["prompt", "answer"])
            writer.writeheader()
            writer.writerows(rows)
