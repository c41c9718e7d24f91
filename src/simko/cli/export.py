"""Write all samples of an evaluation, with their verdicts, to a JSON-lines or Parquet file.

example:
  simko export runs/qwen --to runs/qwen.parquet
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="the directory of an evaluation")
    parser.add_argument("--to", type=Path, required=True, help="a file that ends in .jsonl or .parquet")


def run(args: argparse.Namespace) -> None:
    from simko.evaluate import SampleStore
    from simko.evaluate.export import export
    from simko.report.runs import store_of
    from simko.report.text import visible

    with SampleStore(store_of(args.run), read_only=True) as store:
        print(visible(f"{export(store, args.to)} samples in {args.to}"))
