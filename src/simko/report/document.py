"""A document of prose, tables and figures: one self-contained page, and the same without its figures as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from simko.evaluate.files import write_whole
from simko.report.template import markup, render
from simko.report.text import visible
from simko.report.tokens import Matrix, TokenView

Cell = str | tuple[str, ...]
"""A table's cell; of several lines, the first is the number and the others stand small below it."""


@dataclass(frozen=True)
class Heading:
    """A heading."""

    text: str
    """Its words."""
    level: int = 2
    """2 or 3."""
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str
    """Its sentences."""
    style: str = ""
    """"" for text, "lead", "caption", or "missing" for what is not there yet."""
    kind: ClassVar[str] = "prose"


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[str]
    """One sentence or two each."""
    kind: ClassVar[str] = "bullets"


@dataclass(frozen=True)
class Table:
    """A table."""

    header: Sequence[Cell]
    """The columns."""
    rows: Sequence[Sequence[Cell]]
    """The first cell of a row names it."""
    caption: str = ""
    """What the numbers are; below the table."""
    folded: str = ""
    """The line that unfolds the table on the page; shown at once without one."""
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Figures:
    """Figures side by side; not in Markdown."""

    drawn: Sequence[tuple[str, str]]
    """(caption, SVG) of each, as `plots.svg` makes them."""
    kind: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Code:
    """Commands or a file, verbatim."""

    text: str
    """The lines."""
    language: str = ""
    """For Markdown."""
    kind: ClassVar[str] = "code"


Block = Heading | Prose | Bullets | Table | Figures | Code | TokenView | Matrix


@dataclass(frozen=True)
class Document:
    """A titled sequence of blocks."""

    title: str
    """The page's title."""
    blocks: Sequence[Block]
    """Its content, in order."""
    colours: Mapping[str, str] = field(default_factory=dict)
    """{name: colour}: a row of this name has a dot of this colour, as the lines of the figures."""


def write_document(document: Document, path: Path) -> Path:
    """Write the page to path, whole or not at all."""
    lines = {"lines": lambda cell: (cell,) if isinstance(cell, str) else cell}
    context = {"document": document, "svgs": [markup(_drawn(block)) for block in document.blocks]}
    write_whole(path, render("document.html.jinja", context, lines))
    return path


def _drawn(block: Block) -> list[tuple[str, str]]:
    return list(block.drawn) if isinstance(block, Figures) else []


def as_markdown(blocks: Sequence[Block]) -> str:
    """The blocks as Markdown, without figures and with every hidden character spelled out."""
    return visible(
        "\n\n".join(_markdown(block) for block in blocks if not isinstance(block, Figures | TokenView | Matrix)) + "\n"
    )


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_plain(text)}"
        case Prose(text):
            return _plain(text)
        case Bullets(items):
            return "\n".join(f"- {_plain(item)}" for item in items)
        case Code(text, language):
            fence = "`" * max(3, 1 + max((len(run) for run in _backticks(text)), default=0))
            return f"{fence}{language}\n{text.rstrip()}\n{fence}"
        case Table(header, rows, caption):
            lines = [header, ["---"] * len(header), *rows]
            table = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
            return f"{table}\n\n{_plain(caption)}" if caption else table
    raise AssertionError(block)


def _backticks(text: str) -> list[str]:
    import re

    return re.findall("`+", text)


def _cell(cell: Cell) -> str:
    first, *small = (cell,) if isinstance(cell, str) else cell
    return _plain(f"{first} ({'; '.join(small)})" if small else first)


def _plain(text: str) -> str:
    """Text on one line that neither ends a cell nor opens an HTML tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
