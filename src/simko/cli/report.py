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
    from simko.cli.tables import print_sections
    from simko.report import read_sources, readme_figure, summarise, write_runs_page, write_study_page
    from simko.report.runs import parse_group
    from simko.report.text import visible

    chosen = [run.path for words in args.runs for run in parse_group(words).runs]
    if len(chosen) > 1 and not args.to:
        raise ValueError("say where the page of several runs goes: --to page.html")
    found = read_sources(args.runs)
    target = args.to or (chosen[0] / "report.html" if chosen[0].is_dir() else chosen[0].with_suffix(".html"))
    if isinstance(found, list):
        if args.figure:
            raise ValueError(f"--figure is for studies: {chosen[0]} is an evaluation, whose figures are in its page")
        print_sections(found)
        page = write_runs_page(found, target)
    else:
        page = write_study_page(found, target)
        if args.figure:
            readme_figure(found, args.figure)
        print(summarise(found), end="\n\n")
    print(visible(str(page)))
