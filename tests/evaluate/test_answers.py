"""Answer counts: against brute force, by hand, and at the ends."""

import itertools
import math
import time
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.evaluate import (
    Answer,
    answer_entropy,
    cover_at_tau,
    distinct_answers,
    guessing_line,
    maj_at_k,
    majority,
)


def brute_force(answers, k):
    pool = [i for i, a in enumerate(answers) for _ in range(a.count)]
    shares = []
    for subset in itertools.combinations(pool, k):
        votes = [i for i in subset if answers[i].form is not None]
        most = max((votes.count(i) for i in votes), default=0)
        leading = [i for i in set(votes) if votes.count(i) == most]
        shares.append(sum(answers[i].correct * 2 > answers[i].count for i in leading) / max(len(leading), 1))
    return float(np.mean(shares))


@st.composite
def small_answers(draw):
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5).filter(lambda c: sum(c) <= 9))
    rows = [Answer(str(i), c, draw(st.integers(0, c))) for i, c in enumerate(counts)]
    silent = draw(st.integers(0, 2))
    return rows + [Answer(None, silent)] * (silent > 0)


@settings(max_examples=80, deadline=None)
@given(small_answers(), st.data())
def test_majority_is_brute_force(rows, data):
    k = data.draw(st.integers(1, sum(a.count for a in rows)))
    assert majority(rows, k) == pytest.approx(brute_force(rows, k), abs=1e-12)


@pytest.mark.parametrize(("n", "k"), [(255, 100), (256, 128), (512, 1), (512, 512), (10_000, 5000), (10_000, 100)])
def test_majority_of_many_samples_by_symmetry(n, k):
    singles = [Answer(str(i), 1, int(i == 0)) for i in range(n)]
    assert majority(singles, k) == pytest.approx(1 / n, abs=1e-11)
    thirds = [Answer(str(i), n // 3, n // 3 * (i < 2)) for i in range(3)] + [Answer(None, n - n // 3 * 3)] * (n % 3 > 0)
    voted = 1 - (n % 3 / n if k == 1 else 0)
    assert majority(thirds, k) == pytest.approx(2 / 3 * voted, abs=1e-11)


def subsets(answers, k):
    """maj@k by counting subsets in whole numbers: exact for hundreds of samples."""
    pool = [a for a in answers if a.form is not None]
    silent = sum(a.count for a in answers if a.form is None)
    leads = Fraction(0)
    for i, a in enumerate(pool):
        for v in range(1, min(a.count, k) + 1 if a.is_correct else 1):
            ways = Counter(
                {(j, 0): math.comb(silent, j) for j in range(min(silent, k - v) + 1)}
            )  # {(drawn, tied): ways}
            for b in pool[:i] + pool[i + 1 :]:
                grown = Counter()
                for (drawn, tied), number in ways.items():
                    for j in range(min(b.count, v, k - v - drawn) + 1):
                        grown[drawn + j, tied + (j == v)] += number * math.comb(b.count, j)
                ways = grown
            whole = sum(Fraction(number, tied + 1) for (drawn, tied), number in ways.items() if drawn == k - v)
            leads += math.comb(a.count, v) * whole
    return float(leads / math.comb(sum(a.count for a in answers), k))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=6), st.integers(0, 20), st.data())
def test_majority_is_exact_counting(counts, silent, data):
    rows = [Answer(str(i), c, c * right) for i, (c, right) in enumerate(counts)]
    rows += [Answer(None, silent)] * (silent > 0)
    k = data.draw(st.integers(1, sum(a.count for a in rows)))
    assert majority(rows, k) == pytest.approx(subsets(rows, k), abs=1e-12)


