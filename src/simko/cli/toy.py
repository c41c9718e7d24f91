"""Train every method without a controller on the toy of SimKO's paper, a tree of 3 steps with 6 correct responses out of 64,
and print how many of them each still gives: modes (probability above 1/1000, exact), drawn (seen in 1,000 drawn responses), accuracy and
entropy (nats; exact), as means over seeds with 95 % t intervals. With --out also DIR/toy.json and DIR/toy.svg, the tree.

example:
  simko toy --seeds 20 --out runs/toy
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simko.studies.tree_mdp import ToySetting

MEASURES = ("modes", "drawn", "accuracy", "entropy")
DRAWN_METHODS = {"grpo": "#d55e00", "entropy_bonus": "#009e73", "simko": "#0072b2"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=20, help="seeds per method (default 20)")
    parser.add_argument("--steps", type=int, default=600, help="updates, of 16 responses each (default 600)")
    parser.add_argument(
        "--methods",
        help="comma-separated (default: every row of METHODS without a controller; of the sweep, its seven)",
    )
    parser.add_argument("--optimizer", default="adam", help="adam (rate 0.1, the default) or sgd (rate 0.5)")
    parser.add_argument("--updates-each", type=int, default=1, help="updates on each 16 responses (default 1)")
    parser.add_argument("--sweep", action="store_true", help="instead, six to twelve settings each of seven methods")
    parser.add_argument("--out", type=Path, help="also write the numbers, and the tree, into this directory")
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")


def run(args: argparse.Namespace) -> None:
    from simko.studies import tree_mdp as toy

    if args.updates_each < 1 or args.steps % args.updates_each:
        raise ValueError(f"--steps must be a multiple of --updates-each, got {args.steps} and {args.updates_each}")
    settings = (toy.settings_of_sweep if args.sweep else toy.settings_of_all)(
        seeds=args.seeds,
        optimizer=args.optimizer,
        batches=args.steps // args.updates_each,
        updates_each=args.updates_each,
    )
    if args.methods:
        settings = chosen(settings, args.methods.split(","))
    workers = (os.cpu_count() or 1) if args.workers is None else args.workers
    policies = toy.run_all(settings, workers)
    rows = [toy.summary(s, toy.measure(logits)) for s, logits in zip(settings, policies, strict=True)]
    names = [s.method for s in settings]
    print(f"{args.optimizer}, {args.steps} updates, {args.seeds} seeds")
    print(table(names, rows))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        if args.sweep:
            write_json(args.out / "sweep.json", [{"method": n, **row} for n, row in zip(names, rows, strict=True)])
        else:
            write_json(args.out / "toy.json", dict(zip(names, rows, strict=True)))
            write_tree(args.out / "toy.svg", dict(zip(names, policies, strict=True)), args)


def chosen(settings: "list[ToySetting]", methods: Sequence[str]) -> "list[ToySetting]":
    """The settings of these methods. ValueError for a method without settings."""
    known = list(dict.fromkeys(s.method for s in settings))
    if unknown := [m for m in methods if m not in known]:
        raise ValueError(f"unknown method {unknown[0]!r}: choose from {', '.join(known)}")
    return [s for s in settings if s.method in methods]


def table(names: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """Aligned columns: the method, each measure as mean [low, high], and the options."""
    cells: list[tuple[str, ...]] = [("method", *MEASURES, "set")]
    for name, row in zip(names, rows, strict=True):
        numbers = []
        for measure in MEASURES:
            low, high = row[f"{measure}_interval"]
            numbers.append(f"{row[measure]:.2f} [{low:.2f}, {high:.2f}]")
        options = {"rate": f"{row['learning_rate']:g}"} | row["options"]
        cells.append((name, *numbers, " ".join(f"{key}={value}" for key, value in options.items())))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, and print the path."""
    import json

    path.write_text(json.dumps(value, indent=1) + "\n")
    print(path)


def write_tree(path: Path, policies: dict[str, Any], args: argparse.Namespace) -> None:
    """Draw the trained policies of DRAWN_METHODS side by side, with the first seed. Writes nothing if none of them ran."""
    from simko.studies.tree_figure import Panel, tree_svg

    panels = [Panel(name, colour, policies[name][0]) for name, colour in DRAWN_METHODS.items() if name in policies]
    if panels:
        note = f"The first of {args.seeds} seeds, each method at its defaults; {args.optimizer}, {args.steps} updates."
        path.write_text(tree_svg(panels, note))
        print(path)
