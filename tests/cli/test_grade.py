"""`simko grade` from files that others wrote to a run on which the other commands work."""

import gzip
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kinds import write_rows

from simko.cli.main import main
from simko.evaluate import SampleStore, Setting
from simko.records import Problem, Sample, Verdict

LOGS = Path(__file__).parents[1] / "data" / "generations"
HOSTILE = Path(__file__).parents[1] / "verifiers" / "hostile_answers.json"
SUMS = [("1+0=", "1"), ("1+1=", "2"), ("0+2=", "2")]
FLAT = [{"problem": p, "answer": a, "response": rf"\boxed{{{i}}}"} for p, a in SUMS for i in (1, 2, 2, 3)]
NESTED = [{"problem": p, "answer": a, "responses": [rf"\boxed{{{i}}}" for i in (1, 2, 2, 3)]} for p, a in SUMS]
C_OF_FLAT = {"1+0=": (4, 1), "1+1=": (4, 2), "0+2=": (4, 2)}

Rows = list[tuple[Sample, Verdict | None]]


def grade(*words: object, verifier: str | None = "math") -> int:
    return main(["grade", *map(str, words), "--quiet", *([] if verifier is None else ["--verifier", verifier])])


def kept(run: Path) -> list[tuple[Setting, dict[str, Problem], Rows]]:
    with SampleStore(run / "samples.db", read_only=True) as store:
        return [(s, {p.id: p for p in store.problems(s)}, list(store.rows(s))) for s in store.settings()]


def counts(run: Path) -> dict[str, tuple[int, int]]:
    """{prompt: (n, c)} of a run with one setting."""
    with SampleStore(run / "samples.db", read_only=True) as store:
        (setting,) = store.settings()
        prompts = {p.id: p.prompt for p in store.problems(setting)}
        return {prompts[id]: pair for id, pair in store.counts(setting).items()}


def responses(rows: Rows, problems: dict[str, Problem]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for sample, _ in rows:
        found.setdefault(problems[sample.problem_id].prompt, []).append(sample.response)
    return found


def refusal(run: Path, capsys: pytest.CaptureFixture[str], *words: object, verifier: str | None = "math") -> str:
    """The one line on stderr with which the command ends that takes no such input; nothing is written."""
    capsys.readouterr()
    assert grade(*words, "--out", run, verifier=verifier) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("simko: error: ")
    assert not run.exists()
    return line


@pytest.fixture
def inspect_json(tmp_path: Path) -> Path:
    path = tmp_path / "inspect_sums.json"
    path.write_bytes(gzip.decompress((LOGS / "inspect_sums.json.gz").read_bytes()))
    return path


def test_lm_evaluation_harness(tmp_path: Path) -> None:
    (log,) = LOGS.glob("samples_*.jsonl")
    assert grade(log, "--out", tmp_path / "run") == 0
    ((setting, problems, rows),) = kept(tmp_path / "run")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(lines) == 6  # two filters of three problems
    assert responses(rows, problems) == {x["doc"]["question"]: x["resps"][0] for x in lines}
    assert {(p.prompt, p.answer) for p in problems.values()} == set(SUMS)
    assert (setting.task, setting.name, setting.n) == ("sums", "T=1", 4)
    said = {"temperature": 1.0, "top_p": 0.95, "max_new_tokens": 6, "stop": ["\n"], "do_sample": True}
    assert said.items() <= setting.record.items()
    assert setting.record["model"] == setting.record["seed"] == "unknown"


def test_lighteval(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    log = LOGS / "lighteval_details_sums.parquet"
    assert grade(log, "--out", tmp_path / "run") == 0
    ((setting, problems, rows),) = kept(tmp_path / "run")
    details = pq.read_table(log).to_pylist()
    assert responses(rows, problems) == {x["doc"]["query"]: x["model_response"]["text"] for x in details}
    assert {(p.prompt, p.answer) for p in problems.values()} == set(SUMS)
    assert (setting.task, setting.name) == ("sums|0", "T=unknown")


@pytest.mark.parametrize("form", ["eval", "json"])
def test_inspect(form: str, inspect_json: Path, tmp_path: Path) -> None:
    log = LOGS / "inspect_sums.eval" if form == "eval" else inspect_json
    epochs = 4 if form == "eval" else 2
    assert grade(log, "--out", tmp_path / "run") == 0
    ((setting, problems, rows),) = kept(tmp_path / "run")
    assert {(p.id, p.prompt, p.answer) for p in problems.values()} == {
        (str(i), p, a) for i, (p, a) in enumerate(SUMS, 1)
    }
    assert [(s.problem_id, s.index) for s, _ in rows] == [(id, i) for id in "123" for i in range(epochs)]
    assert all(s.tokens == 6 for s, _ in rows)
    assert (setting.task, setting.name) == ("sums", "T=1")
    assert {"model": "hf/tiny", "top_p": 0.95, "max_new_tokens": 6}.items() <= setting.record.items()
    if form == "json":
        drawn = {
            (str(x["id"]), x["epoch"] - 1): x["output"]["completion"] for x in json.loads(log.read_text())["samples"]
        }
        assert {(s.problem_id, s.index): s.response for s, _ in rows} == drawn


def test_samples_that_ended_in_an_error_are_failed_ones(
    inspect_json: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = json.loads(inspect_json.read_text())
    log["samples"][1]["error"] = {"message": "out of\nmemory", "traceback": "", "traceback_ansi": ""}
    inspect_json.write_text(json.dumps(log))
    for _ in range(2):  # the second time nothing is left to grade
        assert grade(inspect_json, "--out", tmp_path / "run") == 0
        ((_, _, rows),) = kept(tmp_path / "run")
        (failed,) = [(s, v) for s, v in rows if s.failure is not None]
        assert (failed[0].failure, failed[0].response, failed[0].finish_reason) == ("out of memory", "", "failed")
        assert failed[1] is not None
        assert failed[1].outcome == "failed"
        assert "out of memory" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "run")]) == 0
    assert main(["audit", str(tmp_path / "run")]) == 0
    assert "0 of 5 verdicts differ" in capsys.readouterr().out


