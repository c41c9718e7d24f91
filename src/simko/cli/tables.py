"""Evaluations as tables in the terminal."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simko.report.text import visible

if TYPE_CHECKING:
    from simko.evaluate import Point
    from simko.report.comparison import Pair, Section

_FILE_WIDTH = 160


class _Console(Console):
    """Leaves a closed pipe to `main`, where rich's own console would end the process with code 1."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def terminal(file_width: int = _FILE_WIDTH) -> Console:
    """stdout as a console, `file_width` columns wide in a file or a pipe."""
    return _Console(width=None if sys.stdout.isatty() else file_width, highlight=False)


def print_run(run: Path) -> None:
    """pass@k of every task and setting of a run."""
    from simko.report import read_sections

    print_sections(read_sections([str(run)]))


def print_sections(sections: "Sequence[Section]") -> None:
    """For each task and setting, one row per K, one column per model or pair, and notes."""
    from simko.report.runs_page import headline, notes

    console = terminal()
    for section in sections:
        n = (
            str(section.samples)
            if section.samples == section.most_samples
            else f"{section.samples}-{section.most_samples}"
        )
        what = f"{section.task} at {section.setting}: {section.problems} problems, {n} samples each"
        console.print(escape(_line(what)), style="bold")
        console.print("pass@K, % (95 % interval)", _curves(section), sep="\n")
        if section.pairs:
            console.print("differences on the same problems, points (95 % interval)", _differences(section), sep="\n")
        for pair in section.pairs:
            if pair.strata:
                what = f"{pair.ours} − {pair.other} by difficulty for {pair.other}, points (95 % interval)"
                console.print(escape(_line(what)), _strata(pair), sep="\n")
        if section.course:
            console.print("over training, % (95 % interval)", _course(section), sep="\n")
        for sentence in [*(headline(section) if section.pairs else []), *notes(section)]:
            console.print(f"  {escape(_line(sentence))}", soft_wrap=True)
        console.print()


def _curves(section: "Section") -> Table:
    table = _table()
    for side in section.sides:
        table.add_column(escape(_line(side.name)), justify="right")
        if side.without_failed:
            table.add_column(f"without failed ({side.without_failed.problems} problems)", justify="right")
    if section.guessing:
        table.add_column("guessing", justify="right", style="dim")
    for i, k in enumerate(section.ks):
        curves = [curve for side in section.sides for curve in (side.curve, side.without_failed) if curve]
        points = [curve.points[i] for curve in curves]
        cells = [_cell(p) for p in points]
        guess = [f"{100 * section.guessing.values[i]:.1f}"] if section.guessing else []
        table.add_row(_k(section, k), *cells, *guess)
    return table


def _differences(section: "Section") -> Table:
    table = _table()
    for pair in section.pairs:
        table.add_column(escape(_line(f"{pair.ours} − {pair.other}")), justify="right")
    for i, k in enumerate(section.ks):
        points = [pair.comparison.points[i] for pair in section.pairs]
        cells = [f"{100 * d.difference:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})" for d in points]
        table.add_row(_k(section, k), *cells)
    return table


def _strata(pair: "Pair") -> Table:
    table = _table("correct")
    table.add_column("problems", justify="right")
    shown = next((stratum.ours for stratum in pair.strata if stratum.ours), ())
    for point in shown:
        table.add_column(f"K = {point.k}", justify="right")
    for stratum in pair.strata:
        cells = [f"{100 * d.difference:+.1f} ({100 * d.low:+.1f} to {100 * d.high:+.1f})" for d in stratum.differences]
        table.add_row(stratum.name, f"{stratum.problems:.1f}", *cells)
    return table


def _course(section: "Section") -> Table:
    """One row per step, with pass@1 and pass@headline K of each side."""
    table = _table("step")
    for name, points in section.course.items():
        for k in sorted({points[0].first.k, points[0].largest.k}):
            table.add_column(escape(_line(f"{name} pass@{k}")), justify="right")
    for row in zip(*section.course.values(), strict=True):
        shown = [p for point in row for p in ((point.first, point.largest) if point.largest.k > 1 else (point.first,))]
        table.add_row(str(row[0].step), *map(_cell, shown))
    return table


def _table(first: str = "K") -> Table:
    table = Table()  # without a title, which would be wrapped to the width of the columns
    table.add_column(first, justify="right")
    return table


def _cell(p: "Point") -> str:
    return f"{100 * p.estimate:.1f} ({100 * p.low:.1f}-{100 * p.high:.1f})"


def _line(text: str) -> str:
    """Text of unknown origin, on one line of a terminal."""
    return visible(text, kept="")


def _k(section: "Section", k: int) -> str:
    return f"{k} †" if 2 * k > section.samples else str(k)
