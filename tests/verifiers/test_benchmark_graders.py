"""The benchmark of graders: what it counts, and a peer in its process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("math_verify")
ROOT = Path(__file__).parents[2]
PAIRS = [
    {"id": "t-1", "kind": "halves", "gold": "0.5", "response": "\\boxed{\\frac12}", "expected": "correct"},
    {"id": "t-2", "kind": "halves", "gold": "0.5", "response": "\\boxed{2}", "expected": "wrong"},
    {"id": "t-3", "kind": "halves", "gold": "0.5", "response": "\\boxed{one}", "expected": "correct"},
    {"id": "t-4", "kind": "halves", "gold": "0.5", "response": "\\boxed{half}", "expected": "correct", "taste": True},
    {"id": "t-5", "kind": "halves", "gold": "7", "response": "7", "correct": True, "chosen_because_it_failed": True},
]


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_taste_policy_and_chosen_failures_are_not_counted(benchmarks, tmp_path):
    import graders

    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    cases = graders.counted([path])
    assert [(case["id"], case["right"], case["set"]) for case in cases] == [
        ("t-1", True, "mine"),
        ("t-2", False, "mine"),
        ("t-3", True, "mine"),
    ]
    shipped = graders.counted([ROOT / "tests/data/grader_cases.jsonl"])
    policy = {row["id"] for row in graders.rows(ROOT / "tests/verifiers/math_policy.jsonl")}
    assert {"case", "hard", "k2"} == {case["id"].replace("/", "-").split("-")[0] for case in shipped}
    assert not policy & {case["id"] for case in shipped}


def test_faults_are_counted_on_their_side(benchmarks):
    import graders

    cases = [{"key": str(n), "right": right} for n, right in enumerate([True, True, True, False, False])]
    outcomes = ["correct", "timeout", "error", "correct", "wrong"]
    assert graders.faults(cases, {str(n): [outcome, 0.1] for n, outcome in enumerate(outcomes)}) == (2, 1)


def test_a_peer_that_takes_too_long_is_ended_and_asked_on(benchmarks):
    from peer_graders.asking import Peer

    peer = Peer("math_verify", sys.executable)
    assert peer.about["title"] == "math-verify"
    hanging = peer.process
    assert peer.ask("\\boxed{1}", "1", 0.0) == ["timeout", 0.0]
    assert hanging.poll() is not None
    assert [peer.ask("\\boxed{1}", gold, 60)[0] for gold in ("1.0", "2")] == ["correct", "wrong"]
    peer.close()


@pytest.mark.slow
def test_the_page_is_written_from_kept_verdicts(tmp_path):
    cases, kept, page = tmp_path / "mine.jsonl", tmp_path / "kept.json", tmp_path / "page.md"
    cases.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    page.write_text("before\n<!-- made by benchmarks/graders.py -->\nold\n<!-- end -->\nafter\n")
    command = [sys.executable, str(ROOT / "benchmarks/graders.py"), "--cases", str(cases), "--kept", str(kept)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PEER_SOURCES": str(tmp_path)}
    asked = subprocess.run(
        [*command, "--peers", sys.executable], capture_output=True, text=True, env=environment, timeout=300
    )
    assert "qwen_math is left out: " in asked.stdout
    assert list(json.loads(kept.read_text())["math_verify"]["verdicts"].values())[1][0] == "wrong"
    again = subprocess.run(
        [*command, "--page", str(page)], capture_output=True, text=True, env=environment, timeout=300
    )
    assert again.returncode == 0, again.stderr
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "\nold\n" not in text
    assert "| halves | 2, 1 | 1, 0 | 1, 0 |" in text
    assert "qwen_math is left out: 3 of 3 pairs have no verdict of it." in text
