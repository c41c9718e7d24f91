"""Intervals: the studentised bootstrap over problems for means and differences, t intervals over seeds, Holm.

Axes: P problems, K ks, B resamples, S training seeds. Resampling draws problems, never samples. A benchmark is a draw of
problems, and the samples of one problem share its difficulty.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

_CELLS = 4_000_000  # resample-by-problem cells held at a time
_KEPT_CELLS = 80_000_000  # of the resamples that are kept, a byte each
_kept: deque[tuple[object, list[np.ndarray], Mapping[str, Any]]] = deque(maxlen=2)
_NO_SPREAD = 1e-12  # a resample's variance below this share of the whole's counts as zero


def clopper_pearson(mean: Float[np.ndarray, " K"], problems: float, level: float) -> Float[np.ndarray, "K 2"]:
    """Exact binomial interval for `problems` draws with this mean, each taken as solved or not solved.

    It holds for any distribution on [0, 1], because none spreads its mean more than the binomial. At mean 1 it is the rule of
    three: low = (alpha / 2) ** (1 / problems).
    """
    from scipy.special import betaincinv

    hits, tail = mean * problems, (1 - level) / 2
    misses = np.maximum(problems - hits, 0.0)
    low = np.where(hits > 0, betaincinv(np.maximum(hits, 1e-300), misses + 1, tail), 0.0)
    high = np.where(misses > 0, betaincinv(hits + 1, np.maximum(misses, 1e-300), 1 - tail), 1.0)
    return np.stack([low, high], axis=-1)


def studentised_interval(
    values: Float[np.ndarray, "P K"], *, level: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Float[np.ndarray, "K 2"]:
    """Bootstrap-t interval of the mean over problems of values in [0, 1], clipped to [0, 1].

    With m, s the mean and its standard error, and t* = (m* - m) / s* over resampled problems:
    [m - q_hi(t*) s, m - q_lo(t*) s]. pass@K values pile up at 0 or 1, where the plain t, percentile and BCa intervals miss on
    the heavy side: they cover .65-.69 at 30 problems (k = 128 of n = 256, p ~ Beta(1, 3)). This one covers .92-.97.

    A resample without spread has no t*. It counts as +-infinity and opens its bound, so the interval is clipped to the binomial
    one (`clopper_pearson`). The binomial one remains if all problems have one value or there is one problem, so the width is
    never zero.
    """
    problems = values.shape[0]
    mean = values.mean(axis=0)
    bound = clopper_pearson(mean, problems, level)
    if problems < 2:
        return bound
    centred = values - mean
    spread = (centred**2).mean(axis=0)
    varies = spread > 1e-24
    if not varies.any():
        return bound
    _, t = resampled_t(centred[:, varies], resamples, np.random.default_rng(seed))
    tail = (1 - level) / 2
    low_t, high_t = np.quantile(t, [tail, 1 - tail], axis=0, method="inverted_cdf")
    error = np.sqrt(spread[varies])
    low, high = mean.copy(), mean.copy()
    low[varies], high[varies] = mean[varies] - high_t * error, mean[varies] - low_t * error
    low[~varies], high[~varies] = 0.0, 1.0
    low = np.minimum(np.maximum(low, bound[:, 0]), mean)
    high = np.maximum(np.minimum(high, bound[:, 1]), mean)
    interval: np.ndarray = np.clip(np.stack([low, high], axis=-1), 0.0, 1.0)
    return interval


def studentised_difference(
    differences: Float[np.ndarray, "P K"], *, level: float = 0.95, resamples: int = 4000, seed: int = 0
) -> tuple[Float[np.ndarray, "K 2"], Float[np.ndarray, " K"]]:
    """Symmetric bootstrap-t interval of the mean over problems of paired differences in [-1, 1], and its p value.

    With m, s and t* as in `studentised_interval`: m +- q(|t*|) s, clipped to [-1, 1]. Two-sided p = (1 + the number of
    |t*| >= |m / s|) / (B + 1): never below 1 / (B + 1), and below 1 - level exactly where the interval excludes 0.

    Why |t*| and not both tails or the paired t: at large k most differences are 0 and the rest lie on either side. At k = 128
    of n = 256 (p ~ Beta(1, 3), six kinds of change, 30 and 100 problems) the paired t covers .75 to 1.00, the two-tailed
    bootstrap-t .83 to .97 and this one .92 to 1.00. By the two-tailed one, two equal models differ "significantly" in 15 % of
    runs. A change in one problem of ten is covered by .85 at k = 1 and 30 problems (the paired t: .83), since no interval sees
    problems that were not drawn.

    A resample without spread counts as infinite, so the interval is clipped to the separate binomial bounds of gains and
    losses. These remain if all problems have one difference or there is one problem. Then p is the sign test's
    min(1, 2 ** (1 - P)), and 1 for a difference of 0. Clipping never excludes 0 by itself.
    """
    problems = differences.shape[0]
    mean = differences.mean(axis=0)
    gains = clopper_pearson(np.maximum(differences, 0).mean(axis=0), problems, (1 + level) / 2)
    losses = clopper_pearson(np.maximum(-differences, 0).mean(axis=0), problems, (1 + level) / 2)
    low, high = gains[:, 0] - losses[:, 1], gains[:, 1] - losses[:, 0]
    p = np.where(np.abs(mean) > _NO_SPREAD, min(1.0, 2.0 ** (1 - problems)), 1.0)
    centred = differences - mean
    spread = np.sqrt((centred**2).mean(axis=0))
    varies = spread > _NO_SPREAD
    if varies.any():
        _, t = resampled_t(centred[:, varies], resamples, np.random.default_rng(seed))
        size = np.abs(t)
        half = critical_value(size, level) * spread[varies]
        low[varies] = np.maximum(mean[varies] - half, np.minimum(low[varies], 0))
        high[varies] = np.minimum(mean[varies] + half, np.maximum(high[varies], 0))
        exceeding = (size >= np.abs(mean[varies]) / spread[varies]).sum(axis=0)
        p[varies] = (1 + exceeding) / (resamples + 1)
    return np.clip(np.stack([low, high], axis=-1), -1.0, 1.0), p


def resampled_t(
    centred: Float[np.ndarray, "P K"], resamples: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "B K"], Float[np.ndarray, "B K"]]:
    """m* - m and t* = (m* - m) / sd* of each resample of the rows, which must have mean 0.

    The factor sqrt(P - 1) from sd* to a standard error cancels against the one in s. Without spread t* is +-infinity, or 0 if
    m* = m.
    """
    problems = centred.shape[0]
    squares = centred**2
    floor = _NO_SPREAD * squares.mean(axis=0)
    shifts, parts = [], []
    for counts in resampled_counts(problems, resamples, rng):
        weights = counts / problems
        shift = weights @ centred
        variance = weights @ squares - shift**2
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(variance > floor, shift / np.sqrt(variance), np.sign(shift) * np.inf)
        shifts.append(shift)
        parts.append(np.where(np.isnan(t), 0.0, t))
    return np.concatenate(shifts), np.concatenate(parts)


def resampled_counts(problems: int, resamples: int, rng: np.random.Generator) -> Iterator[UInt8[np.ndarray, "b P"]]:
    """How often each problem is in each resample, some resamples at a time.

    Every interval of a page draws the same ones, so the last are kept: `rng` stands afterwards where drawing would have left it.
    """
    key = problems, resamples, rng.bit_generator.state
    for kept, counts, after in tuple(_kept):
        if kept == key:
            rng.bit_generator.state = after
            yield from counts
            return
    share, size = np.full(problems, 1 / problems), max(1, _CELLS // problems)
    drawn = (
        rng.multinomial(problems, share, size=min(size, resamples - start)).astype(np.uint8)
        for start in range(0, resamples, size)
    )
    if problems * resamples > _KEPT_CELLS:
        yield from drawn
        return
    counts = list(drawn)
    _kept.append((key, counts, rng.bit_generator.state))
    yield from counts


def critical_value(size: Float[np.ndarray, "B K"], level: float) -> Float[np.ndarray, " K"]:
    """The ceil((B + 1) level)-th smallest of B resampled values; infinite if B is too small for the level."""
    resamples = size.shape[0]
    rank = math.ceil((resamples + 1) * level - 1e-9)
    if rank > resamples:
        return np.full(size.shape[1:], np.inf)
    value: np.ndarray = np.partition(size, rank - 1, axis=0)[rank - 1]
    return value


def t_interval(values: Float[np.ndarray, "P K"], *, level: float = 0.95) -> Float[np.ndarray, "K 2"]:
    """t interval of the mean over two rows or more of values without bounds: m +- t(P - 1) sd / sqrt(P).

    nan at a k where all rows agree exactly, because equal rows say nothing about the next one.
    """
    from scipy.special import stdtrit

    rows = values.shape[0]
    spread = values.std(axis=0, ddof=1)
    half = stdtrit(rows - 1, (1 + level) / 2) * np.where(spread > _NO_SPREAD, spread, np.nan) / math.sqrt(rows)
    mean = values.mean(axis=0)
    interval: np.ndarray = np.stack([mean - half, mean + half], axis=-1)
    return interval


def seeds_t(by_seed: Float[np.ndarray, "S K"], *, level: float = 0.95) -> Float[np.ndarray, "K 2"] | None:
    """`t_interval` over training seeds of means in [0, 1], clipped.

    It covers the choice of seeds, on these problems. None for one seed.
    """
    return None if by_seed.shape[0] < 2 else np.clip(t_interval(by_seed, level=level), 0.0, 1.0)


def seeds_welch(
    ours: Float[np.ndarray, "S K"], other: Float[np.ndarray, "S2 K"], *, level: float = 0.95
) -> Float[np.ndarray, "K 2"] | None:
    """Welch's t interval over training seeds of mean(ours) - mean(other), clipped to [-1, 1].

    Unpaired: seed 1 of one method and seed 1 of another share little but the number, and a meaningless pairing costs half of the
    degrees of freedom. If data order and sampling noise are shared, the interval is too wide, not too narrow. None if a side
    has one seed. nan at a k where the seeds of each side agree exactly.
    """
    from scipy.special import stdtrit

    counts = [len(ours), len(other)]
    if min(counts) < 2:
        return None
    parts = [side.var(axis=0, ddof=1) / len(side) for side in (ours, other)]
    variance = np.where(parts[0] + parts[1] > _NO_SPREAD**2, parts[0] + parts[1], np.nan)
    freedom = variance**2 / sum(part**2 / (count - 1) for part, count in zip(parts, counts, strict=True))
    half = stdtrit(freedom, (1 + level) / 2) * np.sqrt(variance)
    mean = ours.mean(axis=0) - other.mean(axis=0)
    interval: np.ndarray = np.clip(np.stack([mean - half, mean + half], axis=-1), -1.0, 1.0)
    return interval


def holm(p: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Holm's step-down adjustment: the i-th smallest of N (i from 0) times N - i, made monotone, at most 1."""
    order = np.argsort(p, kind="stable")
    scaled = p[order] * (len(p) - np.arange(len(p)))
    adjusted = np.empty_like(p, dtype=float)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
