"""Forms of the same rows for `simko grade`: names of columns, numbers as pandas writes them, messages, simko's own exports."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grading import C_OF_FLAT, FLAT, counts, grade, kept, refusal
from kinds import write_rows

from simko.cli.main import main
from simko.evaluate import SampleStore
from simko.records import Problem, Sample

DRAW = {"model": "m", "temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": 3, "tokens": 7, "finish_reason": "length"}


@pytest.mark.parametrize("named", [str.upper, str.title, "sampling.{}".format])
def test_what_is_said_of_the_draw_is_read_under_any_name(named: Callable[[str], str], tmp_path: Path) -> None:
    draw = {named(key): value for key, value in DRAW.items()}
    names = ",".join(f"{key}={named(key)}" for key in DRAW)
    if "sampling.model" in draw:
        draw = {"sampling": DRAW}
    rows = write_rows(tmp_path / "mine.jsonl", [row | draw for row in FLAT])
    assert grade(rows, "--out", tmp_path / "run", *(["--columns", names] if "sampling" in draw else [])) == 0
    ((setting, _, samples),) = kept(tmp_path / "run")
    assert setting.name == "T=0.5"
    assert {key: setting.record[key] for key in ("model", "top_p", "top_k")} == {"model": "m", "top_p": 0.9, "top_k": 5}
    assert {(s.seed, s.tokens, s.finish_reason) for s, _ in samples} == {(3, 7, "length")}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_whole_numbers_as_pandas_writes_them_beside_an_empty_cell(suffix: str, tmp_path: Path) -> None:
    import pandas

    frame = pandas.DataFrame([row | {"seed": i, "tokens": 3} if i else row for i, row in enumerate(FLAT)])
    path = tmp_path / f"mine{suffix}"
    write: dict[str, Callable[[], object]] = {
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".csv": lambda: frame.to_csv(path, index=False),
        ".parquet": lambda: frame.to_parquet(path),
    }
    write[suffix]()
    assert grade(path, "--out", tmp_path / "run") == 0
    ((_, _, samples),) = kept(tmp_path / "run")
    assert sorted((-1 if s.seed is None else s.seed, s.tokens) for s, _ in samples) == [
        (-1, 0),
        *((i, 3) for i in range(1, len(FLAT))),
    ]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"ID": "a", "C": 3, "N": 8}, None),
        ({"problem_id": "a", "c": 3.0, "n": 8.0}, None),
        ({"uid": "a", "right": {"count": 3}, "drawn": 8}, "id=uid,c=right.count,n=drawn"),
    ],
)
def test_counts_under_any_name(row: dict[str, Any], names: str | None, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "counts.jsonl", [row])
    assert grade(path, "--out", tmp_path / "run", *(["--columns", names] if names else []), verifier=None) == 0
    with SampleStore(tmp_path / "run" / "samples.db", read_only=True) as store:
        assert store.counts(store.settings()[0]) == {"a": (8, 3)}


def said(text: str, **more: object) -> dict[str, object]:
    return {"role": "assistant", "content": text, **more}


RESPONSES: dict[str, Callable[[str], object]] = {
    "a message in a list": lambda text: [said(text)],
    "a chat": lambda text: [{"role": "user", "content": r"\boxed{2}?"}, said(text)],
    "a chat with a tool": lambda text: [said(r"\boxed{2}"), {"role": "tool", "content": "2"}, said(text)],
    "a chat in a list": lambda text: [[said(text)]],
    "a list of text": lambda text: [[{"type": "text", "text": text}]],
    "a pipeline's": lambda text: [{"generated_text": text}],
    "a choice that thought": lambda text: {"message": said(text, reasoning_content=r"\boxed{2}")},
}


@pytest.mark.parametrize("form", RESPONSES)
def test_forms_of_one_response(form: str, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "mine.jsonl", [r | {"response": RESPONSES[form](r["response"])} for r in FLAT])
    assert grade(rows, "--out", tmp_path / "run") == 0
    assert counts(tmp_path / "run") == C_OF_FLAT
    ((_, _, samples),) = kept(tmp_path / "run")
    assert {s.thinking for s, _ in samples} == {r"\boxed{2}" if "thought" in form else None}


def test_forms_of_several_responses(tmp_path: Path) -> None:
    """A list of chats, as TRL gives them; a list of answers; and one that was cut off while it thought."""
    forms = [[said("1")], [{"role": "user", "content": "?"}, said("2")]], [said("1"), said("2"), said("3")]
    cut = [{"message": {"role": "assistant", "content": None, "reasoning": "hm"}, "finish_reason": "length"}]
    rows = [FLAT[0] | {"problem": str(i), "response": form} for i, form in enumerate([*forms, cut])]
    assert grade(write_rows(tmp_path / "mine.jsonl", rows), "--out", tmp_path / "run") == 0
    assert counts(tmp_path / "run") == {"0": (2, 1), "1": (3, 1), "2": (1, 0)}
    ((_, problems, samples),) = kept(tmp_path / "run")
    (last,) = [s for s, _ in samples if problems[s.problem_id].prompt == "2"]
    assert (last.response, last.thinking, last.finish_reason) == ("", "hm", "length")


@pytest.mark.parametrize(
    ("response", "what"),
    [
        (
            [said("1"), {"role": "user", "content": "2"}],
            "must end with the assistant's response, not with a message of 'user'",
        ),
        ({"answer": "1"}, "a response must be a text, not dict with 'answer'"),
        ([[{"value": "1"}]], "a response must be a text, not list"),
    ],
)
def test_forms_that_are_no_response(
    response: object, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write_rows(tmp_path / "mine.jsonl", [FLAT[0], FLAT[1] | {"response": response}])
    line = refusal(tmp_path / "run", capsys, rows)
    assert "line 2: " in line
    assert what in line


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_an_export_is_read_as_the_run_that_it_was(suffix: str, tmp_path: Path) -> None:
    """Two temperatures, a step, a failed sample, thinking, and a tolerance that decides a verdict."""
    problems = [Problem("a", "pi?", "3.14", {"tolerance": 0.1}), Problem("b\n", "say 'e'", "3")]
    (tmp_path / "run").mkdir()
    with SampleStore(tmp_path / "run" / "samples.db") as store:
        for name, temperature in (("T=0.5", 0.5), ("T=1", 1.0), ("step=40, T=1", 1.0)):
            record = {"backend": "openai", "model": "m", "temperature": temperature, "top_p": 0.9, "top_k": 0}
            record |= {"max_new_tokens": 8, "stop": ["\n"], "seed": 3, "do_sample": True}
            setting = store.begin("sums", name, record, "last_box", problems, 2)
            store.add(setting, [Sample(p.id, 0, r"\\boxed{3.1}", 4, "stop", 9, 2**62, "hm") for p in problems])
            store.add(setting, [Sample(p.id, 1, "", 0, "failed", failure="400 too long") for p in problems])
        before = [list(store.rows(s)) for s in store.settings()]
    path = tmp_path / f"all{suffix}"
    assert main(["export", str(tmp_path / "run"), "--to", str(path)]) == 0
    assert grade(path, "--out", tmp_path / "again") == 0
    again = kept(tmp_path / "again")
    assert [(s.task, s.name, s.n) for s, *_ in again] == [("sums", n, 2) for n in ("T=0.5", "T=1", "step=40, T=1")]
    for (setting, found, samples), old in zip(again, before, strict=True):
        assert found == {p.id: p for p in problems}
        assert [s for s, _ in samples] == [s for s, _ in old]
        assert [v and v.outcome for _, v in samples] == ["correct", "failed", "wrong", "failed"]
        assert {"model": "m", "top_p": 0.9, "top_k": 0, "max_new_tokens": 8, "stop": ["\n"], "seed": 3}.items() <= (
            setting.record.items()
        )


def test_an_export_of_counts_is_read_as_counts(tmp_path: Path) -> None:
    given = write_rows(tmp_path / "counts.jsonl", [{"id": "a", "c": 3, "n": 8}, {"id": "b", "c": 0, "n": 9}])
    assert grade(given, "--out", tmp_path / "run", verifier=None) == 0
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "out.jsonl")]) == 0
    assert grade(tmp_path / "out.jsonl", "--out", tmp_path / "again", verifier=None) == 0
    with SampleStore(tmp_path / "again" / "samples.db", read_only=True) as store:
        assert store.counts(store.settings()[0]) == {"a": (8, 3), "b": (9, 0)}


@pytest.mark.parametrize(
    "change", [{"record": "{"}, {"record": "[1]"}, {"record": None}, {"setting": 3}, {"response": None}]
)
def test_exports_that_cannot_be_read(
    change: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grade(write_rows(tmp_path / "mine.jsonl", FLAT), "--out", tmp_path / "run") == 0
    assert main(["export", str(tmp_path / "run"), "--to", str(tmp_path / "out.jsonl")]) == 0
    first, *rows = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    path = write_rows(tmp_path / "edited.jsonl", [first, rows[0] | change, *rows[1:]])
    assert "edited.jsonl, line 2: " in refusal(tmp_path / "again", capsys, path)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_an_empty_id_is_none(suffix: str, tmp_path: Path) -> None:
    rows = [row | {"id": "" if suffix == ".csv" else None} for row in FLAT]
    assert grade(write_rows(tmp_path / f"mine{suffix}", rows), "--out", tmp_path / "run") == 0
    assert counts(tmp_path / "run") == C_OF_FLAT


def test_counts_of_a_tasks_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = write_rows(tmp_path / "sums.jsonl", [{"id": i, "problem": f"1+{i}=", "answer": 1 + i} for i in range(2)])
    given = [{"id": i, "c": i, "n": 4} for i in (1, 0)]
    assert grade(write_rows(tmp_path / "counts.jsonl", given), "--task", task, "--out", tmp_path / "run") == 0
    assert counts(tmp_path / "run") == {"1+0=": (4, 0), "1+1=": (4, 1)}
    rows = write_rows(tmp_path / "more.jsonl", [*given, {"id": 2, "c": 0, "n": 4}])
    assert "the id '2'" in refusal(tmp_path / "other", capsys, rows, "--task", task)
