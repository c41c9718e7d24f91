"""Write the self-contained HTML page of a study, of training runs or of evaluations: pass@K curves with intervals, paired
differences, answers and the exact configuration. The page of a training run also shows rewards, entropy and concentration
over the steps. Prints the main numbers and the page's path.

A training run is any directory of simko train, finished or not; the page says what is missing. Give several runs as
name=run, or as name=run1,run2 for training seeds. The store of PassAtKCallback is an evaluation.

example:
  simko report runs/quickstart
  simko report grpo=runs/g1,runs/g2 simko=runs/s1,runs/s2 --to page.html
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a directory or store; several as name=run, seeds as name=run1,run2"
    )
    parser.add_argument("--to", type=Path, help="where the page goes (default for one run: report.html in it)")
    parser.add_argument("--figure", type=Path, help="also write the pass@K figure of a study to this .svg or .png file")


def run(args: argparse.Namespace) -> None:
    from simko.cli.tables import print_blocks
    from simko.report import read_content, readme_figure, write_page
    from simko.report.page import numbers
    from simko.report.runs import parse_group
    from simko.report.text import visible

    chosen = [run.path for words in args.runs for run in parse_group(words).runs]
    if len(chosen) > 1 and not args.to:
        raise ValueError("say where the page of several runs goes: --to page.html")
    content = read_content(args.runs)
    target = args.to or (chosen[0] / "report.html" if chosen[0].is_dir() else chosen[0].with_suffix(".html"))
    page = write_page(content, target)
    if args.figure:
        readme_figure(content, args.figure)
    print_blocks(numbers(content))
    print()
    print(visible(str(page)))
