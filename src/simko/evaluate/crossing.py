"""Did two pass@K curves cross? A band over all K at once decides; the drawn curves do not.

Axes: P problems, K ks, B resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from simko.evaluate.intervals import critical_value, resampled_t
from simko.evaluate.passk import Counts, as_seeds, paired_values

Direction = Literal["ahead then behind", "behind then ahead"]
_WORDS = {"ahead": "ahead of", "behind": "behind"}
_FEWEST_DIFFERING = 5
_EQUAL = 1e-12  # differences of pass@k below this are rounding


@dataclass(frozen=True)
class BandPoint:
    """Mean over problems of pass@k(ours) - pass@k(other), with the band [low, high] that covers all ks at once."""

    k: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Crossing:
    """Whether ours and other change places along K.

    direction, of ours: None where no crossing is claimed, and then so are k_star and its interval. k_star: the first K,
    not rounded, where D(K) changes sign in that direction; k_star_high (k_star_low): None where that end lies beyond
    half_n, the largest K looked at. left_out: the ks at which fewer than five problems differ, or all by one amount.
    """

    points: tuple[BandPoint, ...]
    left_out: tuple[int, ...]
    problems: int
    half_n: int
    level: float
    direction: Direction | None
    k_star: float | None
    k_star_low: float | None
    k_star_high: float | None

    @property
    def claimed(self) -> bool:
        return self.direction is not None

    @property
    def sentence(self) -> str:
        return self.describe("the first", "the second")

    def describe(self, ours: str, other: str) -> str:
        """The finding in plain words, with the two models named."""
        if self.direction is None:
            why = (
                ""
                if self.points
                else f": fewer than {_FEWEST_DIFFERING} problems differ at every K, or all differ alike"
            )
            return f"No evidence that the pass@K curves of {ours} and {other} cross up to K = {self.half_n}{why}."
        early, late = self.direction.split(" then ")
        first = next(d.k for d in self.points if _beyond_0(d, early))
        last = next(d.k for d in self.points if d.k > first and _beyond_0(d, late))
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
    """Test for a crossing on K = 1, 2, 4, ... up to half of the samples of the problem that has fewest.

    D(K) is the mean over problems of pass@K(ours) - pass@K(other), seeds averaged. The band D(K) +- q s(K) has one q for
    all K: the level-quantile over resampled problems of max_K |t*(K)|. With that chance it covers all of D at once, so
    that a crossing is claimed only if it lies above 0 at one K and below 0 at a later one, or the reverse. The chance of
    a false claim is at most 1 - level, and far smaller for equal models. A K at which fewer than five problems differ has
    no usable s(K) and is left out.

    K* is the first sign change of D in the claimed direction, linear in log K between two ks. Its percentile interval is
    over the same resamples; one without such a change counts as beyond the largest K. Simulated rates of false claims,
    and the power, are in docs/evaluation_statistics.md. ValueError as in `paired_difference`, and where a problem has
    fewer than 2 samples.
    """
    fewest = min((n for run in [*as_seeds(ours), *as_seeds(other)] for n, _ in run.values()))
    if fewest < 2:
        raise ValueError("A problem has fewer than 2 samples, and a crossing needs K up to n / 2: draw more samples.")
    ks = [2**i for i in range((fewest // 2).bit_length())]
    ids, left, right = paired_values(ours, other, ks)
    differences = left.mean(axis=0) - right.mean(axis=0)
    kept = ((np.abs(differences) > _EQUAL).sum(axis=0) >= _FEWEST_DIFFERING) & (differences.std(axis=0) > _EQUAL)
    left_out = tuple(k for k, keep in zip(ks, kept, strict=True) if not keep)
    if not kept.any():
        return Crossing((), left_out, len(ids), ks[-1], level, None, None, None, None)
    kept_ks, differences = np.array(ks)[kept], differences[:, kept]
    mean = differences.mean(axis=0)
    shift, t = resampled_t(differences - mean, resamples, np.random.default_rng(seed))
    half = critical_value(np.abs(t).max(axis=1), level) * differences.std(axis=0)
    low, high = np.maximum(mean - half, -1.0), np.minimum(mean + half, 1.0)
    direction = _direction(low, high)
    star: tuple[float | None, ...] = (None, None, None)
    if direction is not None:
        sign = 1.0 if direction == "ahead then behind" else -1.0
        star = _k_star(sign * mean, sign * (mean + shift), kept_ks, level)
    band = np.stack([mean, low, high], axis=-1).tolist()
    points = tuple(BandPoint(int(k), *row) for k, row in zip(kept_ks, band, strict=True))
    return Crossing(points, left_out, len(ids), ks[-1], level, direction, *star)


def _beyond_0(point: BandPoint, side: str) -> bool:
    return point.low > 0 if side == "ahead" else point.high < 0


def _direction(low: Float[np.ndarray, " K"], high: Float[np.ndarray, " K"]) -> Direction | None:
    """The first change of a band from one side of 0 to the other."""
    sides = [s for s in np.where(low > 0, 1, np.where(high < 0, -1, 0)) if s]
    if not sides or all(s == sides[0] for s in sides):
        return None
    return "ahead then behind" if sides[0] > 0 else "behind then ahead"


def _k_star(
    mean: Float[np.ndarray, " K"], resampled: Float[np.ndarray, "B K"], ks: Float[np.ndarray, " K"], level: float
) -> tuple[float | None, float | None, float | None]:
    """K* of the mean and the ends of its percentile interval; None for what lies beyond the last k."""
    found = first_fall(np.concatenate([mean[None], resampled]), ks)
    ends = np.quantile(found[1:], [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    star, low, high = (float(x) if np.isfinite(x) else None for x in (found[0], *ends))
    return star, low, high


def first_fall(curves: Float[np.ndarray, "B K"], ks: Float[np.ndarray, " K"]) -> Float[np.ndarray, " B"]:
    """The K at which each curve first goes from above 0 to 0 or below, linear in log K; infinite where it never does."""
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
