"""How often a crossing of two pass@K curves is claimed: where there is none, and where there is one.

    python benchmarks/crossing.py [--runs 500] [--resamples 400]

n = 256 samples a problem, p ~ Beta(1, 3). Prints a Markdown table with a row for each pair of models and number of
problems: how often the drawn curves change order, how often a crossing is claimed, how often in the wrong direction,
and how often the interval of K* holds the true one.
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from simko.evaluate import crossing, pass_at_k_matrix

N = 256
KS = np.array([2**i for i in range(8)])
SIZES = (30, 100, 500)
GRID = 1 - (1 - (np.arange(200_000) + 0.5) / 200_000) ** (1 / 3)  # quantiles of Beta(1, 3)
Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def concentrated(share: float, gain: float) -> Change:
    """What training towards the likely answers does: problems above `share` gain in log-odds, those below lose alike."""
    return lambda p, _: expit(logit(p) + gain * np.tanh(4 * (p - share) / share))


def true_differences(change: Change) -> np.ndarray:
    """D(K) on KS of infinitely many problems."""
    changed = change(GRID, np.random.default_rng(9))
    return np.array([np.mean((1 - GRID) ** k - (1 - changed) ** k) for k in KS])


def level_at_last(gain: float) -> Change:
    """As `concentrated`, with the share at which the two models are level at the last K: the hardest case without a crossing."""
    return concentrated(brentq(lambda share: true_differences(concentrated(share, gain))[-1], 1e-4, 0.15), gain)


MODELS: dict[str, Change] = {
    "equal": lambda p, _: p,
    "equal on average": lambda p, rng: rng.beta(1, 3, p.shape),
    "always a little better": lambda p, _: expit(logit(p) + 0.2),
    "better, level at K = 128": level_at_last(1.0),
    "crossing, slight": concentrated(0.15, 0.5),
    "crossing, clear": concentrated(0.15, 1.0),
    "crossing, strong": concentrated(0.15, 2.0),
}


def true_crossing(d: np.ndarray) -> float | None:
    """Where D falls through 0, linear in log K; None where it stays on one side."""
    for i in np.flatnonzero((d[:-1] > 1e-3) & (d[1:] < -1e-3)):
        return float(KS[i] * (KS[i + 1] / KS[i]) ** (d[i] / (d[i] - d[i + 1])))
    return None


def row(name: str, problems: int, runs: int, resamples: int) -> str:
    change = MODELS[name]
    d = np.zeros(len(KS)) if name.startswith("equal") else true_differences(change)
    truth = true_crossing(d)
    table = pass_at_k_matrix([N] * (N + 1), range(N + 1), KS.tolist())
    rng = np.random.default_rng(problems)
    drawn = claimed = wrong = held = 0
    for run in range(runs):
        p = np.clip(rng.beta(1, 3, problems), 1e-9, 1 - 1e-9)
        ours, other = rng.binomial(N, change(p, rng)), rng.binomial(N, p)
        signs = np.sign((table[ours] - table[other]).mean(axis=0).round(12))
        drawn += len({s for s in signs if s}) > 1
        counts = [{str(i): (N, int(c)) for i, c in enumerate(side)} for side in (ours, other)]
        found = crossing(*counts, resamples=resamples, seed=run)
        claimed += found.claimed
        if found.claimed and truth is not None:
            wrong += found.direction != "ahead then behind"
            low, high = (x if x is not None else float("inf") for x in (found.k_star_low, found.k_star_high))
            held += low <= truth <= high
    ends = f"{100 * d[0]:+.1f} to {100 * d[-1]:+.1f}"
    if truth is None:
        last = "| - | - |"
    else:
        last = f"| {wrong} | {f'{100 * held / claimed:.0f} % of {claimed}' if claimed else '-'} |"
    star = f"{truth:.1f}" if truth else "none"
    return f"| {name} | {ends} | {star} | {problems} | {100 * drawn / runs:.1f} % | {100 * claimed / runs:.1f} % {last}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=400)
    arguments = parser.parse_args()
    print(
        "| first model, against the second | D, points, K = 1 to 128 | true K* | problems | drawn curves cross | claimed | wrong way | K* held |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in MODELS:
        for problems in SIZES:
            print(row(name, problems, arguments.runs, arguments.resamples), flush=True)


if __name__ == "__main__":
    main()
