"""Crossings: claimed where they are, not where they are not, and where they lie."""

import dataclasses

import numpy as np
import passk_inference
import pytest

from simko.evaluate import (
    BandPoint,
    Crossing,
    crossing,
    multiplied_t,
    paired_difference,
)
from simko.evaluate.crossing import _k_star, first_fall

N = 64


def counts(correct, n=N):
    return {f"q{i:03d}": (n, int(c)) for i, c in enumerate(correct)}


def crossing_pair(problems=100, seed=0):
    """The first wins at K = 1 by half of the problems and loses the rest at large K."""
    rng = np.random.default_rng(seed)
    sharp = np.where(np.arange(problems) % 2 == 0, 0.9, 0.001)
    return counts(rng.binomial(N, sharp)), counts(rng.binomial(N, np.full(problems, 0.15)))


def test_a_crossing_is_claimed_with_its_place():
    sharp, broad = crossing_pair()
    found = crossing(sharp, broad)
    assert (found.claimed, found.direction) == (True, "ahead then behind")
    assert ([p.k for p in found.points], found.left_out, found.half_n) == (list(range(1, 33)), (), 32)
    # .45 at K = 1 and about .5 later, against 1 - .85^K: they meet at K = 4.3
    assert found.k_star_low < found.k_star < found.k_star_high
    assert found.k_star == pytest.approx(4.3, abs=0.5)
    assert found.k_star_high - found.k_star_low < 3
    expected = paired_difference(sharp, broad, [1, 32])
    assert [found.points[0].difference, found.points[-1].difference] == pytest.approx(
        [d.difference for d in expected.points]
    )
    assert found.sentence.startswith(
        "The pass@K curves cross: the first is ahead of the second at K = 1 and behind it at K = 6. They meet at about K = 4"
    )


def test_the_reverse_is_the_mirror_image():
    sharp, broad = crossing_pair()
    there, back = crossing(sharp, broad), crossing(broad, sharp)
    assert back.direction == "behind then ahead"
    assert (back.k_star, back.k_star_low, back.k_star_high) == (there.k_star, there.k_star_low, there.k_star_high)
    mirrored = [(-p.difference, -p.high, -p.low) for p in back.points]
    np.testing.assert_allclose(mirrored, [(p.difference, p.low, p.high) for p in there.points])
    assert back.describe("B", "A").startswith(
        "The pass@K curves cross: B is behind A at K = 1 and ahead of it at K = 6."
    )


def test_the_band_is_wider_than_one_interval():
    sharp, broad = crossing_pair()
    band, single = crossing(sharp, broad).points, paired_difference(sharp, broad, range(1, 33)).points
    assert all(b.low <= s.low and b.high >= s.high for b, s in zip(band, single, strict=True))
    widths = [(b.high - b.low) / (s.high - s.low) for b, s in zip(band, single, strict=True)]
    assert 1.02 < max(widths) < 2


def test_drawn_curves_that_cross_are_no_claim():
    rng = np.random.default_rng(3)
    order_changes = 0
    for seed in range(30):
        p = rng.beta(1, 3, size=60)
        ours, other = counts(rng.binomial(N, p)), counts(rng.binomial(N, p))
        found = crossing(ours, other, resamples=500, seed=seed)
        order_changes += len({np.sign(d.difference) for d in found.points}) > 1
        assert not found.claimed
        assert (found.k_star, found.k_star_low, found.k_star_high) == (None, None, None)
    assert order_changes > 5
    assert found.sentence == "No evidence that the pass@K curves of the first and the second cross up to K = 32."


def test_one_side_is_no_crossing():
    better, worse = counts(np.arange(50) % 20 + 10), counts(np.arange(50) % 20)
    found = crossing(better, worse)
    assert found.points[0].low > 0
    assert not found.claimed


def test_an_order_that_is_open_is_no_crossing():
    """Clearly ahead at K = 1; drawn behind at large K by one problem more, which is no evidence."""
    ours = [40] * 20 + [0] * 6 + [1] * 5
    other = [20] * 20 + [1] * 6 + [0] * 5
    found = crossing(counts(ours), counts(other))
    assert found.points[0].low > 0
    assert found.points[-1].difference < 0
    assert not found.claimed


def test_few_differing_problems_are_left_out():
    ours, other = [64] * 26 + [1, 2, 3, 0], [64] * 26 + [0, 0, 0, 5]
    found = crossing(counts(ours), counts(other))
    assert (found.points, found.left_out, found.claimed) == ((), tuple(range(1, 33)), False)
    assert found.sentence.endswith("up to K = 32: fewer than 8 problems differ at every K, or all differ alike.")
    # With 24 of 64 samples incorrect or fewer, every draw of 25 holds a correct one: all differ by the same there.
    found = crossing(counts([40, 44] * 15), counts([36] * 30))
    assert [p.k for p in found.points] + list(found.left_out) == list(range(1, 33))
    assert 16 not in found.left_out
    assert set(range(25, 33)) <= set(found.left_out)
    assert crossing(counts([9] * 30), counts([5] * 30)).points == ()  # all differ alike: no spread


