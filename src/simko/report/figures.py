"""The plots, each as one inline SVG string that takes its ink from the page."""

import io
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simko.report.measures import Measures, StepPoint
from simko.report.study import BASE, Run, Study, display
from simko.report.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _RULE = "#1f2328", "#d0d4da"
_COLOURS = {"base": "#7a7f87", "grpo": "#d55e00", "simko": "#0072b2"}
_OTHERS = ("#009e73", "#cc79a7", "#b8860b", "#8a6fc0")
_RANK_SHADES = (1.0, 0.82, 0.66, 0.52, 0.4, 0.3)
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "simko",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.titlesize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _INK,
    "axes.unicode_minus": True,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _RULE,
    "lines.linewidth": 1.8,
}
_SIZE = (4.4, 3.2)
_FONTS = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def colour(method: str, methods: Sequence[str] = ()) -> str:
    """The method's colour: grey, vermilion and blue for the three known, others in order; told apart without hue."""
    if method in _COLOURS:
        return _COLOURS[method]
    others = [m for m in methods if m not in _COLOURS]
    return _OTHERS[others.index(method) % len(_OTHERS)] if method in others else _OTHERS[0]


def passk_figure(study: Study, m: Measures) -> str:
    """pass@K by K: shaded 95 % intervals, thin lines for seeds, dashed where K > n / 2."""
    return _svg("pass@K curves", lambda figure: _draw_passk(figure, study, m))


def readme_passk(study: Study, m: Measures, path: Path) -> None:
    """The pass@K figure alone, on white, as the suffix of path says (.svg, .png)."""
    _save(path, (6.0, 4.0), lambda figure: _draw_passk(figure, study, m))


def difference_figure(m: Measures, pairs: Sequence[tuple[str, str]]) -> str:
    """Paired difference in points by K with 95 % intervals, a line a pair."""

    def draw(figure: "Figure") -> None:
        axes = _axes(figure, "K", "difference in points")
        axes.axhline(0, color=_INK, linewidth=0.9)
        offsets = [1.045 ** (i - (len(pairs) - 1) / 2) for i in range(len(pairs))]
        for pair, offset, style in zip(pairs, offsets, ("o", "s", "D", "^", "v", "P", "X") * 9, strict=False):
            points = m.pairs[pair].points
            middle = [100 * d.difference for d in points]
            arms = [[100 * (d.difference - d.low) for d in points], [100 * (d.high - d.difference) for d in points]]
            hue = _pair_colour(pair, list(m.curves))
            axes.errorbar(
                [d.k * offset for d in points],
                middle,
                yerr=arms,
                color=hue,
                fmt=f"-{style}",
                markersize=4,
                elinewidth=1.1,
                linewidth=1.4,
                label=f"{_short(pair[0])} − {_short(pair[1])}",
            )
        _log2_ticks(axes, m.ks)
        figure.legend(loc="outside upper left", frameon=False, ncols=2, fontsize=9)

    return _svg("paired differences", draw)


def metric_figure(study: Study, key: str, label: str) -> str | None:
    """A logged metric over training, a line a run; entropy falls back on the probes. None where nothing was logged."""
    series = [(run, _series(run, key)) for run in study.runs]
    series = [(run, points) for run, points in series if points]
    if not series:
        return None

    def draw(figure: "Figure") -> None:
        axes = _axes(figure, "training step", label)
        ends: dict[str, list[float]] = {}
        for run, points in series:
            steps, values = [p[0] for p in points], [p[1] for p in points]
            hue = colour(run.method, study.methods)
            if len(values) > 12:
                axes.plot(steps, values, color=hue, alpha=0.25, linewidth=0.9)
            smooth = _moving_mean(values) if len(values) > 12 else values
            axes.plot(steps, smooth, color=hue)
            ends.setdefault(run.method, []).append(smooth[-1])
        _label_ends(axes, [(display(m), sum(v) / len(v), colour(m, study.methods)) for m, v in ends.items()])

    return _svg(label, draw)


def concentration_figures(study: Study) -> list[tuple[str, str]]:
    """(method, SVG) of Lambda^(1..6) over training in log10; all panels share one scale."""
    return _rank_figures(
        study, "concentration", "Λ, log10 of probability", lambda x: x / math.log(10), "rank", "sampled"
    )


def gated_rank_figures(study: Study) -> list[tuple[str, str]]:
    """(method, SVG) of the mean probability of ranks 1-4 at the gated tokens."""
    return _rank_figures(study, "gated_rank_probability", "probability at gated tokens", lambda x: x, "rank", None)


