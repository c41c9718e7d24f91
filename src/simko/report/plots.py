"""Parts of plots: colours, axes, pass@K curves, and inline SVGs in the colours of the page."""

import colorsys
import io
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from simko.evaluate import Curve, Difference, Point
from simko.evaluate.files import replacing
from simko.report.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, RULE = "#1f2328", "#d0d4da"
COLOURS = {"base": "#7a7f87", "grpo": "#d55e00", "simko": "#0072b2"}
_OTHERS = ("#6a220a", "#22229a", "#0a5252", "#52226a", "#e252e2", "#b26a52", "#9a3a0a", "#6a52e2")
_ON_DARK = (
    *("#a0a6ae", "#f08a3c", "#56b4e9", "#e2b282", "#6a6ae2", "#9ae2ca", "#ca3ab2", "#e2e252", "#b26a6a", "#ca523a"),
    "#b2e26a",
)  # chosen to be told apart with every kind of colour vision, as their test measures
_VARIABLES = {hue: f"--line{i}" for i, hue in enumerate((*COLOURS.values(), *_OTHERS))}
DASHED = (0, (2, 1.5))
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
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": RULE,
    "lines.linewidth": 1.8,
}
_SIZE = (4.4, 3.2)
_LARGEST = 1e100  # of the numbers that axes can be made for
_FONTS = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def colour(method: str, methods: Sequence[str]) -> str:
    """The method's colour, different for each method: grey, vermilion and blue for the known three, others in order."""
    return COLOURS[method] if method in COLOURS else _other([m for m in methods if m not in COLOURS].index(method))


def pair_colours(pairs: Sequence[tuple[str, str]], methods: Sequence[str]) -> list[str]:
    """A different colour for each (ours, other). The first pair of a method has the method's colour."""
    unused = (_other(i) for i in itertools.count(len([m for m in methods if m not in COLOURS])))
    first = {ours: i for i, (ours, _) in reversed(list(enumerate(pairs)))}
    return [colour(ours, methods) if first[ours] == i else next(unused) for i, (ours, _) in enumerate(pairs)]


def _other(i: int) -> str:
    """Colour number i: a fixed list, then hues a golden angle apart."""
    if i < len(_OTHERS):
        return _OTHERS[i]
    shares = colorsys.hls_to_rgb(i * 0.618034 % 1, 0.42 + 0.02 * (i % 7), 0.6)
    return "#" + "".join(f"{round(255 * x):02x}" for x in shares)


def themed(text: str) -> str:
    """The text with variables of the page's style for our colours, which have a second shade on dark paper."""
    for hue, variable in _VARIABLES.items():
        text = text.replace(hue, f"var({variable})")
    return text


def style(*, dark: bool = True) -> str:
    """The variables of `themed` as a style: for light paper alone as declarations, with dark as rules."""
    light = "".join(f"{variable}:{hue};" for hue, variable in _VARIABLES.items())
    if not dark:
        return light
    other = "".join(f"{variable}:{hue};" for hue, variable in zip(_ON_DARK, _VARIABLES.values(), strict=True))
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{other}}}}}"


