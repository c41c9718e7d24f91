"""Bands that hold at all K at once, for a curve and for a difference of two, over problems and over training seeds.

Axes: S training seeds, P problems, K ks, B resamples.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from simko.evaluate.intervals import clopper_pearson, critical_value, resampled_t

Draw = Callable[[Float[np.ndarray, "P K"], int, np.random.Generator], tuple[np.ndarray, np.ndarray]]
"""(centred, resamples, rng) -> m* - m and t*, as `resampled_t` does."""
MIN_DIFFERING = 8
_EQUAL = 1e-12  # differences of pass@k below this are rounding


@dataclass(frozen=True)
class BandPoint:
    """The difference at one k, with a band that covers all ks at once."""

    k: int
    """The number of samples."""
    difference: float
    """Mean over problems of pass@k(ours) - pass@k(other)."""
    low: float
    """The low end of the band."""
    high: float
    """The high end."""
    p: float
    """The band's p value at this k, for all ks at once: at most 1 - level exactly where the band excludes 0."""


def simultaneous_band(
    ours: Float[np.ndarray, "S P K"],
    ks: Sequence[int],
    other: Float[np.ndarray, "S2 P K"] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
    draw: Draw = resampled_t,
) -> tuple[tuple[BandPoint, ...], Float[np.ndarray, "B K2"]]:
    """A band for all ks at once around the mean over seeds and problems of a difference.

    It covers another draw of problems, and another draw of training seeds of each side that has several. The band is
    D(K) +- q e(K), with q the level-quantile over resamples of max_K |t* s + g| / e, and e^2 = s^2 / (P - 1) + v.

    - t* s is the error of another draw of problems, from the studentised bootstrap.
    - g is that of another draw of seeds: multivariate t with S - 1 degrees of freedom. Its variance v(K) is that of the seeds'
      means, divided by S, less the part by which single problems go up and down from seed to seed, which s holds already;
      at least 0. A side with one seed has no g: the band then speaks of this trained model.

    Resampled whole, three to five seeds would show too little spread, hence g. Simulated coverage: docs/evaluation_statistics.md.
    Few seeds make the band wide: t(2) reaches to 4.3 where the normal distribution reaches to 2.

    Args:
        ours: the difference of each seed and problem, paired by seed; or pass@K of ours, if other is given.
        ks: the K of the last axis.
        other: pass@K of the other side, whose seeds are not paired with those of ours.
        level: of the band.
        resamples: of the problems and of g.
        seed: of the resamples.
        draw: how the error over problems is drawn. `multiplied_t` gives the band of arXiv 2609.22547.

    Returns a point for each k that is `usable`, and the resampled means less the mean at these ks.
    """
    sides = [ours] if other is None else [ours, -other]
    by_problem = sum(side.mean(axis=0) for side in sides)
    kept = usable(by_problem)
    if not kept.any():
        return (), np.empty((resamples, 0))
    by_problem = by_problem[:, kept]
    mean, spread, problems = by_problem.mean(axis=0), by_problem.std(axis=0), len(by_problem)
    rng = np.random.default_rng(seed)
    moved, t = draw(by_problem - mean, resamples, rng)
    error = t * spread
    variance = spread**2 / max(problems - 1, 1)
    for side in sides:
        if len(side) > 1:
            of_seeds, shift = _another_draw_of_seeds(side[:, :, kept], resamples, rng)
            variance, error, moved = variance + of_seeds, error + shift, moved + shift
    scale = np.sqrt(variance)
    size = np.abs(error) / scale
    largest = size.max(axis=1)
    half = critical_value(largest, level) * scale
    low, high = np.maximum(mean - half, -1.0), np.minimum(mean + half, 1.0)
    p = (1 + (largest[:, None] >= np.abs(mean) / scale).sum(axis=0)) / (resamples + 1)
    rows = zip(np.array(ks)[kept], mean, low, high, p, strict=True)
    return tuple(BandPoint(int(k), *map(float, row)) for k, *row in rows), moved


