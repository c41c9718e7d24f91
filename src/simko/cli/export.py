"""Write all samples of an evaluation, with their verdicts, to a JSON-lines or Parquet file, or as logs of inspect_ai: one for each
task and setting, in the evaluation's folder, which its viewer opens.

example:
  simko export runs/qwen --to runs/qwen.parquet
  simko export runs/qwen --to inspect
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="the directory of an evaluation")
    parser.add_argument("--to", type=Path, required=True, help="a file that ends in .jsonl or .parquet; or inspect")


def run(args: argparse.Namespace) -> None:
    from simko.evaluate import SampleStore
    from simko.evaluate.export import export
    from simko.evaluate.inspect_export import export_inspect
    from simko.report.runs import store_of
    from simko.report.text import visible

    with SampleStore(store_of(args.run), read_only=True) as store:
        inspect = args.to == Path("inspect")
        found = export_inspect(store, store.path.parent / "inspect") if inspect else {args.to: export(store, args.to)}
    for path, count in found.items():
        print(visible(f"{count} samples in {path}"))
    if inspect:
        print(visible(f"to read them: inspect view --log-dir {store.path.parent / 'inspect'}"))