def draw_curves(
    figure: "Figure",
    rows: Sequence[tuple[str, str, Curve]],
    reliable_k: int,
    guessing: Sequence[float] | None = None,
    bands: Mapping[str, Mapping[int, tuple[float, float]]] = MappingProxyType({}),
) -> None:
    """pass@K by K.

    rows: (name, colour, curve). reliable_k: dashes begin there. guessing: blind guessing at the same ks. bands: {name: {k: the
    ends of a band}}.
    """
    panel = axes(figure, "K", "pass@K, %")
    ends = []
    for name, hue, curve in rows:
        _shade(panel, bands.get(name, {}), hue)
        ks, middle = [p.k for p in curve.points], [100 * p.estimate for p in curve.points]
        panel.fill_between(
            ks, [100 * p.low for p in curve.points], [100 * p.high for p in curve.points], color=hue, alpha=0.15, lw=0
        )
        if len(curve.per_seed) > 1:
            for row in curve.per_seed:
                panel.plot(ks, [100 * x for x in row], color=hue, linewidth=0.7, alpha=0.6)
        sure = sum(k <= reliable_k for k in ks)
        panel.plot(ks[:sure], middle[:sure], color=hue, marker="o", markersize=3.5)
        panel.plot(ks[max(sure - 1, 0) :], middle[max(sure - 1, 0) :], color=hue, linestyle=DASHED, linewidth=1.4)
        ends.append((name, middle[-1], hue))
    ks = [p.k for p in rows[0][2].points]
    if guessing is not None:
        panel.plot(ks, [100 * x for x in guessing], color=INK, linestyle=(0, (1, 2)), linewidth=1.2)
        ends.append(("guessing", 100 * guessing[-1], INK))
    panel.set_ylim(0, 102)
    log2_ticks(panel, ks)
    label_ends(panel, ends)


def draw_steps(figure: "Figure", rows: Sequence[tuple[str, str, Mapping[int, Point]]], k: int) -> None:
    """pass@k by training step. rows: (name, colour, {step: pass@k})."""
    panel = step_axes(figure, f"pass@{k}, %")
    ends = []
    for name, hue, points in rows:
        low, middle, high = ([100 * getattr(p, end) for p in points.values()] for end in ("low", "estimate", "high"))
        panel.fill_between(list(points), low, high, color=hue, alpha=0.12, lw=0)
        panel.plot(list(points), middle, color=hue, marker="o", markersize=4)
        ends.append((name, middle[-1], hue))
    label_ends(panel, ends)


def draw_model(
    figure: "Figure", rows: Sequence[tuple[str, str, Mapping[int, float], Mapping[int, float]]], samples: int
) -> None:
    """pass@K as measured, solid, and by a model, dashed. rows: (name, colour, {K: measured}, {K: by the model})."""
    panel = axes(figure, "K", "pass@K, %")
    panel.axvline(samples, color=RULE, linewidth=1.0)
    ends = []
    for name, hue, measured, model in rows:
        panel.plot(list(measured), [100 * x for x in measured.values()], color=hue)
        panel.plot(list(model), [100 * x for x in model.values()], color=hue, linestyle=(0, (5, 3)), linewidth=1.3)
        ends.append((f"{brief(name)} (model)", 100 * list(model.values())[-1], hue))
    panel.set_ylim(0, 102)
    log2_ticks(panel, list(rows[0][3])[::2])
    label_ends(panel, ends)


def _shade(panel: "Axes", band: Mapping[int, tuple[float, float]], hue: str) -> None:
    if band:
        low, high = zip(*band.values(), strict=True)
        panel.fill_between(list(band), [100 * x for x in low], [100 * x for x in high], color=hue, alpha=0.09, lw=0)


def draw_differences(
    figure: "Figure",
    rows: Sequence[tuple[str, str, Sequence[Difference]]],
    bands: Mapping[str, Mapping[int, tuple[float, float]]] = MappingProxyType({}),
) -> None:
    """Differences in points by K with their intervals. rows: (label, colour, points). bands: {label: {k: the ends of a band}}."""
    panel = axes(figure, "K", "difference in points")
    panel.axhline(0, color=INK, linewidth=0.9)
    offsets = [1.045 ** (i - (len(rows) - 1) / 2) for i in range(len(rows))]
    for (label, hue, points), offset, style in zip(
        rows, offsets, ("o", "s", "D", "^", "v", "P", "X") * 9, strict=False
    ):
        _shade(panel, bands.get(label, {}), hue)
        middle = [100 * d.difference for d in points]
        arms = [[100 * (d.difference - d.low) for d in points], [100 * (d.high - d.difference) for d in points]]
        panel.errorbar(
            [d.k * offset for d in points],
            middle,
            yerr=arms,
            color=hue,
            fmt=f"-{style}",
            markersize=4,
            elinewidth=1.1,
            linewidth=1.4,
            label=label,
        )
    log2_ticks(panel, [d.k for d in rows[0][2]])
    columns = 2 if max(len(label) for label, *_ in rows) <= 18 else 1
    figure.legend(loc="outside upper left", frameon=False, ncols=columns, fontsize=9)


