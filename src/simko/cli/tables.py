"""Evaluations as tables in the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from simko.report.comparison import Section


def print_run(run: Path) -> None:
    """pass@k of every task and setting of a run."""
    from simko.report import read_sections

    print_sections(read_sections([str(run)]))


def print_sections(sections: "Sequence[Section]") -> None:
    """A table a task and setting, a row a model or pair, and what to know about it."""
    from simko.report.runs_page import headline, notes

    console = Console(soft_wrap=True)
    for section in sections:
        console.print(_table(section))
        said = [*(headline(section) if section.pairs else []), *notes(section)]
        for sentence in said:
            console.print(f"  {escape(sentence)}", highlight=False)
        console.print()


def _table(section: "Section") -> Table:
    title = f"{section.task} at {section.setting}: {section.problems} problems, {section.samples} samples each"
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    table.add_column("pass@K, % (95 % interval)", no_wrap=True)
    for k in section.ks:
        table.add_column(f"{k}{' †' if 2 * k > section.samples else ''}", justify="right")
    for side in section.sides:
        cells = [f"{100 * p.estimate:.1f}\n{100 * p.low:.1f}-{100 * p.high:.1f}" for p in side.curve.points]
        table.add_row(escape(side.name), *cells)
    for pair in section.pairs:
        cells = [f"{100 * d.difference:+.1f}\n{100 * d.low:+.1f} {100 * d.high:+.1f}" for d in pair.comparison.points]
        table.add_row(escape(f"{pair.ours} − {pair.other}"), *cells)
    if section.guessing:
        table.add_row("guessing", *(f"{100 * x:.1f}" for x in section.guessing[0]), style="dim")
    return table
