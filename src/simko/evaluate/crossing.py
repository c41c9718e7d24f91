"""Do two pass@K curves cross? A simultaneous band over all K decides, not the drawn curves.

Axes: S training seeds, P problems, K ks, B resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from simko.evaluate.intervals import critical_value, resampled_t
from simko.evaluate.passk import Counts, as_seeds, paired_values

Direction = Literal["ahead then behind", "behind then ahead"]
_WORDS = {"ahead": "ahead of", "behind": "behind"}
_MIN_DIFFERING = 5
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
    """The band's p value at this k, for all ks at once: below 1 - level exactly where the band excludes 0."""


@dataclass(frozen=True)
class Crossing:
    """Whether ours and other change places along K."""

    points: tuple[BandPoint, ...]
    """The band."""
    left_out: tuple[int, ...]
    """The ks at which fewer than five problems differ, or all by the same amount."""
    problems: int
    """The number of problems."""
    half_n: int
    """The largest K that was tested."""
    level: float
    """Of the band and of the interval of k_star."""
    direction: Direction | None
    """Of ours; None if no crossing is claimed."""
    k_star: float | None
    """The first K, not rounded, where D(K) changes sign in that direction; None if no crossing is claimed."""
    k_star_low: float | None
    """The low end of its interval; None if it lies beyond half_n."""
    k_star_high: float | None
    """The high end; None if it lies beyond half_n."""

    @property
    def claimed(self) -> bool:
        """Whether a crossing is claimed."""
        return self.direction is not None

    @property
    def sentence(self) -> str:
        """`describe` for models without names."""
        return self.describe("the first", "the second")

    def describe(self, ours: str, other: str) -> str:
        """The finding in words, with the names of the two models."""
        if self.direction is None:
            why = (
                "" if self.points else f": fewer than {_MIN_DIFFERING} problems differ at every K, or all differ alike"
            )
            return f"No evidence that the pass@K curves of {ours} and {other} cross up to K = {self.half_n}{why}."
        early, late = self.direction.split(" then ")
        first = next(d.k for d in self.points if _excludes_0(d, early))
        last = next(d.k for d in self.points if d.k > first and _excludes_0(d, late))
        low, high = (f"{x:.3g}" if x else f"beyond {self.half_n}" for x in (self.k_star_low, self.k_star_high))
        return (
            f"The pass@K curves cross: {ours} is {_WORDS[early]} {other} at K = {first} and {_WORDS[late]} it at"
            f" K = {last}. They meet at about K = {self.k_star:.3g} ({100 * self.level:g} % interval {low} to {high})."
        )