def test_verl_step_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dumps = [LOGS / "verl" / name for name in ("1.jsonl", "2.jsonl")]
    assert grade(*dumps, "--out", tmp_path / "run", verifier="last_integer") == 0
    found = kept(tmp_path / "run")
    assert [setting.name for setting, _, _ in found] == ["step=1, T=unknown", "step=2, T=unknown"]
    for dump, (_, problems, rows) in zip(dumps, found, strict=True):
        lines = [json.loads(line) for line in dump.read_text().splitlines()]
        assert sum(map(len, responses(rows, problems).values())) == len(lines) == 16
        # its own verifier was this one
        assert sum(v is not None and v.outcome == "correct" for _, v in rows) == sum(x["acc"] for x in lines)
    capsys.readouterr()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert "over training" in capsys.readouterr().out
    run = tmp_path / "run"
    assert main(["compare", f"first={run}@step=1", f"last={run}@step=2", "--anyway"]) == 0


def test_the_last_turn_of_an_agent_is_its_response(tmp_path: Path) -> None:
    rows = [
        {"input": "1+1=", "output": text, "gts": "2", "score": 1.0, "step": 3, "uid": f"a-b_{session}_{turn}"}
        for session, turn, text in ((0, 0, "call"), (0, 1, "2"), (1, 0, "3"))
    ]
    assert grade(write_rows(tmp_path / "3.jsonl", rows), "--out", tmp_path / "run", verifier="last_integer") == 0
    ((_, _, kept_rows),) = kept(tmp_path / "run")
    assert [s.response for s, _ in kept_rows] == ["2", "3"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("rows", [FLAT, NESTED], ids=["flat", "nested"])
def test_rows(rows: list[dict[str, Any]], suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if suffix == ".csv":
        rows = [{k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows]
    assert grade(write_rows(tmp_path / f"mine{suffix}", rows), "--out", tmp_path / "run") == 0
    assert counts(tmp_path / "run") == C_OF_FLAT
    ((setting, _, _),) = kept(tmp_path / "run")
    assert (setting.task, setting.name, setting.verifier) == ("generations", "T=unknown", "math")
    unknown = ("model", "temperature", "top_p", "max_new_tokens", "seed")
    assert {setting.record[key] for key in unknown} == {"unknown"}
    assert "do not say its model, temperature, top-p, token limit, seed" in capsys.readouterr().out


CHANGES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "capitalised": lambda r: {key.capitalize(): value for key, value in r.items()},
    "other names": lambda r: {"question": r["problem"], "ground_truth": r["answer"], "completion": r["response"]},
    "numbers": lambda r: r | {"answer": int(r["answer"])},
    "one gold in a list": lambda r: r | {"answer": [r["answer"]]},
    "messages": lambda r: r | {"problem": [{"role": "user", "content": r["problem"]}]},
    "vLLM's outputs": lambda r: r | {"response": {"text": r["response"], "finish_reason": "stop"}},
    "a server's choice": lambda r: r | {"response": {"message": {"content": r["response"]}, "finish_reason": "stop"}},
    "parts": lambda r: r | {"response": {"content": [{"type": "text", "text": r["response"]}]}},
}


@pytest.mark.parametrize("change", CHANGES)
def test_recognised_columns(change: str, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "mine.jsonl", [CHANGES[change](row) for row in FLAT])
    assert grade(rows, "--out", tmp_path / "run") == 0
    assert counts(tmp_path / "run") == C_OF_FLAT


def test_long_responses_in_csv(tmp_path: Path) -> None:
    rows = [row | {"response": "so " * 100_000 + row["response"]} for row in FLAT]
    assert grade(write_rows(tmp_path / "mine.csv", rows), "--out", tmp_path / "run") == 0
    assert counts(tmp_path / "run") == C_OF_FLAT


def test_golds_are_read_as_in_files_of_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    solved = [row | {"answer": f"We add. #### {row['answer']}"} for row in FLAT]
    assert grade(write_rows(tmp_path / "solved.jsonl", solved), "--out", tmp_path / "run") == 0
    assert counts(tmp_path / "run") == C_OF_FLAT
    for gold in ("The answer is 4.", "\x0crac{1}{2}"):
        path = write_rows(tmp_path / "odd.jsonl", [FLAT[0], FLAT[4] | {"answer": gold}])
        assert "odd.jsonl, line 2: " in refusal(tmp_path / "other", capsys, path)


def test_two_problems_of_one_text_are_two_where_the_ids_are_sure(tmp_path: Path) -> None:
    (log,) = LOGS.glob("samples_*.jsonl")
    lines = [json.loads(line) | {"arguments": {"gen_args_0": {"arg_0": "1+1=", "arg_1": {}}}} for line in log.open()]
    assert grade(write_rows(tmp_path / log.name, lines), "--out", tmp_path / "log") == 0
    rows = write_rows(tmp_path / "mine.jsonl", [row | {"id": i // 2} for i, row in enumerate(FLAT)])
    assert grade(rows, "--columns", "id=id", "--out", tmp_path / "rows") == 0
    for name, size in (("log", 3), ("rows", 6)):
        ((_, problems, _),) = kept(tmp_path / name)
        assert len(problems) == size


def test_named_columns_and_paths(tmp_path: Path) -> None:
    rows = [
        {"answer": r["response"], "doc": {"text": r["problem"], "sol": r["answer"]}, "n": str(i % 4), "id": str(i)}
        for i, r in enumerate(FLAT)
    ]
    names = "prompt=doc.text,answer=doc.sol,response=answer,id=doc.text"
    path = write_rows(tmp_path / "mine.jsonl", rows)
    assert grade(path, "--columns", names, "--out", tmp_path / "run") == 0
    assert counts(tmp_path / "run") == C_OF_FLAT


def test_unequal_n_is_told_and_no_problem_is_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write_rows(tmp_path / "mine.jsonl", [*FLAT, FLAT[0], FLAT[0]])
    assert grade(rows, "--out", tmp_path / "run") == 0
    assert counts(tmp_path / "run") == C_OF_FLAT | {"1+0=": (6, 3)}
    printed = capsys.readouterr().out
    assert "3 problems, 4-6 samples each" in printed
    assert "n is not the same for all" in printed
    assert "unfinished" not in printed


def test_all_commands_read_a_graded_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = {name: tmp_path / name for name in ("a", "b")}
    again = [row | {"response": r"\boxed{2}"} for row in reversed(FLAT)]  # the same problems in another order
    for (name, run), rows in zip(runs.items(), (FLAT, again), strict=True):
        assert grade(write_rows(tmp_path / f"{name}.jsonl", rows), "--out", run) == 0
    capsys.readouterr()
    assert main(["compare", *map(str, runs.values()), "--html", str(tmp_path / "page.html")]) == 0
    assert "b against a" in capsys.readouterr().out
    assert main(["report", str(runs["a"])]) == 0
    page = (runs["a"] / "report.html").read_text()
    assert "unknown" in page
    assert "T=unknown" in page
    assert main(["audit", str(runs["a"]), "--verifier", "last_box"]) == 0
    assert "0 of 12 verdicts differ" in capsys.readouterr().out
    assert main(["export", str(runs["a"]), "--to", str(tmp_path / "a.jsonl")]) == 0
    exported = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["response"] for row in exported if row["prompt"] == "1+0="] == [r["response"] for r in FLAT[:4]]
    assert {row["finish_reason"] for row in exported} == {"unknown"}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_counts(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"a": (8, 3), "b": (8, 0), "c": (12, 12)}
    rows = write_rows(tmp_path / f"counts{suffix}", [{"id": id, "c": c, "n": n} for id, (n, c) in given.items()])
    run, other = tmp_path / "run", tmp_path / "other"
    assert grade(rows, "--out", run, verifier=None) == 0
    assert grade(rows, "--out", other) == 0  # naming what judged them
    with SampleStore(run / "samples.db", read_only=True) as store:
        assert store.counts(store.settings()[0]) == given
    capsys.readouterr()
    assert main(["compare", str(run), str(other), "--anyway"]) == 0
    assert main(["report", str(run)]) == 0
    assert main(["export", str(run), "--to", str(tmp_path / "out.jsonl")]) == 0
    capsys.readouterr()
    for words in ([], ["--verifier", "math", "--apply"]):
        assert main(["audit", str(run), *words]) == 2
        assert "counts, without responses" in capsys.readouterr().err
    with SampleStore(run / "samples.db", read_only=True) as store:
        assert store.counts(store.settings()[0]) == given


def test_what_is_stated_is_recorded_and_must_not_contradict_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = write_rows(tmp_path / "mine.jsonl", FLAT)
    stated = ["--model", "m", "--temperature", "0.60", "--top-p", "0.9", "--top-k", "5"]
    stated += ["--max-new-tokens", "64", "--seed", "7"]
    assert grade(rows, "--out", tmp_path / "run", "--task", "my sums", *stated) == 0
    ((setting, _, _),) = kept(tmp_path / "run")
    assert (setting.task, setting.name) == ("my sums", "T=0.6")
    said = {"model": "m", "temperature": 0.6, "top_p": 0.9, "top_k": 5, "max_new_tokens": 64, "seed": 7}
    assert (said | {"do_sample": True}).items() <= setting.record.items()
    log = LOGS / "inspect_sums.eval"
    for option, value in (("--model", "m"), ("--temperature", 0.6), ("--top-p", 0.9), ("--max-new-tokens", 64)):
        assert str(value) in refusal(tmp_path / "other", capsys, log, option, value)


def test_temperatures_are_never_counted_together(tmp_path: Path) -> None:
    rows = [row | {"temperature": t} for t in (0.2, 1.0) for row in FLAT]
    assert grade(write_rows(tmp_path / "mine.jsonl", rows), "--out", tmp_path / "run") == 0
    assert [(s.name, len(rows)) for s, _, rows in kept(tmp_path / "run")] == [("T=0.2", 12), ("T=1", 12)]
    run = tmp_path / "run"
    assert main(["compare", f"cold={run}@0.2", f"warm={run}@1"]) == 0


def test_problems_of_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = write_rows(
        tmp_path / "sums.jsonl", [{"id": f"s{i}", "prompt": p, "answer": a} for i, (p, a) in enumerate(SUMS)]
    )
    by_text = [{"prompt": r["problem"], "response": r["response"]} for r in FLAT]
    by_id = [{"problem_id": f"s{i // 4}", "response": r["response"]} for i, r in enumerate(FLAT)]
    for name, rows in (("text", by_text), ("id", by_id)):
        path = write_rows(tmp_path / f"{name}.jsonl", list(reversed(rows)))
        assert grade(path, "--task", task, "--out", tmp_path / name) == 0
        ((setting, problems, _),) = kept(tmp_path / name)
        assert (setting.task, list(problems)) == ("sums", ["s0", "s1", "s2"])
        assert str(setting.record["task_revision"]).startswith("sha256:")
        assert counts(tmp_path / name) == C_OF_FLAT
    assert main(["compare", str(tmp_path / "text"), str(tmp_path / "id")]) == 0
    few = write_rows(tmp_path / "few.jsonl", by_id[:8])
    assert "1 of its problems, 's2' first, have no response" in refusal(tmp_path / "r", capsys, few, "--task", task)
    odd = write_rows(tmp_path / "odd.jsonl", [*by_id, {"problem_id": "s9", "response": "1"}])
    assert "odd.jsonl, line 13: " in refusal(tmp_path / "r", capsys, odd, "--task", task)


def test_ids_that_number_other_problems_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """lm-evaluation-harness numbers problems from 0, a file without ids from 1."""
    (log,) = LOGS.glob("samples_*.jsonl")
    same = write_rows(tmp_path / "same.jsonl", [{"prompt": p, "answer": a} for p, a in SUMS])
    assert grade(log, "--task", same, "--out", tmp_path / "run") == 0
    ((_, problems, rows),) = kept(tmp_path / "run")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert responses(rows, problems) == {x["doc"]["question"]: x["resps"][0] for x in lines}
    asked = write_rows(
        tmp_path / "asked.jsonl", [{"prompt": f"Add: {p}", "answer": a, "id": i} for i, (p, a) in enumerate(SUMS)]
    )
    assert grade(log, "--task", asked, "--out", tmp_path / "asked") == 0
    shifted = [{"prompt": f"Add: {p}", "answer": a, "id": i} for i, (p, a) in enumerate([("5+5", "10"), *SUMS[:2]])]
    other = write_rows(tmp_path / "other.jsonl", shifted)
    assert "line 1: the task's problem with the id '0' is 'Add: 5+5'" in refusal(
        tmp_path / "other", capsys, log, "--task", other
    )


def test_hostile_responses_are_graded_within_their_limits(tmp_path: Path) -> None:
    hostile = [
        r"\boxed{9^{9^{9^{9}}}}",
        "\\boxed{" * 5000,
        "\x00\ud800\u202e\\boxed{2}",
        "<script>alert(1)</script>",
        "",
    ]
    path = tmp_path / "mine.jsonl"
    row = {"problem": "1+1=", "answer": "2", "responses": [*hostile, *hostile, r"\boxed{2}"]}
    path.write_text(json.dumps(row) + "\n")
    run = tmp_path / "run"
    assert grade(path, "--out", run) == 0
    ((_, _, rows),) = kept(run)
    assert len(rows) == 11
    outcomes = [v.outcome if v else None for _, v in rows]
    assert outcomes[:5] == outcomes[5:10]
    assert outcomes[-1] == "correct"
    assert set(outcomes[:2]) <= {"wrong", "timeout", "unparsed"}
    assert main(["report", str(run)]) == 0
    assert "<script>alert" not in (run / "report.html").read_text()


def test_the_same_command_again_grades_what_is_left_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, run = write_rows(tmp_path / "mine.jsonl", FLAT), tmp_path / "run"
    assert grade(rows, "--out", run) == 0
    before = kept(run)
    with SampleStore(run / "samples.db") as store:
        store._db.execute("UPDATE samples SET outcome = NULL WHERE sample > 1")
        store._db.commit()
    assert grade(rows, "--out", run) == 0
    assert kept(run) == before
    more = write_rows(tmp_path / "more.jsonl", [*FLAT, FLAT[0]])
    capsys.readouterr()
    for path, verifier, what in ((more, "math", "files is"), (rows, "last_box", "verifier is")):
        assert grade(path, "--out", run, verifier=verifier) == 2
        assert what in capsys.readouterr().err
    assert kept(run) == before


def edited(*changes: object) -> list[object]:
    """FLAT with its sixth row changed, or replaced by a text."""
    (change,) = changes
    return [*FLAT[:5], FLAT[5] | change if isinstance(change, dict) else change, *FLAT[6:]]


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
