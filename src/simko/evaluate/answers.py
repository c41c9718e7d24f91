"""Which answers were given, how often, and what blind guessing would reach. Counts of correct samples do not show this.

Axes: P problems, K ks, Q quadrature nodes, M roots of unity.
"""

import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex, Float, Int

from simko.evaluate.intervals import studentised_interval
from simko.evaluate.passk import Counts, Point, pass_at_k

_NEGLIGIBLE = 1e-18  # share of maj@k


@dataclass(frozen=True)
class Answer:
    """The samples of one problem that gave the same answer."""

    form: str | None
    """The answer in normal form; None for samples without an answer."""
    count: int
    """The number of samples."""
    correct: int = 0
    """How many of them the verifier judged correct. It may judge more of a response than its answer."""

    @property
    def is_correct(self) -> bool:
        """Whether most of the samples are correct."""
        return 2 * self.correct > self.count


Answers = Mapping[str, Sequence[Answer]]
"""{problem id: its answers}, each form once."""


@dataclass(frozen=True)
class Cover:
    """Cover@tau."""

    tau: float
    """The least c / n of a covered problem."""
    share: float
    """The share of problems that are covered."""
    low: float
    """The low end of the share's interval over problems."""
    high: float
    """The high end."""


@dataclass(frozen=True)
class GuessingLine:
    """pass@k of blind guessing."""

    ks: tuple[int, ...]
    """The ks."""
    values: tuple[float, ...]
    """pass@k at each k."""
    problems: int
    """The number of problems."""
    unknown: int
    """How many of them have an unknown number of choices and count as 0."""


def maj_at_k(
    answers: Answers, ks: Sequence[int], *, level: float = 0.95, resamples: int = 4000, seed: int = 0
) -> tuple[Point, ...]:
    """Mean over problems of `majority` at each k, with the interval over problems of `pass_at_k_curve`.

    Args:
        answers: the answers of each problem.
        ks: the numbers of samples.
        level: of the interval.
        resamples: of the problems, for the interval.
        seed: of the resamples.

    ValueError as in `majority`, and for answers that are empty or inconsistent.
    """
    _check_answers(answers)
    values = np.array([[majority(rows, k) for k in ks] for rows in answers.values()])
    interval = studentised_interval(values, level=level, resamples=resamples, seed=seed)
    return tuple(
        Point(int(k), float(mean), float(low), float(high))
        for k, mean, (low, high) in zip(ks, values.mean(axis=0), interval, strict=True)
    )


def majority(answers: Sequence[Answer], k: int) -> float:
    """Chance that the most frequent answer among k of a problem's samples, drawn without replacement, is correct.

    r correct ones among t tied answers give r / t. Samples without an answer are drawn but do not vote. The value is 0 if none
    of the k samples votes. maj@1 equals pass@1 unless samples of one form were judged differently.

    Exact to about 1e-12, in a time that grows about as n. A correct answer a with v votes leads if every other answer b has
    fewer votes, or ties. Let f_b(i) be the Binomial(n_b, k / n) mass. The votes' hypergeometric law is the product of these
    masses given the sum k, so

        maj@k = sum_a sum_v f_a(v) [x^(k - v)] integral_0^1 prod_b (sum_{i < v} f_b(i) x^i + y f_b(v) x^v) dy / f_n(k),

    since integral_0^1 y^t dy = 1 / (t + 1) for t tied others. Roots of unity give the coefficient, Gauss-Legendre quadrature
    the integral. Votes, answers and roots that can change the result by less than 1e-16 are left out. ValueError if k is not in
    1..n.
    """
    n = sum(a.count for a in answers)
    if not 1 <= k <= n:
        raise ValueError(f"maj@{k} from {n} samples: k must lie in 1..{n}; draw more samples or lower k.")
    voting = [a for a in answers if a.form is not None]
    silent = n - sum(a.count for a in voting)
    correct = Counter(a.count for a in voting if a.is_correct)
    drawn = _binomial(n, k / n)
    total = 0.0
    for count, times in correct.items():
        others = Counter(a.count for a in voting)
        others[count] -= 1
        total += times * _lead_weight(count, +others, silent, drawn, k)
    return min(max(total / drawn[k], 0.0), 1.0)


