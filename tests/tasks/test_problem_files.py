"""Files of problems as people have them: each is read rightly, or refused in one line that says where and what to do."""

import datetime as dt
import json
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problem_files import load, refusal, write

from simko.records import Problem
from simko.tasks import file_task, parse_columns
from simko.verifiers import check_problems, get_verifier

# -- formats, types and names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".csv.gz", ".JSONL.GZ"])
def test_compressed_files_are_read(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"my.set{suffix.lower()}", [{"problem": "q", "answer": "4"}])
    path = path.rename(tmp_path / f"my.set{suffix}")
    task = file_task(path, "math")
    assert (task.name, task.load("test")) == ("my.set", [Problem("1", "q", "4")])


def test_a_file_that_is_not_gzip_or_cut_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.jsonl.gz", [{"problem": f"q{i}", "answer": "4"} for i in range(500)]).read_bytes()
    for content in (b'{"problem": "q"}', whole[:40], whole[:-5], whole[:30] + b"\0" * 9 + whole[39:], b""):
        (tmp_path / "b.jsonl.gz").write_bytes(content)
        assert refusal(tmp_path / "b.jsonl.gz")


def test_parquet_columns_of_every_type_load_and_can_be_stored(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    columns = {
        "problem": pa.array([b"2+2="], pa.binary()),
        "answer": pa.array([Decimal("3.50")], pa.decimal128(10, 2)),
        "id": pa.array([Decimal(7)], pa.decimal128(10, 0)),
        "day": pa.array([moment.date()], pa.date32()),
        "time": pa.array([moment.time()], pa.time64("us")),
        "zoned": pa.array([moment], pa.timestamp("us", tz="UTC")),
        "millis": pa.array([moment.replace(tzinfo=None)], pa.timestamp("ms")),
        "nanos": pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")),
        "took": pa.array([dt.timedelta(seconds=1.5)], pa.duration("us")),
        "cost": pa.array([Decimal("0.10")], pa.decimal256(50, 2)),
        "raw": pa.array([b"\xff\x00"], pa.large_binary()),
        "tags": pa.array([["a", "b"]], pa.list_(pa.string())),
        "nested": pa.array([{"a": [{"b": Decimal("1.5"), "c": b"x"}]}]),
        "pairs": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
        "level": pa.array(["hard"]).dictionary_encode(),
        "none": pa.nulls(1),
        "half": pa.array([0.5], pa.float32()),
        "flag": pa.array([True]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    (problem,) = load(tmp_path / "a.parquet")
    assert (problem.id, problem.prompt, problem.answer) == ("7", "2+2=", "3.50")
    assert json.loads(json.dumps(dict(problem.metadata))) == dict(problem.metadata)
    expected = {"day": "2026-01-02", "zoned": "2026-01-02T03:04:05+00:00", "took": 1.5, "cost": 0.1, "raw": "/wA="}
    expected |= {
        "tags": ["a", "b"],
        "nested": {"a": [{"b": 1.5, "c": "x"}]},
        "level": "hard",
        "flag": True,
        "none": None,
    }
    assert expected.items() <= problem.metadata.items()


def test_numbers_of_single_precision_are_read_as_they_were_written(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    given = [0.1, 3.14, 1e-5, 2.5, 16777216.0]
    table = pa.table(
        {"prompt": ["?"] * 5, "answer": pa.array(given, pa.float32()), "x": pa.array([None] * 5, pa.float32())}
    )
    parquet.write_table(table, tmp_path / "single.parquet")
    problems = file_task(tmp_path / "single.parquet", "math").load("test")
    assert [float(p.answer) for p in problems] == given
    assert [p.metadata["x"] for p in problems] == [None] * 5


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "datetime"),
        (dt.date(2026, 1, 2), "date"),
        (b"\xff\xfe", "bytes"),
        ({"value": 4}, "dict; read a part of it, --columns answer=answer.value"),
        (["6"], "list of 1; read a part of it, --columns answer=answer.0"),
        (["6", "7"], "a list of 2: write what a response has to give as one text, such as '3, 4'"),
        ([], "list of 0"),
        (None, "NoneType"),
    ],
)
def test_an_answer_of_another_type_is_refused_with_its_row_and_column(tmp_path: Path, value: Any, kind: str) -> None:
    path = write(tmp_path / "a.parquet", [{"problem": "q", "Answer": value}])
    said = refusal(path)
    assert "a.parquet, row 1: the column 'Answer' must be a text or a number, not " in said
    assert kind.replace("answer.", "Answer.") in said


def test_a_cell_that_parquet_cannot_give_names_its_row_and_column(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    far = pa.array([0, 10**14], pa.timestamp("s"))
    pq.write_table(pa.table({"problem": ["a", "b"], "answer": ["1", "2"], "when": far}), tmp_path / "a.parquet")
    assert "a.parquet, row 2: the column 'when' (timestamp[ms]) cannot be read" in refusal(tmp_path / "a.parquet")


MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".jsonl.gz"])
def test_chat_messages_and_nested_golds_are_read_by_their_paths(tmp_path: Path, suffix: str) -> None:
    row = {"prompt": MESSAGES, "reward_model": {"ground_truth": "4", "style": "rule"}, "extra_info": {"index": 3}}
    path = write(tmp_path / f"a{suffix}", [row])
    said = refusal(path, columns="answer=reward_model.ground_truth")
    assert " 1: the column 'prompt' must be a text, not list of chat messages (system, user); read a part of it" in said
    assert "--columns prompt=prompt.0.content or prompt.1.content" in said
    columns = "prompt=prompt.1.content,answer=reward_model.ground_truth,id=extra_info.index"
    (problem,) = load(path, columns=columns)
    assert (problem.id, problem.prompt, problem.answer) == ("3", "2+2?", "4")
    assert problem.metadata["reward_model"]["style"] == "rule"


