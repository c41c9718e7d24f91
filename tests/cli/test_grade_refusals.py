"""Rows, counts and logs that `simko grade` refuses in one line, before anything is written."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grading import FLAT, LOGS, grade, inspect_log, refusal
from kinds import write_rows


@pytest.fixture
def inspect_json(tmp_path: Path) -> Path:
    return inspect_log(tmp_path)


def edited(*changes: object) -> list[object]:
    """FLAT with its sixth row changed, or replaced by a text."""
    (change,) = changes
    return [*FLAT[:5], FLAT[5] | change if isinstance(change, dict) else change, *FLAT[6:]]


def listed(text: str) -> list[object]:
    return [row | {"response": text} for row in FLAT]


TEXTS = [
    "['1', '2']",
    "[\"It's 2.\", '2']",
    "['1'\n '2']",
    "[{'role': 'assistant', 'content': '2'}]",
    '[{"role": "user"}, {"a": 1}]',
]
BROKEN: dict[str, tuple[list[object], str]] = {
    "no JSON": (edited("{"), "line 6: not JSON"),
    "no object": (edited("[1]"), "line 6: expected an object"),
    "deep": (edited("[" * 100_000), "line 6: not JSON"),
    "no response": (edited({"response": None}), "line 6: a response must be a text, not NoneType"),
    "response a number": (edited({"response": 3}), "line 6: a response must be a text"),
    "no responses": (edited({"response": []}), "line 6: the column 'response' holds no response"),
    "null in a list": (edited({"response": ["1", None]}), "line 6: a response must be a text"),
    "a message without content": (edited({"response": {"role": "assistant"}}), "line 6: a response must be a text"),
    "no answer": (edited({"answer": None}), "line 6: the column 'answer'"),
    "two golds": (edited({"answer": ["1", "2"]}), "line 6: the column 'answer'"),
    "another answer": (edited({"answer": "7"}), "line 6: the problem"),
    "problem a number": (edited({"problem": 7}), "line 6: the problem must be a text"),
    "empty problem": (edited({"problem": ""}), "line 6: the prompt is empty"),
    "half a character": (edited({"problem": "\ud800"}), "line 6: the prompt holds"),
    "temperature a word": (edited({"temperature": "warm"}), "line 6: temperature must be a number"),
    "temperature not finite": (edited({"temperature": float("nan")}), "line 6: temperature must be a number"),
    "seed a word": (edited({"seed": "s"}), "line 6: seed must be a whole number"),
    "seed too large": (edited({"seed": 2**70}), "line 6: seed must be"),
    "two models": ([*edited({"model": "b"}), FLAT[0] | {"model": "a"}], "line 13: the model is 'a' here and 'b' in"),
    "two models at two temperatures": (
        [FLAT[0] | {"model": "a", "temperature": 1}, FLAT[0] | {"model": "b", "temperature": 0.5}],
        "line 2: the model is 'b'",
    ),
    "two top-p": ([FLAT[0] | {"top_p": 1}, FLAT[0] | {"top_p": 0.5}], "line 2: top_p is 0.5 here and 1.0 in"),
    "a top-p of 3": (edited({"top_p": 3}), "line 6: top_p must be a number from 0 to 1"),
    **{
        f"only lists as text, {i}": (listed(text), "every response is a list written as a text")
        for i, text in enumerate(TEXTS)
    },
    "two gold columns": (edited({"gold": "1"}), "line 6: 'answer' and 'gold' may be the answer"),
    "two response columns": (edited({"output": "1"}), "line 6: 'response' and 'output' may be the response"),
    "ids of responses": (
        [row | {"id": i} for i, row in enumerate(FLAT)],
        "line 2: the problems '0' and '1' have the same text",
    ),
    "an id here and none there": ([row | {"id": "a" if i else None} for i, row in enumerate(FLAT[:4])], "line 2: "),
    "tokens of fewer": (
        edited({"response": ["1", "2"], "tokens": [3]}),
        "line 6: the column 'tokens' has 1 entries for 2",
    ),
    "nothing": ([], "the file holds no rows"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_rows_that_cannot_be_read(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, said = BROKEN[case]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    line = refusal(tmp_path / "run", capsys, path)
    assert said in line
    assert "mine.jsonl" in line


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "a", "c": 9, "n": 8}, "c is 9 and n is 8"),
        ({"id": "a", "c": -1, "n": 8}, "c must be a whole number of at least 0, not -1"),
        ({"id": "a", "c": 0, "n": 0}, "n is 0"),
        ({"id": "a", "c": 1.5, "n": 8}, "c must be a whole number of at least 0, not 1.5"),
        ({"id": "a", "c": 1, "n": 10**9}, "n from 1 to 1,000,000"),
        ({"id": None, "c": 1, "n": 8}, "the column 'id'"),
        ({"id": "\ud800", "c": 1, "n": 8}, "half of a surrogate pair"),
    ],
)
def test_counts_that_cannot_be_read(
    row: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_rows(tmp_path / "counts.jsonl", [{"id": "z", "c": 1, "n": 8}, row])
    line = refusal(tmp_path / "run", capsys, path, verifier=None)
    assert "counts.jsonl, line 2: " in line
    assert said in line


def test_words_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, run = write_rows(tmp_path / "mine.jsonl", FLAT), tmp_path / "run"
    copy = shutil.copy(rows, tmp_path / "copy.jsonl")
    assert "--verifier" in refusal(run, capsys, rows, verifier=None)
    assert "no verifier is called" in refusal(run, capsys, rows, verifier="maths")
    assert "are the same" in refusal(run, capsys, rows, copy)
    assert "no such file" in refusal(run, capsys, tmp_path / "none.jsonl")
    assert "no such file" in refusal(run, capsys, tmp_path / "none.eval")
    assert "is a folder" in refusal(run, capsys, tmp_path)
    assert "the column 'texts', named for the response, is missing" in refusal(
        run, capsys, rows, "--columns", "response=texts"
    )
    assert "write prompt=NAME,answer=NAME,id=NAME,response=NAME" in refusal(run, capsys, rows, "--columns", "texts")
    bare = write_rows(tmp_path / "bare.jsonl", [{"problem": "1+1=", "response": "2"}])
    assert "there is no answer" in refusal(run, capsys, bare)
    assert "give the problems with --task" in refusal(run, capsys, bare, "--task", "a name")


@pytest.mark.parametrize("text", [r"\[x = 2\] so [1, 2]", "[2]", "[]", "['1'] and ['2'] are 2"])
def test_a_response_may_look_like_a_list(text: str, tmp_path: Path) -> None:
    assert grade(write_rows(tmp_path / "mine.jsonl", listed(text)), "--out", tmp_path / "run") == 0
    one = [*listed("['1', '2']")[:5], *FLAT[5:]]
    assert grade(write_rows(tmp_path / "one.jsonl", one), "--out", tmp_path / "one") == 0


def test_the_columns_of_a_log_are_not_the_users_to_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for log in (next(LOGS.glob("samples_*.jsonl")), LOGS / "verl" / "1.jsonl", LOGS / "lighteval_details_sums.parquet"):
        said = refusal(tmp_path / "run", capsys, log, "--columns", "answer=target")
        assert "whose columns are known: leave --columns out" in said
    with pytest.raises(SystemExit):
        grade(log, "--out", tmp_path / "run", "--top-p", "3")
    assert "no number from 0 to 1" in capsys.readouterr().err


def test_a_gold_that_cannot_be_judged_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write_rows(tmp_path / "mine.jsonl", [*FLAT[:4], *({**row, "answer": " "} for row in FLAT[4:])])
    line = refusal(tmp_path / "run", capsys, rows)
    assert "mine.jsonl, line 5: " in line
    assert "no gold answer" in line


def broken_logs(folder: Path, inspect_json: Path) -> dict[str, tuple[Path, str]]:
    """{what is broken: (the log, what the refusal says)}."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    def lines(name: str, rows: list[Any]) -> Path:
        return Path(write_rows(folder / name, rows))

    harness = [json.loads(line) for line in next(LOGS.glob("samples_*.jsonl")).read_text().splitlines()]
    verl = [json.loads(line) for line in (LOGS / "verl" / "1.jsonl").read_text().splitlines()]
    details = pq.read_table(LOGS / "lighteval_details_sums.parquet").to_pylist()
    log = json.loads(inspect_json.read_text())
    empty = [{**row, "model_response": {"text": []}} for row in details]
    pq.write_table(pa.Table.from_pylist(empty), folder / "likelihoods.parquet")
    bare = [{**row, "doc": {"id": "1", "query": "q"}} for row in details]
    pq.write_table(pa.Table.from_pylist(bare), folder / "bare.parquet")

    def inspected(name: str, change: Callable[[dict[str, Any]], object]) -> Path:
        copy = json.loads(json.dumps(log))
        change(copy)
        (folder / name).write_text(json.dumps(copy))
        return folder / name

    whole = (LOGS / "inspect_sums.eval").read_bytes()
    (folder / "cut.eval").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray(whole)
    with zipfile.ZipFile(LOGS / "inspect_sums.eval") as archive:
        start = archive.getinfo("samples/1_epoch_1.json").header_offset + 100
    damaged[start : start + 9] = bytes(9)
    (folder / "damaged.eval").write_bytes(damaged)
    with zipfile.ZipFile(folder / "other.eval", "w") as archive:
        archive.writestr("readme.txt", "no log")
    (folder / "rows.json").write_text(json.dumps(FLAT))
    return {
        "likelihoods": (lines("l.jsonl", [harness[0] | {"resps": [[["-1.5", "False"]]]}]), "likelihoods of choices"),
        "no arguments": (lines("a.jsonl", [harness[0] | {"arguments": {}}]), "not as lm-evaluation-harness writes it"),
        "no gold": (lines("g.jsonl", [verl[0] | {"gts": None}]), "there is no answer"),
        "temperature a list": (
            lines(
                "t.jsonl", [harness[0] | {"arguments": {"gen_args_0": {"arg_0": "q", "arg_1": {"temperature": [1]}}}}]
            ),
            "temperature must be a number",
        ),
        "no prompt": (
            lines("p.jsonl", [harness[0] | {"arguments": [["q"]]}]),
            "not as lm-evaluation-harness writes it",
        ),
        "no step": (lines("s.jsonl", [verl[0] | {"step": None}]), "not as verl writes it"),
        "no text": (folder / "likelihoods.parquet", "no generated text"),
        "no choices": (folder / "bare.parquet", "not as lighteval writes it"),
        "sample missing": (
            inspected("m.json", lambda x: x.update(samples=[s for s in x["samples"] if s["id"] != 2])),
            "no sample of 1 problems of its data set, '2' first",
        ),
        "two targets": (inspected("t.json", lambda x: x["samples"][0].update(target=["1", "2"])), "sample 1: "),
        "no output": (inspected("o.json", lambda x: x["samples"][0].pop("output")), "not as inspect_ai writes it"),
        "no task": (inspected("k.json", lambda x: x["eval"].pop("task")), "not as inspect_ai writes it"),
        "cut archive": (folder / "cut.eval", "not a log of inspect_ai"),
        "damaged archive": (folder / "damaged.eval", "samples/1_epoch_1.json in it cannot be read"),
        "another archive": (folder / "other.eval", "not a log of inspect_ai"),
        "another object": (folder / "rows.json", "not a log of inspect_ai"),
    }


def test_logs_that_cannot_be_read(tmp_path: Path, inspect_json: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, said in broken_logs(tmp_path, inspect_json).values():
        line = refusal(tmp_path / "run", capsys, path)
        assert said in line, path
        assert path.name in line
