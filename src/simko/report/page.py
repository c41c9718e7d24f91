"""A study directory -> STUDY/report.html, a self-contained page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simko.evaluate.files import write_whole
from simko.report import figures, findings
from simko.report.examples import examples
from simko.report.measures import Measures, measure
from simko.report.plots import colour
from simko.report.study import BASE, Study, display, read_study
from simko.report.template import markup, render


@dataclass(frozen=True)
class OptionRow:
    """One option over the runs."""

    key: str
    """Its name."""
    values: tuple[str, ...]
    """Its value in each run."""
    differs: bool
    """Whether the values differ."""


def write_report(study_dir: Path, target: Path | None = None) -> Path:
    """Write the page to target, by default study_dir/report.html, and return its path.

    An old page is replaced as a whole or not at all. The page names missing parts. The same study gives the same bytes on one
    day with one version of simko. ValueError if study_dir holds no study, or no graded samples yet.
    """
    return write_study_page(read_study(study_dir), target or study_dir / "report.html")


def write_study_page(study: Study, target: Path) -> Path:
    """Write the page of a study, or of training runs read as a study, whole or not at all."""
    write_whole(target, _render(study))
    return target


def readme_figure(study: Study, path: Path) -> None:
    """Write the pass@K figure as .svg or .png, by the suffix of path. ValueError for another suffix, or without pass@K."""
    if path.suffix not in (".svg", ".png"):
        raise ValueError(f"{path}: the figure is written as .svg or .png; give one of the two suffixes.")
    if not study.evaluations:
        raise ValueError(f"{path} would show pass@K, and no held-out problems were evaluated: set passk_every")
    figures.readme_passk(study, measure(study), path)


def _render(study: Study) -> str:
    filters = {"display": display, "colour": lambda method: colour(method, study.names)}
    return render("page.html.jinja", _context(study), filters)


def _context(study: Study) -> dict[str, Any]:
    """What the templates read. Without evaluations m is None and has no figures."""
    m = measure(study) if study.evaluations else None
    drawn: dict[str, Any] = {
        "training": figures.training_figures(study),
        "concentration": figures.concentration_figures(study),
        "gated_ranks": figures.gated_rank_figures(study),
        "histogram": figures.histogram_figures(study),
    } | (_measured_figures(study, m) if m else {})
    return {
        "study": study,
        "m": m,
        "base": BASE,
        "figures": {key: markup(value) for key, value in drawn.items()},
        "config": option_rows([r.config for r in study.runs]),
        "versions": option_rows([r.versions for r in study.runs]),
    } | (_measured(study, m) if m else {})


def _measured(study: Study, m: Measures) -> dict[str, Any]:
    return {
        "summary": findings.summary(study, m),
        "findings": findings.find(study, m),
        "reliability": findings.reliability(study, m),
        "limits": findings.limits(study, m),
        "pairs": [
            {"ours": a, "other": b, "comparison": c, "changed": findings.changed(c)} for (a, b), c in m.pairs.items()
        ],
        "temperatures": _temperatures(m),
        "examples": examples(study),
    }


def _measured_figures(study: Study, m: Measures) -> dict[str, str | None]:
    courses = [(display(method), colour(method, study.names), points) for method, points in m.steps.items()]
    return {
        "passk": figures.passk_figure(study, m),
        "differences": figures.difference_figure(study, m) if m.pairs else None,
        "first_by_step": figures.steps_figure(courses, True) if courses else None,
        "largest_by_step": figures.steps_figure(courses, False) if courses and m.steps_k > 1 else None,
    }


def _temperatures(m: Measures) -> dict[str, Any] | None:
    """Rows of pass@1 by temperature; None if one temperature was evaluated."""
    every = sorted({t for rows in m.at_temperature.values() for t, _ in rows})
    if len(every) < 2:
        return None
    rows = {method: dict(points) for method, points in m.at_temperature.items()}
    return {"every": every, "rows": {method: [found.get(t) for t in every] for method, found in rows.items()}}


def option_rows(runs: Sequence[Mapping[str, Any]]) -> list[OptionRow]:
    """The options of runs side by side, differing ones first. A run without an option has an em dash."""
    keys = sorted({key for options in runs for key in options})
    rows = []
    for key in keys:
        values = tuple(_format_option(options[key]) if key in options else "—" for options in runs)
        rows.append(OptionRow(key, values, len(set(values)) > 1))
    return sorted(rows, key=lambda row: not row.differs)


def _format_option(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