def distinct_answers(answers: Answers, m: int) -> float:
    """Mean over problems of the expected number of distinct answers among m samples.

    sum_a [1 - C(n - n_a, m) / C(n, m)]. Each term is the chance that answer a is among the m samples. Samples without an
    answer are drawn but not counted.
    """
    _check_answers(answers)
    total = 0.0
    for problem, rows in answers.items():
        n = sum(a.count for a in rows)
        if not 1 <= m <= n:
            raise ValueError(f"Problem {problem!r}: {m} of {n} samples: m must lie in 1..{n}.")
        total += sum(pass_at_k(n, a.count, m) for a in rows if a.form is not None)
    return total / len(answers)


def answer_entropy(answers: Answers) -> float:
    """Mean over problems of -sum_a p_a log p_a, in nats. p_a is the share of answer a among the samples with an answer.

    This plug-in estimate is too low by about (number of answers - 1) / (2 n), so it is comparable at equal n only. Unequal n
    raise ValueError. A problem without answers counts as 0.
    """
    _check_answers(answers)
    _check_equal_n({i: sum(a.count for a in rows) for i, rows in answers.items()}, "Answer entropy")
    return sum(_entropy([a.count for a in rows if a.form is not None]) for rows in answers.values()) / len(answers)


def cover_at_tau(
    counts: Counts, taus: Sequence[float], *, level: float = 0.95, resamples: int = 4000, seed: int = 0
) -> tuple[Cover, ...]:
    """Cover@tau: the share of problems with c / n >= tau, for each tau in (0, 1] (arXiv 2510.08325).

    c / n estimates the problem's chance of a correct sample. Its error depends on n, so compare at equal n only. Unequal n
    raise ValueError.

    Args:
        counts: of each problem.
        taus: the thresholds.
        level: of the interval.
        resamples: of the problems, for the interval.
        seed: of the resamples.
    """
    if not counts:
        raise ValueError("No problems to average over: give the counts of at least one problem.")
    bad = next((tau for tau in taus if not 0 < tau <= 1), None)
    if bad is not None:
        raise ValueError(f"tau = {bad}: Cover@tau needs tau in (0, 1].")
    _check_equal_n({i: n for i, (n, _) in counts.items()}, "Cover@tau")
    # tau n may miss a whole number by rounding, as .07 * 100 does.
    values = np.array([[float(c >= tau * n - 1e-9 * n) for tau in taus] for n, c in counts.values()])
    interval = studentised_interval(values, level=level, resamples=resamples, seed=seed)
    return tuple(
        Cover(float(tau), float(share), float(low), float(high))
        for tau, share, (low, high) in zip(taus, values.mean(axis=0), interval, strict=True)
    )


def guessing_line(choices: Mapping[str, int | None], ks: Sequence[int]) -> GuessingLine:
    """Mean over problems of 1 - (1 - 1 / choices) ** k, which k blind guesses reach.

    choices: {problem id: the number of equally likely answers that a guesser draws from}, or None if unknown. Problems with
    None add 0, so the line is a lower bound. `unknown` counts them.
    """
    if not choices:
        raise ValueError("No problems to average over: give the choices of at least one problem, None where unknown.")
    bad = next((i for i, number in choices.items() if number is not None and number < 1), None)
    if bad is not None:
        raise ValueError(f"Problem {bad!r} has {choices[bad]} choices: give at least 1, or None where unknown.")
    known = [number for number in choices.values() if number is not None]
    values = tuple(sum(1 - (1 - 1 / number) ** k for number in known) / len(choices) for k in ks)
    return GuessingLine(tuple(ks), values, len(choices), len(choices) - len(known))


def _check_answers(answers: Answers) -> None:
    if not answers:
        raise ValueError("No problems to average over: give the answers of at least one problem.")
    for problem, rows in answers.items():
        forms = [a.form for a in rows if a.form is not None]
        if len(set(forms)) < len(forms):
            twice = Counter(forms).most_common(1)[0][0]
            raise ValueError(f"Problem {problem!r} has the answer {twice!r} twice: add up its samples.")
        if any(a.count < 1 or not 0 <= a.correct <= a.count for a in rows):
            raise ValueError(f"Problem {problem!r}: every answer needs count >= 1 and correct in 0..count.")


def _check_equal_n(sizes: Mapping[str, int], what: str) -> None:
    fewest, most = min(sizes, key=lambda i: sizes[i]), max(sizes, key=lambda i: sizes[i])
    if sizes[fewest] != sizes[most]:
        raise ValueError(
            f"{what} is comparable at equal n only, and problem {fewest!r} has {sizes[fewest]} samples where {most!r} has"
            f" {sizes[most]}: draw as many for each, or cut them to the fewest."
        )


