"""Curves by difficulty: problems in strata of the reference's success, without its luck deciding twice.

A problem that the reference never solved in n samples is hard, or was unlucky. Its other samples tell: so half of the
reference's samples stratify, and only the other half is compared. Every split is as good, and the numbers are the mean over all
of them: a problem with c of n correct is in a stratum with the hypergeometric chance of its half.

Axes: P problems, K ks, B resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from simko.evaluate.bands import usable
from simko.evaluate.intervals import clopper_pearson, critical_value, resampled_counts
from simko.evaluate.passk import Counts, Difference, Point, as_seeds, pass_at_k_matrix, same_problems

STRATA = ("never", "below 1/16", "below 1/2", "1/2 or more")
MIN_PROBLEMS = 5


@dataclass(frozen=True)
class Stratum:
    """The problems that half of the reference's samples solve about equally often."""

    name: str
    """One of `STRATA`: the share of these samples that are correct."""
    problems: float
    """The expected number of problems."""
    reference: tuple[Point, ...]
    """pass@K of the reference's other half of samples; empty if fewer than five problems are expected."""
    ours: tuple[Point, ...]
    """pass@K of ours; likewise."""
    differences: tuple[Difference, ...]
    """ours - reference; likewise. The interval is [-1, 1], and p is 1, where too few problems differ: see `bands.usable`."""