def test_an_end_beyond_the_last_k_is_open():
    ks, mean = np.array([1, 2, 4]), np.array([1.0, 1.0, -1.0])
    never = np.ones((1, 3))
    for lacking, end in ((2, 2 * 2**0.5), (3, None)):
        resampled = np.concatenate([np.tile(mean, (100 - lacking, 1)), np.repeat(never, lacking, axis=0)])
        star, low, high = _k_star(mean, resampled, ks, 0.95)
        assert (star, low) == pytest.approx((2 * 2**0.5, 2 * 2**0.5))
        assert high == (pytest.approx(end) if end else None)
    found = dataclasses.replace(crossing(*crossing_pair()), k_star_high=None)
    assert found.sentence.endswith("to beyond 32).")


def test_first_fall_by_hand():
    ks = np.array([1, 2, 4])
    curves = np.array([[1, 1, -1], [1, 0, -1], [-1, 1, -3], [-1, -1, -1], [-1, 0, 1], [3, -1, 1.0]])
    falls = first_fall(curves, ks)
    np.testing.assert_allclose(falls, [2 * 2**0.5, 2, 2 * 2**0.25, np.inf, np.inf, 2**0.75])


def test_seeds_are_averaged_and_smallest_n_decides():
    sharp, broad = crossing_pair()
    one = crossing([sharp, broad], broad)
    halved = [p.difference for p in crossing(sharp, broad).points]
    assert [2 * p.difference for p in one.points] == pytest.approx(halved)
    short = {i: (16, c // 4) for i, (_, c) in broad.items()}
    assert crossing(sharp, short).half_n == 8
    assert crossing(counts([3] * 9, 7), counts([2] * 9, 6)).half_n == 3


def test_what_it_refuses():
    with pytest.raises(ValueError, match="fewer than 2 samples"):
        crossing({"a": (1, 1)}, {"a": (4, 1)})
    with pytest.raises(ValueError, match="'b' is missing from other"):
        crossing({"a": (4, 1), "b": (4, 1)}, {"a": (4, 1)})


@pytest.mark.slow
@pytest.mark.parametrize("problems", [30, 100])
def test_false_claims(problems):
    n, runs = 256, 500
    rng = np.random.default_rng(problems)
    claims = 0
    for seed in range(runs):
        p = rng.beta(1, 3, size=problems)
        ours, other = rng.binomial(n, p), rng.binomial(n, p)
        claims += crossing(counts(ours, n), counts(other, n), resamples=500, seed=seed).claimed
    assert claims <= 0.05 * runs


def test_the_p_value_belongs_to_the_band_and_is_never_below_that_of_one_k():
    rng = np.random.default_rng(5)
    for seed in range(20):
        p = rng.beta(1, 3, size=60)
        ours, other = counts(rng.binomial(N, np.clip(p + 0.02, 0, 1))), counts(rng.binomial(N, p))
        band = crossing(ours, other, resamples=1000, seed=seed).points
        single = paired_difference(ours, other, [b.k for b in band], resamples=1000, seed=seed).points
        for at_all, at_one in zip(band, single, strict=True):
            assert (at_all.p < 0.05) == (at_all.low > 0 or at_all.high < 0)
            assert at_all.p >= at_one.p


@pytest.mark.parametrize("problems", [40, 200])
def test_with_normal_multipliers_it_is_the_band_of_passk_inference(problems):
    rng = np.random.default_rng(problems)
    p = rng.beta(0.8, 2, size=problems)
    ours, other = rng.binomial(N, p), rng.binomial(N, np.clip(p + np.where(p < 0.3, 0.1, -0.2), 0, 1))
    found = crossing(counts(ours), counts(other), resamples=20_000, draw=multiplied_t)
    at = {point.k: point for point in found.points}
    twin = passk_inference.compare(other, N, ours, N, ks=list(at), bootstrap=20_000)
    half = (np.array(twin["upper"]) - twin["lower"]) / 2
    np.testing.assert_allclose([point.difference for point in at.values()], twin["mean"], atol=1e-12)
    np.testing.assert_allclose([(point.high - point.low) / 2 for point in at.values()], half, rtol=0.04)
    assert (found.direction == "ahead then behind") == twin["certified_crossing"]
    if problems == 200:
        assert list(at) == list(range(1, N // 2 + 1))
        low, high = twin["first_loss_interval"]
        assert found.first_loss[0] == pytest.approx(low, abs=1)
        assert found.first_loss[1] == (high if high is None else pytest.approx(high, abs=2))


def test_the_first_loss_by_hand():
    def found(*bands):
        points = tuple(BandPoint(k, (low + high) / 2, low, high, 0.5) for k, low, high in bands)
        return Crossing(points, (), 9, 8, 0.95, None, None, None, None)

    up, open_, down = (0.1, 0.3), (-0.1, 0.1), (-0.3, -0.1)
    assert found((1, *up), (2, *up), (3, *open_), (4, *down), (5, *down)).first_loss == (3, 4)
    assert found((1, *up), (2, *down)).first_loss == (2, 2)
    assert found((1, *down)).first_loss == (1, 1)
    assert found((1, *open_), (2, *up), (3, *down)).first_loss == (1, 3)
    assert found((1, *up), (3, *up), (4, *down)).first_loss == (2, 4)  # K = 2 was left out
    assert found((1, *up), (2, *open_)).first_loss == (2, None)
    assert found().first_loss == (1, None)
    assert found((1, *up), (2, *down)).describe_first_loss("A", "B") == "A is first behind B at K = 2 (95 % set)."
    assert "between K = 1 and 3 (" in found((1, *open_), (3, *down)).describe_first_loss("A", "B")