def test_what_a_refusal_names_reads_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"Question": MESSAGES[1:], "Answer": {"value": "4"}}])
    named = None
    for _ in range(2):
        option = re.search(r"--columns (\S+=\S+)", refusal(path, columns=named))
        assert option is not None
        named = option[1] if named is None else f"{named},{option[1]}"
    assert load(path, columns=named)[0].answer == "4"
    path = write(tmp_path / "b.jsonl", [{"statement": "2+2", "final.answer": 4}])
    assert "name another, --columns prompt=NAME: there are statement, final.answer" in refusal(path)
    assert load(path, columns="prompt=statement,answer=final.answer")[0].answer == "4"


def test_messages_that_were_written_as_text_are_no_prompt(tmp_path: Path) -> None:
    for text in (json.dumps(MESSAGES), repr(MESSAGES), "[{'content': 'q', 'role': 'user'}]"):
        said = refusal(write(tmp_path / "a.csv", [{"prompt": text, "answer": "4"}]))
        assert "row 1: the column 'prompt' holds chat messages that were written as text" in said


def test_one_of_several_golds_is_never_taken_in_silence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": "p", "golds": ["6"]}, {"problem": "q", "golds": ["6", "7"]}])
    said = refusal(path, columns="answer=golds.0")
    assert "line 2: the column 'golds.0' must be a text or a number, not one entry in a list of 2" in said
    assert load(write(path, [{"problem": "p", "golds": ["6"]}]), columns="answer=golds.0")[0].answer == "6"


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["prompt", "problem", "question"]),
    st.sampled_from([str.title, str.upper, str.lower, lambda name: f" {name.title()} "]),
    st.sampled_from([".jsonl", ".csv", ".jsonl.gz"]),
)
def test_names_are_recognised_whatever_their_case(prompt: str, written: Any, suffix: str) -> None:
    row = {written(prompt): "q", written("answer"): "4", written("id"): "a", "Level": "5", written("tolerance"): "0.1"}
    with tempfile.TemporaryDirectory() as folder:
        (problem,) = load(write(Path(folder) / f"a{suffix}", [row]))
    assert problem == Problem("a", "q", "4", {"Level": "5", "tolerance": "0.1"})


def test_names_that_could_be_two_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": "q", "Answer": "4", "ANSWER": "5"}])
    assert "line 1: 'Answer' and 'ANSWER' may be the answer: name one, --columns answer=NAME" in refusal(path)
    assert load(path, columns="answer=ANSWER")[0].answer == "5"
    (tmp_path / "b.csv").write_text("problem,answer,answer\nq,4,5\n")
    assert "two columns are called 'answer': rename one" in refusal(tmp_path / "b.csv")


@pytest.mark.parametrize("id", [{"a": 1}, [1], True])
def test_an_id_is_a_text_or_a_number(tmp_path: Path, id: Any) -> None:
    said = refusal(write(tmp_path / "a.jsonl", [{"problem": "q", "answer": "4", "id": id}]))
    assert "line 1: the column 'id' must be a text or a number, not " in said


def test_a_blank_prompt_is_refused_whatever_the_template(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": " \n", "answer": "4"}])
    with pytest.raises(ValueError, match="line 1: the prompt is empty"):
        file_task(path, "math", template="Solve: {problem}").load("test")


@pytest.mark.parametrize("text", ["prompt", "prompt=", "=x", "gold=x", "prompt=a,prompt=b", ""])
def test_a_bad_option_says_how_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match="write prompt=NAME,answer=NAME,id=NAME"):
        parse_columns(text)


def test_a_named_column_that_is_missing_is_told_with_those_there_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": "q", "gold": {"text": "4"}}])
    said = refusal(path, columns="answer=gold.value")
    assert "line 1: the column 'gold.value', named for the answer, is missing; there are problem, gold.text" in said


# -- columns with a meaning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["0.01", "1/3", "1e-3", 0.5, 0, "", None])
def test_a_tolerance_is_a_number_or_empty(tmp_path: Path, cell: Any) -> None:
    (problem,) = load(write(tmp_path / "a.jsonl", [{"problem": "q", "answer": "4", "tolerance": cell}]))
    check_problems("math", [problem])
    near = get_verifier("math")(r"\boxed{4.3}", problem).outcome
    assert near == ("correct" if cell in ("1/3", 0.5) else "wrong")


@pytest.mark.parametrize("cell", ["abc", "5%", -0.1, "-1", True, "nan", "inf", [0.1], {"abs": 1}])
def test_a_cell_that_is_no_tolerance_is_refused(tmp_path: Path, cell: Any) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": "q", "answer": "4", "tolerance": cell}])
    said = refusal(path)
    assert re.search(r"line 1: problem '1': its tolerance .* is not a number of at least 0", said)
    assert load(path, "last_box")  # which has no use for it


def test_run_on_and_choices_are_checked_and_read(tmp_path: Path) -> None:
    for cell, value in (("False", False), ("TRUE", True), ("", False), ("1", True)):
        (problem,) = load(write(tmp_path / "a.csv", [{"problem": "q", "answer": "4", "run_on": cell, "choices": "5"}]))
        assert problem.metadata == {"run_on": value, "choices": 5}
    said = refusal(write(tmp_path / "a.csv", [{"problem": "q", "answer": "4", "run_on": "maybe"}]))
    assert "row 1: the column 'run_on' must be true, false or empty" in said