def curve_band(
    values: Float[np.ndarray, "S P K"], *, level: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Float[np.ndarray, "K 2"]:
    """A band for all ks at once around the mean over problems of values in [0, 1], clipped to [0, 1].

    `studentised_interval` at the level at which, over the resamples, all ks hold together: each tail of each k has its own
    quantile, since few problems decide a mean near 0 or 1, and t* there would widen the band at every other k. With several
    seeds it covers another draw of them too, as `simultaneous_band` does.
    """
    by_problem = values.mean(axis=0)
    mean, spread, problems = by_problem.mean(axis=0), by_problem.std(axis=0), len(by_problem)
    varies = spread > _EQUAL
    low, high = np.full(mean.shape, -np.inf), np.full(mean.shape, np.inf)
    tail = (1 - level) / 2
    if varies.any():
        rng = np.random.default_rng(seed)
        error = resampled_t(by_problem[:, varies] - mean[varies], resamples, rng)[1] * spread[varies]
        if len(values) > 1:
            error = error + _another_draw_of_seeds(values[:, :, varies], resamples, rng)[1]
        critical, tail = joint_critical(np.concatenate([error, -error], axis=1), level)
        above, below = np.split(critical, 2)
        low[varies], high[varies] = mean[varies] - above, mean[varies] + below
    bound = clopper_pearson(mean, problems, 1 - 2 * tail)
    if len(values) == 1:
        low, high = np.maximum(low, bound[:, 0]), np.minimum(high, bound[:, 1])
    low, high = np.minimum(low, mean), np.maximum(high, mean)
    band: np.ndarray = np.clip(np.stack([low, high], axis=-1), 0.0, 1.0)
    return band


def whole_ks(most: int) -> list[int]:
    """1, 2, 3, ... up to most; above 128, 64 of them per factor of two, which a curve crosses without a visible bend."""
    above = np.geomspace(128, most, 1 + math.ceil(64 * math.log2(most / 128))) if most > 128 else ()
    return sorted({*range(1, min(most, 128) + 1), *(round(k) for k in above)})


def joint_critical(size: Float[np.ndarray, "B K"], level: float) -> tuple[Float[np.ndarray, " K"], float]:
    """A critical value for each column, of equal tails, such that a share `level` of rows lies at or below all of them.

    Returns the values and the tail of each column. The values are infinite if there are too few rows for the level.
    """
    rows = len(size)
    ordered = np.sort(size, axis=0)
    least = np.full(rows, rows)  # for each row, the fewest rows that are as large at some column
    for column, sorted_column in zip(size.T, ordered.T, strict=True):
        least = np.minimum(least, rows - np.searchsorted(sorted_column, column))
    allowed = int((rows + 1) * (1 - level) + 1e-9) - 1
    if allowed < 0:
        return np.full(size.shape[1], np.inf), 0.0
    r = int(np.sort(least)[allowed]) - 1  # the largest with 1 + #(least <= r) <= (B + 1) (1 - level)
    return ordered[rows - 1 - r], (r + 1) / (rows + 1)


def multiplied_t(
    centred: Float[np.ndarray, "P K"], resamples: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
    """As `resampled_t`, with a normal multiplier for each problem and the spread of the data in place of the resample's own."""
    shift = rng.standard_normal((resamples, len(centred))) @ centred / len(centred)
    return shift, shift / centred.std(axis=0)


def usable(differences: Float[np.ndarray, "P K"]) -> Bool[np.ndarray, " K"]:
    """Whether the mean at this K rests on eight problems or more, and not all differ by the same amount.

    The number of differing problems is (sum |d|)^2 / sum d^2, which counts one that differs by little as less than one.
    """
    total, squares = np.abs(differences).sum(axis=0), (differences**2).sum(axis=0)
    return (total**2 >= MIN_DIFFERING * squares * (1 - _EQUAL)) & (differences.std(axis=0) > _EQUAL)


def _another_draw_of_seeds(
    values: Float[np.ndarray, "S P K"], resamples: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, "B K"]]:
    """The variance v of `simultaneous_band` and draws of g."""
    seeds, problems, _ = values.shape
    by_problem, by_seed = values.mean(axis=0), values.mean(axis=1)
    mean = by_problem.mean(axis=0)
    together = ((values - by_problem - by_seed[:, None] + mean) ** 2).sum(axis=(0, 1)) / (seeds - 1) / (problems - 1)
    of_seeds = by_seed.var(axis=0, ddof=1)
    left = np.sqrt(np.maximum(1 - together / problems / np.maximum(of_seeds, _EQUAL**2), 0))
    weights = rng.standard_normal((resamples, seeds)) / np.sqrt(seeds * rng.chisquare(seeds - 1, (resamples, 1)))
    return left**2 * of_seeds / seeds, weights @ (left * (by_seed - mean))