def by_difficulty(
    ours: Counts | Sequence[Counts],
    reference: Counts | Sequence[Counts],
    ks: Sequence[int],
    *,
    level: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> tuple[Stratum, ...]:
    """pass@K of ours and of the reference in each of `STRATA`.

    With W_i the chance that problem i is in the stratum and v_i its pass@K there, the mean is sum W_i v_i / sum W_i. Its
    studentised bootstrap interval resamples problems, numerator and denominator together, so it covers the noise of the
    stratification. A stratum is defined by n / 2 samples: "never" holds other problems at another n.

    Args:
        ours: one dict of counts, or one per training seed. All samples are used.
        reference: likewise. Each seed stratifies by half of its samples (rounded down) and is compared by the rest.
        ks: the numbers of samples, each at most half of the reference's.
        level: of the intervals.
        resamples: of the problems.
        seed: of the resamples.

    ValueError as in `paired_difference`, and for a k above half of the reference's samples.
    """
    left, right = as_seeds(ours), as_seeds(reference)
    ids = same_problems([*left, *right], "ours", ["ours"] * len(left) + ["the reference"] * len(right))
    fewest = min(n - n // 2 for run in right for n, _ in run.values())
    if max(ks) > fewest:
        raise ValueError(
            f"k = {max(ks)}: the half of the reference's samples that is compared has {fewest}: lower k or draw more samples."
        )
    our_values = np.mean(
        [pass_at_k_matrix([run[i][0] for i in ids], [run[i][1] for i in ids], ks) for run in left], axis=0
    )
    chance_SP, inside_SPK = (
        np.mean(parts, axis=0) for parts in zip(*(_halves(run, ids, ks) for run in right), strict=True)
    )
    found = []
    for name, chance, inside in zip(STRATA, chance_SP, inside_SPK, strict=True):
        expected = float(chance.sum())
        if expected < MIN_PROBLEMS:
            found.append(Stratum(name, expected, (), (), ()))
            continue
        mine = chance[:, None] * our_values
        theirs, mean, gap = _ratios((inside, mine, mine - inside), chance, resamples, np.random.default_rng(seed))
        curves = _points(theirs, expected, ks, level), _points(mean, expected, ks, level)
        found.append(Stratum(name, expected, *curves, _differences(gap, usable(mine - inside), ks, level)))
    return tuple(found)


def _halves(
    counts: Counts, ids: Sequence[str], ks: Sequence[int]
) -> tuple[Float[np.ndarray, "S P"], Float[np.ndarray, "S P K"]]:
    """The chance of each stratum for each problem, and that chance times pass@K of its other samples."""
    from scipy.stats import hypergeom

    chance, inside = np.zeros((len(STRATA), len(ids))), np.zeros((len(STRATA), len(ids), len(ks)))
    places: dict[tuple[int, int], list[int]] = {}
    for column, i in enumerate(ids):
        places.setdefault(counts[i], []).append(column)
    for (n, c), columns in places.items():
        half = n // 2
        first = np.arange(max(0, c - (n - half)), min(half, c) + 1)  # how many of the correct ones stratify
        mass = hypergeom.pmf(first, n, c, half)
        values = pass_at_k_matrix([n - half] * len(first), (c - first).tolist(), ks)
        place = np.digitize(first / max(half, 1), [1e-12, 1 / 16, 1 / 2])
        for stratum in range(len(STRATA)):
            here = place == stratum
            chance[stratum, columns] = mass[here].sum()
            inside[stratum, columns] = mass[here] @ values[here]
    return chance, inside


_Ratio = tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"], Float[np.ndarray, "B K"]]


def _ratios(
    parts: Sequence[Float[np.ndarray, "P K"]],
    chance: Float[np.ndarray, " P"],
    resamples: int,
    rng: np.random.Generator,
) -> list[_Ratio]:
    """Of each of parts: sum / sum chance, its standard error by linearisation, and t* of each resample; infinite without spread."""
    whole = np.concatenate(
        [chance[:, None], chance[:, None] ** 2, *(y for x in parts for y in (x, x**2, x * chance[:, None]))], axis=1
    )
    counts = resampled_counts(len(chance), resamples, rng)
    sums = np.concatenate([whole.sum(axis=0)[None], *(some.astype(float) @ whole for some in counts)])
    size, chance_squares = np.maximum(sums[:, :1], 1e-12), sums[:, 1:2]
    found = []
    for of_part in np.split(sums[:, 2:], len(parts), axis=1):
        total, squares, products = np.split(of_part, 3, axis=1)
        ratio = total / size
        variance = squares - 2 * ratio * products + ratio**2 * chance_squares
        errors = np.sqrt(np.maximum(variance, 0.0)) / size
        shift, error = ratio[1:] - ratio[0], errors[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(errors[1:] > 1e-9 * np.maximum(error, 1e-9), shift / errors[1:], np.sign(shift) * np.inf)
        found.append((ratio[0], error, np.where(np.isnan(t), 0.0, t)))
    return found


def _points(ratio: _Ratio, expected: float, ks: Sequence[int], level: float) -> tuple[Point, ...]:
    """Intervals with a quantile for each tail, within those of `expected` binomial draws where there is no spread."""
    mean, error, t = ratio
    mean = np.clip(mean, 0.0, 1.0)
    above, below = (critical_value(x, (1 + level) / 2) for x in (t, -t))
    bound = clopper_pearson(mean, expected, level)
    with np.errstate(invalid="ignore"):
        low = np.fmax(np.where(error > 0, mean - above * error, -np.inf), bound[:, 0])
        high = np.fmin(np.where(error > 0, mean + below * error, np.inf), bound[:, 1])
    low, high = np.minimum(low, mean), np.maximum(high, mean)
    rows = zip(ks, mean, low, high, strict=True)
    return tuple(Point(int(k), float(a), float(b), float(c)) for k, a, b, c in rows)


def _differences(
    ratio: _Ratio, differ: Bool[np.ndarray, " K"], ks: Sequence[int], level: float
) -> tuple[Difference, ...]:
    """Symmetric intervals; [-1, 1] where too few problems differ, or there is no spread."""
    mean, error, t = ratio
    size, differ = np.abs(t), differ & (error > 0)
    half = np.where(differ, critical_value(size, level) * np.maximum(error, 1e-300), np.inf)
    low, high = np.maximum(mean - half, -1.0), np.minimum(mean + half, 1.0)
    exceeding = (size >= np.abs(mean) / np.maximum(error, 1e-300)).sum(axis=0)
    p = np.where(differ, (1 + exceeding) / (len(t) + 1), 1.0)
    rows = zip(ks, mean, low, high, p, strict=True)
    return tuple(Difference(int(k), float(d), float(a), float(b), float(x)) for k, d, a, b, x in rows)
