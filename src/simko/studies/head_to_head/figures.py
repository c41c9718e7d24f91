"""The charts of the study."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Any

from simko.evaluate import Curve, reliable
from simko.report.comparison import StepPoint
from simko.report.document import Chart
from simko.report.passk import steps_chart
from simko.report.plots import INK, axes, brief, colour, draw_curves, label_ends, step_axes
from simko.studies.head_to_head.findings import LEVEL, REFERENCES, Difference, Final, Outcome
from simko.studies.head_to_head.mechanism import TUNED, Effect
from simko.studies.head_to_head.rows import BASE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "dash-dotted"}
_RIVALS = 4  # in a figure with bands, beside the base and the references


def against_figure(task: str, found: Mapping[tuple[str, str], Difference], names: Sequence[str]) -> Chart:
    """Every method's difference from the first reference of those in found, one line each, with its band."""
    reference = next(other for other in REFERENCES if any(pair[1] == other for pair in found))
    rows = {ours: d for (ours, other), d in found.items() if other == reference}

    def draw(figure: "Figure") -> None:
        panel = axes(figure, f"points, less {reference}’s", "")
        panel.grid(visible=False, axis="y")
        panel.grid(axis="x", linewidth=0.7)
        panel.axvline(0, color=INK, linewidth=0.9)
        for y, (method, d) in enumerate(rows.items()):
            hue = colour(method, names)
            if d.band:
                panel.plot([100 * d.band.low, 100 * d.band.high], [y, y], color=hue, linewidth=1.4)
            face = hue if d.p < LEVEL else "none"
            panel.plot(100 * d.difference, y, color=hue, marker="o", markersize=6, markerfacecolor=face, linestyle="")
        panel.set_yticks(range(len(rows)), [brief(method) for method in rows], fontsize=min(10, 150 / len(rows)))
        for label, method in zip(panel.get_yticklabels(), rows, strict=True):
            label.set_color(colour(method, names))
        panel.set_ylim(len(rows) - 0.5, -0.5)

    series = {
        "difference": {method: 100 * d.difference for method, d in rows.items()},
        "low": {method: 100 * d.band.low for method, d in rows.items() if d.band},
        "high": {method: 100 * d.band.high for method, d in rows.items() if d.band},
    }
    caption = f"{task}: the mean, less {reference}’s, with its 95 % band over problems and seeds. Filled: shown."
    return Chart(f"{task}: the mean, less {reference}’s", draw, series, "method", caption)


def panels(methods: Sequence[str]) -> list[list[str]]:
    """The methods of each figure with bands: the base and the references in all, the others a few at a time."""
    always = [method for method in methods if method in (BASE, *REFERENCES)]
    others = [method for method in methods if method not in always]
    parts = max(1, math.ceil(len(others) / _RIVALS))
    return [always + others[i::parts] for i in range(parts)]


def curve_figures(task: str, ends: Sequence[Final], names: Sequence[str]) -> list[Chart]:
    """pass@K by K with bands over problems."""
    curves: dict[str, Curve] = {end.method: replace(end.curve, per_seed=()) for end in ends}
    drawn = []
    for shown in panels(list(curves)):
        rows = [(method, colour(method, names), curves[method]) for method in shown]
        reliable_k = max(p.k for _, _, c in rows for p in c.points if p.k == 1 or reliable(c.samples, p.k))
        draw = partial(draw_curves, rows=rows, reliable_k=reliable_k)
        series = {name: {p.k: 100 * p.estimate for p in curve.points} for name, _, curve in rows}
        caption = f"pass@K at temperature 1: {', '.join(shown)}."
        drawn.append(Chart(f"{task}: pass@K, {shown[-1]}", draw, series, "K", caption))
    return drawn


def course_figures(task: str, courses: Mapping[str, Sequence[StepPoint]], names: Sequence[str]) -> list[Chart]:
    """pass@1, then the other outcome, over training, with bands over problems."""
    drawn = []
    for shown in panels(list(courses)):
        rows = {method: courses[method] for method in shown}
        where = ", ".join(shown)
        drawn += [steps_chart(f"{task}, {where}", rows, first, names, caption=f"{where}.") for first in (True, False)]
    return drawn


