"""What is done with evaluations from the command line: compare, audit, export, report, and what they refuse."""

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kinds import SUMS, write_rows
from test_evaluate import counts, kept, refusal, words

from simko.cli.main import main
from simko.evaluate import SampleStore
from simko.records import Problem, Sample
from simko.report.words import points_apart
from simko.verifiers import grade_many

Speaker = Callable[[int], Path]


@pytest.fixture
def two(speaker: Speaker, tmp_path: Path) -> tuple[Path, Path]:
    """Runs a and b of two models on the same sums."""
    task = [write_rows(tmp_path / "sums.jsonl", SUMS), "--verifier", "last_integer"]
    for seed, name in enumerate("ab"):
        assert main(words(speaker(seed), task, tmp_path / name)) == 0
    return tmp_path / "a", tmp_path / "b"


def test_two_models_are_compared(two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, numbers = tmp_path / "page.html", tmp_path / "numbers.json"
    capsys.readouterr()
    given = [f"base={two[0]}", f"simko={two[1]}", "--html", str(page), "--json", str(numbers)]
    assert main(["compare", *given]) == 0
    printed = capsys.readouterr().out
    assert "Differences on the same problems" in printed
    assert "simko − base" in printed
    solved = [sum(c for _, c in counts(run).values()) for run in two]
    assert f" {100 * solved[0] / 12:.1f} " in printed
    assert f" {points_apart((solved[1] - solved[0]) / 12)} " in printed
    assert "simko" in page.read_text(encoding="utf-8")
    (section,) = json.loads(numbers.read_text())
    assert section["task"] == "sums"


def test_runs_on_other_problems_are_compared_only_when_told(
    two: tuple[Path, Path], speaker: Speaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = [str(tmp_path / "sums.jsonl"), "--verifier", "last_integer"]
    assert main(words(speaker(1), task, tmp_path / "less", "--limit", "2")) == 0
    given = ["compare", str(two[0]), str(tmp_path / "less")]
    said = refusal(given, capsys)
    assert "sums at T=1 is not the same in all runs" in said
    assert "--anyway" in said
    assert main([*given, "--anyway"]) == 0
    assert "2 problems, 4 samples each" in capsys.readouterr().out
    assert "give at least two runs" in refusal(["compare", str(two[0])], capsys)


def test_an_audit_lists_what_two_verifiers_disagree_on(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, listed = two[0], tmp_path / "differing.jsonl"
    setting, rows = kept(run)
    before = counts(run)
    capsys.readouterr()
    assert main(["audit", str(run), "--verifier", "last_box", "--to", str(listed)]) == 0
    printed = capsys.readouterr().out
    lines = [json.loads(line) for line in listed.read_text().splitlines()]
    assert lines
    assert f"sums T=1: last_integer, then last_box: {len(lines)} of 12 verdicts differ" in printed
    for kind in {line["kind"] for line in lines}:
        assert f"  {kind}: {sum(line['kind'] == kind for line in lines)}\n" in printed
    was = {(s.problem_id, s.index): (s.response, v.outcome) for s, v in rows}
    assert all(
        (line["response"], line["kind"].split(" -> ")[0]) == was[line["problem_id"], line["sample"]] for line in lines
    )
    assert kept(run) == (setting, rows)
    assert main(["audit", str(run), "--verifier", "last_box", "--apply"]) == 0
    applied, again = kept(run)
    assert applied.verifier == "last_box"
    assert [sample for sample, _ in again] == [sample for sample, _ in rows]
    gained = sum(line["kind"].endswith("-> correct") - line["kind"].startswith("correct ->") for line in lines)
    assert sum(c for _, c in counts(run).values()) == sum(c for _, c in before.values()) + gained
    assert counts(run) != before
    capsys.readouterr()
    assert main(["audit", str(run)]) == 0
    assert "last_box, then last_box: 0 of 12 verdicts differ" in capsys.readouterr().out


def test_an_audit_counts_verdicts_by_the_rule_that_found_the_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    responses = ["\\boxed{2}", "<answer>2</answer>", "The answer is 3.", "The answer is 2.", "#### 2", "two"]
    with SampleStore(tmp_path / "samples.db") as store:
        setting = store.begin("sums", "T=1", {"model": "m"}, "math", [Problem("p", "1+1=", "2")], 6)
        samples = [Sample("p", i, text, 4, "stop") for i, text in enumerate(responses)]
        store.add(setting, samples, grade_many("math", [(text, Problem("p", "1+1=", "2")) for text in responses]))
        assert [verdict.rule for _, verdict in store.rows(setting)] == [
            "box",
            "answer tag",
            *["phrase"] * 2,
            "####",
            None,
        ]
    assert main(["audit", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for line in (
        "box: 1 (1 correct)",
        "answer tag: 1 (1 correct)",
        "phrase: 2 (1 correct, 1 wrong)",
        "####: 1 (1 correct)",
    ):
        assert f"  answers by the rule {line}\n" in printed


def test_a_warning_is_one_line_and_comes_once(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("simko.evaluate.database.is_network", lambda directory: True)
    capsys.readouterr()
    librarys = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(librarys)
    try:
        assert main(["audit", str(two[0]), "--apply"]) == 0
    finally:
        logging.getLogger().removeHandler(librarys)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"simko: {two[0] / 'samples.db'} lies where SQLite")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_samples_are_exported(
    two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    path = tmp_path / f"samples{suffix}"
    capsys.readouterr()
    assert main(["export", str(two[0]), "--to", str(path)]) == 0
    assert capsys.readouterr().out == f"12 samples in {path}\n"
    if suffix == ".parquet":
        rows = pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    _, samples = kept(two[0])
    columns = ("problem_id", "sample", "response", "tokens", "outcome", "finish_reason", "seed")
    assert [tuple(row[c] for c in columns) for row in rows] == [
        (s.problem_id, s.index, s.response, s.tokens, v.outcome, s.finish_reason, s.seed) for s, v in samples
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--backend", "llama"], "invalid choice: 'llama'"),
        (["--temperature", "a,b"], "'a,b' is neither a number nor several"),
        (["--temperature", "-1"], "temperature is -1.0"),
        (["--top-p", "2"], "top_p is 2.0"),
        (["-n", "0"], "'0' is no number of at least 1"),
        (["-n", "many"], "'many' is no number"),
        (["--limit", "0"], "'0' is no number of at least 1"),
        (["--task", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["--task", "nowhere.jsonl", "--verifier", "no"], "no verifier is called 'no'"),
        (["--task", "multiplication,multiplication"], "two tasks are called 'multiplication'"),
        (["--template", "{problem}", "--task", "multiplication"], "--template is for files"),
        (["--base-url", "http://localhost:1/v1"], "the back-end transformers takes no base_url"),
        (["--model", "no/such-model"], "no/such-model"),
    ],
)
def test_bad_input_is_one_line_and_makes_no_run(
    speaker: Speaker, tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    task = [write_rows(tmp_path / "sums.jsonl", SUMS), "--verifier", "last_integer"]
    assert said in refusal(words(speaker(0), task, tmp_path / "run", *given), capsys)
    if (tmp_path / "run").exists():
        with SampleStore(tmp_path / "run" / "samples.db", read_only=True) as store:
            assert store.settings() == []


def test_a_file_needs_a_verifier(speaker: Speaker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = [write_rows(tmp_path / "sums.jsonl", SUMS)]
    assert "sums.jsonl needs --verifier" in refusal(words(speaker(0), task, tmp_path / "run"), capsys)


def test_a_chat_without_a_template_is_refused_and_binds_nothing(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words(tiny_base, ["operator_puzzle"], tmp_path / "run")
    assert "has no chat template: give --no-chat" in refusal([*given, "--chat"], capsys)
    assert main([*given, "--no-chat"]) == 0


@pytest.mark.parametrize("command", [["audit"], ["audit", "--apply"], ["export", "--to", "x.jsonl"], ["report"]])
def test_where_no_evaluation_is_there_none_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert str(tmp_path / "no") in refusal([command[0], str(tmp_path / "no"), *command[1:]], capsys)
    assert not (tmp_path / "no").exists()


def test_options_that_fit_nothing_are_named(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no evaluation of gsm8k" in refusal(["audit", str(two[0]), "--task", "gsm8k"], capsys)
    assert "ends in .jsonl or .parquet" in refusal(["export", str(two[0]), "--to", "x.xls"], capsys)
