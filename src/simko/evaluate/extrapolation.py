"""pass@K beyond n by a model: one Beta distribution of the problems' chances. A guess about what was not measured.

Axes: P problems, K ks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from simko.evaluate.bands import curve_band
from simko.evaluate.passk import Counts, as_seeds, pass_at_k_matrix, same_problems

_FEWEST = 10  # problems for two parameters
_LIMIT = 12.0  # of |log a| and |log b|: beyond it all problems are alike, or all solved or unsolved


@dataclass(frozen=True)
class Extrapolation:
    """A Beta distribution fitted over the problems, and its pass@K."""

    shapes: tuple[tuple[float, float], ...]
    """(a, b) of each training seed."""
    fits: bool
    """Whether the model lies within the 95 % band of the measured curve at every K up to n / 2."""
    worst_k: int
    """The K up to n / 2 at which model and measurement are furthest apart."""
    worst_gap: float
    """The model's pass@K minus the measured one at that K."""

    def pass_at_k(self, k: int) -> float:
        """1 - B(a, b + k) / B(a, b), the mean over seeds."""
        return float(np.mean([_model(a, b, np.array([k]))[0] for a, b in self.shapes]))


def extrapolate(counts: Counts | Sequence[Counts], *, resamples: int = 4000, seed: int = 0) -> Extrapolation | None:
    """Fit p ~ Beta(a, b) over the problems by maximum likelihood, one fit for each training seed.

    A problem with c of n correct has the likelihood B(a + c, b + n - c) / B(a, b), and pass@K of the model is
    1 - B(a, b + K) / B(a, b). The fit is checked against the measured curve at every K up to n / 2. That it fits there says
    little about K far beyond n: problems that are never solved and problems that are solved once in 100 n look alike.

    Args:
        counts: one dict, or one per training seed.
        resamples: of the problems, for the band of the check.
        seed: of the resamples.

    None for fewer than ten problems, fewer than 2 samples, or if no Beta distribution has the greatest likelihood (all
    samples correct, none correct, or no more spread between problems than chance gives).
    """
    runs = as_seeds(counts)
    ids = same_problems(runs, "seed 0", [f"seed {i}" for i in range(len(runs))])
    fewest = min(n for run in runs for n, _ in run.values())
    if len(ids) < _FEWEST or fewest < 2:
        return None
    shapes = [_fit(np.array([run[i] for i in ids], dtype=float)) for run in runs]
    found = [shape for shape in shapes if shape is not None]
    if len(found) < len(shapes):
        return None
    ks = range(1, fewest // 2 + 1)
    values = np.stack([pass_at_k_matrix([run[i][0] for i in ids], [run[i][1] for i in ids], ks) for run in runs])
    model = np.mean([_model(a, b, np.array(ks)) for a, b in found], axis=0)
    low, high = curve_band(values, resamples=resamples, seed=seed).T
    gap = model - values.mean(axis=(0, 1))
    worst = int(np.abs(gap).argmax())
    return Extrapolation(tuple(found), bool(((low <= model) & (model <= high)).all()), ks[worst], float(gap[worst]))


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
