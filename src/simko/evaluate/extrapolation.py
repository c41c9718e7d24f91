"""pass@K beyond n by a model: one Beta distribution of the problems' chances. A guess about what was not measured.

Axes: P problems, K ks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simko.evaluate.bands import curve_band, whole_ks
from simko.evaluate.passk import Counts, as_seeds, values_by_seed

_FEWEST = 10  # problems for two parameters
_LIMIT = 12.0  # of |log a| and |log b|: beyond it all problems are alike, or all solved or unsolved


@dataclass(frozen=True)
class Extrapolation:
    """A Beta distribution fitted over the problems, and its pass@K."""

    shapes: tuple[tuple[float, float], ...]
    """(a, b) of each training seed."""
    fits: bool
    """Whether each seed's model lies within the 95 % band of its measured curve at every K up to n / 2."""
    worst_k: int
    """The K up to n / 2 at which a model and its measured curve are furthest apart."""
    worst_gap: float
    """The model's pass@K minus the measured one at that K."""

    def pass_at_k(self, k: int) -> float:
        """1 - B(a, b + k) / B(a, b), the mean over seeds."""
        return float(np.mean([_model(a, b, np.array([k]))[0] for a, b in self.shapes]))


def extrapolate(counts: Counts | Sequence[Counts], *, resamples: int = 4000, seed: int = 0) -> Extrapolation | None:
    """Fit p ~ Beta(a, b) over the problems by maximum likelihood, one fit for each training seed.

    A problem with c of n correct has the likelihood B(a + c, b + n - c) / B(a, b), and pass@K of the model is
    1 - B(a, b + K) / B(a, b). The fit is checked against the measured curve up to n / 2. That it fits there says
    little about K far beyond n: problems that are never solved and problems that are solved once in 100 n look alike.

    Args:
        counts: one dict, or one per training seed.
        resamples: of the problems, for the band of the check.
        seed: of the resamples.

    None for fewer than ten problems, fewer than 2 samples, or if no Beta distribution has the greatest likelihood (all
    samples correct, none correct, or no more spread between problems than chance gives).
    """
    runs = as_seeds(counts)
    fewest = min(n for run in runs for n, _ in run.values())
    if len(runs[0]) < _FEWEST or fewest < 2:
        return None
    ks = whole_ks(fewest // 2)
    ids, values = values_by_seed(runs, ks)
    shapes = []
    gaps, fits = [], True
    for run, measured in zip(runs, values, strict=True):
        shape = _fit(np.array([run[i] for i in ids], dtype=float))
        if shape is None:
            return None
        model = _model(*shape, np.array(ks))
        low, high = curve_band(measured[None], resamples=resamples, seed=seed).T
        fits = fits and bool(((low <= model) & (model <= high)).all())
        shapes.append(shape)
        gaps.append(model - measured.mean(axis=0))
    run_index, worst = np.unravel_index(np.abs(gaps).argmax(), np.shape(gaps))
    return Extrapolation(tuple(shapes), fits, ks[worst], float(gaps[run_index][worst]))


def _fit(counts: Float[np.ndarray, "P 2"]) -> tuple[float, float] | None:
    from scipy.optimize import minimize
    from scipy.special import betaln, digamma

    n, c = counts.T

    def loss(logs: Float[np.ndarray, " 2"]) -> tuple[float, Float[np.ndarray, " 2"]]:
        a, b = np.exp(logs)
        value = betaln(a + c, b + n - c) - betaln(a, b)
        common = digamma(a + b) - digamma(a + b + n)
        slope = [a * (digamma(a + c) - digamma(a) + common).sum(), b * (digamma(b + n - c) - digamma(b) + common).sum()]
        return -float(value.sum()), -np.array(slope)

    found = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-_LIMIT, _LIMIT)] * 2)
    if (np.abs(found.x) > _LIMIT - 0.01).any():
        return None
    a, b = np.exp(found.x)
    return float(a), float(b)


def _model(a: float, b: float, ks: np.ndarray) -> Float[np.ndarray, " K"]:
    from scipy.special import betaln

    values: np.ndarray = -np.expm1(betaln(a, b + ks) - betaln(a, b))
    return values
