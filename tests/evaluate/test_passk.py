import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simko.evaluate import (
    holm_over,
    paired_difference,
    pass_at_k,
    pass_at_k_curve,
    pass_at_k_matrix,
    reliable,
    with_errors_as_correct,
)
from simko.evaluate.intervals import studentised_difference


@st.composite
def counts_and_k(draw):
    n = draw(st.integers(1, 2048))
    return n, draw(st.integers(0, n)), draw(st.integers(1, n))


def exact(n, c, k):
    return 1 - Fraction(math.comb(n - c, k), math.comb(n, k))


@pytest.mark.parametrize("n", [1, 7, 128, 256, 2048])
def test_matches_exact_fractions(n):
    for c in sorted({0, 1, 2, n // 100, n // 3, n // 2, n - 1, n} & set(range(n + 1))):
        for k in sorted({1, 2, 8, n // 4, n // 2, n - 1, n} & set(range(1, n + 1))):
            assert abs(Fraction(pass_at_k(n, c, k)) - exact(n, c, k)) < Fraction(1, 10**12), (n, c, k)


def test_known_value():
    # 1 - C(7, 2) / C(10, 2) = 1 - 21 / 45
    assert pass_at_k(10, 3, 2) == pytest.approx(8 / 15, abs=1e-15)


@given(counts_and_k())
def test_bounds_and_ends(case):
    n, c, k = case
    assert 0.0 <= pass_at_k(n, c, k) <= 1.0
    assert pass_at_k(n, c, 1) == pytest.approx(c / n, abs=1e-12)
    assert pass_at_k(n, c, n) == float(c > 0)
    assert pass_at_k(n, 0, k) == 0.0


@given(counts_and_k())
def test_grows_with_k_and_c(case):
    n, c, k = case
    here = pass_at_k(n, c, k)
    if k < n:
        assert pass_at_k(n, c, k + 1) >= here
    if c < n:
        assert pass_at_k(n, c + 1, k) >= here


def test_matrix_is_the_scalar_bit_by_bit():
    n, c, ks = [128, 128, 130, 2048, 128], [0, 7, 130, 11, 128], [1, 2, 64, 128]
    expected = [[pass_at_k(a, b, k) for k in ks] for a, b in zip(n, c, strict=True)]
    assert pass_at_k_matrix(n, c, ks).tolist() == expected


def test_takes_numpy_integers():
    assert pass_at_k(np.int64(10), np.int32(3), np.int64(2)) == pass_at_k(10, 3, 2)


@pytest.mark.parametrize(
    ("n", "c", "k", "message"),
    [
        (4, 2, 5, "fewer than k samples is undefined: draw more samples or lower k"),
        (4, 2, 0, "k >= 1"),
        (4, -1, 1, "0..n"),
        (4, 5, 1, "0..n"),
        (4.0, 2, 1, "n = 4.0 is not a whole number"),
        (4, 2, 1.5, "k = 1.5 is not a whole number"),
        (4, "2", 1, "c = '2' is not a whole number"),
    ],
)
def test_refuses(n, c, k, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        pass_at_k(n, c, k)
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        pass_at_k_matrix([n], [c], [k])


def test_curve_is_the_mean_over_problems():
    counts = {"a": (10, 3), "b": (20, 0), "c": (10, 10)}
    curve = pass_at_k_curve(counts, [1, 2])
    assert [p.estimate for p in curve.points] == pytest.approx([1.3 / 3, (8 / 15 + 1) / 3])
    assert (curve.problems, curve.samples, [p.k for p in curve.points]) == (3, 10, [1, 2])
    assert all(0 <= p.low < p.estimate < p.high <= 1 for p in curve.points)


def test_curve_never_drops_a_problem():
    with pytest.raises(ValueError, match=r"'short'.*draw more samples or lower k"):
        pass_at_k_curve({"long": (8, 1), "short": (4, 1)}, [1, 8])


def test_curve_of_nothing_is_refused():
    for empty in ({}, [], [{"a": (2, 1)}, {}]):
        with pytest.raises(ValueError, match="No problems"):
            pass_at_k_curve(empty, [1])


def test_curve_over_seeds_averages_inside_a_problem():
    seeds = [{"a": (4, 4), "b": (4, 0)}, {"a": (4, 0), "b": (4, 2)}]
    curve = pass_at_k_curve(seeds, [1])
    assert curve.per_seed == ((0.5,), (0.25,))
    assert curve.points[0].estimate == pytest.approx(0.375)
    same = pass_at_k_curve([{"a": (4, 1), "b": (4, 3)}] * 3, [1, 2])
    assert same.points == pass_at_k_curve({"a": (4, 1), "b": (4, 3)}, [1, 2]).points


def test_seeds_must_share_their_problems():
    with pytest.raises(ValueError, match="'b' is missing from seed 1"):
        pass_at_k_curve([{"a": (4, 1), "b": (4, 1)}, {"a": (4, 1)}], [1])


def test_curve_repeats_itself_and_follows_its_seed():
    counts = {str(i): (16, i % 5) for i in range(20)}
    assert pass_at_k_curve(counts, [1, 4], seed=3) == pass_at_k_curve(counts, [1, 4], seed=3)
    assert pass_at_k_curve(counts, [1, 4], seed=3) != pass_at_k_curve(counts, [1, 4], seed=4)


def test_paired_difference_by_hand():
    ours, other = {"a": (4, 4), "b": (4, 2), "c": (4, 1)}, {"a": (4, 2), "b": (4, 2), "c": (4, 0)}
    point = paired_difference(ours, other, [1]).points[0]
    interval, p = studentised_difference(np.array([[0.5], [0.0], [0.25]]))
    assert (point.difference, point.low, point.high) == pytest.approx((0.25, *interval[0]))
    assert point.p == p[0]


def test_paired_difference_is_antisymmetric():
    ours = {str(i): (16, i % 7) for i in range(30)}
    other = {str(i): (16, (i * 5) % 4) for i in range(30)}
    there, back = paired_difference(ours, other, [1, 4, 16]), paired_difference(other, ours, [1, 4, 16])
    for a, b in zip(there.points, back.points, strict=True):
        assert (a.difference, a.low, a.high) == pytest.approx((-b.difference, -b.high, -b.low))
        assert a.p == b.p
    assert (there.newly_solved, there.newly_lost) == (back.newly_lost, back.newly_solved)
    assert there.points[0].difference > 0


def test_newly_solved_and_lost():
    ours, other = {"a": (4, 1), "b": (4, 0), "c": (4, 2)}, {"a": (4, 0), "b": (4, 3), "c": (4, 1)}
    result = paired_difference(ours, other, [1])
    assert (result.newly_solved, result.newly_lost) == (("a",), ("b",))


def test_newly_solved_over_seeds_needs_more_than_half():
    hit, miss = {"a": (4, 1)}, {"a": (4, 0)}
    assert paired_difference([hit, hit, miss], miss, [1]).newly_solved == ("a",)
    assert paired_difference([hit, miss], miss, [1]).newly_solved == ()


@pytest.mark.parametrize(("ours", "other", "side"), [("ab", "a", "other"), ("a", "ab", "ours")])
def test_names_the_missing_problem(ours, other, side):
    with pytest.raises(ValueError, match=f"'b' is missing from {side}"):
        paired_difference(dict.fromkeys(ours, (4, 1)), dict.fromkeys(other, (4, 1)), [1])


def test_seeds_stand_beside_problems():
    a, b = [{"x": (4, c), "y": (4, 4)} for c in (0, 1, 2)], [{"x": (4, c), "y": (4, 2)} for c in (0, 4)]
    point = pass_at_k_curve(a, [1, 4]).points[0]
    # per-seed means .5, .625, .75; t(.975, 2) = 4.3027
    assert point.over_seeds == pytest.approx((0.625 - 4.302653 * 0.125 / 3**0.5, 0.625 + 4.302653 * 0.125 / 3**0.5))
    difference = paired_difference(a, b, [1]).points[0]
    assert difference.difference == pytest.approx(0.625 - 0.5)  # problem by problem 1 / 4 - 1 / 2 and 1 - 1 / 2
    assert (difference.low, difference.high) == pytest.approx(
        tuple(studentised_difference(np.array([[-0.25], [0.5]]))[0][0])
    )
    # Welch by hand: variances .125^2 / 3 and .125 / 2, 1.17 degrees of freedom
    assert difference.over_seeds is not None
    low, high = difference.over_seeds
    assert low == -1.0
    assert high == 1.0
    close = [{"x": (4, 1), "y": (4, c)} for c in (2, 3)]
    low, high = paired_difference(a, close, [1]).points[0].over_seeds
    assert (low + high) / 2 == pytest.approx(0.625 - 0.4375)
    assert paired_difference(a, b[0], [1]).points[0].over_seeds is None
    assert pass_at_k_curve(a[0], [1]).points[0].over_seeds is None
    assert pass_at_k_curve([a[1]] * 3, [1]).points[0].over_seeds is None


def test_seeds_are_not_pooled():
    solves_one, solves_other = {"a": (8, 8), "b": (8, 0)}, {"a": (8, 0), "b": (8, 8)}
    assert pass_at_k_curve([solves_one, solves_other], [4]).points[0].estimate == pytest.approx(0.5)
    assert pass_at_k_curve({"a": (16, 8), "b": (16, 8)}, [4]).points[0].estimate > 0.9


def test_holm_over_pairs_and_not_over_ks():
    base = {str(i): (16, 4) for i in range(30)}
    better = {str(i): (16, 4 + i % 3) for i in range(30)}
    noise = {str(i): (16, 3 + (i * 7) % 3) for i in range(30)}
    pairs = {
        ("task", "better"): paired_difference(better, base, [1, 4]),
        ("task", "noise"): paired_difference(noise, base, [1, 4]),
        ("other", "noise"): paired_difference(base, noise, [1, 4]),
    }
    adjusted = holm_over(pairs, 4)
    raw = {label: c.points[1].p for label, c in pairs.items()}
    assert adjusted["task", "better"] == pytest.approx(3 * raw["task", "better"])
    assert adjusted["task", "noise"] == adjusted["other", "noise"] == pytest.approx(min(1, 2 * raw["task", "noise"]))
    assert holm_over({1: pairs["task", "better"]}, 1) == {1: pairs["task", "better"].points[0].p}
    assert holm_over({}, 1) == {}
    with pytest.raises(ValueError, match="no difference at K = 8"):
        holm_over(pairs, 8)


def test_reliable_up_to_half():
    assert [reliable(n, 8) for n in (8, 15, 16)] == [False, False, True]


def test_errors_as_correct():
    assert with_errors_as_correct({"a": (4, 1), "b": (4, 2)}, {"a": 3}) == {"a": (4, 4), "b": (4, 2)}
    for errors, message in (({"c": 1}, "'c' has grading errors"), ({"b": 3}, "do not add up"), ({"a": -1}, "add up")):
        with pytest.raises(ValueError, match=message):
            with_errors_as_correct({"a": (4, 1), "b": (4, 2)}, errors)
