"""Evaluations in Python and in notebooks: tables that pandas and polars read, and the page and its figures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simko.report.comparison import Pair, Section, read_sections
from simko.report.runs_page import render_runs, section_figures, write_runs_page

if TYPE_CHECKING:
    import pyarrow as pa

_TEXTS = frozenset({"task", "setting", "model", "ours", "other", "stratum", "direction"})
_WHOLE = frozenset({"k", "headline_k", "first_loss_from", "first_loss_to"})
_COLOURS = "--rule:#9aa4b0;--base:#7a7f87;--grpo:#d55e00;--simko:#0072b2;max-width:500px"
_FIGURES = {"curves": "pass@K", "differences": "differences", "model": "beyond n, a model"}


@dataclass(frozen=True)
class Drawing:
    """A figure, which a notebook shows."""

    title: str
    """What it shows."""
    svg: str
    """The drawing as an <svg> element."""

    def _repr_html_(self) -> str:
        return f'<div style="{_COLOURS}"><p>{escape(self.title)}</p>{self.svg}</div>'


@dataclass(frozen=True)
class Results:
    """The numbers of one evaluation, or of several side by side. A notebook shows them as the page of `simko report`.

    The tables are pyarrow's and follow the dataframe protocol: `table.to_pandas()`, `polars.from_arrow(table)`. All numbers are
    shares, not per cent. Bands are null above half of the samples.
    """

    sections: Sequence[Section]
    """One for each task and setting."""

    @cached_property
    def curves(self) -> "pa.Table":
        """pass@K of each model: the estimate, the 95 % interval at this K, and the band over all K at once."""
        return _table(
            ("task", "setting", "model", "k", "pass_at_k", "low", "high", "band_low", "band_high"),
            (
                (s.task, s.setting, side.name, p.k, p.estimate, p.low, p.high, *side.band.get(p.k, (None, None)))
                for s in self.sections
                for side in s.sides
                for p in side.curve.points
            ),
        )

    @cached_property
    def differences(self) -> "pa.Table":
        """ours - other at each K: the difference, the 95 % interval at this K, and the band over all K at once."""
        return _table(
            ("task", "setting", "ours", "other", "k", "difference", "low", "high", "band_low", "band_high"),
            (
                (*_place(s, pair), d.k, d.difference, d.low, d.high, *_band(pair, d.k))
                for s in self.sections
                for pair in s.pairs
                for d in pair.comparison.points
            ),
        )

    @cached_property
    def crossings(self) -> "pa.Table":
        """Each pair: p at the headline K, adjusted over all tasks and pairs; the crossing; where ours is first behind."""
        names = ("task", "setting", "ours", "other", "headline_k", "p_holm", "direction")
        return _table(
            (*names, "k_star", "k_star_low", "k_star_high", "first_loss_from", "first_loss_to"),
            (
                (*_place(s, pair), s.headline_k, pair.p_holm, *_crossing(pair))
                for s in self.sections
                for pair in s.pairs
            ),
        )

    @cached_property
    def by_difficulty(self) -> "pa.Table":
        """ours - other by difficulty for other; see `simko.evaluate.by_difficulty`."""
        names = ("task", "setting", "ours", "other", "stratum", "problems", "k")
        return _table(
            (*names, "pass_at_k_ours", "pass_at_k_other", "difference", "low", "high"),
            (
                (*_place(s, pair), x.name, x.problems, d.k, a.estimate, b.estimate, d.difference, d.low, d.high)
                for s in self.sections
                for pair in s.pairs
                for x in pair.strata
                for a, b, d in zip(x.ours, x.reference, x.differences, strict=True)
            ),
        )

    @cached_property
    def figures(self) -> tuple[Drawing, ...]:
        """The figures of the page: curves, differences, and the model beyond n."""
        names = [side.name for side in self.sections[0].sides]
        drawn = [(section, section_figures(section, names)) for section in self.sections]
        return tuple(
            Drawing(f"{section.task} at {section.setting}: {words}", str(found[key]))
            for section, found in drawn
            for key, words in _FIGURES.items()
            if found[key]
        )

    def write_html(self, path: str | Path) -> Path:
        """Write the page, whole or not at all."""
        return write_runs_page(self.sections, Path(path))

    def _repr_html_(self) -> str:
        """The page in a frame, which keeps its style and whatever the models said to itself."""
        page = escape(render_runs(self.sections))
        return f'<iframe sandbox srcdoc="{page}" style="width:100%;height:800px;border:0"></iframe>'


def read_results(groups: Sequence[str], *, reference: str | None = None, anyway: bool = False) -> Results:
    """See `read_sections`."""
    return Results(read_sections(groups, reference=reference, anyway=anyway))


def _place(section: Section, pair: Pair) -> tuple[str, str, str, str]:
    return section.task, section.setting, pair.ours, pair.other


def _band(pair: Pair, k: int) -> tuple[float | None, float | None]:
    points = pair.crossing.points if pair.crossing else ()
    return next(((point.low, point.high) for point in points if point.k == k), (None, None))


def _crossing(pair: Pair) -> tuple[Any, ...]:
    found = pair.crossing
    if found is None:
        return (None,) * 6
    return (found.direction, found.k_star, found.k_star_low, found.k_star_high, *found.first_loss)


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> "pa.Table":
    import pyarrow as pa

    kinds = [pa.string() if x in _TEXTS else pa.int64() if x in _WHOLE else pa.float64() for x in names]
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(names)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(dict(zip(names, arrays, strict=True)))
