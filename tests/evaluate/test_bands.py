"""Bands over all K: their critical values by brute force, their ends, and what they cover."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from simko.evaluate import curve_band, simultaneous_band
from simko.evaluate.bands import joint_critical
from simko.evaluate.intervals import clopper_pearson, critical_value, studentised_interval


@settings(max_examples=60, deadline=None)
@given(
    arrays(float, st.tuples(st.integers(1, 60), st.integers(1, 4)), elements=st.sampled_from([*range(9), np.inf])),
    st.sampled_from([0.5, 0.8, 0.95]),
)
def test_joint_critical_is_the_least_equal_tail_that_holds(size, level):
    rows = len(size)
    critical, tail = joint_critical(size, level)
    ordered = np.sort(size, axis=0)[::-1]

    def outside(r):  # rows of which some value is among the r largest of its column, ties counted with the smaller
        return sum(any((size[:, k] >= row[k]).sum() <= r for k in range(size.shape[1])) for row in size)

    allowed = [r for r in range(rows) if 1 + outside(r) <= (rows + 1) * (1 - level) + 1e-9]
    if not allowed:
        assert (np.isinf(critical).all(), tail) == (True, 0.0)
    else:
        np.testing.assert_array_equal(critical, ordered[allowed[-1]])
        assert tail == pytest.approx((allowed[-1] + 1) / (rows + 1))


def test_joint_critical_of_one_column_is_its_order_statistic():
    size = np.random.default_rng(0).random((399, 1))
    critical, tail = joint_critical(size, 0.95)
    assert critical == critical_value(size, 0.95)
    assert tail == pytest.approx(0.05)
    np.testing.assert_array_equal(joint_critical(np.repeat(size, 3, axis=1), 0.95)[0], np.repeat(critical, 3))


def test_a_k_that_rests_on_few_problems_has_no_band():
    values = np.random.default_rng(2).normal(0.02, 0.1, (100, 3))
    values[:, 1] = np.where(np.arange(100) < 7, [-0.4, 0.4] * 50, 0.0)
    values[:, 2] = np.where(np.arange(100) < 7, [-0.4, 0.4] * 50, values[:, 2] * 1e-6)  # the rest differs by rounding
    alone = simultaneous_band(values[None, :, :1], [1])[0]
    assert simultaneous_band(values[None], [1, 2, 3])[0] == alone
    values[7, 1] = 0.4
    assert [point.k for point in simultaneous_band(values[None], [1, 2, 3])[0]] == [1, 2]


def test_the_band_of_a_curve():
    values = np.random.default_rng(0).beta(0.5, 1.5, (1, 50, 1)) ** np.array([1, 0.5, 0.25])
    band, pointwise = curve_band(values), studentised_interval(values[0])
    assert (band[:, 0] < pointwise[:, 0]).all()
    assert (band[:, 1] > pointwise[:, 1]).all()
    np.testing.assert_allclose(curve_band(values[:, :, :1]), pointwise[:1], atol=1e-3)
    np.testing.assert_allclose(curve_band(1 - values), 1 - band[:, ::-1])
    three = curve_band(np.clip(values + np.array([-0.1, 0.0, 0.1])[:, None, None], 0, 1))
    assert (three[:, 1] - three[:, 0] > band[:, 1] - band[:, 0]).all()


def test_a_curve_without_spread_has_the_binomial_bound():
    ends = np.zeros((1, 30, 2))
    ends[:, :, 1] = 1.0
    np.testing.assert_allclose(curve_band(ends), clopper_pearson(np.array([0.0, 1.0]), 30, 0.95))
    np.testing.assert_allclose(curve_band(np.full((2, 1, 1), 0.5)), [[0.0, 1.0]], atol=0.02)
    ends[0, 0] = 0.5  # some resamples have no spread, which opens the far side
    assert (curve_band(ends)[:, 1] > 0.06).all()


@settings(max_examples=30, deadline=None)
@given(arrays(float, (12, 3), elements=st.floats(0, 1)), st.integers(0, 5))
def test_a_band_lies_within_its_support_and_around_its_mean(values, seed):
    band = curve_band(values[None], resamples=99, seed=seed)
    assert ((band >= 0) & (band <= 1)).all()
    assert ((band[:, 0] <= values.mean(axis=0)) & (values.mean(axis=0) <= band[:, 1])).all()
    for point in simultaneous_band(values[None], [1, 2, 3], resamples=99, seed=seed)[0]:
        assert -1 <= point.low <= point.difference <= point.high <= 1
        assert (point.p <= 0.05) == (point.low > 0 or point.high < 0)


def test_seeds_of_two_sides_are_not_paired():
    rng = np.random.default_rng(4)
    ours, other = rng.random((3, 40, 2)), rng.random((5, 40, 2))
    shuffled = simultaneous_band(ours[[2, 0, 1]], [1, 2], other[::-1])[0]
    there = simultaneous_band(ours, [1, 2], other)[0]
    assert [p.difference for p in shuffled] == pytest.approx([p.difference for p in there])
    np.testing.assert_allclose([p.high for p in shuffled], [p.high for p in there], atol=0.03)
    one = simultaneous_band(ours.mean(axis=0)[None], [1, 2], other.mean(axis=0)[None])[0]
    assert all(both.high > single.high for both, single in zip(there, one, strict=True))


def crossed(rng, seeds, problems, of_seeds, together):
    """Differences with a true mean of 0 at three correlated ks."""
    shape = rng.normal(0, 1, (1, problems, 1)) + rng.normal(0, of_seeds, (seeds, 1, 1))
    noise = rng.normal(0, together, (seeds, problems, 3))
    return (shape * np.array([1.0, 0.8, 0.5]) + noise) / 10


@pytest.mark.parametrize(("of_seeds", "together"), [(0.0, 0.0), (0.0, 1.0), (0.3, 0.0), (0.3, 1.0), (2.0, 0.5)])
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.few(3)
def test_a_band_over_seeds_covers_other_seeds(seeds, of_seeds, together):
    rng, ks, runs = np.random.default_rng(0), [1, 16, 64], 200
    covered = narrow = 0
    for run in range(runs):
        drawn = crossed(rng, seeds, 60, of_seeds, together)
        both = simultaneous_band(drawn, ks, resamples=399, seed=run)[0]
        problems = simultaneous_band(drawn.mean(axis=0)[None], ks, resamples=399, seed=run)[0]
        covered += all(point.low <= 0 <= point.high for point in both)
        narrow += all(point.low <= 0 <= point.high for point in problems)
    assert covered / runs > 0.91
    if of_seeds == 2.0:
        assert narrow / runs < 0.4


def test_a_band_over_seeds_that_agree_is_the_band_over_problems():
    rng = np.random.default_rng(1)
    drawn = np.broadcast_to(crossed(rng, 1, 60, 0.0, 1.0), (3, 60, 3))
    both = simultaneous_band(drawn, [1, 2, 4], seed=3)[0]
    problems = simultaneous_band(drawn[:1], [1, 2, 4], seed=3)[0]
    np.testing.assert_allclose([(p.low, p.high) for p in both], [(p.low, p.high) for p in problems])


def test_a_band_over_seeds_has_the_mean_the_usable_ks_and_t_of_two_seeds():
    drawn = np.zeros((2, 400, 2))
    drawn[0, :, 0], drawn[1, :, 0] = 0.1, 0.3
    drawn[:, :, 0] += np.where(np.arange(400) % 2, 1e-4, -1e-4)  # hardly any spread over problems
    (only,) = simultaneous_band(drawn, [1, 2], resamples=40_000)[0]
    assert (only.k, only.difference) == (1, pytest.approx(0.2))
    # mean +- t(1) sd / sqrt(2) = .2 +- 12.7 * .1, beyond [-1, 1]; p of t = 2 with one degree of freedom
    assert (only.low, only.high) == (-1.0, 1.0)
    assert only.p == pytest.approx(0.295, abs=0.01)
