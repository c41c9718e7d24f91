"""Write the self-contained HTML page of a study: pass@K curves with intervals, paired differences, concentration over
training, sample answers, the exact configuration. Prints the main numbers as Markdown, and the page's path.

example:
  simko report runs/quickstart
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="the directory of a study")
    parser.add_argument("--figure", type=Path, help="also write the pass@K figure alone to this .svg or .png file")


def run(args: argparse.Namespace) -> None:
    from simko.report import readme_figure, summarise, write_report

    page = write_report(args.study)
    if args.figure:
        readme_figure(args.study, args.figure)
    print(summarise(args.study), page, sep="\n\n")
