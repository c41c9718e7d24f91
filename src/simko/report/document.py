"""A document of prose, tables, charts and samples: one self-contained page, or Markdown, or a terminal's lines.

Each kind of block has a template blocks/KIND.html.jinja, and a script blocks/KIND.js if it needs one.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from simko.evaluate.files import write_whole
from simko.report.plots import save, svg
from simko.report.template import render
from simko.report.text import visible
from simko.report.tokens import Matrix, TokenView

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | tuple[str, ...]
"""A table's cell; of several lines, the first is the number and the others stand small below it."""
NONE = "—"
_MAX_ROWS = 100  # of the table of a chart


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
    """"" for text, "lead", "meta", "caption", or "missing" for what is not there yet."""
    kind: ClassVar[str] = "prose"


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[str]
    """One sentence or two each."""
    style: str = ""
    """"" for text, "note", or "missing"."""
    kind: ClassVar[str] = "bullets"


@dataclass(frozen=True)
class Claim:
    """A claim and what the data say about it."""

    claim: str
    """The claim."""
    status: str
    """Whether it holds."""
    figures: str
    """The difference with its interval."""


@dataclass(frozen=True)
class Claims:
    """A list of claims."""

    found: Sequence[Claim]
    """They."""
    kind: ClassVar[str] = "claims"


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
    style: str = ""
    """"" for numbers, "texts" for words."""
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Chart:
    """A chart, with its numbers for those who cannot see it."""

    label: str
    """What it shows, different for each chart of a document."""
    draw: Callable[["Figure"], None]
    """Draws it."""
    series: Mapping[str, Mapping[Any, float]]
    """{line: {x: y}}."""
    x: str = "step"
    """What x is."""
    caption: str = ""
    """Below it."""
    title: str = ""
    """Above it."""

    @property
    def svg(self) -> str:
        """The drawing as an <svg> element."""
        ends = [f"{name} from {_short(y[0])} to {_short(y[-1])}" for name, y in self._drawn() if y]
        return svg(f"{self.label}{': ' if ends else ''}{'; '.join(ends[:8])}", self.draw)

    def _drawn(self) -> list[tuple[str, list[float]]]:
        return [(name, list(points.values())) for name, points in self.series.items()]

    @property
    def numbers(self) -> Table:
        """The numbers, at most a hundred evenly spread rows of them."""
        places = list(dict.fromkeys(x for points in self.series.values() for x in points))
        if all(isinstance(x, int | float) for x in places):
            places.sort()
        every = -(-len(places) // _MAX_ROWS)
        kept = [x for i, x in enumerate(places) if i % every == 0 or x == places[-1]] if places else []
        rows = [[_short(x), *(_short(points.get(x)) for points in self.series.values())] for x in kept]
        return Table([self.x, *self.series], rows, f"One row of {every}." if every > 1 else "", folded="Numbers")


def _short(value: object) -> str:
    if value is None or value != value:
        return NONE
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Figures:
    """Charts side by side."""

    drawn: Sequence[Chart]
    """They."""
    kind: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Code:
    """Commands or a file, verbatim."""

    text: str
    """The lines."""
    language: str = ""
    """For Markdown."""
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class ProblemRow:
    """One problem's counts."""

    anchor: str
    """Of its samples; "" without any on the page."""
    name: str
    """Its id."""
    counts: Sequence[tuple[int, int]]
    """(n, c) of each side."""
    changes: Sequence[str]
    """Which pairs it is newly solved or lost in, in words."""

    @property
    def change(self) -> str:
        """The points from the first side to the last."""
        (n, c), (m, d) = self.counts[0], self.counts[-1]
        return f"{100 * (d / max(m, 1) - c / max(n, 1)):+.1f}".replace("-", "−")


@dataclass(frozen=True)
class Problems:
    """A table of problems that can be sorted and filtered."""

    sides: Sequence[str]
    """The names of the sides."""
    rows: Sequence[ProblemRow]
    """They."""
    kind: ClassVar[str] = "problems"

    @property
    def table(self) -> Table:
        """It, for Markdown."""
        rows = [[row.name, *(f"{c}/{n}" for n, c in row.counts), "; ".join(row.changes)] for row in self.rows]
        return Table(["problem", *self.sides, "change"], rows)

    @property
    def changes(self) -> Mapping[str, int]:
        """{change: how many problems have it}."""
        return Counter(change for row in self.rows for change in row.changes)


@dataclass(frozen=True)
class Response:
    """A response, perhaps of several samples."""

    name: str
    """What drew it."""
    side: str
    """The side that it belongs to."""
    verdict: str
    """How it was judged, in words."""
    extracted: str
    """The answer that was judged."""
    tokens: int | None
    """Its length; None if unknown."""
    count: int
    """How many samples are this response."""
    text: str
    """It."""


@dataclass(frozen=True)
class Asked:
    """A problem and its responses."""

    anchor: str
    """Its place on the page."""
    name: str
    """Its id."""
    prompt: str
    """Its prompt."""
    gold: str
    """Its gold answer."""
    words: str
    """How often it was solved."""
    responses: Sequence[Response]
    """Sorted by verdict."""


@dataclass(frozen=True)
class Samples:
    """Samples by problem that can be filtered; not in Markdown."""

    asked: Sequence[Asked]
    """They."""
    kind: ClassVar[str] = "samples"

    def values(self, name: str) -> list[str]:
        """The sides or verdicts that occur."""
        return list(dict.fromkeys(getattr(response, name) for asked in self.asked for response in asked.responses))


Block = Heading | Prose | Bullets | Claims | Table | Figures | Code | Problems | Samples | TokenView | Matrix


@dataclass(frozen=True)
class Document:
    """A titled sequence of blocks."""

    title: str
    """The page's title."""
    blocks: Sequence[Block]
    """Its content, in order."""
    colours: Mapping[str, str] = field(default_factory=dict)
    """{name: colour}: a cell of this name has a dot of this colour, as the lines of the figures."""
    refresh: int = 0
    """Seconds after which the page loads itself again; 0 for never."""


def as_html(document: Document) -> str:
    """The page."""
    return render(replace(document, blocks=without_bare_headings(document.blocks, holds_something)))


def holds_something(block: Block) -> bool:
    """Whether there is anything to see in a block."""
    match block:
        case Prose(text) | Code(text):
            return bool(text.strip())
        case Bullets(held) | Claims(held) | Figures(held) | Samples(held):
            return bool(held)
        case Table(_, rows) | Problems(_, rows):
            return bool(rows)
        case _:
            return True


def without_bare_headings(blocks: Sequence[Block], shown: Callable[[Block], bool]) -> list[Block]:
    """The blocks that are shown, and the headings that have one below them before the next of their level."""
    kept: list[Block] = []
    filled: set[int] = set()  # the levels of headings that would have something below them
    for block in reversed(blocks):
        if isinstance(block, Heading):
            kept += [block] if block.level in filled else []
            filled = {level for level in filled if level < block.level}
        elif shown(block):
            kept.append(block)
            filled = {2, 3}
    return kept[::-1]


def write_document(document: Document, path: Path) -> Path:
    """Write the page to path, whole or not at all."""
    write_whole(path, as_html(document))
    return path


def write_figures(document: Document, folder: Path, suffix: str) -> list[Path]:
    """Write every chart of the document to the folder as .pdf, .svg or .png, and return the paths in their order."""
    paths: list[Path] = []
    taken: Counter[str] = Counter()
    for block in document.blocks:
        for chart in block.drawn if isinstance(block, Figures) else ():
            stem = re.sub("[^a-z0-9.]+", "-", visible(chart.label, kept="").lower()).strip("-.")[:80] or "chart"
            taken[stem] += 1
            name = stem if taken[stem] == 1 else f"{stem}-{taken[stem]}"
            folder.mkdir(parents=True, exist_ok=True)
            paths.append(folder / f"{name}.{suffix}")
            save(paths[-1], (6.0, 4.0), chart.draw)
    return paths


def as_markdown(blocks: Sequence[Block], images: Iterable[str] = ()) -> str:
    """The blocks as Markdown, with every hidden character spelled out.

    images: where the image of each chart is; without them charts are left out.
    """
    left = iter(images)
    texts = {id(block): _markdown(block, left) for block in blocks}
    kept = without_bare_headings(blocks, lambda block: holds_something(block) and bool(texts[id(block)]))
    return visible("\n\n".join(texts[id(block)] for block in kept) + "\n")


def _markdown(block: Block, images: Iterator[str]) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_plain(text)}"
        case Prose(text):
            return _plain(text)
        case Bullets(items):
            return "\n".join(f"- {_plain(item)}" for item in items)
        case Claims(found):
            return "\n".join(f"- {_plain(f'{c.status.capitalize()}: {c.claim}: {c.figures}')}" for c in found)
        case Code(text, language):
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
            return f"{fence}{language}\n{text.rstrip()}\n{fence}"
        case Table(header, rows, caption):
            lines = [header, ["---"] * len(header), *rows]
            table = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
            return f"{table}\n\n{_plain(caption)}" if caption else table
        case Figures(drawn):
            shown = zip(drawn, images, strict=False)
            return "\n\n".join(f"![{_plain(c.label)}]({image})\n\n{_plain(c.caption)}".strip() for c, image in shown)
        case Problems():
            return _markdown(block.table, images)
        case Samples() | TokenView() | Matrix():
            return "They stand on the page alone."


def _cell(cell: Cell) -> str:
    first, *small = lines_of(cell)
    return _plain(f"{first} ({'; '.join(small)})" if first and small else first or "; ".join(small))


def lines_of(cell: Cell) -> tuple[str, ...]:
    """The lines of a cell."""
    return (cell,) if isinstance(cell, str) else cell


def _plain(text: str) -> str:
    """Text on one line that neither ends a cell nor opens an HTML tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
