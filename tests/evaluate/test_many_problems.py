"""Intervals over thousands of problems: their resamples are drawn once, and that changes no number."""

import numpy as np
import pytest

from simko.evaluate import pass_at_k_curve
from simko.evaluate.intervals import resampled_counts, resampled_t, seeds_t, t_interval

PROBLEMS = 12_500


def counts(seed: int) -> dict[str, tuple[int, int]]:
    draw = np.random.default_rng(seed)
    return {f"problem {i}": (8, int(c)) for i, c in enumerate(draw.binomial(8, draw.beta(1, 1, PROBLEMS)))}


def test_all_intervals_draw_the_same_resamples_once():
    first, again = (list(resampled_counts(PROBLEMS, 500, np.random.default_rng(7))) for _ in range(2))
    assert len(first) == len(again) > 1
    assert all(a is b for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(("problems", "resamples"), [(1, 50), (3, 400), (40, 4000), (3000, 2000)])
def test_kept_resamples_are_those_that_would_be_drawn(problems, resamples):
    """And the generator goes on as if they had been drawn."""
    for seed in (0, 1, 0, 2, 1):
        rng, plain = np.random.default_rng(seed), np.random.default_rng(seed)
        found = np.concatenate(list(resampled_counts(problems, resamples, rng)))
        assert np.array_equal(found, plain.multinomial(problems, np.full(problems, 1 / problems), size=resamples))
        assert rng.random() == plain.random()


def test_two_draws_of_one_generator_differ():
    rng, centred = np.random.default_rng(0), np.linspace(-1, 1, 30)[:, None]
    assert not np.array_equal(resampled_t(centred, 100, rng)[0], resampled_t(centred, 100, rng)[0])


def test_curves_are_those_of_before():
    """Numbers of an earlier version."""
    (point,) = pass_at_k_curve(counts(0), [2], resamples=300).points
    assert (point.estimate, point.low, point.high) == pytest.approx(
        (0.6630142857142858, 0.6571189345909235, 0.6684003976917305), abs=1e-12
    )


@pytest.mark.parametrize("rows", [2, 3, 40])
def test_the_t_interval_has_no_bounds_and_that_over_seeds_has(rows):
    values = np.random.default_rng(rows).normal(0.5, 5, (rows, 3))
    from scipy.stats import ttest_1samp

    low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx(np.stack([low, high], -1))
    assert seeds_t(values) == pytest.approx(np.clip(t_interval(values), 0, 1))
    assert np.isnan(t_interval(np.ones((rows, 1)))).all()
