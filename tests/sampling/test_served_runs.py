"""`simko evaluate` through a server that misbehaves: what ends a run, what it keeps, and how it goes on."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from servers import Server, limit

from simko.cli.main import main
from simko.evaluate import SampleStore, Setting
from simko.records import Sample, Verdict

PROBLEMS = 40
TOO_LONG = "This model's maximum context length is 4096 tokens"


def command(server: Server, out: Path, *more: str) -> list[str]:
    task = out.parent / "sums.jsonl"
    rows = [{"id": f"p{i:02}", "problem": f"{i} + 1 =", "answer": str(i + 1)} for i in range(PROBLEMS)]
    task.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    given = ["evaluate", "--backend", "openai", "--base-url", server.url, "--model", "words", "--task", str(task)]
    given += ["--verifier", "last_integer", "--out", str(out), "--max-new-tokens", "8", "--no-chat", "--quiet"]
    return [*given, *(() if "-n" in more else ("-n", "4")), *more]


class Sums:
    """Answers rightly to even numbers, refuses the prompts of `bad`; counts what it answered."""

    def __init__(self, bad: set[int], stop_after: int | None = None, released: Any = None) -> None:
        self.bad, self.stop_after, self.released = bad, stop_after, released
        self.answered: Counter[tuple[str, int]] = Counter()
        self.lock = Lock()

    def __call__(self, path: str, body: dict[str, Any]) -> Any:
        if limit(body) != 8:
            return None
        number = int(body["prompt"].split(" ")[0])
        if number in self.bad:
            return 400, {"error": {"message": TOO_LONG}}, {}
        if self.stop_after is not None and sum(self.answered.values()) >= self.stop_after:
            self.released.wait(20)
        with self.lock:
            self.answered[body["prompt"], body["seed"]] += 1
        text = f" {number + 1}" if number % 2 == 0 else " I do not know"
        usage = {"completion_tokens": 2, "prompt_tokens": 3}
        return 200, {"choices": [{"text": text, "finish_reason": "stop"}], "usage": usage}, {}


def kept(out: Path) -> tuple[Setting, list[tuple[Sample, Verdict | None]]]:
    with SampleStore(out / "samples.db", read_only=True) as store:
        (setting,) = store.settings()
        return setting, list(store.rows(setting))


def test_one_prompt_too_long_is_counted_shown_and_left_out_beside(
    serve: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server, out = serve(respond=Sums(bad={8})), tmp_path / "run"
    assert main(command(server, out)) == 0
    setting, rows = kept(out)
    assert len(rows) == 4 * PROBLEMS
    failed = [(sample, verdict) for sample, verdict in rows if sample.failure]
    assert [(s.problem_id, s.index, s.failure, v) for s, v in failed] == [
        ("p08", i, f"400 {TOO_LONG}", Verdict("failed")) for i in range(4)
    ]
    with SampleStore(out / "samples.db", read_only=True) as store:
        assert store.counts(setting)["p08"] == (4, 0)
        assert store.tally(setting).outcomes == {"correct": 76, "unparsed": 80, "failed": 4}
    assert setting.record["dialect"] == "max_tokens, top_k, seed"
    said = capsys.readouterr()
    assert said.err == (
        f"simko: the server at {server.url}: completions, max_tokens, top_k, seed; seeds honoured\n"
        f"simko: sums T=1: problem 'p08' failed: 400 {TOO_LONG}. Failed samples count as incorrect\n"
    )
    table = said.out
    assert f"2.50% never came and count as incorrect (problems: 1, p08 first: 400 {TOO_LONG})" in table
    assert "on the 39 problems without failed samples" in table
    assert " 47.5 " in table, "19 of 40"
    assert " 48.7 " in table, "19 of 39"
    assert main(["report", str(out), "--to", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "on the 39 problems without failed samples" in page
    assert main(["audit", str(out), "--verifier", "last_box", "--apply"]) == 0
    assert [sample for sample, verdict in kept(out)[1] if verdict == Verdict("failed")] == [s for s, _ in failed]


def test_a_limit_on_failures_ends_the_run_and_the_same_command_goes_on(
    serve: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, out = set(range(30, 40)), tmp_path / "run"
    assert main(command(serve(respond=Sums(bad)), out)) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert "of 160 samples failed" in line
    assert f"'p30' first: 400 {TOO_LONG}" in line
    assert "limit of 10%" in line
    stored = kept(out)[1]
    assert stored
    sums = Sums(bad)
    server = serve(respond=sums)  # another one: the first may still answer what nobody waits for
    assert main(command(server, out, "--max-failed", "0.25")) == 0
    assert len(sums.answered) == 120 - sum(sample.failure is None for sample, _ in stored), (
        "the rest alone is asked for"
    )
    assert set(sums.answered.values()) == {1}
    sums.bad = set()
    assert main(command(server, out)) == 0
    assert set(sums.answered.values()) == {1}
    _, rows = kept(out)
    assert not [sample for sample, _ in rows if sample.failure]
    assert sum(verdict is not None and verdict.outcome == "correct" for _, verdict in rows) == 80


def test_a_key_that_expires_ends_the_run_at_once_and_fails_no_sample(
    serve: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sums, out, valid = Sums(bad=set()), tmp_path / "run", [40]

    def respond(path: str, body: dict[str, Any]) -> Any:
        if sum(sums.answered.values()) >= valid[0]:
            return 401, {"error": {"message": "token expired"}}, {}
        return sums(path, body)

    server = serve(respond=respond)
    assert main(command(server, out, "--concurrency", "4")) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert "refused the key (401 token expired)" in line
    assert not [sample for sample, _ in kept(out)[1] if sample.failure]
    valid[0] = 10**6
    assert main(command(server, out)) == 0
    assert set(sums.answered.values()) == {1}
    assert len(kept(out)[1]) == 4 * PROBLEMS


def test_a_run_of_which_all_fails_ends(
    serve: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(respond=Sums(bad=set(range(PROBLEMS))))
    for limit_of_problems in ("1", "2", "40"):
        assert main(command(server, tmp_path / limit_of_problems, "--limit", limit_of_problems)) == 2
        assert TOO_LONG in capsys.readouterr().err


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_finished_response_is_lost(serve: Callable[..., Server], tmp_path: Path, how: signal.Signals) -> None:
    server, out = serve(), tmp_path / "run"
    server.respond = sums = Sums(set(), stop_after=70, released=server.released)
    given = [sys.executable, "-m", "simko.cli", *command(server, out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def heeded() -> None:
        """A shell's background jobs are started with Ctrl-C ignored."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(given, env=environment, stderr=subprocess.DEVNULL, preexec_fn=heeded) as process:
        for _ in range(600):
            time.sleep(0.1)
            if sum(sums.answered.values()) >= 70:
                break
        time.sleep(0.5)
        process.send_signal(how)
        assert process.wait(20) != 0
    answered = set(sums.answered)
    _, rows = kept(out)
    assert {(f"{int(s.problem_id[1:])} + 1 =", s.seed) for s, _ in rows} == answered
    server.released.set()
    rest = Sums(set())
    assert main(command(serve(respond=rest), out)) == 0
    assert set((rest.answered + Counter(answered)).values()) == {1}
    assert len(kept(out)[1]) == len(rest.answered) + len(answered) == 160


