"""Say whether and where evaluated models differ: pass@K side by side, paired differences with intervals, and whether the
curves cross. Give one run per model, or the training seeds of a method together: name=run1,run2,run3.

A run is a directory of simko evaluate, one of simko train with held-out problems, or a store file. RUN@0.6 selects one
temperature, to be compared with the selected ones of the other runs. RUN@step=40 selects one step of a training run; by
default it is the last step that all runs have.

example:
  simko compare base=runs/qwen grpo=runs/g1,runs/g2,runs/g3 simko=runs/s1,runs/s2,runs/s3 --html comparison.html
  simko compare base=runs/qwen@0.3 simko=runs/s1@0.6 nsr=runs/n1@0.6 --reference base
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("groups", nargs="+", metavar="RUN", help="runs, or name=run1,run2 for several training seeds")
    parser.add_argument(
        "--reference",
        metavar="NAME",
        help="compare with this one only, and adjust p over these pairs (default: all pairs)",
    )
    parser.add_argument("--html", type=Path, help="also write the page with all plots and tables here")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument("--anyway", action="store_true", help="compare runs even if their problems or settings differ")


def run(args: argparse.Namespace) -> None:
    from simko.cli.places import PAGE, named_as
    from simko.cli.tables import print_sections
    from simko.evaluate.files import write_whole
    from simko.report import read_sections, write_runs_page
    from simko.report.results import as_json
    from simko.report.text import visible

    if len(args.groups) < 2:
        raise ValueError("give at least two runs to compare; simko report shows one")
    if args.html:
        named_as("--html", args.html, PAGE, "a page")
    if args.json:
        named_as("--json", args.json, (".json",), "JSON")
    sections = read_sections(args.groups, anyway=args.anyway, reference=args.reference)
    print_sections(sections)
    if args.html:
        print(visible(str(write_runs_page(sections, args.html))))
    if args.json:
        write_whole(args.json, as_json(sections))
