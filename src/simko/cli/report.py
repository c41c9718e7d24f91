"""Report what directories hold: studies, training runs, evaluations and the records of simko diagnose, alone or together.
Writes one self-contained page with pass@K curves and intervals, paired differences, difficulty, each problem and its
samples, rewards, entropy and concentration over the steps, and the exact configuration. Prints the main numbers and the
page's path.

A training run is any directory of simko train, finished or not; the page says what is missing. Give several runs as
name=run, or as name=run1,run2 for training seeds. The store of PassAtKCallback is an evaluation.

example:
  simko report runs/quickstart
  simko report grpo=runs/g1,runs/g2 simko=runs/s1,runs/s2 --to page.html
  simko report runs/quickstart --format md --figures svg
"""

import argparse
from pathlib import Path
from urllib.parse import quote


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a directory or store; several as name=run, seeds as name=run1,run2"
    )
    parser.add_argument("--to", type=Path, help="where the page goes (default for one run: report.html in it)")
    parser.add_argument("--format", choices=("html", "md"), default="html", help="a page or Markdown (default: html)")
    parser.add_argument(
        "--figures", choices=("pdf", "svg", "png"), help="also write every chart to a folder beside the page, as files"
    )


def run(args: argparse.Namespace) -> None:
    from simko.cli.places import MARKDOWN, PAGE, named_as
    from simko.cli.tables import print_blocks
    from simko.evaluate.files import write_whole
    from simko.report import make_document, read_content
    from simko.report.document import as_markdown, write_document, write_figures
    from simko.report.page import numbers
    from simko.report.runs import parse_group
    from simko.report.text import visible

    chosen = [run.path for words in args.runs for run in parse_group(words).runs]
    if len(chosen) > 1 and not args.to:
        raise ValueError("say where the page of several runs goes: --to page.html")
    if args.to:
        endings, what = (
            (MARKDOWN, "--format md, Markdown,") if args.format == "md" else (PAGE, "--format html, a page,")
        )
        named_as("--to", args.to, endings, what)
    content = read_content(args.runs)
    place = chosen[0] / "report" if chosen[0].is_dir() else chosen[0]
    target = args.to or place.with_suffix(f".{args.format}")
    document = make_document(content)
    folder = target.with_name(f"{target.stem}-figures")
    figures = write_figures(document, folder, args.figures) if args.figures else []
    if args.format == "md":
        images = [f"{quote(folder.name)}/{quote(path.name)}" for path in figures]
        write_whole(target, as_markdown(document.blocks, images))
    else:
        write_document(document, target)
    print_blocks(numbers(content))
    print()
    if figures:
        print(visible(f"{len(figures)} figures in {folder}"))
    print(visible(str(target)))
