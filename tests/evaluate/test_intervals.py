import subprocess
import sys

import numpy as np
import pytest

from simko.evaluate.intervals import (
    clopper_pearson,
    critical_value,
    holm,
    seeds_t,
    seeds_welch,
    studentised_difference,
    studentised_interval,
)
from simko.evaluate.passk import pass_at_k_matrix


def test_studentised_matches_a_plain_loop():
    values = np.random.default_rng(0).beta(1, 3, size=25)
    rng = np.random.default_rng(7)
    t = []
    for _ in range(3000):
        draw = values[rng.integers(25, size=25)]
        t.append((draw.mean() - values.mean()) / (draw.std(ddof=1) / 5))
    error = values.std(ddof=1) / 5
    expected = values.mean() - np.quantile(t, [0.975, 0.025]) * error
    np.testing.assert_allclose(studentised_interval(values[:, None])[0], expected, atol=0.01)


def test_covers_where_the_plain_t_does_not():
    rng = np.random.default_rng(1)
    n, k, problems, trials = 64, 32, 30, 300
    p = rng.beta(1, 3, size=400_000)
    truth = np.mean(1 - (1 - p) ** k)
    ours = plain = 0
    for _ in range(trials):
        c = rng.binomial(n, rng.beta(1, 3, size=problems))
        values = pass_at_k_matrix([n] * problems, c, [k])
        low, high = studentised_interval(values, resamples=400)[0]
        ours += low <= truth <= high
        half = 2.045 * values.std(ddof=1) / np.sqrt(problems)
        plain += abs(values.mean() - truth) <= half
    assert ours / trials > 0.9
    assert plain / trials < 0.9


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("problems", [1, 2, 40])
def test_without_spread_the_width_is_not_zero(value, problems):
    low, high = studentised_interval(np.full((problems, 1), value))[0]
    assert 0 <= low <= value <= high <= 1
    assert high - low > 0.05
    if value == 1.0:
        assert low == pytest.approx(0.025 ** (1 / problems))


def test_one_unlike_problem_gives_a_finite_interval():
    values = np.ones((100, 1))
    values[0] = 0.9
    low, high = studentised_interval(values)[0]
    assert 0.9 < low < 0.999 < high <= 1


def test_columns_with_and_without_spread_together():
    values = np.stack([np.linspace(0, 1, 30), np.ones(30)], axis=1)
    both = studentised_interval(values)
    np.testing.assert_allclose(both[0], studentised_interval(values[:, :1])[0])
    np.testing.assert_allclose(both[1], studentised_interval(values[:, 1:])[0])


def test_clopper_pearson_known_values():
    # 3 of 10: R's binom.test gives 0.06673951 to 0.65245285
    np.testing.assert_allclose(clopper_pearson(np.array([0.3]), 10, 0.95)[0], [0.06673951, 0.65245285], atol=1e-7)


def held(interval, truth):
    return np.mean((interval[:, 0] <= truth) & (truth <= interval[:, 1]))


KS = [1, 4, 8, 16, 32, 64, 128]


@pytest.mark.slow
@pytest.mark.parametrize("problems", [30, 100])
def test_coverage_of_curves(problems):
    """4,000 benchmarks, all resampled by one set of weights: an interval a column."""
    n, trials = 256, 4000
    rng = np.random.default_rng(11)
    correct = rng.binomial(n, rng.beta(1, 3, size=(problems, trials)))
    table = pass_at_k_matrix([n] * (n + 1), range(n + 1), KS)
    for column, k in enumerate(KS):
        truth = 1 - 3 / (3 + k)  # E (1 - p)^k under Beta(1, 3)
        share = held(studentised_interval(table[correct, column], resamples=2000), truth)
        assert share >= 0.90, (k, share)
        assert truth > 0.9 or 0.92 <= share <= 0.98, (k, share)


@pytest.mark.slow
@pytest.mark.parametrize("problems", [30, 100])
def test_coverage_of_differences(problems):
    """A second model whose easy problems got easier and whose hard ones harder, and an equal one."""
    n, trials, ks = 256, 4000, [1, 16, 128]
    table = pass_at_k_matrix([n] * (n + 1), range(n + 1), ks)
    grid = 1 - (1 - (np.arange(200_000) + 0.5) / 200_000) ** (1 / 3)
    for change in (lambda p: np.where(p > 0.25, np.minimum(1, 1.8 * p), 0.3 * p), lambda p: p):
        rng = np.random.default_rng(12)
        p = rng.beta(1, 3, size=(problems, trials))
        ours, other = rng.binomial(n, change(p)), rng.binomial(n, p)
        for column, k in enumerate(ks):
            truth = np.mean((1 - grid) ** k - (1 - change(grid)) ** k)
            share = held(studentised_difference(table[ours, column] - table[other, column], resamples=2000)[0], truth)
            assert share >= 0.92, (k, share)
            assert k > 16 or share <= 0.985, (k, share)