def brief(name: str) -> str:
    """A name for plots, of at most 18 characters, with hidden characters spelled out. Both ends stay, where names differ."""
    name = visible(name, kept="")
    return name if len(name) <= 18 else f"{name[:8]}…{name[-9:]}"


def axes(figure: "Figure", x: str, y: str) -> "Axes":
    """Axes with two labels and horizontal grid lines."""
    panel = figure.add_subplot()
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.grid(axis="y", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.tick_params(length=0)
    return panel


def step_axes(figure: "Figure", y: str) -> "Axes":
    """Axes over training steps, which are integers."""
    from matplotlib.ticker import MaxNLocator

    panel = axes(figure, "training step", y)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    return panel


def log2_ticks(panel: "Axes", ks: Sequence[int]) -> None:
    """A log2 axis with a tick at each k."""
    panel.set_xscale("log", base=2)
    panel.set_xticks(list(ks), [str(k) for k in ks])
    panel.minorticks_off()


def label_ends(panel: "Axes", ends: Sequence[tuple[str, float, str]]) -> None:
    """Names at the right ends of lines, moved apart so that none covers another."""
    low, high = panel.get_ylim()
    share = min(0.075, 1 / max(len(ends), 1))
    gap = share * (high - low)
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
        panel.annotate(
            brief(name),
            (1.0, y),
            xycoords=panel.get_yaxis_transform(),
            xytext=(5, 0),
            textcoords="offset points",
            color=hue,
            va="center",
            fontsize=10 if share == 0.075 else 120 * share,
            annotation_clip=False,
        )


def finite(value: object) -> float:
    """The number, or nan for anything else and for what is too large to draw."""
    return float(value) if isinstance(value, int | float) and abs(value) < _LARGEST else math.nan


def save(path: Path, size: tuple[float, float], draw: Callable[["Figure"], None]) -> None:
    """Write a drawing on white, `size` in inches, in the format of the path's suffix."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**_RC, "svg.fonttype": "path"}):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        draw(figure)
        _spell_out(figure)
        undated = {".svg": "Date", ".pdf": "CreationDate"}.get(path.suffix, "Software")
        drawn = io.BytesIO()
        figure.savefig(drawn, format=path.suffix[1:], dpi=200, metadata={undated: None})
    with replacing(path) as new:
        new.write_bytes(drawn.getvalue())


def _spell_out(figure: "Figure") -> None:
    """Spell out the hidden characters in every text of a drawing."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text) and (shown := visible(text.get_text(), kept="")) != text.get_text():
            text.set_text(shown)


def svg(label: str, draw: Callable[["Figure"], None]) -> str:
    """The drawing as an <svg> element without a fixed size, in the page's colours, with only the ids that are referenced."""
    import matplotlib
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with matplotlib.rc_context({**_RC, "svg.hashsalt": f"simko {label}"}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        figure.patch.set_alpha(0)
        draw(figure)
        _spell_out(figure)
        for panel in figure.axes:
            panel.patch.set_alpha(0)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'^<svg[^>]*?(viewBox="[^"]*")[^>]*>', r"<svg \1>", text)
    text = re.sub(r' (?:d|x|y|points|transform)="[^"]*"', lambda found: _rounded(found[0]), text)
    text = themed(text.replace(INK, "currentColor").replace(RULE, "var(--rule)"))
    text = text.replace("'DejaVu Sans'", _FONTS)
    from markupsafe import escape

    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(visible(label, kept=""))}" ', 1)


def _rounded(coordinates: str) -> str:
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", coordinates)
