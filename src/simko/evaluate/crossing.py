"""Do two pass@K curves cross? A simultaneous band over all K decides, not the drawn curves.

Axes: K ks, B resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from simko.evaluate.bands import MIN_DIFFERING, BandPoint, Draw, simultaneous_band
from simko.evaluate.intervals import resampled_t
from simko.evaluate.passk import Counts, as_seeds, paired_values

Direction = Literal["ahead then behind", "behind then ahead"]
_WORDS = {"ahead": "ahead of", "behind": "behind"}


@dataclass(frozen=True)
class Crossing:
    """Whether ours and other change places along K."""

    points: tuple[BandPoint, ...]
    """The band."""
    left_out: tuple[int, ...]
    """The ks at which too few problems differ: see `bands.usable`."""
    problems: int
    """The number of problems."""
    half_n: int
    """The largest K that was tested: half of the fewest samples of any problem, if no ks were given."""
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
    def first_loss(self) -> tuple[int, int | None]:
        """The first and last K at which ours may first be behind; None if the band is below 0 at no K.

        The set holds the true first K, if there is one, with probability `level`. It begins after the Ks, from 1 on without a
        gap, at which the band is above 0, and ends at the first K at which it is below.
        """
        ahead = {point.k for point in self.points if point.low > 0}
        first = next(k for k in range(1, len(ahead) + 2) if k not in ahead)
        return first, next((point.k for point in self.points if point.high < 0), None)

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
            why = "" if self.points else f": fewer than {MIN_DIFFERING} problems differ at every K, or all differ alike"
            return f"No evidence that the pass@K curves of {ours} and {other} cross up to K = {self.half_n}{why}."
        early, late = self.direction.split(" then ")
        first = next(d.k for d in self.points if _excludes_0(d, early))
        last = next(d.k for d in self.points if d.k > first and _excludes_0(d, late))
        low, high = (f"{x:.3g}" if x else f"beyond {self.half_n}" for x in (self.k_star_low, self.k_star_high))
        return (
            f"The pass@K curves cross: {ours} is {_WORDS[early]} {other} at K = {first} and {_WORDS[late]} it at"
            f" K = {last}. They meet at about K = {self.k_star:.3g} ({100 * self.level:g} % interval {low} to {high})."
        )

    def describe_first_loss(self, ours: str, other: str) -> str:
        """Where ours is first behind, in words. first_loss must have an end."""
        first, last = self.first_loss
        where = f"at K = {first}" if first == last else f"between K = {first} and {last}"
        return f"{ours} is first behind {other} {where} ({100 * self.level:g} % set)."


def crossing(
    ours: Counts | Sequence[Counts],
    other: Counts | Sequence[Counts],
    *,
    ks: Sequence[int] | None = None,
    level: float = 0.95,
    resamples: int = 4000,
    seed: int = 0,
    draw: Draw = resampled_t,
) -> Crossing:
    """Test for a crossing on K = 1, 2, 3, ... up to half of the fewest samples of any problem.

    D(K) is the mean over problems of pass@K(ours) - pass@K(other), averaged over seeds. With probability `level` the
    `simultaneous_band` covers all of D. A crossing is claimed only if the band lies above 0 at one K and below 0 at a later one,
    or the reverse. The probability of a false claim is at most 1 - level, and far smaller for equal models. A K at which fewer
    than eight problems differ (`bands.usable`) is left out.

    K* is the first sign change of D in the claimed direction, interpolated linearly in log K. Its percentile interval is over
    the same resamples. A resample without such a change counts as beyond the largest K. docs/evaluation_statistics.md gives
    simulated false claims and power.

    Args:
        ours: counts, or one such dict per training seed. Band and interval cover another draw of two seeds or more.
        other: likewise. The seeds are not paired.
        ks: other Ks to test, increasing. `first_loss` needs every whole K.
        level: of the band and the interval.
        resamples: of the problems.
        seed: of the resamples.
        draw: see `simultaneous_band`.

    ValueError as in `paired_difference`, and for a problem with fewer than 2 samples.
    """
    fewest = min((n for run in [*as_seeds(ours), *as_seeds(other)] for n, _ in run.values()))
    if fewest < 2:
        raise ValueError("A problem has fewer than 2 samples, and a crossing needs K up to n / 2: draw more samples.")
    ks = range(1, fewest // 2 + 1) if ks is None else ks
    ids, left, right = paired_values(ours, other, ks)
    points, moved = simultaneous_band(left, ks, right, level=level, resamples=resamples, seed=seed, draw=draw)
    kept = {point.k for point in points}
    direction = _direction(points)
    star: tuple[float | None, ...] = (None, None, None)
    if direction is not None:
        sign = 1.0 if direction == "ahead then behind" else -1.0
        mean = np.array([point.difference for point in points])
        star = _k_star(sign * mean, sign * (mean + moved), np.array([point.k for point in points]), level)
    return Crossing(points, tuple(k for k in ks if k not in kept), len(ids), ks[-1], level, direction, *star)


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
