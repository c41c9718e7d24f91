"""A study directory to STUDY/report.html: one page that needs nothing but itself."""

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
class SettingRow:
    """One setting over the runs; differs: not the same in all."""

    key: str
    values: tuple[str, ...]
    differs: bool


def write_report(study_dir: Path, target: Path | None = None) -> Path:
    """Write the page to target, by default study_dir/report.html, and return its path; an old page is replaced at once or not at all.

    ValueError where study_dir holds no study or no graded samples yet. Parts that are missing are named on the page.
    The same study gives the same bytes on one day with one version of simko.
    """
    return write_study_page(read_study(study_dir), target or study_dir / "report.html")


def write_study_page(study: Study, target: Path) -> Path:
    """Write the page of a study, or of training runs read as one, whole or not at all."""
    write_whole(target, _render(study))
    return target


def readme_figure(study: Study, path: Path) -> None:
    """The pass@K figure alone, as .svg or .png by the suffix of path."""
    if path.suffix not in (".svg", ".png"):
        raise ValueError(f"{path}: the figure is written as .svg or .png; give one of the two suffixes.")
    if not study.evaluations:
        raise ValueError(f"{path} would show pass@K, and no held-out problems were evaluated: set passk_every")
    figures.readme_passk(study, measure(study), path)


def _render(study: Study) -> str:
    filters = {"display": display, "colour": lambda method: colour(method, study.names)}
    return render("page.html.jinja", _context(study), filters)


def _context(study: Study) -> dict[str, Any]:
    """What the templates read; m is None, and its figures are absent, where nothing was evaluated."""
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
        "config": setting_rows([r.config for r in study.runs]),
        "versions": setting_rows([r.versions for r in study.runs]),
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
    """Rows of pass@1 by temperature; None where one temperature was evaluated."""
    every = sorted({t for rows in m.at_temperature.values() for t, _ in rows})
    if len(every) < 2:
        return None
    rows = {method: dict(points) for method, points in m.at_temperature.items()}
    return {"every": every, "rows": {method: [found.get(t) for t in every] for method, found in rows.items()}}


def setting_rows(runs: Sequence[Mapping[str, Any]]) -> list[SettingRow]:
    """Settings side by side, the differing ones first; runs without any are shown as such by an em dash."""
    keys = sorted({key for settings in runs for key in settings})
    rows = []
    for key in keys:
        values = tuple(_setting(settings[key]) if key in settings else "—" for settings in runs)
        rows.append(SettingRow(key, values, len(set(values)) > 1))
    return sorted(rows, key=lambda row: not row.differs)


def _setting(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
