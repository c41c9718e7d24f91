import subprocess
import sys

import numpy as np
import pytest

from simko.evaluate.intervals import clopper_pearson, holm, paired_t, studentised_interval
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


def test_paired_t_agrees_with_scipy():
    from scipy import stats

    d = np.random.default_rng(3).normal(0.1, 0.2, size=(12, 2))
    interval, p = paired_t(d)
    for column in range(2):
        test = stats.ttest_1samp(d[:, column], 0.0)
        assert p[column] == pytest.approx(test.pvalue)
        np.testing.assert_allclose(interval[column], test.confidence_interval(0.95))


def test_paired_t_without_spread():
    interval, p = paired_t(np.zeros((40, 1)))
    assert p[0] == 1.0
    assert interval[0, 0] == pytest.approx(-interval[0, 1])
    assert interval[0, 1] == pytest.approx(1 - 0.025 ** (1 / 40))
    interval, p = paired_t(np.full((5, 1), 0.5))
    assert p[0] == pytest.approx(2.0**-4)
    assert -1 <= interval[0, 0] < 0.5 < interval[0, 1] <= 1
    assert paired_t(np.full((1, 1), 0.5))[1][0] == 1.0


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.5])), [0.04, 0.09, 0.09, 0.5])
    np.testing.assert_allclose(holm(np.array([0.6, 0.7])), [1.0, 1.0])


def test_import_is_light():
    code = "import sys, simko.evaluate; print([m for m in ('torch', 'scipy', 'matplotlib') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
