"""The plots of a study's page, each as an inline SVG string."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simko.evaluate import Point
from simko.report.measures import Measures, StepPoint
from simko.report.plots import (
    COLOURS,
    DASHED,
    INK,
    axes,
    brief,
    colour,
    draw_curves,
    draw_differences,
    label_ends,
    pair_colours,
    save,
    step_axes,
    svg,
)
from simko.report.study import BASE, Study, TrainingRun, display

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOGGED = (
    ("reward", "mean reward", "Mean reward of the sampled responses."),
    ("entropy", "entropy, nats a token", "Mean entropy of the next-token distribution."),
    ("groups/mixed", "share of groups", "Share of groups whose responses differ in reward (groups/mixed)."),
    (
        "clip_ratio/region_mean",
        "share of tokens, clipped",
        "Share of tokens whose ratio the clipping holds back (clip_ratio/region_mean).",
    ),
    ("completions/mean_length", "tokens a response", "Mean length of the sampled responses (completions/mean_length)."),
    ("simko/gated", "share of tokens, gated", "Share of tokens of high entropy, where SimKO acts (simko/gated)."),
    (
        "simko/raised",
        "share of tokens, raised",
        "Share of tokens whose first candidates SimKO raises: gated, in a response better than its group (simko/raised).",
    ),
    (
        "simko/penalised",
        "share of tokens, penalised",
        "Share of tokens that SimKO penalises more: gated, of rank 1, in a response worse than its group (simko/penalised).",
    ),
)
_ROLLOUT_METRICS = ("reward", "groups/", "completions/")
_RANK_SHADES = (1.0, 0.82, 0.66, 0.52, 0.4, 0.3)


def passk_figure(study: Study, m: Measures) -> str:
    """pass@K by K, with shaded 95 % intervals, thin lines for seeds, and dashes for K > n / 2."""
    return svg("pass@K curves", lambda figure: _draw_passk(figure, study, m))


def readme_passk(study: Study, m: Measures, path: Path) -> None:
    """The pass@K figure on white, as .svg or .png by the suffix of path."""
    save(path, (6.0, 4.0), lambda figure: _draw_passk(figure, study, m))


def difference_figure(study: Study, m: Measures) -> str:
    """Paired differences in points by K with 95 % intervals, one line per pair."""
    hues = pair_colours(list(m.pairs), study.names)
    rows = [
        (f"{_short(a)} − {_short(b)}", hue, c.points) for ((a, b), c), hue in zip(m.pairs.items(), hues, strict=True)
    ]
    return svg("paired differences", lambda figure: draw_differences(figure, rows))


def training_figures(study: Study) -> list[tuple[str, str]]:
    """(caption, SVG) of each metric of `_LOGGED` that a run logged, one line per run."""
    drawn = [(caption, _metric_figure(study, key, label)) for key, label, caption in _LOGGED]
    return [(caption, figure) for caption, figure in drawn if figure is not None]


def _metric_figure(study: Study, key: str, label: str) -> str | None:
    """A metric over training. A logged step without the metric is a gap, and a value between two gaps is a dot."""
    series = [(run, points) for run in study.runs if (points := _series(run, key))]
    if not series:
        return None

    def draw(figure: "Figure") -> None:
        panel = step_axes(figure, label)
        ends: dict[str, list[float]] = {}
        for run, points in series:
            steps, values = [p[0] for p in points], [p[1] for p in points]
            hue = colour(run.method, study.names)
            if len(values) > 12:
                panel.plot(steps, values, color=hue, alpha=0.25, linewidth=0.9)
            smooth = _moving_mean(values) if len(values) > 12 else values
            panel.plot(steps, smooth, color=hue)
            alone = [
                i
                for i in range(len(smooth))
                if all(map(math.isnan, [*smooth[max(i - 1, 0) : i], *smooth[i + 1 : i + 2]]))
            ]
            panel.plot(
                [steps[i] for i in alone], [smooth[i] for i in alone], color=hue, marker="o", markersize=4, linestyle=""
            )
            ends.setdefault(run.method, []).append(next(y for y in reversed(smooth) if not math.isnan(y)))
        label_ends(panel, [(display(m), sum(v) / len(v), colour(m, study.names)) for m, v in ends.items()])

    return svg(label, draw)


def concentration_figures(study: Study) -> list[tuple[str, str]]:
    """(method, SVG) of Lambda^(1..6) over training in log10, on one scale for all panels."""
    return _rank_figures(
        study, "concentration", "Λ, log10 of probability", lambda x: x / math.log(10), "rank", "sampled"
    )


def gated_rank_figures(study: Study) -> list[tuple[str, str]]:
    """(method, SVG) of the mean probability of ranks 1 to 4 at the gated tokens."""
    return _rank_figures(study, "gated_rank_probability", "probability at gated tokens", lambda x: x, "rank", None)


def histogram_figures(study: Study) -> list[tuple[str, str]]:
    """(method, SVG) of the share of tokens by entropy, at the first and the last probe."""
    panels = []
    for method, run in _first_runs(study):
        probes = [d for d in run.diagnostics if isinstance(d.get("entropy_histogram"), Mapping)]
        if probes:
            panels.append((method, probes[0], probes[-1]))
    top = max((x for _, *both in panels for d in both for x in d["entropy_histogram"]["share"]), default=1.0)

    def draw(figure: "Figure", method: str, first: Mapping[str, Any], last: Mapping[str, Any]) -> None:
        panel = axes(figure, "token entropy, nats", "share of tokens")
        hue = colour(method, study.names)
        for probe, style in ((first, {"color": COLOURS[BASE]}), (last, {"color": hue, "fill": True, "alpha": 0.35})):
            share = probe["entropy_histogram"]["share"]
            panel.stairs(share, range(len(share) + 1), label=f"step {probe['step']}", linewidth=1.6, **style)
        edges = first["entropy_histogram"]["edges"]
        named = [f"{a:g}+" if b is None else f"{a:g}-{b:g}" for a, b in itertools.pairwise(edges)]
        panel.set_xticks([i + 0.5 for i in range(len(named))], named, fontsize=9, rotation=30)
        panel.set_ylim(0, 1.05 * top)
        panel.legend(frameon=False)

    return [
        (method, svg(f"entropy of tokens, {display(method)}", lambda f, p=(method, a, b): draw(f, *p)))
        for method, a, b in panels
    ]


def steps_figure(rows: Sequence[tuple[str, str, Sequence[StepPoint]]], first: bool) -> str:
    """pass@1 (first) or pass@k by training step. rows: (name, colour, points)."""
    label = f"pass@{_select(rows[0][2][0], first).k}"

    def draw(figure: "Figure") -> None:
        panel = step_axes(figure, f"{label}, %")
        ends = []
        for name, hue, points in rows:
            selected = [_select(p, first) for p in points]
            steps = [p.step for p in points]
            panel.fill_between(
                steps, [100 * p.low for p in selected], [100 * p.high for p in selected], color=hue, alpha=0.12, lw=0
            )
            panel.plot(steps, [100 * p.estimate for p in selected], color=hue, marker="o", markersize=4)
            ends.append((name, 100 * selected[-1].estimate, hue))
        label_ends(panel, ends)

    return svg(f"{label} over training", draw)


def _select(point: StepPoint, first: bool) -> Point:
    return point.first if first else point.largest


def _draw_passk(figure: "Figure", study: Study, m: Measures) -> None:
    rows = [(display(method), colour(method, study.names), curve) for method, curve in m.curves.items()]
    draw_curves(figure, rows, m.reliable_k)


def _rank_figures(
    study: Study, key: str, label: str, unit: Callable[[float], float], line: str, extra: str | None
) -> list[tuple[str, str]]:
    panels: list[tuple[str, list[tuple[str, list[tuple[float, float]]]]]] = []
    for method, run in _first_runs(study):
        probes = [d for d in run.diagnostics if d.get(key)]
        ranks = max((len(d[key]) for d in probes), default=0)
        lines = [
            (f"{line} {n + 1}", [(d["step"], unit(_finite(d[key][n]))) for d in probes if len(d[key]) > n])
            for n in range(ranks)
        ]
        if extra is not None and lines:
            lines.append((extra, [(d["step"], unit(_finite(d.get(extra)))) for d in probes]))
        lines = [(name, points) for name, points in lines if any(math.isfinite(y) for _, y in points)]
        if lines:
            panels.append((method, lines))
    if not panels:
        return []
    values = [y for _, lines in panels for _, points in lines for _, y in points if math.isfinite(y)]
    room = 0.06 * (max(values) - min(values) or 1.0)
    limits = (min(values) - room, max(values) + room)

    def draw(figure: "Figure", method: str, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> None:
        panel = step_axes(figure, label)
        hue, ends = colour(method, study.names), []
        for n, (name, points) in enumerate(lines):
            shade = 1.0 if name == extra else _RANK_SHADES[min(n, len(_RANK_SHADES) - 1)]
            style = DASHED if name == extra else "-"
            ink = INK if name == extra else hue
            panel.plot(
                [p[0] for p in points],
                [p[1] for p in points],
                color=ink,
                alpha=shade,
                linestyle=style,
                marker="o",
                markersize=3,
            )
            ends.append((name, next(y for _, y in reversed(points) if math.isfinite(y)), ink))
        panel.set_ylim(*limits)
        label_ends(panel, ends)

    return [
        (method, svg(f"{label}, {display(method)}", lambda f, p=(method, lines): draw(f, *p)))
        for method, lines in panels
    ]


def _first_runs(study: Study) -> list[tuple[str, TrainingRun]]:
    """The first run of each method that has probes."""
    found: dict[str, TrainingRun] = {}
    for run in study.runs:
        if run.diagnostics:
            found.setdefault(run.method, run)
    order = {m: i for i, m in enumerate(study.names)}
    return sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))


def _series(run: TrainingRun, key: str) -> list[tuple[float, float]]:
    """(step, value) from the training log, or else from the probes. Empty without a finite value.

    Steps that should have logged the metric and did not have nan: steps with a rollout for metrics of rollouts, all steps for
    metrics of updates.
    """
    due = "num_tokens" if key.startswith(_ROLLOUT_METRICS) else "loss"
    for rows in (run.metrics, run.diagnostics):
        points = {float(r["step"]): _finite(r.get(key)) for r in rows if due in r or key in r}
        if not all(map(math.isnan, points.values())):
            return list(points.items())
    return []


def _finite(value: object) -> float:
    """The number, or nan for anything else."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan


def _moving_mean(values: Sequence[float]) -> list[float]:
    """Centred mean over a tenth of the steps, narrower at the ends. Gaps stay gaps and are left out of the means."""
    half = max(1, len(values) // 20)
    windows = [[x for x in values[max(0, i - half) : i + half + 1] if not math.isnan(x)] for i in range(len(values))]
    return [math.nan if math.isnan(x) else sum(w) / len(w) for x, w in zip(values, windows, strict=True)]


def _short(method: str) -> str:
    return "base" if method == BASE else brief(display(method))
