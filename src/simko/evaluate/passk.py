"""pass@K from counts: the unbiased estimate, curves with intervals, and the paired difference of two runs."""

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from simko.evaluate.intervals import holm, seeds_t, seeds_welch, studentised_difference, studentised_interval

Counts = Mapping[str, tuple[int, int]]
"""{problem id: (n samples, c correct)}, as SampleStore.counts() gives."""

Label = TypeVar("Label")
Interval = tuple[float, float]


@dataclass(frozen=True)
class Point:
    """pass@k, or another mean over problems at one k, with intervals."""

    k: int
    """The number of samples."""
    estimate: float
    """pass@k."""
    low: float
    """The low end of the interval over the choice of problems."""
    high: float
    """The high end."""
    over_seeds: Interval | None = None
    """The t interval over training seeds; None for one seed, or if all seeds agree exactly."""


@dataclass(frozen=True)
class Curve:
    """pass@K over ks."""

    points: tuple[Point, ...]
    """One per k."""
    problems: int
    """The number of problems."""
    samples: int
    """The fewest samples of any problem and seed."""
    per_seed: tuple[tuple[float, ...], ...]
    """The estimates of each seed, one per k."""


@dataclass(frozen=True)
class Difference:
    """The difference of two methods at one k, with intervals."""

    k: int
    """The number of samples."""
    difference: float
    """Mean over problems of pass@k(ours) - pass@k(other)."""
    low: float
    """The low end of the interval over the choice of problems."""
    high: float
    """The high end."""
    p: float
    """The interval's p value, for this comparison alone. `holm_over` adjusts for several."""
    over_seeds: Interval | None = None
    """Welch's t interval over training seeds; None if a side has one seed, or if the seeds of each side agree exactly."""


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same problems."""

    points: tuple[Difference, ...]
    """One per k."""
    problems: int
    """The number of problems."""
    newly_solved: tuple[str, ...]
    """The ids of the problems that ours solves and other does not."""
    newly_lost: tuple[str, ...]
    """The ids of the problems that other solves and ours does not."""


def pass_at_k(n: int, c: int, k: int) -> float:
    """Chance that k of n samples, drawn without replacement, hold one of the c correct ones.

    1 - C(n - c, k) / C(n, k), computed as 1 - prod_{j < c} (n - k - j) / (n - j). Unbiased; the error is below 1e-12 up to
    n = 2,048. ValueError for k > n, k < 1, c outside 0..n, and numbers that are not whole.
    """
    n, c, k = _whole(n, "n"), _whole(c, "c"), _whole(k, "k")
    _check(n, c, k)
    if n - c < k:
        return 1.0
    return 1.0 - math.prod((n - k - j) / (n - j) for j in range(c))


def pass_at_k_matrix(n: Sequence[int], c: Sequence[int], ks: Sequence[int]) -> Float[np.ndarray, "P K"]:
    """`pass_at_k` for problems [P] and ks [K] at once, with bit-identical values and the same errors."""
    ns = [_whole(x, "n") for x in n]
    cs = [_whole(x, "c") for x in c]
    whole_ks = [_whole(x, "k") for x in ks]
    if len(ns) != len(cs):
        raise ValueError(f"{len(ns)} sample numbers for {len(cs)} correct numbers: give one of each a problem.")
    for samples, correct in zip(ns, cs, strict=True):
        _check(samples, correct, *whole_ks)
    samples_P, correct_P = np.array(ns, dtype=int), np.array(cs, dtype=int)
    values = np.empty((len(ns), len(whole_ks)))
    for size in np.unique(samples_P):
        rows = samples_P == size
        drawn = np.arange(size)
        for column, k in enumerate(whole_ks):
            misses = np.cumprod(np.maximum(size - k - drawn, 0) / (size - drawn))
            values[rows, column] = 1.0 - np.concatenate([[1.0], misses])[correct_P[rows]]
    return values


def pass_at_k_curve(
    counts: Counts | Sequence[Counts],
    ks: Sequence[int],
    *,
    level: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Curve:
    """Mean pass@k over problems for each k, with a studentised bootstrap interval that resamples problems.

    With several training seeds, each problem's value is its mean over the seeds. Samples of different seeds are never pooled,
    because a mixture of models has a higher pass@k than its models have on average. The interval covers the choice of problems,
    and `over_seeds` the choice of training seeds on these problems. `studentised_interval` says why it is studentised.

    Args:
        counts: one dict, or one per training seed over the same problems.
        ks: the numbers of samples.
        level: of the intervals.
        resamples: of the problems.
        seed: of the resamples.

    ValueError for a problem with n < k. Dropping it would average different problems at different ks.
    """
    runs = as_seeds(counts)
    ids, by_seed = values_by_seed(runs, ks)
    interval = studentised_interval(by_seed.mean(axis=0), level=level, resamples=resamples, seed=seed)
    means = by_seed.mean(axis=(0, 1))
    over_seeds = _intervals_or_none(seeds_t(by_seed.mean(axis=1), level=level), len(ks))
    points = tuple(
        Point(int(k), float(mean), float(low), float(high), seeds)
        for k, mean, (low, high), seeds in zip(ks, means, interval, over_seeds, strict=True)
    )
    per_seed = tuple(tuple(float(x) for x in row) for row in by_seed.mean(axis=1))
    return Curve(points, len(ids), min(n for run in runs for n, _ in run.values()), per_seed)


def paired_difference(
    ours: Counts | Sequence[Counts],
    other: Counts | Sequence[Counts],
    ks: Sequence[int],
    *,
    level: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Comparison:
    """Mean over problems of pass@k(ours) - pass@k(other), with a studentised bootstrap interval over problems.

    The p values are two-sided and belong to the interval. A problem counts as solved if more than half of the seeds have a
    correct sample. With unequal n, the side with more samples solves more for that reason alone.

    Args:
        ours: one dict of counts, or one per training seed; seeds are averaged within each problem and never pooled.
        other: likewise.
        ks: the numbers of samples.
        level: of the intervals.
        resamples: of the problems.
        seed: of the resamples.

    ValueError names the first problem that one side lacks.
    """
    ids, left, right = paired_values(ours, other, ks)
    differences = left.mean(axis=0) - right.mean(axis=0)
    interval, p = studentised_difference(differences, level=level, resamples=resamples, seed=seed)
    over_seeds = _intervals_or_none(seeds_welch(left.mean(axis=1), right.mean(axis=1), level=level), len(ks))
    points = tuple(
        Difference(int(k), float(mean), float(low), float(high), float(one_p), seeds)
        for k, mean, (low, high), one_p, seeds in zip(
            ks, differences.mean(axis=0), interval, p, over_seeds, strict=True
        )
    )
    ours_solved, other_solved = _solved(as_seeds(ours)), _solved(as_seeds(other))
    gained, lost = ours_solved - other_solved, other_solved - ours_solved
    return Comparison(points, len(ids), tuple(i for i in ids if i in gained), tuple(i for i in ids if i in lost))


def values_by_seed(
    counts: Counts | Sequence[Counts], ks: Sequence[int]
) -> tuple[list[str], Float[np.ndarray, "S P K"]]:
    """The problem ids, and pass@k by seed, problem and k. ValueError if a seed lacks a problem or samples."""
    runs = as_seeds(counts)
    ids = same_problems(runs, "seed 0", [f"seed {i}" for i in range(len(runs))])
    return ids, np.stack([_values(run, ids, ks) for run in runs])


def paired_values(
    ours: Counts | Sequence[Counts], other: Counts | Sequence[Counts], ks: Sequence[int]
) -> tuple[list[str], Float[np.ndarray, "S P K"], Float[np.ndarray, "S2 P K"]]:
    """The problem ids, and pass@k of each side by seed, problem and k. ValueError if a side lacks a problem."""
    our_runs, other_runs = as_seeds(ours), as_seeds(other)
    names = ["ours"] * len(our_runs) + ["other"] * len(other_runs)
    ids = same_problems([*our_runs, *other_runs], "ours", names)
    left, right = (np.stack([_values(run, ids, ks) for run in side]) for side in (our_runs, other_runs))
    return ids, left, right


def holm_over(comparisons: Mapping[Label, Comparison], k: int) -> dict[Label, float]:
    """The p value of each comparison at one k, adjusted by Holm over all of them. Give every task and pair that you look at.

    It does not adjust over ks. Choose the headline k beforehand; for whole curves see `crossing`, whose band covers all of its
    ks at once. ValueError if a comparison has no such k.
    """
    raw = []
    for label, comparison in comparisons.items():
        at_k = next((d for d in comparison.points if d.k == k), None)
        if at_k is None:
            raise ValueError(f"{label!r} has no difference at K = {k}: compare every pair at the same K.")
        raw.append(at_k.p)
    return dict(zip(comparisons, (float(p) for p in holm(np.array(raw, dtype=float))), strict=True))


def reliable(n: int, k: int) -> bool:
    """Whether n >= 2 k. With fewer samples, one lucky sample can decide a problem.

    At k = n a problem with p = .002 is 0 or 1 by one lucky sample, with a standard deviation of .49.
    """
    return n >= 2 * k


def with_errors_as_correct(counts: Counts, errors: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """The counts if every sample on which the grader failed were correct.

    errors: {problem id: the number of such samples}, without zeros. In `counts` these samples are among the n but not among
    the c, so the truth lies between the two curves. ValueError if errors and counts do not fit together.
    """
    unknown = next((i for i in errors if i not in counts), None)
    if unknown is not None:
        raise ValueError(f"Problem {unknown!r} has grading errors and no counts: take both from the same run.")
    most = {i: (n, c + errors.get(i, 0)) for i, (n, c) in counts.items()}
    for i, (n, c) in most.items():
        if not counts[i][1] <= c <= n:
            raise ValueError(
                f"Problem {i!r}: {counts[i][1]} correct and {errors[i]} errors of {n} samples do not add up."
            )
    return most


def _whole(value: object, name: str) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f"{name} = {value!r} is not a whole number: pass@k counts samples.") from None


def _check(n: int, c: int, *ks: int) -> None:
    if c < 0 or c > n:
        raise ValueError(f"{c} correct of {n} samples: c must lie in 0..n.")
    for k in ks:
        if k < 1:
            raise ValueError(f"k = {k}: pass@k needs k >= 1.")
        if k > n:
            raise ValueError(
                f"pass@{k} from {n} samples: pass@k from fewer than k samples is undefined: draw more samples or lower k."
            )


def as_seeds(counts: Counts | Sequence[Counts]) -> list[Counts]:
    """One dict of counts per training seed, from either form. ValueError if one is empty."""
    runs: list[Counts] = [counts] if isinstance(counts, Mapping) else list(counts)
    if not runs or not all(runs):
        raise ValueError("No problems to average over: give the counts of at least one problem for every seed.")
    return runs


def same_problems(runs: Sequence[Counts], first: str, names: Sequence[str]) -> list[str]:
    """The problem ids, sorted. ValueError names the first that a run lacks."""
    for run, name in zip(runs, names, strict=True):
        for here, there, lacking in ((runs[0], run, name), (run, runs[0], first)):
            missing = next((i for i in sorted(here) if i not in there), None)
            if missing is not None:
                raise ValueError(
                    f"Problem {missing!r} is missing from {lacking}: evaluate every run on the same problems."
                )
    return sorted(runs[0])


def _values(counts: Counts, ids: Sequence[str], ks: Sequence[int]) -> Float[np.ndarray, "P K"]:
    for i in ids:
        n, c = counts[i]
        try:
            _check(n, c, *ks)
        except ValueError as error:
            raise ValueError(f"Problem {i!r}: {error}") from None
    return pass_at_k_matrix([counts[i][0] for i in ids], [counts[i][1] for i in ids], ks)


def _intervals_or_none(intervals: Float[np.ndarray, "K 2"] | None, count: int) -> list[Interval | None]:
    if intervals is None:
        return [None] * count
    return [None if np.isnan(low) else (float(low), float(high)) for low, high in intervals]


def _solved(runs: Sequence[Counts]) -> set[str]:
    return {i for i in runs[0] if sum(run[i][1] > 0 for run in runs) * 2 > len(runs)}
