"""The benchmarks run, at sizes that measure nothing; their parts that a wrong figure could come from are tested."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from simko.token_stats import token_stats

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

    def silent():
        raise RuntimeError(" \n")

    problem = Problem.random(8, 32, 4, 2, torch.float32, "cpu")
    ways = {
        "missing": (GRPO, missing),
        "failing": (GRPO, failing),
        "silent": (GRPO, silent),
        EAGER_GRPO: (GRPO, eager_grpo),
    }
    rows = measure(
        ways, problem, rounds=1, baseline=EAGER_GRPO, exact=exact_gradients(problem), say=lambda text: None
    )  # fmt: skip
    assert [row.note for row in rows] == [
        "not installed (a_library_that_is_not_installed)",
        "failed: RuntimeError: out of luck",
        "failed: RuntimeError: no message",
        "",
    ]
    assert rows[-1].ratio == 1
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


def test_agreement_sees_a_rendering_that_is_slightly_off(benchmarks, monkeypatch):
    """3e-5 nats in one rendering, on every shape and kind of logits that the check draws."""
    import agreement

    def off(logits, tokens, *, impl, **options):
        stats = token_stats(logits, tokens, impl="eager", **options)
        return stats._replace(logp=stats.logp + 3e-5) if impl == "chunked" else stats

    monkeypatch.setattr(agreement, "token_stats", off)
    monkeypatch.setattr(agreement, "LOGITS_SHAPES", [(7, 1000)])
    monkeypatch.setattr(agreement, "TOLERANCE", {torch.float32: 1e-5})
    cases = list(agreement.logits_cases("cpu", "chunked"))
    assert len(cases) == len(agreement.KINDS) * 3
    far = list(agreement.KINDS).index("far from zero") * 3
    assert all(found for i, found in enumerate(cases) if not far <= i < far + 3)  # there the twin itself is as far off


def test_kinds_of_logits_are_what_they_say(benchmarks):
    from agreement import KINDS

    z = torch.randn(4, 50)
    made = {name: change(z) for name, change in KINDS.items()}
    assert (made["all negative"] < 0).all()
    assert (made["far from zero"] > 900).all()
    assert (made["half forbidden"] == -math.inf).sum() == 100
    assert len(made["tied"].unique()) < 12


def test_figures_from_made_up_times(benchmarks):
    from measure import Problem, Row, paired_ratio
    from peers import EAGER_GRPO, EAGER_SIMKO, K_FOLD, stored
    from token_stats import targets

    problem = Problem.random(8, 32, 4, 2, torch.float32, "cpu")
    assert problem.unit == 8 * 32 * 4
    ours, grpo = "SimKO, ours chunked", "GRPO, ours chunked"
    rows = [
        Row(EAGER_GRPO, "", ratio=1.0, extra=4.0),
        Row(EAGER_SIMKO, "", ratio=2.0, extra=8.0),
        Row(K_FOLD, "", ratio=2.0, extra=14.0),
        Row(grpo, "", times=[1.0, 2.0, 4.0]),
        Row(ours, "", ratio=1.09, extra=0.5, times=[2.0, 3.0, 4.0]),
        Row(stored("chunked"), "", ratio=1.11, extra=1.4),
    ]
    assert paired_ratio(rows, ours, grpo) == 1.5
    aims = targets(rows, "chunked")
    assert [round(aim.figure, 4) for aim in aims] == [0.0625, 0.0357, 1.09, 0.175, 0.1, 1.11, 1.5]
    assert [aim.verdict for aim in aims] == ["met", "met", "met", "missed", "missed", "missed", "missed"]


def test_a_ratio_is_of_a_way_to_the_baseline(benchmarks, monkeypatch):
    import measure

    slow = measure.Row("slow", "")
    clock = iter([1.0, 3.0, 1.0, 2.0, 1.0, 4.0, 2.0, 6.0])  # the baseline, then the other, in each round
    monkeypatch.setattr(measure, "seconds", lambda way, problem: next(clock))
    from peers import EAGER_GRPO, GRPO, eager_grpo, exact_gradients

    problem = measure.Problem.random(8, 32, 4, 2, torch.float32, "cpu")
    ways = {EAGER_GRPO: (GRPO, eager_grpo), slow.name: (GRPO, eager_grpo)}
    rows = measure.measure(
        ways, problem, rounds=4, baseline=EAGER_GRPO, exact=exact_gradients(problem), say=lambda text: None
    )  # fmt: skip
    assert [row.ratio for row in rows] == [1.0, 3.0]
    assert [row.quartiles for row in rows] == [(1.0, 1.0), (2.25, 3.75)]


def test_a_ratio_comes_with_its_quartiles(benchmarks):
    from layout import cells
    from measure import Row

    row = Row("way", "logp", seconds=1.0, ratio=1.15, quartiles=(1.084, 1.236), extra=0.5, gradient_error=1e-6)
    assert cells([row])[1][3] == "1.15 (1.08-1.24)"
