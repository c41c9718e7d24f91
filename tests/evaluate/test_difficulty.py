"""Curves by difficulty: by brute force over every split, what they leave out, and what a noisy stratum must not show."""

import itertools

import numpy as np
import pytest

from simko.evaluate import by_difficulty, pass_at_k
from simko.evaluate.difficulty import STRATA

NAMES = dict(enumerate(STRATA))


def counts(correct, n):
    return {f"q{i:03d}": (n, int(c)) for i, c in enumerate(correct)}


def stratum_of(hits, half):
    return 0 if hits == 0 else 1 if hits / half < 1 / 16 else 2 if hits / half < 1 / 2 else 3


@pytest.mark.parametrize("n", [6, 7])
def test_it_is_the_mean_over_every_split(n):
    rng = np.random.default_rng(n)
    ours, reference = rng.integers(0, n + 1, 40), rng.integers(0, n + 1, 40)
    ks, half = [1, 2], n // 2
    sums = np.zeros((4, 3, len(ks)))
    for c, other in zip(ours, reference, strict=True):
        splits = list(itertools.combinations(range(n), half))
        for chosen in splits:
            hits = sum(i < other for i in chosen)
            rest = [pass_at_k(n - half, int(other - hits), k) for k in ks]
            mine = [pass_at_k(n, int(c), k) for k in ks]
            sums[stratum_of(hits, half)] += np.array([np.ones(len(ks)), rest, mine]) / len(splits)
    found = by_difficulty(counts(ours, n), counts(reference, n), ks, resamples=99)
    assert [s.name for s in found] == list(STRATA)
    for stratum, (size, rest, mine) in zip(found, sums, strict=True):
        assert stratum.problems == pytest.approx(size[0])
        if size[0] < 5:
            assert (stratum.ours, stratum.reference, stratum.differences) == ((), (), ())
            continue
        assert [p.estimate for p in stratum.reference] == pytest.approx(rest / size)
        assert [p.estimate for p in stratum.ours] == pytest.approx(mine / size)
        assert [d.difference for d in stratum.differences] == pytest.approx((mine - rest) / size)
    assert sum(s.problems for s in found) == pytest.approx(40)


def test_luck_of_the_reference_is_no_gain_of_ours():
    """A second draw of the same model. Stratified and compared by the same samples, "never" would gain by luck alone."""
    rng, n = np.random.default_rng(0), 64
    p = rng.beta(1, 8, 300)
    first, second = rng.binomial(n, p), rng.binomial(n, p)
    never = by_difficulty(counts(second, n), counts(first, n), [16])[0]
    difference = never.differences[0]
    assert difference.low < 0 < difference.high
    assert abs(difference.difference) < 0.06
    naive = np.mean([pass_at_k(n, int(c), 16) for c, other in zip(second, first, strict=True) if other == 0])
    assert naive > 0.1
    assert never.reference[0].low < never.ours[0].estimate < never.reference[0].high


def test_what_only_the_hard_problems_lose_shows_there():
    rng, n = np.random.default_rng(1), 64
    p = rng.choice([0.02, 0.3, 0.8], 240)
    sharp = np.where(p == 0.02, 0.001, p)
    found = {
        s.name: s for s in by_difficulty(counts(rng.binomial(n, sharp), n), counts(rng.binomial(n, p), n), [1, 16])
    }
    assert found["never"].differences[1].high < 0
    assert found["1/2 or more"].differences[0].low < 0 < found["1/2 or more"].differences[0].high


def test_seeds_are_averaged_and_never_pooled():
    rng, n = np.random.default_rng(2), 32
    p = rng.beta(1, 2, 60)
    runs = [counts(rng.binomial(n, p), n) for _ in range(3)]
    one = [by_difficulty(runs[0], run, [1, 8]) for run in runs[1:]]
    both = by_difficulty(runs[0], runs[1:], [1, 8])
    for stratum, *parts in zip(both, *one, strict=True):
        assert stratum.problems == pytest.approx(np.mean([part.problems for part in parts]))
    twice = by_difficulty([runs[0], runs[0]], [runs[1], runs[1]], [1, 8])
    for a, b in zip(twice, one[0], strict=True):
        assert [d.low for d in a.differences] == pytest.approx([d.low for d in b.differences])


def test_strata_without_spread_keep_a_bound_and_others_are_refused():
    easy, hard = by_difficulty(counts([8] * 20, 8), counts([8] * 20, 8), [1, 4])[3], None
    assert all((p.estimate, p.high) == (1.0, 1.0) and 0.8 < p.low < 1 for p in easy.ours)
    assert all((d.low, d.high, d.p) == (-1.0, 1.0, 1.0) for d in easy.differences)
    hard = by_difficulty(counts([0] * 20, 8), counts([0] * 20, 8), [4])[0]
    assert (hard.ours[0].estimate, hard.ours[0].low) == (0.0, 0.0)
    with pytest.raises(ValueError, match="k = 5: the half of the reference's samples that is compared has 4"):
        by_difficulty(counts([1] * 9, 16), counts([1] * 9, 8), [1, 5])
    with pytest.raises(ValueError, match="'q001' is missing from the reference"):
        by_difficulty(counts([1, 1], 8), counts([1], 8), [1])


@pytest.mark.parametrize("differing", [0, 1, 4, 7, 12, 20])
def test_an_interval_needs_eight_problems_that_differ(differing):
    """As a band does: with fewer, a few problems decide, whatever their number in the stratum."""
    n, alike = 64, 40
    reference = counts([16] * (alike + differing), n)
    ours = counts([16] * alike + [50 + i % 4 for i in range(differing)], n)
    (stratum,) = [s for s in by_difficulty(ours, reference, [1, 4]) if s.problems > 30]
    for d in stratum.differences:
        assert ((d.low, d.high, d.p) == (-1, 1, 1)) == (differing < 8)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_samples(n):
    found = by_difficulty(counts([n] * 9 + [0] * 9, n), counts([n] * 9 + [0] * 9, n), [1])
    sizes = {s.name: s.problems for s in found}
    assert sizes["never"] == (18 if n == 1 else 9)  # half of one sample is none