def test_a_server_that_never_answers_ends_the_run_in_time(
    serve: Callable[..., Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(delay=3.0)
    started = time.monotonic()
    assert main(command(server, tmp_path / "run", "--timeout", "0.3")) == 2
    assert time.monotonic() - started < 5
    assert "did not answer within 0.3 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [("--timeout", "0"), ("--timeout", "soon"), ("--timeout", "1,2"), ("--max-failed", "10"), ("--max-failed", "-1")],
)
def test_options_out_of_range_are_refused(
    serve: Callable[..., Server], tmp_path: Path, option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(command(Server(url="http://localhost:1/v1"), tmp_path / "run", *option))
    assert option[0] in capsys.readouterr().err


def test_thinking_is_exported_beside_the_answer(serve: Callable[..., Server], tmp_path: Path) -> None:
    def respond(path: str, body: dict[str, Any]) -> Any:
        number = int(body["seed"])
        message = {"content": "The answer is 1", "reasoning_content": f"1 or {number}? The answer is {number}"}
        return 200, {"choices": [{"message": message, "finish_reason": "stop"}]}, {}

    out = tmp_path / "run"
    assert main([*command(serve(respond=respond), out, "-n", "2", "--limit", "2"), "--chat"]) == 0
    assert main(["export", str(out), "--to", str(tmp_path / "all.jsonl")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert {(row["problem_id"], row["outcome"]) for row in rows} == {("p00", "correct"), ("p01", "wrong")}
    assert all(row["thinking"] == f"1 or {row['seed']}? The answer is {row['seed']}" for row in rows)


def test_a_run_from_before_the_dialect_was_recorded_goes_on(serve: Callable[..., Server], tmp_path: Path) -> None:
    server, out = serve(), tmp_path / "run"
    server.respond = sums = Sums(set())
    assert main(command(server, out, "-n", "2")) == 0
    with closing(sqlite3.connect(out / "samples.db")) as db, db:
        db.execute("UPDATE settings SET record = json_remove(record, '$.dialect')")
    assert main(command(server, out)) == 0
    assert len(sums.answered) == 160


@pytest.mark.slow
def test_a_sample_costs_less_than_a_millisecond_of_the_clients_time() -> None:
    benchmark = Path(__file__).parents[2] / "benchmarks" / "serving.py"
    said = subprocess.run([sys.executable, str(benchmark)], check=True, capture_output=True, text=True).stdout
    costs = [float(line.split()[1]) for line in said.splitlines() if line.startswith(("sampler", "evaluate"))]
    assert len(costs) == 6
    assert max(costs) < 1, said
