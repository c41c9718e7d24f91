"""What is followed over training, what predicts the end, and the effect of each option, on rows with known pass rates."""

import math
from dataclasses import replace

import numpy as np
import pytest
from head_to_head_rows import SIMKO, finals, rates, row, sensitivity
from scipy.stats import spearmanr

from simko.studies.head_to_head import findings, mechanism
from simko.studies.head_to_head.rows import Results

TASK = "sums"
HEAD = (1, 16, 64)


def test_newly_solved_and_lost_problems_are_counted_against_the_base():
    base = replace(row("base", np.full(6, 0.5), stage="base", step=0, seed=0), correct=(0, 0, 0, 3, 3, 3))
    ends = [
        replace(row("grpo", np.full(6, 0.5), seed=s), correct=c)
        for s, c in ((1, (1, 2, 0, 0, 5, 5)), (2, (1, 0, 0, 5, 5, 5)))
    ]
    results = Results([base, *ends], [])
    solved, lost = (
        mechanism.at_the_end(results, TASK, mechanism.MEASURES[f"{name} problems"]) for name in ("newly solved", "lost")
    )
    assert (solved["grpo"], lost["grpo"]) == ([2, 1], [1, 0])
    more = Results([replace(base, samples=256), *ends], [])
    assert all(map(math.isnan, mechanism.at_the_end(more, TASK, mechanism.MEASURES["lost problems"])["grpo"]))


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(0)
    groups = np.arange(30) // 5
    x = rng.normal(size=30).round(1)
    y = x + rng.normal(size=30)
    found = mechanism.spearman(x, y, groups)
    assert found.rho == pytest.approx(spearmanr(x, y).statistic)
    assert found.low < found.rho < found.high
    assert mechanism.spearman(x, -x, groups).rho == pytest.approx(-1)
    assert math.isnan(mechanism.spearman(x, np.ones(30), groups).rho)


def test_its_interval_resamples_groups_of_runs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 8)).round(1)
    alone = mechanism.spearman(x, y, np.arange(8))
    twice = mechanism.spearman(np.tile(x, 2), np.tile(y, 2), np.tile(np.arange(8), 2))  # no new information
    assert (twice.rho, twice.low, twice.high) == pytest.approx((alone.rho, alone.low, alone.high))
    chosen = np.random.default_rng(0).multinomial(8, np.full(8, 1 / 8), 2000)
    by_hand = [spearmanr(np.repeat(x, times), np.repeat(y, times)).statistic for times in chosen[:200]]
    assert mechanism._rank_correlation(x, y, chosen[:200]) == pytest.approx(by_hand, nan_ok=True)
    few = mechanism.spearman(x, y, np.arange(8) // 2)
    assert few.rho == pytest.approx(alone.rho)
    assert math.isnan(few.low)


def test_what_predicts_the_end_is_found_over_all_final_runs():
    rows = []
    for i, end in enumerate(np.linspace(0.001, 0.02, 8)):
        shared = {"seed": i, "step": 20, "rank1_gated": 0.9 - end, "entropy": 1.0}
        rows += [row("grpo", np.full(60, 0.05), **shared), row("grpo", np.full(60, end), seed=i, step=40)]
    results = Results(rows, [])
    assert mechanism.early_steps(results, TASK) == [20]
    found = {name: mechanism.predicts(results, TASK, p, 20) for name, p in mechanism.PREDICTORS.items()}
    assert found["rank-1 probability, gated"].rho < -0.9
    assert found["rank-1 probability, gated"].runs == 8
    assert math.isnan(found["entropy"].rho)
    few = Results(rows[:8], [])
    assert mechanism.predicts(few, TASK, mechanism.PREDICTORS["reward"], 20) is None


def test_one_option_at_a_time_joins_the_finals_of_the_same_seeds():
    results = Results(finals(methods=("grpo", "simko")) + sensitivity(), ["grpo", "simko"])
    found = {e.option: e for e in mechanism.effects(results, TASK)}
    assert list(found) == ["alpha", "top_penalty", "top_k", "gate_quantile"]
    for option, effect in found.items():
        assert SIMKO[option] in effect.ends
        assert len(effect.ends) == 3
        assert all(sorted(seeds) == [1, 2] for seeds in effect.ends.values())
        assert dict(effect.others) == {name: v for name, v in SIMKO.items() if name != option}
    assert tuple(found["gate_quantile"].ends) == (0.0, 0.8, 0.9)
    assert mechanism.effects(Results(finals(methods=("grpo", "simko")), []), TASK) == []


def test_other_values_of_an_option_are_compared_with_that_of_the_finals():
    rates_at = {0.03: rates("simko", 64) / 2, 0.3: rates("simko", 64)}
    tried = [
        row("simko", rate, stage="sensitivity", setting=SIMKO | {"alpha": alpha}, seed=seed)
        for alpha, rate in rates_at.items()
        for seed in (1, 2, 3)
    ]
    rows = finals(methods=("grpo", "simko")) + tried
    (alpha,) = mechanism.effects(Results(rows, []), TASK)
    ends = {value: np.mean([r.passes([1, 16, 64]).mean() for r in at.values()]) for value, at in alpha.ends.items()}
    assert set(alpha.changes) == {0.03, 0.3}
    for value, change in alpha.changes.items():
        assert change.difference == pytest.approx(ends[value] - ends[0.1])
    alone = {
        value: findings.mean_difference(alpha.ends[value], alpha.ends[0.1], [1, 16, 64]).p for value in alpha.changes
    }
    assert alpha.changes[0.03].p == pytest.approx(2 * min(alone.values()))
    assert alpha.changes[0.03].p < 0.05 < alpha.changes[0.3].p


def test_the_settings_of_the_finals_run_again_are_what_others_are_compared_with():
    again = [row("simko", rates("simko", 64) / 2, stage="sensitivity", setting=SIMKO, seed=seed) for seed in (1, 2)]
    (alpha, *_) = mechanism.effects(Results(finals() + sensitivity() + again, []), TASK)
    assert alpha.ends[0.1] == {r.seed: r for r in again}
    ends = {value: np.mean([r.passes([1, 16, 64]).mean() for r in at.values()]) for value, at in alpha.ends.items()}
    assert alpha.changes[0.3].difference == pytest.approx(ends[0.3] - ends[0.1])


def test_without_its_finals_no_value_of_an_option_is_compared():
    alone = [r for r in sensitivity() if "alpha" in r.setting]
    found = mechanism.effects(Results(finals(methods=("grpo",)) + alone, []), TASK)
    assert found
    assert all(effect.changes == {} for effect in found)


def test_two_centres_are_two_effects():
    paper = SIMKO | {"alpha": 0.01, "top_penalty": 1.05}
    more = [row("simko", rates("simko", 64), stage="sensitivity", setting=paper | {"alpha": a}) for a in (0.01, 0.02)]
    found = [e for e in mechanism.effects(Results(finals() + sensitivity() + more, []), TASK) if e.option == "alpha"]
    assert sorted(tuple(e.ends) for e in found) == [(0.01, 0.02), (0.03, 0.1, 0.3)]