def test_difference_matches_a_plain_loop():
    values = np.random.default_rng(4).normal(0.08, 0.2, size=25)
    rng = np.random.default_rng(7)
    t = []
    for _ in range(4000):
        draw = values[rng.integers(25, size=25)]
        t.append(abs(draw.mean() - values.mean()) / (draw.std(ddof=1) / 5))
    error = values.std(ddof=1) / 5
    interval, p = studentised_difference(values[:, None])
    half = np.quantile(t, 0.95) * error
    np.testing.assert_allclose(interval[0], [values.mean() - half, values.mean() + half], atol=0.01)
    assert p[0] == pytest.approx(np.mean(np.array(t) >= values.mean() / error), abs=0.015)


def test_p_and_interval_agree():
    rng = np.random.default_rng(5)
    few = rng.normal(size=(12, 40)) * (rng.random((12, 40)) < 0.3)
    for d in (rng.normal(0.05, 0.1, size=(20, 300)), np.clip(few / 4, -1, 1), rng.choice([0.0, 1.0], size=(8, 60))):
        for level in (0.8, 0.95):
            interval, p = studentised_difference(d, level=level, resamples=999)
            spread = d.std(axis=0) > 0
            excluded = (interval[:, 0] > 0) | (interval[:, 1] < 0)
            np.testing.assert_array_equal(excluded[spread], (p < 1 - level)[spread] | (p == 1 - level)[spread])
    assert studentised_difference(np.linspace(0.5, 0.6, 30)[:, None], resamples=999)[1][0] == pytest.approx(1 / 1000)


def test_differences_of_few_problems_are_bounded():
    d = np.zeros((30, 1))
    d[3] = 0.4
    (low, high), p = studentised_difference(d)[0][0], studentised_difference(d)[1][0]
    assert -0.2 < low < 0 < high < 0.3
    assert p > 0.3  # the share of resamples without that problem


def test_differences_without_spread():
    interval, p = studentised_difference(np.zeros((40, 1)))
    assert p[0] == 1.0
    assert interval[0, 1] == pytest.approx(-interval[0, 0])
    assert interval[0, 1] == pytest.approx(1 - 0.0125 ** (1 / 40))
    interval, p = studentised_difference(np.full((5, 1), 0.5))
    assert p[0] == pytest.approx(2.0**-4)
    assert -1 <= interval[0, 0] < 0.5 < interval[0, 1] <= 1
    interval, p = studentised_difference(np.full((1, 1), 0.5))
    assert p[0] == 1.0
    assert interval[0, 0] < -0.5


def test_critical_value_is_an_order_statistic():
    values = np.arange(1.0, 100.0)[::-1, None]
    assert critical_value(values, 0.95)[0] == 95  # ceil(100 * .95)
    assert critical_value(values[:10], 0.95)[0] == np.inf


def test_seed_intervals_agree_with_scipy():
    from scipy import stats

    rng = np.random.default_rng(6)
    ours, other = rng.uniform(0.4, 0.6, size=(3, 2)), rng.uniform(0.3, 0.5, size=(5, 2))
    one, two = seeds_t(ours), seeds_welch(ours, other)
    for k in range(2):
        np.testing.assert_allclose(one[k], stats.ttest_1samp(ours[:, k], 0).confidence_interval(0.95))
        welch = stats.ttest_ind(ours[:, k], other[:, k], equal_var=False).confidence_interval(0.95)
        np.testing.assert_allclose(two[k], welch)


def test_seed_intervals_that_nothing_can_tell():
    assert seeds_t(np.array([[0.5]])) is None
    assert seeds_welch(np.array([[0.5]]), np.array([[0.4], [0.5]])) is None
    assert np.isnan(seeds_t(np.ones((3, 1)))).all()
    assert np.isnan(seeds_welch(np.ones((3, 1)), np.ones((2, 1)))).all()
    np.testing.assert_allclose(seeds_t(np.array([[0.0], [1.0]])), [[0, 1]])


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.5])), [0.04, 0.09, 0.09, 0.5])
    np.testing.assert_allclose(holm(np.array([0.6, 0.7])), [1.0, 1.0])


def test_import_is_light():
    code = "import sys, simko.evaluate; print([m for m in ('torch', 'scipy', 'matplotlib') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