def histogram_figures(study: Study) -> list[tuple[str, str]]:
    """(method, SVG) of the share of tokens by entropy, at the first probe and at the last."""
    panels = []
    for method, run in _first_runs(study):
        probes = [d for d in run.diagnostics if isinstance(d.get("entropy_histogram"), Mapping)]
        if probes:
            panels.append((method, probes[0], probes[-1]))
    top = max((x for _, *both in panels for d in both for x in d["entropy_histogram"]["share"]), default=1.0)

    def draw(figure: "Figure", method: str, first: Mapping[str, Any], last: Mapping[str, Any]) -> None:
        axes = _axes(figure, "token entropy, nats", "share of tokens")
        hue = colour(method, study.methods)
        for probe, style in ((first, {"color": _COLOURS[BASE]}), (last, {"color": hue, "fill": True, "alpha": 0.35})):
            share = probe["entropy_histogram"]["share"]
            axes.stairs(share, range(len(share) + 1), label=f"step {probe['step']}", linewidth=1.6, **style)
        edges = first["entropy_histogram"]["edges"]
        named = [f"{a:g}+" if b is None else f"{a:g}-{b:g}" for a, b in itertools.pairwise(edges)]
        axes.set_xticks([i + 0.5 for i in range(len(named))], named, fontsize=9)
        axes.set_ylim(0, 1.05 * top)
        axes.legend(frameon=False)

    return [
        (method, _svg(f"entropy of tokens, {display(method)}", lambda f, p=(method, a, b): draw(f, *p)))
        for method, a, b in panels
    ]


def steps_figure(study: Study, steps: Mapping[str, Sequence[StepPoint]], k: int, first: bool) -> str:
    """pass@1 (first) or pass@k by training step, a line a method."""

    def draw(figure: "Figure") -> None:
        axes = _axes(figure, "training step", f"pass@{1 if first else k}, %")
        ends = []
        for method, points in steps.items():
            hue = colour(method, study.methods)
            chosen = [p.first if first else p.largest for p in points]
            at = [p.step for p in points]
            axes.fill_between(
                at, [100 * p.low for p in chosen], [100 * p.high for p in chosen], color=hue, alpha=0.12, lw=0
            )
            axes.plot(at, [100 * p.estimate for p in chosen], color=hue, marker="o", markersize=4)
            ends.append((display(method), 100 * chosen[-1].estimate, hue))
        _label_ends(axes, ends)

    return _svg(f"pass@{1 if first else k} over training", draw)


def _draw_passk(figure: "Figure", study: Study, m: Measures) -> None:
    axes = _axes(figure, "K", "pass@K, %")
    ends = []
    for method, curve in m.curves.items():
        hue = colour(method, study.methods)
        ks, middle = [p.k for p in curve.points], [100 * p.estimate for p in curve.points]
        axes.fill_between(
            ks, [100 * p.low for p in curve.points], [100 * p.high for p in curve.points], color=hue, alpha=0.15, lw=0
        )
        if len(curve.per_seed) > 1:
            for row in curve.per_seed:
                axes.plot(ks, [100 * x for x in row], color=hue, linewidth=0.7, alpha=0.6)
        sure = sum(k <= m.reliable_k for k in ks)
        axes.plot(ks[:sure], middle[:sure], color=hue, marker="o", markersize=3.5)
        axes.plot(ks[max(sure - 1, 0) :], middle[max(sure - 1, 0) :], color=hue, linestyle=(0, (2, 1.5)), linewidth=1.4)
        ends.append((display(method), middle[-1], hue))
    axes.set_ylim(0, 102)
    _log2_ticks(axes, m.ks)
    _label_ends(axes, ends)


