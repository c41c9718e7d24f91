"""How often 95 % intervals of pass@k, and of paired differences of it, hold the truth: simulated benchmarks.

    python benchmarks/interval_coverage.py [--trials 4000] [--resamples 2000]

n = 256 samples a problem. Prints two Markdown tables: single curves for three spreads of difficulty, and differences of
two models for six kinds of change. Every interval of a table row is computed from the same simulated counts.
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy.special import expit, logit, stdtrit

from simko.evaluate import pass_at_k_matrix
from simko.evaluate.intervals import resampled_t, studentised_difference, studentised_interval

N = 256
SIZES = (30, 100)
SHAPES = ((1.0, 3.0), (0.3, 1.5), (0.5, 0.5))
CHANGES: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "none": lambda p, _: p,
    "all a little worse": lambda p, _: expit(logit(p) - 0.5),
    "worse, with noise": lambda p, rng: expit(logit(p) + rng.normal(-0.3, 1, p.shape)),
    "easy up, hard down": lambda p, _: np.where(p > 0.25, np.minimum(1, 1.8 * p), 0.3 * p),
    "a tenth lost": lambda p, rng: p * (rng.random(p.shape) > 0.1),
    "another model": lambda p, rng: rng.beta(0.5, 1.5, p.shape),
}
DRAWS = 2_000_000  # problems behind each true mean


def passk(p: np.ndarray, k: int) -> np.ndarray:
    return 1 - (1 - p) ** k


def t_interval(values: np.ndarray) -> np.ndarray:
    problems, mean = len(values), values.mean(axis=0)
    half = stdtrit(problems - 1, 0.975) * values.std(axis=0, ddof=1) / np.sqrt(problems)
    return np.stack([mean - half, mean + half], axis=-1)


def two_tailed(values: np.ndarray, resamples: int) -> np.ndarray:
    """Bootstrap-t with each tail's own quantile."""
    mean = values.mean(axis=0)
    spread = values.std(axis=0)
    _, t = resampled_t(values - mean, resamples, np.random.default_rng(0))
    low, high = np.quantile(t, [0.025, 0.975], axis=0, method="inverted_cdf")
    with np.errstate(invalid="ignore"):
        return np.clip(np.stack([mean - high * spread, mean - low * spread], axis=-1), -1, 1)


def coverage(interval: np.ndarray, truth: float) -> str:
    return f"{np.mean((interval[:, 0] <= truth) & (truth <= interval[:, 1])):.3f}"


def curves(trials: int, resamples: int, table: np.ndarray, ks: list[int]) -> None:
    print("| p of a problem | problems | k | pass@k | t | studentised bootstrap |\n|---|---|---|---|---|---|")
    for shape in SHAPES:
        truths = passk(np.random.default_rng(1).beta(*shape, size=(DRAWS, 1)), np.array(ks)).mean(axis=0)
        for problems in SIZES:
            rng = np.random.default_rng(2)
            correct = rng.binomial(N, rng.beta(*shape, size=(problems, trials)))
            for column, (k, truth) in enumerate(zip(ks, truths, strict=True)):
                values = table[correct, column]
                ours = studentised_interval(values, resamples=resamples)
                cells = [coverage(t_interval(values), truth), coverage(ours, truth)]
                print(f"| Beta{shape} | {problems} | {k} | {truth:.3f} | {' | '.join(cells)} |", flush=True)


def differences(trials: int, resamples: int, table: np.ndarray, ks: list[int]) -> None:
    print("| change | problems | k | difference | paired t | bootstrap-t, two tails | studentised bootstrap |")
    print("|---|---|---|---|---|---|---|")
    for name, change in CHANGES.items():
        rng = np.random.default_rng(1)
        many = np.clip(rng.beta(1, 3, size=DRAWS), 1e-9, 1 - 1e-9)
        changed = change(many, rng)
        for problems in SIZES:
            rng = np.random.default_rng(2)
            p = np.clip(rng.beta(1, 3, size=(problems, trials)), 1e-9, 1 - 1e-9)
            ours, other = rng.binomial(N, change(p, rng)), rng.binomial(N, p)
            for column, k in enumerate(ks):
                truth = float(np.mean(passk(changed, k) - passk(many, k)))
                values = table[ours, column] - table[other, column]
                intervals = [
                    t_interval(values),
                    two_tailed(values, resamples),
                    studentised_difference(values, resamples=resamples)[0],
                ]
                cells = " | ".join(coverage(i, truth) for i in intervals)
                print(f"| {name} | {problems} | {k} | {truth:+.3f} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=4000)
    parser.add_argument("--resamples", type=int, default=2000)
    arguments = parser.parse_args()
    for ks, print_table in (([1, 16, 64, 128], curves), ([1, 16, 128], differences)):
        table = pass_at_k_matrix([N] * (N + 1), range(N + 1), ks)
        print_table(arguments.trials, arguments.resamples, table, ks)
        print()


if __name__ == "__main__":
    main()