def spread(kind, n):
    """Counts of n samples, the largest first."""
    if kind == "stairs":
        return [i for i in range(n, 0, -1) if i * (i + 1) <= 2 * n]
    shares = {"zipf": 1 / np.arange(1, n + 1), "even": np.ones(300), "single": np.ones(10**9 // n)}[kind]
    return [int(c) for c in sorted(np.random.default_rng(0).multinomial(n, shares / shares.sum()))[::-1] if c]


@pytest.mark.parametrize("kind", ["stairs", "zipf", "even", "single"])
def test_majority_takes_time_by_the_samples_alone(kind):
    spent = {}
    for n in (1000, 10_000):
        rows = [Answer(str(i), c, c * (i in (1, 2))) for i, c in enumerate(spread(kind, n))]
        total = sum(a.count for a in rows)
        begun = time.process_time()
        assert all(0 <= majority(rows, k) <= 1 for k in (4, 64, 1024, total // 2) if k <= total)
        spent[n] = time.process_time() - begun
    assert spent[10_000] < min(8, 80 * max(spent[1000], 0.03))  # by pairs of answers it would be a hundred times


def test_majority_of_many_samples_by_simulation():
    rows = [Answer("a", 60), Answer("b", 50, 50), Answer("c", 20, 20), *(Answer(str(i), 1) for i in range(96))]
    rows.append(Answer(None, 30))
    rng = np.random.default_rng(0)
    k, draws = 40, 20_000
    votes = rng.multivariate_hypergeometric([a.count for a in rows], k, size=draws)[:, :-1]
    leading = votes == votes.max(axis=1, keepdims=True)
    shares = leading[:, 1:3].sum(axis=1) / leading.sum(axis=1)
    assert majority(rows, k) == pytest.approx(shares.mean(), abs=4 * shares.std() / draws**0.5)


def test_maj_at_k_averages_problems():
    answers = {
        "sure": [Answer("1", 8, 8)],
        "wrong": [Answer("1", 5), Answer("2", 3, 3)],
        "silent": [Answer(None, 8)],
    }
    first, last = maj_at_k(answers, [1, 8])
    assert (first.k, first.estimate) == (1, pytest.approx((1 + 3 / 8) / 3))
    assert (last.k, last.estimate) == (8, pytest.approx(1 / 3))
    assert 0 <= last.low < last.estimate < last.high <= 1


def test_a_form_judged_both_ways_goes_with_most():
    assert majority([Answer("x", 3, 2)], 1) == pytest.approx(1.0)
    assert majority([Answer("x", 4, 2)], 1) == 0.0


def test_majority_refuses():
    with pytest.raises(ValueError, match="maj@9 from 8 samples"):
        majority([Answer("1", 8, 8)], 9)
    with pytest.raises(ValueError, match="'2' twice"):
        maj_at_k({"p": [Answer("2", 1), Answer("1", 1), Answer("2", 3)]}, [1])
    with pytest.raises(ValueError, match=r"correct in 0\.\.count"):
        maj_at_k({"p": [Answer("2", 1, 2)]}, [1])
    with pytest.raises(ValueError, match="No problems"):
        maj_at_k({}, [1])


def test_distinct_answers_is_brute_force():
    rows = [Answer("a", 4), Answer("b", 2, 2), Answer("c", 1), Answer(None, 2)]
    pool = "aaaabbc--"
    for m in range(1, 10):
        expected = np.mean([len(set(s) - {"-"}) for s in itertools.combinations(pool, m)])
        assert distinct_answers({"p": rows}, m) == pytest.approx(expected)
    assert distinct_answers({"p": rows, "q": [Answer(None, 9)]}, 9) == pytest.approx(1.5)
    with pytest.raises(ValueError, match="10 of 9 samples"):
        distinct_answers({"p": rows}, 10)


def test_answer_entropy():
    even, sure = [Answer(x, 2) for x in "abcd"], [Answer("a", 7), Answer(None, 1)]
    assert answer_entropy({"p": even}) == pytest.approx(math.log(4))
    assert answer_entropy({"p": even, "q": sure}) == pytest.approx(math.log(4) / 2)
    assert answer_entropy({"p": [Answer(None, 8)]}) == 0.0
    with pytest.raises(ValueError, match=r"equal n only.*'p' has 7 samples where 'q' has 8"):
        answer_entropy({"q": sure, "p": [Answer("a", 7)]})


def test_cover_at_tau():
    counts = {"a": (100, 7), "b": (100, 0), "c": (100, 100), "d": (100, 50)}
    covers = cover_at_tau(counts, [0.07, 0.071, 0.5, 1.0])
    assert [c.share for c in covers] == [0.75, 0.5, 0.5, 0.25]
    assert all(c.low < c.share < c.high for c in covers)
    with pytest.raises(ValueError, match="equal n only"):
        cover_at_tau({"a": (4, 1), "b": (8, 1)}, [0.5])
    with pytest.raises(ValueError, match=r"tau = 0: .*\(0, 1\]"):
        cover_at_tau(counts, [0])


def test_guessing_line():
    aime = guessing_line(dict.fromkeys("abc", 1000), [1, 256])
    assert aime.values == pytest.approx((0.001, 1 - 0.999**256))
    assert round(aime.values[1], 2) == 0.23
    mixed = guessing_line({"a": 5, "b": None, "c": 1, "d": None}, [1, 4])
    assert mixed.values == pytest.approx((1.2 / 4, (2 - 0.8**4) / 4))
    assert (mixed.ks, mixed.problems, mixed.unknown) == ((1, 4), 4, 2)
    with pytest.raises(ValueError, match="'a' has 0 choices"):
        guessing_line({"a": 0}, [1])
