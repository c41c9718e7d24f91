"""The head-to-head: every method on every task of a protocol, tuned alike, cell by cell.

  run      train and evaluate the cells that have not run; it can be stopped at any time, and continues
  status   what has run, and what is left
  report   collect the rows, and write the page

FILE is a protocol; the study's own is used if it is left out. DIR/rows.parquet, if there is one, holds cells that have run before.

example:
  simko study run --out runs/head-to-head --task operator_puzzle --method grpo,simko
  simko study report --out runs/head-to-head
"""

import argparse
import math
import os
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simko.studies.head_to_head.cells import Cell
    from simko.studies.head_to_head.protocol import Protocol
    from simko.studies.head_to_head.run import Kept, Wanted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("run", "status", "report"))
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="the protocol (default: the study's own)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the study's directory")
    parser.add_argument("--workers", type=int, help="cells at a time, a thread each (default: one a core)")
    parser.add_argument(
        "--minutes", type=float, help="run: stop after so long, soon and with all kept (default: never)"
    )
    parser.add_argument("--stage", help="comma-separated: base, tuning, final, sensitivity (default: all)")
    parser.add_argument("--task", help="comma-separated (default: all)")
    parser.add_argument("--method", help="comma-separated (default: all)")
    parser.add_argument("--seed", help="comma-separated training seeds (default: all)")
    parser.add_argument("--rows", type=Path, help="report: the file of rows to write (default: DIR/rows.parquet)")
    parser.add_argument("--markdown", type=Path, help="report: also write the tables here")
    parser.add_argument(
        "--figures", choices=("pdf", "svg", "png"), help="report: also write every chart, to DIR/report-figures"
    )


def run(args: argparse.Namespace) -> None:
    from simko.studies.head_to_head.protocol import SHIPPED, read_protocol
    from simko.studies.head_to_head.rows import STAGES
    from simko.studies.head_to_head.run import Kept, run_cells

    started = time.monotonic()
    protocol = read_protocol(args.file or SHIPPED)
    given = {name: getattr(args, name) for name in ("stage", "task", "method", "seed")}
    chosen = {name: text.split(",") for name, text in given.items() if text is not None}
    seeds = {protocol.tuning_seed, *protocol.final_seeds, *protocol.sensitivity["seeds"]}
    names = {
        "stage": STAGES,
        "task": protocol.tasks,
        "method": protocol.methods,
        "seed": [str(x) for x in sorted(seeds)],
    }
    for name, known in names.items():
        if unknown := [x for x in chosen.get(name, ()) if x not in known]:
            raise ValueError(f"the protocol has no {name} {unknown[0]!r}: choose from {', '.join(known)}")

    def wanted(cell: "Cell") -> bool:
        return all(str(getattr(cell, name)) in values for name, values in chosen.items() if name in asked_of(cell))

    if args.action == "run":
        workers = (os.cpu_count() or 1) if args.workers is None else args.workers
        if workers < 1:
            raise ValueError(f"--workers must be at least 1, got {workers}")
        if args.minutes is not None and not args.minutes > 0:
            raise ValueError(f"--minutes must be above 0, got {args.minutes:g}")
        run_cells(protocol, args.out, workers, wanted, started + 60 * (args.minutes or math.inf))
    elif args.action == "status":
        print(status(protocol, Kept(protocol, args.out), wanted))
    else:
        report(protocol, Kept(protocol, args.out), args)


def asked_of(cell: "Cell") -> tuple[str, ...]:
    """The arguments that choose among cells of this stage. Every run needs the base of its task."""
    return ("stage", "task") if cell.stage == "base" else ("stage", "task", "method", "seed")


def status(protocol: "Protocol", kept: "Kept", wanted: "Wanted") -> str:
    """A line for each stage and task. What comes after tuning is not known before it ends."""
    from simko.studies.head_to_head.cells import all_cells

    cells, done = list(all_cells(protocol, kept.rows, kept.failed)), kept.done
    counts = Counter((cell.stage, cell.task) for cell in cells if wanted(cell))
    ran = Counter((cell.stage, cell.task) for cell in cells if wanted(cell) and cell.name in done)
    lines = [f"{stage:12} {task:20} {ran[stage, task]} of {n}" for (stage, task), n in counts.items()]
    lines += [f"failed: {name}: {why}" for name, why in kept.failed.items()]
    lines += [f"not asked for by the protocol: {name}" for name in sorted(done - {cell.name for cell in cells})]
    return "\n".join(lines)


def report(protocol: "Protocol", kept: "Kept", args: argparse.Namespace) -> None:
    """Write the rows, the page and, if asked for, the tables; print the paths."""
    from simko.cli.places import MARKDOWN, named_as
    from simko.evaluate.files import write_whole
    from simko.report.document import as_markdown, write_document, write_figures
    from simko.studies.head_to_head.page import document

    found = document(kept.rows, protocol.mapping, kept.failed)
    rows = named_as("--rows", args.rows or args.out / "rows.parquet", (".parquet",), "a Parquet file")
    if args.markdown:
        named_as("--markdown", args.markdown, MARKDOWN, "Markdown")
    kept.collect(rows)
    print(rows)
    print(write_document(found, args.out / "report.html"))
    if args.markdown:
        write_whole(args.markdown, as_markdown(found.blocks))
        print(args.markdown)
    if args.figures:
        folder = args.out / "report-figures"
        print(f"{len(write_figures(found, folder, args.figures))} figures in {folder}")
