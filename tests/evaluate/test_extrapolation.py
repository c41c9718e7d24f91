"""The Beta model beyond n: closed forms, the likelihood by brute force, its fit check, and where there is no fit."""

import math

import numpy as np
import pytest
from scipy.stats import betabinom

from simko.evaluate import extrapolate
from simko.evaluate.extrapolation import Extrapolation


def counts(correct, n):
    return {f"q{i:04d}": (n, int(c)) for i, c in enumerate(correct)}


def test_pass_at_k_of_a_beta_in_closed_form():
    uniform = Extrapolation(((1.0, 1.0),), True, 1, 0.0)
    for k in (1, 7, 1000):  # 1 - E (1 - p)^k with p uniform
        assert uniform.pass_at_k(k) == pytest.approx(1 - 1 / (k + 1))
    whole = Extrapolation(((2.0, 3.0), (1.0, 1.0)), True, 1, 0.0)
    assert whole.pass_at_k(2) == pytest.approx(((1 - 3 * 4 / (5 * 6)) + 2 / 3) / 2)
    assert Extrapolation(((0.3, 2.0),), True, 1, 0.0).pass_at_k(1) == pytest.approx(0.3 / 2.3)


def test_the_fit_has_the_greatest_likelihood_and_finds_the_truth():
    rng, n = np.random.default_rng(0), 64
    correct = rng.binomial(n, rng.beta(0.4, 1.6, 2000))
    model = extrapolate(counts(correct, n), resamples=999)
    ((a, b),) = model.shapes
    assert (a, b) == (pytest.approx(0.4, rel=0.1), pytest.approx(1.6, rel=0.1))
    best = betabinom.logpmf(correct, n, a, b).sum()
    for nearby in ((a * 1.02, b), (a * 0.98, b), (a, b * 1.02), (a, b * 0.98)):
        assert betabinom.logpmf(correct, n, *nearby).sum() < best
    assert model.fits
    truth = 1 - math.exp(math.lgamma(1.6 + 1024) + math.lgamma(2.0) - math.lgamma(2.0 + 1024) - math.lgamma(1.6))
    assert model.pass_at_k(1024) == pytest.approx(truth, abs=0.02)


def test_unequal_n_and_seeds():
    rng = np.random.default_rng(1)
    n = rng.integers(8, 65, 500)
    p = rng.beta(1, 3, 500)
    run = {f"q{i}": (int(m), int(rng.binomial(m, q))) for i, (m, q) in enumerate(zip(n, p, strict=True))}
    one = extrapolate(run)
    assert one.shapes[0] == (pytest.approx(1, rel=0.2), pytest.approx(3, rel=0.2))
    assert extrapolate([run, run]).pass_at_k(500) == pytest.approx(one.pass_at_k(500))


def test_a_mixture_that_is_no_beta_does_not_fit():
    """Half of the problems at .2, half at .0001: a Beta has too much between them."""
    rng, n = np.random.default_rng(2), 256
    model = extrapolate(counts(rng.binomial(n, np.repeat([0.2, 1e-4], 150)), n))
    assert not model.fits
    assert 1 <= model.worst_k <= n // 2
    assert abs(model.worst_gap) > 0.03


@pytest.mark.parametrize("correct", [[0] * 20, [8] * 20, [4] * 20, [1, 2, 3]])
def test_where_no_beta_has_the_greatest_likelihood_there_is_none(correct):
    assert extrapolate(counts(correct, 8)) is None


def test_one_sample_a_problem_says_nothing():
    assert extrapolate(counts([0, 1] * 10, 1)) is None