def _rank_figures(
    study: Study, key: str, label: str, unit: Callable[[float], float], line: str, extra: str | None
) -> list[tuple[str, str]]:
    panels: list[tuple[str, list[tuple[str, list[tuple[float, float]]]]]] = []
    for method, run in _first_runs(study):
        probes = [d for d in run.diagnostics if d.get(key)]
        ranks = max((len(d[key]) for d in probes), default=0)
        lines = [
            (f"{line} {n + 1}", [(d["step"], unit(d[key][n])) for d in probes if len(d[key]) > n]) for n in range(ranks)
        ]
        if extra is not None and lines:
            lines.append((extra, [(d["step"], unit(d[extra])) for d in probes if d.get(extra) is not None]))
        lines = [(name, kept) for name, points in lines if (kept := [p for p in points if math.isfinite(p[1])])]
        if lines:
            panels.append((method, lines))
    if not panels:
        return []
    values = [y for _, lines in panels for _, points in lines for _, y in points]
    room = 0.06 * (max(values) - min(values) or 1.0)
    limits = (min(values) - room, max(values) + room)

    def draw(figure: "Figure", method: str, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> None:
        axes = _axes(figure, "training step", label)
        hue, ends = colour(method, study.methods), []
        for n, (name, points) in enumerate(lines):
            shade = 1.0 if name == extra else _RANK_SHADES[min(n, len(_RANK_SHADES) - 1)]
            style = (0, (2, 1.5)) if name == extra else "-"
            ink = _INK if name == extra else hue
            axes.plot(
                [p[0] for p in points],
                [p[1] for p in points],
                color=ink,
                alpha=shade,
                linestyle=style,
                marker="o",
                markersize=3,
            )
            ends.append((name, points[-1][1], ink))
        axes.set_ylim(*limits)
        _label_ends(axes, ends)

    return [
        (method, _svg(f"{label}, {display(method)}", lambda f, p=(method, lines): draw(f, *p)))
        for method, lines in panels
    ]


def _first_runs(study: Study) -> list[tuple[str, Run]]:
    """The first run of each method that has probes."""
    found: dict[str, Run] = {}
    for run in study.runs:
        if run.diagnostics:
            found.setdefault(run.method, run)
    order = {m: i for i, m in enumerate(study.methods)}
    return sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))


def _series(run: Run, key: str) -> list[tuple[float, float]]:
    for rows in (run.metrics, run.diagnostics):
        points = [(float(r["step"]), float(r[key])) for r in rows if isinstance(r.get(key), int | float)]
        points = [p for p in points if math.isfinite(p[1])]
        if points:
            return points
    return []


def _moving_mean(values: Sequence[float]) -> list[float]:
    """Centred mean over a tenth of the steps, narrower at the ends."""
    half = max(1, len(values) // 20)
    windows = [values[max(0, i - half) : i + half + 1] for i in range(len(values))]
    return [sum(w) / len(w) for w in windows]


def _short(method: str) -> str:
    return "base" if method == BASE else _brief(display(method))


def _brief(name: str) -> str:
    """A name as a plot can hold it: at most 18 characters."""
    return visible(name if len(name) <= 18 else f"{name[:17]}…")


def _pair_colour(pair: tuple[str, str], methods: Sequence[str]) -> str:
    """The first method's colour against the base; ink for a pair of two trained methods."""
    return colour(pair[0], methods) if pair[1] == BASE else _INK


def _axes(figure: "Figure", x: str, y: str) -> "Axes":
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    return axes


def _log2_ticks(axes: "Axes", ks: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(ks), [str(k) for k in ks])
    axes.minorticks_off()


def _label_ends(axes: "Axes", ends: Sequence[tuple[str, float, str]]) -> None:
    """Names at the right end of lines, pushed apart so that none covers another."""
    low, high = axes.get_ylim()
    gap = 0.075 * (high - low)
    heights: list[float] = []
    ordered = sorted(ends, key=lambda e: e[1])
    for _, y, _ in ordered:
        heights.append(max(y, heights[-1] + gap) if heights else y)
    over = max(0.0, heights[-1] - high) if heights else 0.0
    if over:
        heights[-1] -= over
        for i in range(len(heights) - 2, -1, -1):
            heights[i] = min(heights[i], heights[i + 1] - gap)
    for (name, _, hue), y in zip(ordered, heights, strict=True):
        axes.annotate(
            _brief(name),
            (1.0, y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(5, 0),
            textcoords="offset points",
            color=hue,
            va="center",
            fontsize=10,
            annotation_clip=False,
        )


def _save(path: Path, size: tuple[float, float], draw: Callable[["Figure"], None]) -> None:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_RC, "svg.fonttype": "path"}):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        draw(figure)
        svg = path.suffix == ".svg"
        figure.savefig(path, dpi=200, metadata={"Date": None} if svg else {"Software": None})


def _svg(label: str, draw: Callable[["Figure"], None]) -> str:
    """The drawing as an <svg> element: no fixed size, the page's ink and rule colours, no ids but those referred to."""
    import matplotlib
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with matplotlib.rc_context({**_RC, "svg.hashsalt": f"simko {label}"}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        figure.patch.set_alpha(0)
        draw(figure)
        for axes in figure.axes:
            axes.patch.set_alpha(0)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'^<svg[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", text)
    text = text.replace(_INK, "currentColor").replace(_RULE, "var(--rule)")
    for method, hue in _COLOURS.items():
        text = text.replace(hue, f"var(--{method})")
    text = text.replace("'DejaVu Sans'", _FONTS)
    from markupsafe import escape

    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(visible(label))}" ', 1)
