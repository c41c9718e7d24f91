"""The tasks' splits, prompts and files; nothing here needs a network."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

from simko.records import Problem
from simko.tasks import TASKS, Split, file_task, get_task, operator_puzzle_traces
from simko.tasks.hub import MATH500_SOURCE, HubSource, math500_problems, math_problems
from simko.tasks.operator_puzzle import is_test
from simko.verifiers import VERIFIERS, get_verifier, verify_operator_puzzle

PINNED = {"test": ["99129=18", "52625=7", "72821=15"], "train": ["88886=0", "91776=8", "64484=18"]}
BENCH_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "bench-data"


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
        assert task.verifier in VERIFIERS
        assert task.source
        assert task.licence
        assert task.description
        assert task.max_new_tokens > 0
        assert task.temperature > 0
    with pytest.raises(ValueError, match="operator_puzzle, multiplication, math_l3_5, math500"):
        get_task("countdown")


@pytest.mark.parametrize("name", ["operator_puzzle", "multiplication"])
def test_generated_tasks_are_distinct_stable_and_prefix_ordered(name: str) -> None:
    task = get_task(name)
    for split in ("train", "test"):
        problems = task.load(split)
        assert len({p.id for p in problems}) == len({p.prompt for p in problems}) == len(problems)
        assert task.load(split, 50) == problems[:50]
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


MATH_ROWS = [
    {"problem": "1+1?", "level": "Level 2", "solution": r"\boxed{2}", "type": "Algebra"},
    {"problem": "Halve $\\{x\\}$.", "level": "Level 3", "solution": r"$\boxed{\frac{1}{2}}$.", "type": "Algebra"},
    {"problem": "Hard", "level": "Level 5", "solution": r"\boxed{1} then $\boxed{7}$", "type": "Geometry"},
    {"problem": "Odd", "level": "Level ?", "solution": r"\boxed{3}", "type": "Geometry"},
]


def test_math_rows_become_problems_of_levels_3_to_5() -> None:
    problems = math_problems(MATH_ROWS)
    assert [(p.id, p.answer, p.metadata["level"]) for p in problems] == [
        ("math/train/1", r"\frac{1}{2}", 3),
        ("math/train/2", "7", 5),
    ]
    assert problems[0].prompt == (
        "Halve $\\{x\\}$.\nPlease reason step by step, and put your final answer within \\boxed{}."
    )
    with pytest.raises(ValueError, match="row 0 of MATH"):
        math_problems([{**MATH_ROWS[1], "solution": "none"}])


def _grades_its_own_gold(problems: list[Problem], verifier: str) -> bool:
    verify = get_verifier(verifier)
    return all(verify(f"\\boxed{{{p.answer}}}", p).outcome == "correct" for p in problems)


def test_math500_rows_become_problems() -> None:
    row = {"problem": "1+1?", "solution": "-", "answer": "2", "subject": "Algebra", "level": 2, "unique_id": "test/a/1"}
    (problem,) = math500_problems([row])
    assert (problem.id, problem.answer) == ("test/a/1", "2")
    assert problem.metadata == {"level": 2, "subject": "Algebra"}
    assert _grades_its_own_gold([problem], get_task("math500").verifier)


def test_every_math500_gold_passes_its_own_verifier() -> None:
    path = BENCH_DATA / "math500.jsonl"
    if not path.is_file():
        pytest.skip("the benchmark files are not beside the repository")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    problems = math500_problems([{**row, "unique_id": row["id"]} for row in rows])
    assert len({p.id for p in problems}) == 500
    assert _grades_its_own_gold(problems, get_task("math500").verifier)


@pytest.mark.parametrize("name", ["math_l3_5", "math500"])
def test_hub_revisions_are_commits(name: str) -> None:
    assert re.search(r"at [0-9a-f]{40}$", get_task(name).source)
    other: Split = "test" if name == "math_l3_5" else "train"
    with pytest.raises(ValueError, match="no split"):
        get_task(name).load(other)


def test_offline_the_message_says_what_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def unreachable(*_: object, **__: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(RuntimeError) as refusal:
        get_task("math500").load("test")
    assert MATH500_SOURCE.download in str(refusal.value)
    assert MATH500_SOURCE.revision in MATH500_SOURCE.download


def test_a_fetched_snapshot_is_read_and_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets, huggingface_hub = pytest.importorskip("datasets"), pytest.importorskip("huggingface_hub")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "test.jsonl").write_text('{"problem": "a"}\n{"problem": "b"}\n', encoding="utf-8")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(snapshot))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    assert HubSource("a/b", "0" * 40, "test", 2).read() == [{"problem": "a"}, {"problem": "b"}]
    with pytest.raises(RuntimeError, match="2 rows instead of 3"):
        HubSource("a/b", "0" * 40, "test", 3).read()


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
        ('{"answer": "1"}\n', "line 1: the column 'prompt' is missing"),
        ('{"prompt": "a", "answer": 1}\n', "line 1: the column 'answer' must be a text, not int"),
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