def _entropy(counts: Sequence[int]) -> float:
    total = sum(counts)
    return -sum(c / total * math.log(c / total) for c in counts)


def _binomial(n: int, p: float) -> Float[np.ndarray, " N"]:
    """The mass of Binomial(n, p) at 0..n, by the ratio of neighbours from the mode on."""
    if p == 1:
        return np.eye(1, n + 1, n)[0]
    i, mode = np.arange(n), min(int((n + 1) * p), n)
    ratio = (n - i) / (i + 1) * (p / (1 - p))
    falling = np.cumprod(1 / ratio[:mode][::-1])[::-1]
    mass = np.concatenate([falling, [1.0], np.cumprod(ratio[mode:])])
    return mass / mass.sum()


def _lead_weight(count: int, others: Mapping[int, int], silent: int, drawn: Float[np.ndarray, " N"], k: int) -> float:
    """sum_v f_a(v) [x^(k - v)] ... of `majority`, for a correct answer with `count` samples.

    others: {number of samples: how many other answers have it}. silent: samples without an answer. drawn: f_n.
    """
    p, least = k / (len(drawn) - 1), _NEGLIGIBLE * drawn[k]
    mass = {c: _binomial(c, p) for c in (count, *others)}
    tail = {c: np.cumsum(mass[c][::-1])[::-1] for c in others}  # at v: the chance of v or more votes
    bound = mass[count].copy()  # of the term of v: no coefficient of the product exceeds its value at x = 1
    for c, times in others.items():
        bound[: c + 1] *= np.minimum(np.cumsum(mass[c]), 1.0)[: count + 1] ** times
    votes = 1 + np.flatnonzero(bound[1 : k + 1] > least)
    if not len(votes):
        return 0.0
    root, half_M = _roots(drawn > least, k)
    pairs_M = np.where(half_M > 0, 2.0, 1.0)
    log_M = np.log(1 - p + p * root[half_M])

    def power(i: int | Int[np.ndarray, " I"]) -> Complex[np.ndarray, "... M"]:
        return root[np.multiply.outer(i, half_M) % len(root)]

    below: dict[int, np.ndarray] = {}  # sum_{i < v} f_b(i) x^i
    total = 0.0
    for v in map(int, votes):
        competing = {c: times for c, times in others.items() if c >= v and times * tail[c][v] > least}
        rest = silent + sum(c * times for c, times in others.items() if c not in competing)
        nodes, weights = _gauss_legendre(_nodes(min(sum(competing.values()), (k - v) // v)))
        product_QM = np.repeat(np.exp(rest * log_M)[None], len(nodes), axis=0)
        x_M = power(v)
        for c, times in competing.items():
            if c not in below:
                i = np.flatnonzero(mass[c][:v] > _NEGLIGIBLE * least)
                below[c] = mass[c][i] @ power(i)
            tied = mass[c][v] * x_M
            product_QM *= (below[c] + (nodes[:, None] + 1) / 2 * tied) ** times
            below[c] = below[c] + tied
        coefficient = (pairs_M * ((weights / 2) @ product_QM * power(v - k)).real).sum() / len(root)
        total += mass[count][v] * coefficient
    return total


def _roots(counts: Bool[np.ndarray, " N"], k: int) -> tuple[Complex[np.ndarray, " R"], Int[np.ndarray, " M"]]:
    """All R-th roots of unity, and the exponents of those that are no conjugates of others.

    The R roots give the coefficient of x^k plus those of x^(k + R), x^(k - R), ...; none of these may count.
    """
    reach = np.flatnonzero(counts)
    size = int(max(k - reach[0], reach[-1] - k)) + 1
    size += 1 - size % 2  # odd, so that all roots but 1 come in conjugate pairs
    return np.exp(2j * np.pi * np.arange(size) / size), np.arange(size // 2 + 1)


def _nodes(degree: int) -> int:
    """Nodes enough for the integral of y^t, t <= degree, over [0, 1] to within 1e-17.

    degree // 2 + 1 are exact. A polynomial of degree d is within 2 exp(-d^2 / t) of y^t, so that far fewer do for a high t. A
    power of two, so that few orders are computed.
    """
    enough = 1 + math.ceil(math.sqrt(degree * math.log(4e17)) / 2)
    return 1 << (min(degree // 2 + 1, enough) - 1).bit_length()


@functools.cache
def _gauss_legendre(order: int) -> tuple[Float[np.ndarray, " Q"], Float[np.ndarray, " Q"]]:
    """Nodes and weights on [-1, 1], exact up to degree 2 order - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    return nodes, weights
