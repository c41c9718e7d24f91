"""The same runs of the head-to-head on two types of machine: how far apart they end, in points of pass@1, 16 and 64 and their mean.

    python benchmarks/machines.py docs/results/head_to_head_rows.parquet

On countdown GRPO ran on one type, and again on another as `grpo_stopped`, which has its rate and is not stopped here. On the
operator puzzle two finals of SimKO ran again among the sensitivity runs. The last line compares a method with GRPO's runs on its
own type of machine.
"""

import argparse
from pathlib import Path

from simko.studies.head_to_head.findings import mean_difference
from simko.studies.head_to_head.rows import OUTCOMES, Results, Seeds, read_rows

PUZZLE, COUNTDOWN = "operator_puzzle", "countdown"


def said(name: str, ours: Seeds, other: Seeds) -> str:
    """The difference by run, and of the mean with its band."""
    seeds = sorted(ours.keys() & other.keys())
    at = {k: [100 * (ours[s].mean_pass(k) - other[s].mean_pass(k)) for s in seeds] for k in OUTCOMES}
    single = "; ".join(f"pass@{k} {' '.join(f'{x:+.1f}' for x in values)}" for k, values in at.items())
    d = mean_difference(ours, other, OUTCOMES)
    return f"{name}: {single}; mean {100 * d.difference:+.2f} ({100 * d.band.low:+.2f} to {100 * d.band.high:+.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="the raw rows of a study, a parquet file")
    results = Results(read_rows(parser.parse_args().rows), [])
    again = results.end(COUNTDOWN, "grpo_stopped")
    print(said("countdown, grpo", again, results.end(COUNTDOWN, "grpo")))
    tried = results.of_stage(PUZZLE, "sensitivity", "test")
    for (method, setting), final in results.of_stage(PUZZLE, "final", "test").items():
        if (method, setting) in tried:
            print(said(f"operator_puzzle, {method}", tried[method, setting], final))
    print(said("countdown, kl_cov less grpo on its machine", results.end(COUNTDOWN, "kl_cov"), again))


if __name__ == "__main__":
    main()
