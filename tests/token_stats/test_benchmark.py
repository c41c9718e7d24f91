"""The benchmarks run, at sizes that measure nothing; their parts that a wrong figure could come from are tested."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def run(script, *options, hide_gpu=False):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    if hide_gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, str(ROOT / "benchmarks" / script), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.mark.slow
def test_every_way_is_measured_and_right(tmp_path):
    pytest.importorskip("trl")
    sizes = ["--tokens", "64", "--vocabulary", "512", "--width", "16", "--rounds", "2"]
    made = run("token_stats.py", *sizes, "--out", str(tmp_path / "small"))
    assert made.returncode == 0, made.stderr
    record = json.loads((tmp_path / "small.json").read_text())
    rows = {row["name"]: row for row in record["rows"]}
    measured = [row for row in rows.values() if not row["note"]]
    assert {"GRPO, eager", "SimKO, eager", "SimKO, logits repeated K times", "GRPO, ours chunked"} <= rows.keys()
    assert {"SimKO, ours chunked", "SimKO, ours chunked, gap on gated tokens", "GRPO, TRL fused head"} <= rows.keys()
    assert all(row["note"].startswith("not installed") for row in rows.values() if row["note"])
    assert all("verl" in row["name"] or "Liger" in row["name"] for row in rows.values() if row["note"])
    for row in measured:
        assert len(row["times"]) == 2
        assert row["seconds"] > 0
        assert math.isfinite(row["ratio"])
        assert row["extra"] > 0
        assert row["gradient_error"] < 1e-5
    assert rows["GRPO, eager"]["ratio"] == 1
    extra = [rows[f"SimKO, ours chunked{way}"]["extra"] for way in ("", ", 15% of logits stored", ", logits stored")]
    assert extra == sorted(extra)
    assert rows["SimKO, logits repeated K times"]["extra"] > rows["SimKO, eager"]["extra"]
    assert [target["verdict"] in ("met", "missed") for target in record["targets"]] == [True] * 7
    text = (tmp_path / "small.md").read_text()
    assert all(name in text for name in rows)
    assert f"python benchmarks/token_stats.py {' '.join(sizes)}\n" in text
    assert (tmp_path / "small.svg").exists() == ("small.svg" in text)


def test_gpu_check_without_a_gpu_says_so():
    made = run("gpu_check.py", hide_gpu=True)
    assert (made.returncode, made.stdout) == (0, "no NVIDIA GPU: nothing was checked\n")


def test_peak_counts_what_is_alive_at_once(benchmarks):
    from measure import extra_bytes

    def action():
        for _ in range(3):
            first = torch.zeros(1 << 20)
            second = first + 1
            del first, second

    assert 2 << 22 <= extra_bytes(action, torch.device("cpu")) < 2.1 * (1 << 22)


def test_a_way_that_fails_does_not_end_the_run(benchmarks):
    from measure import Problem, measure
    from peers import EAGER_GRPO, GRPO, eager_grpo, exact_gradients

    def missing():
        import a_library_that_is_not_installed  # noqa: F401

    def failing():
        raise RuntimeError("out of luck\nand more")

    problem = Problem.random(8, 32, 4, 2, torch.float32, "cpu")
    ways = {"missing": (GRPO, missing), "failing": (GRPO, failing), EAGER_GRPO: (GRPO, eager_grpo)}
    rows = measure(
        ways, problem, rounds=1, baseline=EAGER_GRPO, exact=exact_gradients(problem), say=lambda text: None
    )  # fmt: skip
    assert [row.note for row in rows] == [
        "not installed (a_library_that_is_not_installed)",
        "failed: RuntimeError: out of luck",
        "",
    ]
    assert rows[2].ratio == 1
    assert json.loads(json.dumps(rows[0].record()))["seconds"] is None


@pytest.mark.parametrize(
    ("figure", "at_most", "verdict"),
    [(0.9, True, "met"), (1.1, True, "missed"), (1.1, False, "met"), (0.9, False, "missed"), (math.nan, True, "not measured")],
)  # fmt: skip
def test_verdicts(benchmarks, figure, at_most, verdict):
    from measure import Target

    assert Target("x", 1.0, figure, at_most).verdict == verdict


def disagreements(path, plain, leaf, V=40):
    from agreement import compare

    weights = [torch.ones(len(leaf)), torch.ones(len(leaf)), torch.ones(len(leaf), 3)]
    return [found.what for found in compare("case", path, plain, [leaf], weights)]


def test_agreement_sees_wrong_values_gradients_and_ids(benchmarks):
    from simko.token_stats import token_stats

    torch.manual_seed(0)
    leaf, tokens = 3 * torch.randn(6, 40), torch.arange(6)

    def plain(logits):
        return token_stats(logits, tokens, top_k=3, impl="eager")

    assert disagreements(plain, plain, leaf) == []
    assert disagreements(lambda z: plain(z)._replace(logp=plain(z).logp + 1e-4), plain, leaf) == ["logp"]
    halved = disagreements(lambda z: plain(z)._replace(entropy=plain(z.detach()).entropy), plain, leaf)
    assert halved == ["gradient 0"]
    assert disagreements(lambda z: plain(z)._replace(topk_ids=plain(z).topk_ids.flip(-1)), plain, leaf) == [
        "share of ids"
    ]
    assert "entropy" in disagreements(lambda z: plain(z)._replace(entropy=plain(z).entropy * torch.nan), plain, leaf)