def crossing(
    ours: Counts | Sequence[Counts],
    other: Counts | Sequence[Counts],
    *,
    level: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> Crossing:
    """Test for a crossing on K = 1, 2, 4, ... up to half of the fewest samples of any problem.

    D(K) is the mean over problems of pass@K(ours) - pass@K(other), averaged over seeds. The band D(K) +- q s(K) has one q for
    all K: the level-quantile of max_K |t*(K)| over resampled problems. With probability `level` the band covers all of D. A
    crossing is claimed only if the band lies above 0 at one K and below 0 at a later one, or the reverse. The probability of a
    false claim is at most 1 - level, and far smaller for equal models. A K at which fewer than five problems differ has no
    usable s(K) and is left out.

    K* is the first sign change of D in the claimed direction, interpolated linearly in log K. Its percentile interval is over
    the same resamples. A resample without such a change counts as beyond the largest K. docs/evaluation_statistics.md gives
    simulated false claims and power.

    Args:
        ours: counts, or one such dict per training seed.
        other: likewise.
        level: of the band and the interval.
        resamples: of the problems.
        seed: of the resamples.

    ValueError as in `paired_difference`, and for a problem with fewer than 2 samples.
    """
    fewest = min((n for run in [*as_seeds(ours), *as_seeds(other)] for n, _ in run.values()))
    if fewest < 2:
        raise ValueError("A problem has fewer than 2 samples, and a crossing needs K up to n / 2: draw more samples.")
    ks = [2**i for i in range((fewest // 2).bit_length())]
    ids, left, right = paired_values(ours, other, ks)
    differences = left.mean(axis=0) - right.mean(axis=0)
    points, shift = simultaneous_band(differences, ks, level=level, resamples=resamples, seed=seed)
    left_out = tuple(k for k in ks if k not in {point.k for point in points})
    direction = _direction(points)
    star: tuple[float | None, ...] = (None, None, None)
    if direction is not None:
        sign = 1.0 if direction == "ahead then behind" else -1.0
        mean = np.array([point.difference for point in points])
        star = _k_star(sign * mean, sign * (mean + shift), np.array([point.k for point in points]), level)
    return Crossing(points, left_out, len(ids), ks[-1], level, direction, *star)


def simultaneous_band(
    differences: Float[np.ndarray, "P K"],
    ks: Sequence[int],
    *,
    level: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> tuple[tuple[BandPoint, ...], Float[np.ndarray, "B K2"]]:
    """The band of `crossing` around the mean over problems of differences, and the resampled means less the mean.

    Both have the ks alone at which at least five problems differ, not all by the same amount.
    """
    kept = _usable(differences)
    if not kept.any():
        return (), np.empty((resamples, 0))
    differences = differences[:, kept]
    mean, spread = differences.mean(axis=0), differences.std(axis=0)
    shift, t = resampled_t(differences - mean, resamples, np.random.default_rng(seed))
    return _band(np.array(ks)[kept], mean, spread, np.abs(t), level), shift


def band_over_seeds(
    differences: Float[np.ndarray, "S P K"],
    ks: Sequence[int],
    *,
    level: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
) -> tuple[BandPoint, ...]:
    """A band for all ks at once that covers another draw of problems and another draw of training seeds.

    The band is D(K) +- q e(K), with q the level-quantile over resamples of max_K |t* s + g| / e, and e^2 = s^2 + v.

    - t* s is the error of another draw of problems, as in `simultaneous_band`.
    - g is that of another draw of seeds: multivariate t with S - 1 degrees of freedom. Its variance v(K) is that of the seeds'
      means, divided by S, less the part by which single problems go up and down from seed to seed, which s holds already;
      at least 0.

    Simulated coverage is .94 to .98 at 3 and 5 seeds (docs/evaluation_statistics.md). Few seeds make the band wide: t(2) reaches
    to 4.3 where the normal distribution reaches to 2.

    Args:
        differences: pass@K(ours) - pass@K(other) of each seed and problem.
        ks: the K of the last axis.
        level: of the band.
        resamples: of the problems and of g.
        seed: of the resamples.

    Returns a point for each k at which at least five problems differ, not all by the same amount. ValueError for one seed,
    which says nothing about another.
    """
    seeds, problems, _ = differences.shape
    if seeds < 2:
        raise ValueError("A band over training seeds needs two of them: train with another seed.")
    kept = _usable(differences.mean(axis=0))
    if not kept.any():
        return ()
    differences = differences[:, :, kept]
    by_problem, by_seed = differences.mean(axis=0), differences.mean(axis=1)
    mean, spread = by_problem.mean(axis=0), by_problem.std(axis=0)
    together = (
        ((differences - by_problem - by_seed[:, None] + mean) ** 2).sum(axis=(0, 1)) / (seeds - 1) / (problems - 1)
    )
    of_seeds = by_seed.var(axis=0, ddof=1)
    left = np.sqrt(np.maximum(1 - together / problems / np.maximum(of_seeds, _EQUAL**2), 0))
    rng = np.random.default_rng(seed)
    _, t = resampled_t(by_problem - mean, resamples, rng)
    weights = rng.standard_normal((resamples, seeds)) / np.sqrt(seeds * rng.chisquare(seeds - 1, (resamples, 1)))
    error = t * spread + weights @ (left * (by_seed - mean))
    scale = np.sqrt(spread**2 / (problems - 1) + left**2 * of_seeds / seeds)
    return _band(np.array(ks)[kept], mean, scale, np.abs(error) / scale, level)


def _usable(differences: Float[np.ndarray, "P K"]) -> Bool[np.ndarray, " K"]:
    """Whether enough problems differ at this K, and not all by the same amount."""
    return ((np.abs(differences) > _EQUAL).sum(axis=0) >= _MIN_DIFFERING) & (differences.std(axis=0) > _EQUAL)


def _band(
    ks: Int[np.ndarray, " K"],
    mean: Float[np.ndarray, " K"],
    scale: Float[np.ndarray, " K"],
    size: Float[np.ndarray, "B K"],
    level: float,
) -> tuple[BandPoint, ...]:
    """mean +- q scale, with q the level-quantile of the largest size over K."""
    largest = size.max(axis=1)
    half = critical_value(largest, level) * scale
    low, high = np.maximum(mean - half, -1.0), np.minimum(mean + half, 1.0)
    p = (1 + (largest[:, None] >= np.abs(mean) / scale).sum(axis=0)) / (len(size) + 1)
    return tuple(BandPoint(int(k), *map(float, row)) for k, *row in zip(ks, mean, low, high, p, strict=True))


def _excludes_0(point: BandPoint, side: str) -> bool:
    return point.low > 0 if side == "ahead" else point.high < 0


def _direction(points: Sequence[BandPoint]) -> Direction | None:
    """The first change of a band from one side of 0 to the other."""
    ahead = [point.low > 0 for point in points if point.low > 0 or point.high < 0]
    if len(set(ahead)) < 2:
        return None
    return "ahead then behind" if ahead[0] else "behind then ahead"


def _k_star(
    mean: Float[np.ndarray, " K"], resampled: Float[np.ndarray, "B K"], ks: Float[np.ndarray, " K"], level: float
) -> tuple[float | None, float | None, float | None]:
    """K* of the mean and the ends of its percentile interval; None for a value beyond the last k."""
    found = first_fall(np.concatenate([mean[None], resampled]), ks)
    ends = np.quantile(found[1:], [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    star, low, high = (float(x) if np.isfinite(x) else None for x in (found[0], *ends))
    return star, low, high


def first_fall(curves: Float[np.ndarray, "B K"], ks: Float[np.ndarray, " K"]) -> Float[np.ndarray, " B"]:
    """The K at which each curve first falls from above 0 to 0 or below, linear in log K; infinite if it never does."""
    here, there = curves[:, :-1], curves[:, 1:]
    falls = (here > 0) & (there <= 0)
    place = falls.argmax(axis=1)
    rows = np.arange(len(curves))
    before, after = here[rows, place], there[rows, place]
    drop = np.where(falls.any(axis=1), before - after, 1.0)
    logs = np.log(ks)
    at = np.exp(logs[place] + (logs[place + 1] - logs[place]) * before / drop)
    result: np.ndarray = np.where(falls.any(axis=1), at, np.inf)
    return result
