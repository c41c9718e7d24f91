"""Evaluations in Python and in notebooks: tables that pandas and polars read, and the page and its figures."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simko.evaluate import Stratum
from simko.report.comparison import Pair, Section, read_sections
from simko.report.document import Document, Figures, as_html
from simko.report.page import make_document, write_runs_page
from simko.report.passk import ends
from simko.report.plots import style
from simko.report.sources import of_sections

if TYPE_CHECKING:
    import pyarrow as pa

_TEXTS = frozenset({"task", "setting", "model", "ours", "other", "stratum", "direction"})
_WHOLE = frozenset({"k", "headline_k", "first_loss_from", "first_loss_to"})


@dataclass(frozen=True)
class Drawing:
    """A figure, which a notebook shows."""

    title: str
    """What it shows."""
    svg: str
    """The drawing as an <svg> element."""

    def _repr_html_(self) -> str:
        return f'<div style="--rule:#9aa4b0;max-width:500px;{style(dark=False)}"><p>{escape(self.title)}</p>{self.svg}</div>'


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
    def _document(self) -> Document:
        return make_document(of_sections(self.sections))

    @cached_property
    def figures(self) -> tuple[Drawing, ...]:
        """The figures of the page."""
        drawn = [block.drawn for block in self._document.blocks if isinstance(block, Figures)]
        return tuple(Drawing(chart.label, chart.svg) for charts in drawn for chart in charts)

    def write_html(self, path: str | Path) -> Path:
        """Write the page, whole or not at all."""
        return write_runs_page(self.sections, Path(path))

    def _repr_html_(self) -> str:
        """The page in a frame of no origin, which keeps its style and whatever the models said to itself."""
        page = escape(as_html(self._document))
        return f'<iframe sandbox="allow-scripts" srcdoc="{page}" style="width:100%;height:800px;border:0"></iframe>'


def read_results(groups: Sequence[str], *, reference: str | None = None, anyway: bool = False) -> Results:
    """See `read_sections`."""
    return Results(read_sections(groups, reference=reference, anyway=anyway))


def as_json(sections: Sequence[Section]) -> str:
    """The numbers of `sections` as JSON text, for other tools."""
    rows = []
    for s in sections:
        sides = {
            side.name: {
                "runs": [str(e.run) for e in side.evaluations],
                "pass@k": {p.k: [p.estimate, p.low, p.high] for p in side.curve.points},
                "maj@k": dict(side.majority),
                "cover@tau": dict(side.cover) if side.cover else None,
                "distinct_answers": {"among": s.distinct_among, "mean": side.distinct},
                "answer_entropy": side.entropy,
                "shares": dict(side.shares),
                "band": dict(side.band),
            }
            for side in s.sides
        }
        pairs = [
            {
                "ours": p.ours,
                "other": p.other,
                "difference": {d.k: [d.difference, d.low, d.high] for d in p.comparison.points},
                "p_holm": p.p_holm,
                "crossing": p.crossing and p.crossing.describe(p.ours, p.other),
                "band": p.crossing and ends(p.crossing),
                "first_loss": p.crossing and p.crossing.first_loss,
                "by_difficulty": {x.name: _stratum(x) for x in p.strata},
                "newly_solved": p.comparison.newly_solved if s.samples == s.most_samples else None,
                "newly_lost": p.comparison.newly_lost if s.samples == s.most_samples else None,
            }
            for p in s.pairs
        ]
        rows.append(
            {
                "task": s.task,
                "setting": s.setting,
                "problems": s.problems,
                "samples": s.samples,
                "headline_k": s.headline_k,
                "guessing": s.guessing and dict(zip(s.ks, s.guessing.values, strict=True)),
                "sides": sides,
                "pairs": pairs,
                "over_steps": {
                    name: {
                        p.step: {f"pass@{x.k}": [x.estimate, x.low, x.high] for x in (p.first, p.largest)}
                        for p in points
                    }
                    for name, points in s.course.items()
                },
            }
        )
    return json.dumps(rows, indent=2) + "\n"


def _stratum(stratum: Stratum) -> dict[str, Any]:
    return {
        "problems": stratum.problems,
        "ours": {p.k: [p.estimate, p.low, p.high] for p in stratum.ours},
        "reference": {p.k: [p.estimate, p.low, p.high] for p in stratum.reference},
        "difference": {d.k: [d.difference, d.low, d.high] for d in stratum.differences},
    }


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
