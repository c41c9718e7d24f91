"""Blocks of a document, and kin, as lines of the terminal."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simko.report.text import visible

if TYPE_CHECKING:
    from simko.report.comparison import Section
    from simko.report.document import Block, Cell

_FILE_WIDTH = 160


class _Console(Console):
    """Leaves a closed pipe to `main`, where rich's own console would end the process with code 1."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def terminal(file_width: int = _FILE_WIDTH) -> Console:
    """stdout as a console, `file_width` columns wide in a file or a pipe."""
    return _Console(width=None if sys.stdout.isatty() else file_width, highlight=False)


def print_run(run: Path) -> None:
    """The numbers of every task and setting of a run."""
    from simko.report import read_sections

    print_sections(read_sections([str(run)]))


def print_sections(sections: "Sequence[Section]") -> None:
    """The numbers of evaluations."""
    from simko.report.page import numbers
    from simko.report.sources import of_sections

    print_blocks(numbers(of_sections(sections)))


def print_blocks(blocks: "Sequence[Block]") -> None:
    """What the blocks say, without figures and folded tables."""
    from simko.report import document

    def is_text(block: "Block") -> bool:
        texts = (document.Prose, document.Bullets, document.Claims, document.Table)
        return isinstance(block, texts) and not getattr(block, "folded", "") and document.holds_something(block)

    console = terminal()
    for block in document.without_bare_headings(blocks, is_text):
        match block:
            case document.Heading(text, level):
                console.print(f"\n{escape(_line(text))}", style="bold" if level == 2 else "", soft_wrap=True)
            case document.Prose(text):
                console.print(escape(_line(text)), soft_wrap=True)
            case document.Bullets(items):
                for item in items:
                    console.print(f"  {escape(_line(item))}", soft_wrap=True)
            case document.Claims(found):
                for x in found:
                    said = f"{x.status.capitalize()}: {x.claim}: {x.figures}"
                    console.print(f"  {escape(_line(said))}", soft_wrap=True)
            case document.Table(header, rows, caption):
                console.print(_table(header, rows))
                if caption:
                    console.print(escape(_line(caption)), soft_wrap=True)


def _table(header: "Sequence[Cell]", rows: "Sequence[Sequence[Cell]]") -> Table:
    table = Table()  # without a title, which would be wrapped to the width of the columns
    for i, name in enumerate(header):
        table.add_column(_cell(name), justify="right" if i else "left")
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _cell(cell: "Cell") -> str:
    from simko.report.document import lines_of

    return "\n".join(escape(_line(line)) for line in lines_of(cell) if line)


def _line(text: str) -> str:
    """Text of unknown origin, on one line of a terminal."""
    return visible(text, kept="")
