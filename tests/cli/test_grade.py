"""`simko grade` from files that others wrote to a run on which the other commands work."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grading import C_OF_FLAT, FLAT, LOGS, NESTED, SUMS, counts, grade, inspect_log, kept, refusal, responses
from kinds import write_rows

from simko.cli.main import main
from simko.evaluate import SampleStore

HOSTILE = Path(__file__).parents[1] / "verifiers" / "hostile_answers.json"


@pytest.fixture
def inspect_json(tmp_path: Path) -> Path:
    return inspect_log(tmp_path)


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
    assert "Over training" in capsys.readouterr().out
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
