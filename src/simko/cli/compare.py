"""Say whether evaluated models differ, and where: pass@K side by side, paired differences with intervals, and whether the
curves cross. Give a run each, or the training seeds of a method together: name=run1,run2,run3.

example:
  simko compare base=runs/qwen grpo=runs/g1,runs/g2,runs/g3 simko=runs/s1,runs/s2,runs/s3 --html comparison.html
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("groups", nargs="+", metavar="RUN", help="runs, or name=run1,run2 for several training seeds")
    parser.add_argument("--html", type=Path, help="also write the page with all plots and tables here")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument(
        "--anyway", action="store_true", help="compare runs on differing problems or settings all the same"
    )


def run(args: argparse.Namespace) -> None:
    from simko.cli.tables import print_sections
    from simko.evaluate.files import write_whole
    from simko.report import read_sections, write_runs_page
    from simko.report.runs_page import as_json

    if len(args.groups) < 2:
        raise ValueError("give at least two runs to compare; simko report shows one")
    sections = read_sections(args.groups, anyway=args.anyway)
    print_sections(sections)
    if args.html:
        print(write_runs_page(sections, args.html))
    if args.json:
        write_whole(args.json, as_json(sections))
