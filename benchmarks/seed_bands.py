"""How often a 95 % band holds two equal methods, if training seeds differ: the band over problems and the one over both.

    python benchmarks/seed_bands.py [--trials 500]

128 problems, n = 128. The logit of a problem's p is normal, with sd 1.5 over problems, .5 over methods and problems, `seeds`
over methods and seeds, and `together` over all of these.
"""

import argparse

import numpy as np
from scipy.special import expit

from simko.evaluate import pass_at_k_matrix, simultaneous_band

N, PROBLEMS = 128, 128
KS = [1, 2, 4, 8, 16, 32, 64]


def method(
    rng: np.random.Generator, difficulty: np.ndarray, seeds: int, of_seeds: float, together: float
) -> np.ndarray:
    """pass@k [S, P, K] of one method."""
    logit = difficulty + rng.normal(0, 0.5, (1, PROBLEMS)) + rng.normal(0, of_seeds, (seeds, 1))
    logit = logit + rng.normal(0, together, (seeds, PROBLEMS)) if together else logit
    return TABLE[rng.binomial(N, expit(logit))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    trials = parser.parse_args().trials
    print("| seeds | sd over seeds | sd together | band over problems | over both | width of the second / first |")
    print("|---|---|---|---|---|---|")
    for seeds in (3, 5):
        for of_seeds in (0.0, 0.1, 0.5):
            for together in (0.0, 0.5):
                rng = np.random.default_rng(0)
                held, widths = np.zeros(2), np.zeros(2)
                for trial in range(trials):
                    difficulty = rng.normal(-2.5, 1.5, (1, PROBLEMS))
                    ours, other = (method(rng, difficulty, seeds, of_seeds, together) for _ in range(2))
                    gap = ours - other
                    bands = [
                        simultaneous_band(values, KS, resamples=999, seed=trial)[0]
                        for values in (gap.mean(axis=0)[None], gap)
                    ]
                    held += [all(p.low <= 0 <= p.high for p in band) for band in bands]
                    widths += [np.mean([p.high - p.low for p in band]) for band in bands]
                cells = [f"{100 * x:.1f} %" for x in held / trials]
                print(
                    f"| {seeds} | {of_seeds} | {together} | {' | '.join(cells)} | {widths[1] / widths[0]:.1f} |",
                    flush=True,
                )


TABLE = pass_at_k_matrix([N] * (N + 1), range(N + 1), KS)

if __name__ == "__main__":
    main()
