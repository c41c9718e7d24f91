"""Simultaneous 95 % bands over K: how often they hold the truth at every K, and how often they certify a crossing.

    pip install passk-inference==0.3.1
    python benchmarks/bands.py [--runs 200] [--resamples 999] [--samples 64 256 1024] [--problems 30 100 500]

Prints two Markdown tables, of differences and of single curves, with a row for each spread of difficulty, change between the
models, number of samples and of problems. Every band of a row is computed from the same simulated counts, at up to 48 Ks a grid
(neighbours agree to rounding), so that "passk-inference" is its band at these Ks.
"""

import argparse

import numpy as np
from crossing import Change, concentrated
from passk_inference import simultaneous_band as passk_inference
from scipy.special import expit, logit

from simko.evaluate import curve_band, multiplied_t, pass_at_k_matrix, simultaneous_band
from simko.evaluate.intervals import critical_value, resampled_t

SHAPES = {"Beta(1, 3)": (1.0, 3.0), "Beta(.2, 1)": (0.2, 1.0)}
CHANGES: dict[str, Change] = {
    "equal": lambda p, _: p,
    "crossing, slight": concentrated(0.15, 0.5),
    "crossing, strong": concentrated(0.15, 2.0),
    "all a little worse": lambda p, _: expit(logit(p) - 0.5),
    "a tenth lost": lambda p, rng: np.where(rng.random(p.shape) < 0.1, 1e-9, p),
}
DRAWS = 200_000  # problems behind each true curve
Band = tuple[np.ndarray, np.ndarray]


def of_points(values: np.ndarray, ks: np.ndarray, resamples: int, seed: int, **options: object) -> Band:
    low, high = np.full(len(ks), -1.0), np.full(len(ks), 1.0)
    at = {int(k): i for i, k in enumerate(ks)}
    for point in simultaneous_band(values[None], ks.tolist(), resamples=resamples, seed=seed, **options)[0]:
        low[at[point.k]], high[at[point.k]] = point.low, point.high
    return low, high


def normal(values: np.ndarray, resamples: int, seed: int) -> Band:
    """passk-inference's band, with [-1, 1] where all problems have one value, as its `compare` has it."""
    band = passk_inference(values, bootstrap=resamples, seed=seed)
    low, high = band["lower"], band["upper"]
    low[band["degenerate_columns"]], high[band["degenerate_columns"]] = -1.0, 1.0
    return low, high


def five_differing(values: np.ndarray, resamples: int, seed: int) -> Band:
    """The band that `crossing` had before, on K = 1, 2, 4, ... n / 2: of every K at which five problems differ, by however little."""
    low, high = np.full(values.shape[1], -1.0), np.full(values.shape[1], 1.0)
    kept = ((np.abs(values) > 1e-12).sum(axis=0) >= 5) & (values.std(axis=0) > 1e-12)
    if kept.any():
        mean, spread = values[:, kept].mean(axis=0), values[:, kept].std(axis=0)
        t = resampled_t(values[:, kept] - mean, resamples, np.random.default_rng(seed))[1]
        half = critical_value(np.abs(t).max(axis=1), 0.95) * spread
        low[kept], high[kept] = mean - half, mean + half
    return low, high


def grid(most: int) -> np.ndarray:
    return np.unique(np.geomspace(1, most, 48).round().astype(int))


def certified(low: np.ndarray, high: np.ndarray) -> bool:
    ahead, behind = np.flatnonzero(low > 0), np.flatnonzero(high < 0)
    return bool(len(ahead) and len(behind) and ahead[0] < behind[-1])


def row(shape: str, name: str, n: int, problems: int, runs: int, resamples: int) -> tuple[str, str]:
    ks = {"all": grid(n), "half": grid(n // 2), "dyadic": 2 ** np.arange((n // 2).bit_length())}
    tables = {key: pass_at_k_matrix([n] * (n + 1), range(n + 1), k.tolist()) for key, k in ks.items()}
    rng = np.random.default_rng(7)
    many = np.clip(rng.beta(*SHAPES[shape], size=DRAWS), 1e-9, 1 - 1e-9)
    changed = np.clip(CHANGES[name](many, rng), 1e-9, 1 - 1e-9)
    curve = {key: np.array([np.mean(1 - (1 - changed) ** x) for x in k]) for key, k in ks.items()}
    truth = {key: np.array([np.mean((1 - many) ** x - (1 - changed) ** x) for x in k]) for key, k in ks.items()}
    held: dict[str, list[bool]] = {}
    claims: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}
    rng = np.random.default_rng(problems)
    for run in range(runs):
        p = np.clip(rng.beta(*SHAPES[shape], size=problems), 1e-9, 1 - 1e-9)
        ours = rng.binomial(n, np.clip(CHANGES[name](p, rng), 1e-9, 1 - 1e-9))
        other = rng.binomial(n, p)
        gap = {key: table[ours] - table[other] for key, table in tables.items()}
        bands = {
            "used here": ("half", of_points(gap["half"], ks["half"], resamples, run)),
            "multiplier": ("half", of_points(gap["half"], ks["half"], resamples, run, draw=multiplied_t)),
            "passk-inference": ("all", normal(gap["all"], resamples, run)),
            "five differing": ("dyadic", five_differing(gap["dyadic"], resamples, run)),
        }
        for band, (key, (low, high)) in bands.items():
            held.setdefault(band, []).append(bool(np.all((low <= truth[key]) & (truth[key] <= high))))
            claims.setdefault(band, []).append(certified(low, high))
        alone = tables["half"][ours]
        singles = {
            "used here": curve_band(alone[None], resamples=resamples, seed=run).T,
            "passk-inference": normal(alone, resamples, run),
        }
        for band, (low, high) in singles.items():
            held.setdefault(f"curve, {band}", []).append(bool(np.all((low <= curve["half"]) & (curve["half"] <= high))))
            widths.setdefault(band, []).append(float(np.mean(high - low)))

    def share(found: list[bool]) -> str:
        return f"{100 * np.mean(found):.1f}"

    where = f"| {shape} | {name} | {n} | {problems} |"
    differences = " | ".join(f"{share(held[b])} | {share(claims[b])}" for b in claims)
    ratio = np.mean(widths["used here"]) / np.mean(widths["passk-inference"])
    curves = " | ".join(share(held[f"curve, {b}"]) for b in widths)
    return f"{where} {differences} |", f"{where} {curves} | {ratio:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=999)
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--problems", type=int, nargs="+", default=[30, 100, 500])
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=list(CHANGES))
    arguments = parser.parse_args()
    names = ("used here", "multiplier", "passk-inference", "five differing")
    print("| p | change | n | problems |", " | ".join(f"{name} | certified" for name in names), "|")
    print("|---" * 12 + "|")
    curves = []
    for n in arguments.samples:
        for shape in SHAPES:
            for name in arguments.changes:
                for problems in arguments.problems:
                    both = row(shape, name, n, problems, arguments.runs, arguments.resamples)
                    print(both[0], flush=True)
                    curves.append(both[1])
    print("\n| p | change | n | problems | used here | passk-inference | width of the first / second |")
    print("|---" * 7 + "|")
    print("\n".join(curves))


if __name__ == "__main__":
    main()
