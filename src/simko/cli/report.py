"""Write the self-contained HTML page of a study or of an evaluation: pass@K curves with intervals, paired differences,
answers, the exact configuration; for a study also the concentration over training. Prints the main numbers and the
page's path.

example:
  simko report runs/quickstart
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="the directory of a study or of an evaluation")
    parser.add_argument("--to", type=Path, help="where the page goes (default: report.html in that directory)")
    parser.add_argument("--figure", type=Path, help="also write a study's pass@K figure to this .svg or .png file")


def run(args: argparse.Namespace) -> None:
    from simko.cli.tables import print_sections
    from simko.report import read_sections, readme_figure, summarise, write_report, write_runs_page

    if (args.run / "samples.db").is_file():
        if args.figure:
            raise ValueError(f"--figure is for studies: {args.run} is an evaluation, whose figures are in its page")
        sections = read_sections([str(args.run)])
        print_sections(sections)
        print(write_runs_page(sections, args.to or args.run / "report.html"))
        return
    page = write_report(args.run, args.to)
    if args.figure:
        readme_figure(args.run, args.figure)
    print(summarise(args.run), page, sep="\n\n")
