"""`simko evaluate` from the command line to the samples on disk, with a tiny model and a task of each kind."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kinds import BBH, KINDS, SUMS, hub_copy, write_rows

from simko.cli.main import main
from simko.evaluate import SampleStore, Setting
from simko.records import Sample, Verdict
from simko.tasks import get_task

Speaker = Callable[[int], Path]
Rows = list[tuple[Sample, Verdict | None]]


def words(model: Path, task: list[str], out: Path, *more: str) -> list[str]:
    given = ["evaluate", "--model", str(model), "--task", *task, "--out", str(out), "--limit", "3", "--quiet"]
    return [*given, *(() if "-n" in more else ("-n", "4")), "--max-new-tokens", "6", *more]


def kept(out: Path, task: str | None = None) -> tuple[Setting, Rows]:
    """The run's only setting, or the first of a task, and its rows."""
    with SampleStore(out / "samples.db", read_only=True) as store:
        setting = next(s for s in store.settings() if task in (None, s.task))
        return setting, list(store.rows(setting))


def counts(out: Path) -> dict[str, tuple[int, int]]:
    with SampleStore(out / "samples.db", read_only=True) as store:
        return store.counts(store.settings()[0])


def refusal(given: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr with which a command ends that takes no such input."""
    capsys.readouterr()
    try:
        code = main(given)
    except SystemExit as exit:
        code = exit.code
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    loading = "Loading weights"  # Transformers' own progress bar
    (line,) = [line for line in printed.err.splitlines() if line and not line.startswith(loading)]
    assert line.startswith("simko: error: ")
    return line


@pytest.fixture
def task_of(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], list[str]]:
    """task_of(kind): the words after --task, with everything they need in place, here and for commands started here."""

    def make(kind: str) -> list[str]:
        if kind == "code":
            request.getfixturevalue("bwrap")
        if kind == "reasoning_gym":
            pytest.importorskip("reasoning_gym")
        if kind == "hub":
            datasets = pytest.importorskip("datasets")
            cache = str(hub_copy(tmp_path / "hub"))
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", cache)
            monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
            monkeypatch.setenv("HF_HUB_CACHE", cache)
            monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
        return KINDS[kind](tmp_path)

    return make


@pytest.fixture
def sums(tmp_path: Path) -> list[str]:
    return [write_rows(tmp_path / "sums.jsonl", SUMS), "--verifier", "last_integer"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_is_sampled_and_graded_whole(
    kind: str, speaker: Speaker, task_of: Callable[[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = task_of(kind)
    assert main(words(speaker(0), task, tmp_path / "run")) == 0
    setting, rows = kept(tmp_path / "run")
    with SampleStore(tmp_path / "run" / "samples.db", read_only=True) as store:
        problems = store.problems(setting)
    assert len(problems) == 3
    assert [(s.problem_id, s.index) for s, _ in rows] == sorted((p.id, i) for p in problems for i in range(4))
    for sample, verdict in rows:
        assert verdict is not None
        assert verdict.outcome in ("correct", "wrong", "unparsed")
        assert 1 <= sample.tokens <= 6
        assert sample.finish_reason == "stop" or sample.tokens == 6
        assert sample.prompt_tokens > 0
        assert sample.seed is not None
    assert len({sample.response for sample, _ in rows}) > 3
    assert setting.n == 4
    named = task[task.index("--verifier") + 1] if "--verifier" in task else None
    assert named in (None, setting.verifier)
    if "--verifier" in task:
        assert str(setting.record["task_revision"]).startswith("sha256:")
    table = capsys.readouterr().out
    assert f"{setting.task} at {setting.name}\n3 problems, 4 samples each" in table
    assert "pass@K" in table


def test_prompts_go_out_in_the_chat_template_only_where_told(speaker: Speaker, tmp_path: Path) -> None:
    task = [write_rows(tmp_path / "options.jsonl", BBH), "--verifier", "choice"]
    for flag in ("--chat", "--no-chat"):
        assert main(words(speaker(0), task, tmp_path / flag, flag)) == 0
    (chat, in_template), (plain, bare) = kept(tmp_path / "--chat"), kept(tmp_path / "--no-chat")
    assert (chat.record["chat"], plain.record["chat"]) == (True, False)
    assert in_template[0][0].prompt_tokens == bare[0][0].prompt_tokens + 2


def start(given: list[str]) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "simko.cli", *given]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def graded(out: Path) -> Iterator[int]:
    """How many problems have a graded sample, again and again."""
    while True:
        time.sleep(0.02)
        try:
            with sqlite3.connect(f"file:{out / 'samples.db'}?mode=ro", uri=True) as db:
                yield db.execute("SELECT COUNT(DISTINCT problem) FROM samples WHERE outcome IS NOT NULL").fetchone()[0]
        except sqlite3.OperationalError:
            yield 0


def stopped_half_way(given: list[str], out: Path) -> subprocess.Popen[bytes]:
    """The command, held as it is once every problem has graded samples."""
    process = start(given)
    for problems in graded(out):
        assert process.poll() is None, "the run ended before it could be stopped"
        if problems == 3:
            process.send_signal(signal.SIGSTOP)
            return process
    raise AssertionError


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


SLOWLY = ("-n", "128", "--batch-size", "4")


def test_killed_half_way_it_goes_on_as_if_nothing_had_been(
    speaker: Speaker, sums: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words(speaker(0), sums, tmp_path / "run", *SLOWLY)
    process = stopped_half_way(given, tmp_path / "run")
    try:
        assert "another process is writing" in refusal(given, capsys)
        assert "another process is writing" in refusal(["audit", str(tmp_path / "run"), "--apply"], capsys)
        for reader in (["report"], ["audit"], ["export", "--to", str(tmp_path / "half.jsonl")]):
            assert main([reader[0], str(tmp_path / "run"), *reader[1:]]) == 0
    finally:
        kill(process)
    _, before = kept(tmp_path / "run")
    assert 0 < len(before) < 3 * 128
    assert main(given) == 0
    assert main(words(speaker(0), sums, tmp_path / "whole", *SLOWLY)) == 0
    assert kept(tmp_path / "run") == kept(tmp_path / "whole")
    _, after = kept(tmp_path / "run")
    assert {sample for sample, _ in before} <= {sample for sample, _ in after}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_killed_resumed_compared_and_reported(
    kind: str, speaker: Speaker, task_of: Callable[[str], list[str]], tmp_path: Path
) -> None:
    task = task_of(kind)
    given = words(speaker(0), task, tmp_path / "run", *SLOWLY)
    kill(stopped_half_way(given, tmp_path / "run"))
    graded = [verdict for _, verdict in kept(tmp_path / "run")[1] if verdict is not None]
    assert 0 < len(graded) < 3 * 128  # where grading is slow, all may be drawn by then
    assert main(given) == 0
    assert main(words(speaker(0), task, tmp_path / "whole", *SLOWLY)) == 0
    assert kept(tmp_path / "run") == kept(tmp_path / "whole")
    assert main(words(speaker(1), task, tmp_path / "other", *SLOWLY)) == 0
    page = tmp_path / "both.html"
    assert main(["compare", str(tmp_path / "run"), str(tmp_path / "other"), "--html", str(page)]) == 0
    assert main(["report", str(tmp_path / "run")]) == 0
    assert page.stat().st_size > 10_000
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


def test_a_larger_n_draws_the_missing_half_alone(speaker: Speaker, sums: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(words(speaker(0), sums, out)) == 0
    _, half = kept(out)
    assert main(words(speaker(0), sums, out, "-n", "8")) == 0
    setting, whole = kept(out)
    assert setting.n == 8
    assert [row for row in whole if row[0].index < 4] == half
    assert len(whole) == 2 * len(half)
    assert not {s.seed for s, _ in whole if s.index >= 4} & {s.seed for s, _ in half}
    assert main(words(speaker(0), sums, tmp_path / "at once", "-n", "8")) == 0
    assert kept(tmp_path / "at once")[1] == whole


@pytest.mark.parametrize(
    ("more", "differs"),
    [
        (("--dtype", "bfloat16"), "dtype is 'float32' there and 'bfloat16' here"),
        (("--top-p", "0.5"), "top_p is 1.0 there and 0.5 here"),
        (("--top-k", "3"), "top_k is 0 there and 3 here"),
        (("--max-new-tokens", "5"), "max_new_tokens is 6 there and 5 here"),
        (("--seed", "1"), "seed is 0 there and 1 here"),
        (("--template", "Q{problem}"), "problems_sha256 is "),
        (("--verifier", "last_box"), "verifier is 'last_integer' there and 'last_box' here"),
        (("--model", None), "model is 'speaker0' there and 'speaker1' here"),
    ],
)
def test_another_configuration_is_refused_by_what_differs(
    speaker: Speaker,
    sums: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, str | None],
    differs: str,
) -> None:
    out = tmp_path / "run"
    assert main(words(speaker(0), sums, out)) == 0
    before = kept(out)
    changed = [str(speaker(1)) if word is None else word for word in more]
    assert differs in refusal(words(speaker(0), sums, out, *changed), capsys)
    assert kept(out) == before


def test_an_edited_file_continues_with_the_problems_that_stayed(
    speaker: Speaker, sums: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(words(speaker(0), sums, out)) == 0
    _, before = kept(out)
    rows = [row | {"id": str(number)} for number, row in enumerate(SUMS, start=1)][:3]
    write_rows(Path(sums[0]), [rows[0] | {"answer": "0"}, rows[2], {"prompt": "9+9=", "answer": "18", "id": "new"}])
    capsys.readouterr()
    assert main(words(speaker(0), sums, out)) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "the problems have changed" in line]
    assert "2 kept with their samples (1 ('1') judged anew), 1 ('2') dropped, 1 ('new') added" in line
    _, after = kept(out)
    assert [s for s, _ in after] == [s for s, _ in before if s.problem_id != "2"] + [
        s for s, _ in after if s.problem_id == "new"
    ]
    assert len(after) == len(before) == 12


def test_a_file_is_read_by_the_columns_that_are_named(
    speaker: Speaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"chat": [{"role": "user", "content": row["prompt"]}], "Gold": f"Add.\n#### {row['answer']}"} for row in SUMS
    ]
    task = [write_rows(tmp_path / "chats.jsonl", rows), "--verifier", "last_integer"]
    said = refusal(words(speaker(0), task, tmp_path / "run"), capsys)
    assert "chats.jsonl, line 1: there is no column prompt, problem or question" in said
    assert "--columns prompt=NAME: there are chat.0.role, chat.0.content, Gold" in said
    columns = ("--columns", "prompt=chat.0.content,answer=Gold")
    assert main(words(speaker(0), task, tmp_path / "run", *columns)) == 0
    with SampleStore(tmp_path / "run" / "samples.db", read_only=True) as store:
        problems = store.problems(store.settings()[0])
    assert [(p.prompt, p.answer) for p in problems] == [(row["prompt"], row["answer"]) for row in SUMS]
    capsys.readouterr()
    assert main(["tasks", task[0], *columns]) == 0
    assert "1+0=" in capsys.readouterr().out
    verl = ["tasks", *task, *columns, "--parquet", str(tmp_path / "verl.parquet")]
    assert main(verl) == 0
    capsys.readouterr()
    written = [str(tmp_path / "verl.parquet"), "--verifier", "last_integer"]
    nested = ("--columns", "prompt=prompt.0.content,answer=reward_model.ground_truth")
    assert main(words(speaker(0), written, tmp_path / "again", *nested)) == 0
    for given in (["tasks", *columns], ["tasks", "countdown", *columns]):
        assert "--columns is for files" in refusal(given, capsys)
    sampled = ["evaluate", "--model", "m", "--task", "countdown", "--out", str(tmp_path / "x"), *columns]
    assert "--columns is for files: countdown has prompts of its own" in refusal(sampled, capsys)


def test_a_sweep_keeps_its_temperatures_apart(
    speaker: Speaker, sums: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(words(speaker(0), sums, out, "--temperature", "0.5,1.0")) == 0
    with SampleStore(out / "samples.db", read_only=True) as store:
        cold, hot = store.settings()
        assert (cold.name, hot.name) == ("T=0.5", "T=1")
        assert (cold.record["temperature"], hot.record["temperature"]) == (0.5, 1.0)
        drawn = [list(store.rows(setting)) for setting in (cold, hot)]
    assert [len(rows) for rows in drawn] == [12, 12]
    assert not {s.seed for s, _ in drawn[0]} & {s.seed for s, _ in drawn[1]}
    capsys.readouterr()
    assert main(["report", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.strip().splitlines()[-1] == str(out / "report.html")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(name in printed and name in page for name in ("T=0.5", "T=1"))
    assert main(words(speaker(0), sums, tmp_path / "hot")) == 0
    assert kept(tmp_path / "hot")[1] == drawn[1]


def test_several_tasks_share_a_directory(speaker: Speaker, sums: list[str], tmp_path: Path) -> None:
    both = [f"multiplication,{sums[0]}", *sums[1:]]
    assert main(words(speaker(0), both, tmp_path / "run")) == 0
    assert kept(tmp_path / "run", "multiplication")[0].verifier == "last_integer"
    assert main(words(speaker(0), sums, tmp_path / "alone")) == 0
    assert kept(tmp_path / "run", "sums")[1] == kept(tmp_path / "alone")[1]


def test_the_training_side_is_evaluated_where_told(speaker: Speaker, tmp_path: Path) -> None:
    assert main(words(speaker(0), ["multiplication"], tmp_path / "run", "--split", "train")) == 0
    assert list(counts(tmp_path / "run")) == [p.id for p in get_task("multiplication").load("train", 3)]


def test_what_could_not_be_graded_is_graded_again(speaker: Speaker, sums: list[str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(words(speaker(0), sums, out)) == 0
    setting, rows = kept(out)
    with SampleStore(out / "samples.db") as store:
        store.grade(setting, [(sample, Verdict("error")) for sample, _ in rows[:5]])
        assert sum(store.errors(setting).values()) == 5
    assert main(words(speaker(0), sums, out)) == 0
    assert kept(out)[1] == rows
