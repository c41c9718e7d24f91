"""Runs the cells of the study, several in parallel, and keeps the rows of each on disk as it finishes."""

import json
import logging
import math
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from tqdm import tqdm

from simko.evaluate.files import locked, read_json, write_whole
from simko.studies.head_to_head.cells import Cell, all_cells, cell_of, run_cell
from simko.studies.head_to_head.protocol import Protocol
from simko.studies.head_to_head.rows import Row, parsed_row, read_rows, write_rows

logger = logging.getLogger("simko")

MOST_FAILURES = 10
"""So many cells of a call may fail before it stops."""

Wanted = Callable[[Cell], bool]


class Kept:
    """What a study's directory holds: a file for each cell, and rows.parquet of cells that ran elsewhere or before."""

    def __init__(self, protocol: Protocol, out: Path) -> None:
        """ValueError for rows of another protocol, and for those of a method that trained another row."""
        self.out, self.rows, self.failed = out, list[Row](), dict[str, str]()
        names = out / "methods.json"
        self.trained: dict[str, Any] = read_json(names) if names.is_file() else {}
        if (out / "rows.parquet").is_file():
            self.rows += read_rows(out / "rows.parquet")
        done = self.done
        for path in sorted((out / "cells").rglob("*.json")):
            name = str(path.relative_to(out / "cells").with_suffix(""))
            if name not in done:
                content = read_json(path)
                if not content.keys() & {"rows", "failed"}:
                    raise ValueError(f"{path} holds no cell: remove it, and the cell runs again")
                self.add(name, content)
        for row in self.rows:
            if row.task not in protocol.tasks or row.protocol != protocol.digest(row.task):
                raise ValueError(f"{out} holds {cell_of(row).name} of another protocol: choose another --out")
        for name in {row.method for row in self.rows} & protocol.methods.keys():
            asked, trained = protocol.methods[name].row, self.trained.get(name)
            if trained not in (None, asked):
                raise ValueError(f"{out} holds runs of {name} as {trained}, not as {asked}: choose another --out")

    @property
    def done(self) -> set[str]:
        """The names of the cells that have run."""
        return {cell_of(row).name for row in self.rows} | set(self.failed)

    def add(self, name: str, content: dict[str, Any]) -> None:
        """What a cell's file holds: its rows, or why it failed."""
        if "failed" in content:
            self.failed[name] = content["failed"]
        else:
            self.rows += [parsed_row(row) for row in content["rows"]]

    def keep(self, name: str, content: dict[str, Any]) -> None:
        """Write the cell's file, and add it."""
        write_whole(self.out / "cells" / f"{name}.json", json.dumps(content) + "\n")
        shutil.rmtree(self.out / "unfinished" / name, ignore_errors=True)
        self.add(name, content)

    def name_rows(self, protocol: Protocol) -> None:
        """Write which row each method trains: two rows can have the same options."""
        self.trained |= {name: contestant.row for name, contestant in protocol.methods.items()}
        write_whole(self.out / "methods.json", json.dumps(self.trained) + "\n")

    def collect(self, path: Path) -> None:
        """Write all rows into one parquet file."""
        write_rows(path, self.rows)


def run_cells(
    protocol: Protocol,
    out: Path,
    workers: int,
    wanted: Wanted = lambda cell: True,
    stop_at: float = math.inf,
) -> Kept:
    """Run all cells that are wanted and have not run, until `stop_at` (see run_cell). An interrupted call continues.

    A cell whose training diverges is kept as failed, is said, and loses in tuning; RuntimeError after MOST_FAILURES. ValueError if
    another process is writing to `out`.
    """
    with locked(out):
        kept = Kept(protocol, out)
        kept.name_rows(protocol)
        for task in sorted({cell.task for cell in all_cells(protocol, kept.rows, kept.failed) if wanted(cell)}):
            protocol.tasks[task].base()  # before several processes ask for it
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, spawn, _end_with_parent) as pool, tqdm(unit="cell") as bar:
            try:
                _run(protocol, kept, pool, workers, wanted, stop_at, bar)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return kept


def _end_with_parent() -> None:
    """A killed study leaves no worker behind, which would write beside the next call's."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _run(
    protocol: Protocol,
    kept: Kept,
    pool: ProcessPoolExecutor,
    workers: int,
    wanted: Wanted,
    stop_at: float,
    bar: "tqdm[Any]",
) -> None:
    running: dict[Future[dict[str, Any] | None], Cell] = {}
    failures = 0
    while True:
        busy = kept.done | {cell.name for cell in running.values()}
        cells = [c for c in all_cells(protocol, kept.rows, kept.failed) if wanted(c)]
        waiting = [c for c in cells if c.name not in busy]
        bar.total = bar.n + len(waiting) + len(running)
        if time.monotonic() >= stop_at:
            waiting = []
        for cell in waiting[: workers - len(running)]:
            running[pool.submit(attempt, protocol, cell, kept.out, stop_at)] = cell
        if not running:
            return
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            cell, content = running.pop(future), future.result()
            if content is None:
                continue
            kept.keep(cell.name, content)
            bar.set_postfix_str(cell.name)
            bar.update()
            if "failed" in content:
                failures += 1
                logger.warning("%s failed: %s", cell.name, content["failed"])
                if failures >= MOST_FAILURES:
                    raise RuntimeError(f"{failures} cells failed, the last: {content['failed']}")


def attempt(protocol: Protocol, cell: Cell, out: Path, stop_at: float) -> dict[str, Any] | None:
    """A cell's file: its rows, or that its gradient was not finite. None if it was stopped.

    Other errors, such as too little memory, say nothing about the method and are raised.
    """
    beside = out / "unfinished" / cell.name / protocol.digest(cell.task)
    try:
        rows = run_cell(protocol, cell, beside, stop_at)
    except RuntimeError as error:  # clip_grad_norm_ has no class of its own for it
        if "non-finite" not in str(error):
            raise
        return {"failed": " ".join(str(error).split())}
    return None if rows is None else {"rows": rows}