def trade_off(
    task: str, ends: Sequence[Final], courses: Mapping[str, Sequence[StepPoint]], names: Sequence[str]
) -> Chart:
    """The last primary outcome by the first: a point for the end of each method, and its course over training as a line."""
    ks = list(ends[0].at_1)

    def draw(figure: "Figure") -> None:
        panel = axes(figure, f"pass@{ks[0]}, %", f"pass@{ks[-1]}, %")
        labels = []
        for method, points in courses.items():
            places = [
                [100 * p.estimate for p in side] for side in zip(*((q.first, q.largest) for q in points), strict=True)
            ]
            panel.plot(*places, color=colour(method, names), linewidth=1.0, linestyle="--")
        for end in ends:
            hue = colour(end.method, names)
            x, y = end.at_1[ks[0]].point, end.at_1[ks[-1]].point
            panel.plot([100 * x.low, 100 * x.high], [100 * y.estimate] * 2, color=hue, linewidth=0.8, alpha=0.5)
            panel.plot([100 * x.estimate] * 2, [100 * y.low, 100 * y.high], color=hue, linewidth=0.8, alpha=0.5)
            panel.plot(100 * x.estimate, 100 * y.estimate, color=hue, marker="o", markersize=6, linestyle="")
            labels.append((end.method, 100 * y.estimate, hue))
        label_ends(panel, labels)

    caption = (
        f"pass@{ks[-1]} against pass@{ks[0]} at the end, with 95 % intervals over problems; dashed, from the base on over training. "
        "Up and right is better."
    )
    series = {end.method: {f"pass@{k}": 100 * end.at_1[k].point.estimate for k in (ks[0], ks[-1])} for end in ends}
    return Chart(f"{task}: trade-off", draw, series, "at the end", caption)


def line_figure(
    task: str, label: str, series: Mapping[str, Sequence[tuple[int, float]]], names: Sequence[str]
) -> Chart:
    """A measure over training, one line a method."""

    def draw(figure: "Figure") -> None:
        panel = step_axes(figure, label)
        for method, points in series.items():
            panel.plot([s for s, _ in points], [y for _, y in points], color=colour(method, names), linewidth=1.4)
        label_ends(panel, [(method, points[-1][1], colour(method, names)) for method, points in series.items()])

    lines = {method: dict(points) for method, points in series.items()}
    return Chart(f"{task}: {label} over training", draw, lines, caption=f"{label}, mean over seeds.")


def effect_figure(task: str, effects: Sequence[Effect], ends: Sequence[Mapping[float, Mapping[int, Outcome]]]) -> Chart:
    """The outcomes by the value of one option; one style of line for each choice of the other options.

    ends: for each effect {value: {k: outcome}}.
    """
    name = TUNED[effects[0].option]
    hues = ("#d55e00", "#8a6fc0", "#0072b2")

    def draw(figure: "Figure") -> None:
        panel = axes(figure, name, "pass@K, %")
        values = sorted({value for at in ends for value in at})
        labels: dict[str, tuple[str, float, str]] = {}
        for at, style in zip(ends, cycle(_STYLES), strict=False):
            for k, hue in zip(next(iter(at.values())), hues, strict=False):
                places = [values.index(value) for value in at]
                points = [outcomes[k].point for outcomes in at.values()]
                middle = [100 * p.estimate for p in points]
                arms = [[100 * (p.estimate - p.low) for p in points], [100 * (p.high - p.estimate) for p in points]]
                panel.errorbar(
                    places, middle, yerr=arms, color=hue, linestyle=style, marker="o", markersize=4, elinewidth=0.9
                )
                labels.setdefault(f"pass@{k}", (f"pass@{k}", middle[-1], hue))
        panel.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        panel.set_ylim(0, 102)
        label_ends(panel, list(labels.values()))

    series = {
        f"{fixed(effect)}, pass@{k}": {value: 100 * outcomes[k].point.estimate for value, outcomes in at.items()}
        for effect, at in zip(effects, ends, strict=True)
        for k in next(iter(at.values()))
    }
    lines = [f"{style}: {fixed(effect)}" for effect, style in zip(effects, cycle(_STYLES.values()), strict=False)]
    methods = " and ".join(dict.fromkeys(effect.method for effect in effects))
    return Chart(f"{task}: {methods} by {name}", draw, series, name, f"{methods} by {name}. {'; '.join(lines)}.")


def fixed(effect: Effect) -> str:
    """The method and the options that an effect holds fixed: "simko, lambda 1.5, N 3, q 0.8, learning_rate 0.0002"."""
    return f"{effect.method}, {worded([(k, v) for k, v in effect.others if k in (*TUNED, 'learning_rate')])}"


def worded(setting: Iterable[tuple[str, Any]]) -> str:
    """ "alpha 0.1, learning_rate 0.0002"."""
    return ", ".join(f"{TUNED.get(name, name)} {value}" for name, value in setting)
