"""A verifier of the user's own from the command line: evaluated with, audited with, compared by, never mistaken."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kinds import SUMS, write_rows
from test_evaluate import kept, refusal, words

from simko.cli.main import main

Speaker = Callable[[int], Path]
JUDGE = """
from helper import last

def judge(response, problem):
    return last(response) == problem.answer

def share(response, problem):
    return 0.5 if response else 0.0

def exits(response, problem):
    import sys
    if response: sys.exit(0)
    return False

def leaves(response, problem):
    import os
    if response: os._exit(0)
    return False
"""
HELPER = "import re\ndef last(text):\n    return (re.findall(r'\\d+', text) or [''])[-1]\n"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with judge.py, the module it imports and a file of sums, in which commands are given."""
    (tmp_path / "judge.py").write_text(JUDGE)
    (tmp_path / "helper.py").write_text(HELPER)
    write_rows(tmp_path / "sums.jsonl", SUMS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def judged(model: Path, out: str, name: str = "./judge.py:judge", *more: str) -> list[str]:
    return words(model, ["sums.jsonl", "--verifier", name], Path(out), *more)


def test_it_grades_as_the_verifier_that_it_repeats(
    speaker: Speaker, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(judged(speaker(0), "mine")) == 0
    assert main(judged(speaker(0), "ours", "last_integer")) == 0
    (setting, mine), (_, ours) = kept(Path("mine")), kept(Path("ours"))
    assert [(s, v.outcome == "correct") for s, v in mine if v] == [(s, v.outcome == "correct") for s, v in ours if v]
    assert setting.verifier.startswith("judge.py:judge@sha256:")
    capsys.readouterr()
    assert main(["audit", "ours", "--verifier", "judge:judge"]) == 0  # by module, from the current directory
    assert "last_integer, then judge:judge@sha256:" in capsys.readouterr().out
    assert main(["audit", "mine"]) == 0
    assert "0 of 12 verdicts differ" in capsys.readouterr().out


def test_runs_that_it_graded_are_compared_and_reported(
    speaker: Speaker, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(judged(speaker(0), "a")) == 0
    assert main(judged(speaker(1), "b", f"{there}/judge.py:judge")) == 0  # the same file, named otherwise
    assert main(["compare", "a", "b", "--html", "page.html", "--json", "numbers.json"]) == 0
    for side in json.loads(Path("numbers.json").read_text())[0]["sides"].values():  # it returned no answers to count
        assert {*side["maj@k"].values(), side["distinct_answers"]["mean"], side["answer_entropy"]} == {None}
    assert "<td>—</td>" in Path("page.html").read_text()
    assert main(["report", "a"]) == 0
    (there / "judge.py").write_text(JUDGE + "# stricter\n")
    assert main(judged(speaker(1), "c")) == 0
    assert "verifier" in refusal(["compare", "a", "c"], capsys)


def test_an_edited_judge_does_not_continue_a_run(
    speaker: Speaker, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = judged(speaker(0), "run")
    assert main(given) == 0
    before = kept(Path("run"))
    (there / "judge.py").write_text(JUDGE.replace("==", "!="))
    said = refusal(given, capsys)
    assert "verifier is 'judge.py:judge@sha256:" in said
    assert "simko audit --verifier ... --apply" in said
    assert "source has changed since" in refusal(["audit", "run"], capsys)
    assert kept(Path("run")) == before
    assert main(["audit", "run", "--verifier", "./judge.py:judge", "--apply"]) == 0
    assert main(given) == 0
    after = kept(Path("run"))
    assert after[0].verifier != before[0].verifier
    assert all((v and v.outcome) != (w and w.outcome) for (_, v), (_, w) in zip(before[1], after[1], strict=True))


def test_a_share_below_one_counts_as_incorrect(speaker: Speaker, there: Path) -> None:
    assert main(judged(speaker(0), "run", "./judge.py:share")) == 0
    assert {v.outcome for _, v in kept(Path("run"))[1] if v} == {"wrong"}


@pytest.mark.parametrize("name", ["exits", "leaves"])
def test_one_that_ends_its_process_does_not_end_the_evaluation_well(
    speaker: Speaker, there: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(judged(speaker(0), "run", f"./judge.py:{name}"), capsys)
    assert f"the verifier ./judge.py:{name} failed on problem '" in said
    assert ("SystemExit: 0" if name == "exits" else "ended with status 0") in said
    assert len(kept(Path("run"))[1]) > 0, "what was drawn is kept"


@pytest.mark.parametrize("command", ["evaluate", "audit"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./nope.py:judge", "No such file"),
        ("judge.py", "write package.module:function or ./file.py:function"),
        ("./judge.py:grade", "has no function grade; its functions: last, judge, share, exits, leaves"),
        ("", "no verifier is called ''"),
        ("judg", "or your own: package.module:function or ./file.py:function"),
    ],
)
def test_a_name_of_nothing_is_one_line(
    command: str, name: str, said: str, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["audit", "run", "--verifier", name] if command == "audit" else judged(Path("no model"), "run", name)
    assert said in refusal(given, capsys)
    assert not Path("run").exists()


def test_an_audit_says_whose_judge_is_gone(speaker: Speaker, there: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(judged(speaker(0), "run")) == 0
    (there / "judge.py").unlink()
    said = refusal(["audit", "run"], capsys)
    assert "sums was graded by judge.py:judge@sha256:" in said
    assert "give --verifier" in said


def test_a_run_that_a_judge_broke_goes_on_with_the_mended_one(
    speaker: Speaker, there: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    breaks = JUDGE.replace(
        "    return last(response) ==", "    if response: raise KeyError\n    return last(response) =="
    )
    (there / "judge.py").write_text(breaks)
    given = judged(speaker(0), "run")
    assert "KeyError" in refusal(given, capsys)
    (there / "judge.py").write_text(JUDGE)
    assert main(["audit", "run", "--verifier", "./judge.py:judge", "--apply"]) == 0
    assert main(given) == 0
    assert main(judged(speaker(0), "whole")) == 0
    assert kept(Path("run")) == kept(Path("whole"))


@pytest.mark.parametrize("leave", ["import os\nos._exit(0)\n", "import sys\nsys.exit(0)\n"])
@pytest.mark.parametrize("command", ["evaluate", "audit"])
def test_a_file_that_ends_the_process_as_it_is_loaded_is_an_error(there: Path, command: str, leave: str) -> None:
    (there / "leaves.py").write_text(leave)
    name = "./leaves.py:judge"
    given = ["audit", "run", "--verifier", name] if command == "audit" else judged(Path("no model"), "run", name)
    done = subprocess.run([sys.executable, "-m", "simko.cli", *given], capture_output=True, text=True)
    assert done.returncode == 2
    assert "cannot load ./leaves.py (SystemExit: 0)" in done.stderr
