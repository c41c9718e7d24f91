"""Run a whole study on a CPU: warm-start a tiny model on a puzzle with several solutions per problem, train it with each
method in TRL's GRPOTrainer, evaluate on held-out problems with 128 samples each, and write DIR/report.html. The same
command continues an interrupted study.

example:
  simko quickstart --out runs/quickstart --seeds 1 --methods grpo,simko
"""

import argparse
import shlex
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="the directory of the study")
    parser.add_argument("--seeds", type=int, default=1, help="training seeds per method (default 1)")
    parser.add_argument(
        "--methods", default="grpo,simko", help="comma-separated, of `simko methods` (default grpo,simko)"
    )


def methods_and_seeds(args: argparse.Namespace) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The methods and seeds of --methods and --seeds. ValueError for an unknown method and one without default options."""
    from simko.objectives import METHODS

    methods = tuple(args.methods.split(","))
    if unknown := [m for m in methods if m not in METHODS]:
        raise ValueError(f"unknown method {unknown[0]!r}: choose from {', '.join(METHODS)}")
    for method in methods:
        if missing := METHODS[method].missing_options:
            raise ValueError(
                f"{method} has no default for {' and '.join(missing)}: train it by simko train, with --method_options"
            )
    if args.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {args.seeds}")
    return methods, tuple(range(1, args.seeds + 1))


def run(args: argparse.Namespace) -> None:
    methods, seeds = methods_and_seeds(args)
    from simko.studies.quickstart import quickstart

    print(quickstart(args.out, methods, seeds, shlex.join(["simko", *sys.argv[1:]])))
