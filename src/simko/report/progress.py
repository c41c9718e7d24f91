"""The parts of a page that show training: the log and the probes, over steps."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from simko.report.content import TrainingRun
from simko.report.document import Block, Chart, Figures, Heading, Prose
from simko.report.plots import COLOURS, DASHED, INK, axes, colour, finite, label_ends, step_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOGGED = {
    "reward": ("mean reward", "Mean reward of the sampled responses."),
    "entropy": ("entropy, nats a token", "Mean entropy of the next-token distribution."),
    "groups/mixed": ("share of groups", "Share of groups whose responses differ in reward (groups/mixed)."),
    "clip_ratio/region_mean": (
        "share of tokens, clipped",
        "Share of tokens whose ratio the clipping holds back (clip_ratio/region_mean).",
    ),
    "completions/mean_length": (
        "tokens a response",
        "Mean length of the sampled responses (completions/mean_length).",
    ),
    "completions/clipped_ratio": (
        "share of responses, cut off",
        "Share of responses that were cut off at the length limit (completions/clipped_ratio).",
    ),
    "simko/gated": (
        "share of tokens, gated",
        "Share of tokens of high entropy, where SimKO acts (simko/gated).",
    ),
    "simko/raised": (
        "share of tokens, raised",
        "Share of tokens whose first candidates SimKO raises: gated, in a response better than its group (simko/raised).",
    ),
    "simko/penalised": (
        "share of tokens, penalised",
        "Share of tokens that SimKO penalises more: gated, of rank 1, in a response worse than its group (simko/penalised).",
    ),
}
"""{metric: (axis, caption)}."""
_GROUPS = {"all_right": 0.85, "mixed": 0.45, "all_wrong": 0.15, "unscorable": 0.05}
"""{outcome of a group: how strong its colour is}."""
_ROLLOUT_METRICS = ("reward", "groups/", "completions/")
_RANK_SHADES = (1.0, 0.82, 0.66, 0.52, 0.4, 0.3)
Line = dict[float, float]
"""{step: value}."""


def training(runs: Sequence[TrainingRun], names: Sequence[str]) -> list[Block]:
    """The training log."""
    charts = [*logged_charts(runs, names), *_group_charts(runs, names)]
    if not charts:
        return [Heading("Training"), Prose("No training log holds a value yet.", "missing")]
    note = (
        "One line per run. Long series are smoothed; the faint lines are the raw values. A gap: nothing was counted at that step. "
        "Groups: of the first run of each method."
    )
    return [Heading("Training"), Figures(charts), Prose(note, "caption")]


def logged_charts(runs: Sequence[TrainingRun], names: Sequence[str]) -> list[Chart]:
    """A chart of each metric of `_LOGGED`, and of each further one of a method's own, that a run logged."""
    own = {
        key
        for run in runs
        for row in run.metrics
        for key in row
        if key.startswith((f"{run.config.get('method')}/", "simko/"))
    }
    metrics = _LOGGED | {key: (key, f"{key}, as the method logs it.") for key in sorted(own - _LOGGED.keys())}
    found = []
    for key, (label, caption) in metrics.items():
        lines = [(run, line) for run in runs if (line := _series(run, key))]
        if lines:
            draw = partial(_draw_metric, label=label, lines=lines, names=names)
            found.append(Chart(f"training: {key}", draw, {run.name: line for run, line in lines}, caption=caption))
    return found


def _draw_metric(figure: "Figure", label: str, lines: Sequence[tuple[TrainingRun, Line]], names: Sequence[str]) -> None:
    """A metric over training. A logged step without the metric is a gap, and a value between two gaps is a dot."""
    panel = step_axes(figure, label)
    ends: dict[str, list[float]] = {}
    for run, line in lines:
        steps, values = list(line), list(line.values())
        hue = colour(run.method, names)
        if len(values) > 12:
            panel.plot(steps, values, color=hue, alpha=0.25, linewidth=0.9)
        smooth = _moving_mean(values) if len(values) > 12 else values
        panel.plot(steps, smooth, color=hue)
        padded = [math.nan, *smooth, math.nan]
        alone = [i for i in range(len(smooth)) if math.isnan(padded[i]) and math.isnan(padded[i + 2])]
        dots = [steps[i] for i in alone], [smooth[i] for i in alone]
        panel.plot(*dots, color=hue, marker="o", markersize=4, linestyle="")
        ends.setdefault(run.method, []).append(next(y for y in reversed(smooth) if not math.isnan(y)))
    label_ends(panel, [(name, sum(v) / len(v), colour(name, names)) for name, v in ends.items()])


def _group_charts(runs: Sequence[TrainingRun], names: Sequence[str]) -> list[Chart]:
    """The shares of groups by outcome, of the first run of each method."""
    found = []
    for run in _first_runs(runs, names):
        lines = {outcome.replace("_", " "): _series(run, f"groups/{outcome}") for outcome in _GROUPS}
        lines = {name: line for name, line in lines.items() if any(line.values())}
        if "mixed" in lines and len(lines) > 1:
            draw = partial(_draw_shares, lines=lines, hue=colour(run.method, names))
            caption = "Groups whose responses are all right, mixed or all wrong: only mixed ones train."
            found.append(Chart(f"training: groups of {run.name}", draw, lines, caption=caption, title=run.method))
    return found


def _draw_shares(figure: "Figure", lines: Mapping[str, Line], hue: str) -> None:
    panel = step_axes(figure, "share of groups")
    steps = sorted({step for line in lines.values() for step in line})
    below = [0.0] * len(steps)
    ends = []
    for name, line in lines.items():
        shares = _moving_mean([line.get(step, math.nan) for step in steps])
        above = [low + (0.0 if math.isnan(share) else share) for low, share in zip(below, shares, strict=True)]
        panel.fill_between(steps, below, above, color=hue, alpha=_GROUPS[name.replace(" ", "_")], lw=0)
        ends.append((name, (below[-1] + above[-1]) / 2, INK))
        below = above
    panel.set_ylim(0, 1)
    label_ends(panel, ends)


def concentration(runs: Sequence[TrainingRun], names: Sequence[str]) -> list[Block]:
    """The probes: how probability gathers on the first candidates."""
    first = [run for run in _first_runs(runs, names) if run.diagnostics]
    over_ranks = _rank_charts(
        first, names, "concentration", "Λ, log10 of probability", lambda x: x / math.log(10), "sampled"
    )
    gated = _rank_charts(first, names, "gated_rank_probability", "probability at gated tokens", lambda x: x, None)
    blocks: list[Block] = [Heading("Concentration")]
    if over_ranks:
        blocks += [
            Prose(
                "How probability gathers on the first candidate. Λ(n) is the mean log-probability of the candidate of rank n, over "
                "the tokens of the probed responses. When Λ(1) nears 0 and the others sink, the model has little left to sample from."
            ),
            Figures(over_ranks),
            Prose(
                "Units: log10, as in the paper; the probes log natural logarithms, divided here by ln 10. Dashed: the sampled token. "
                "First run of each method.",
                "caption",
            ),
        ]
    else:
        blocks.append(Prose("No probe has measured the concentration yet.", "missing"))
    if gated:
        blocks += [
            Prose(
                "The same at the gated tokens only, those of high entropy, where SimKO acts. Here as mean probability, over training "
                "and, as bars, at the first probe and the last."
            ),
            Figures([*gated, *_rank_bars(first, names)]),
            Prose("Mean probability of ranks 1 to 4 at gated tokens. First run of each method.", "caption"),
        ]
    else:
        blocks.append(Prose("No probe has measured the gated tokens yet.", "missing"))
    histograms = _histograms(first, names)
    if histograms:
        caption = "Share of tokens by entropy, at the first probe (grey) and at the last (coloured)."
        return [*blocks, Heading("Token entropy before and after", 3), Figures(histograms), Prose(caption, "caption")]
    return [*blocks, Prose("No probe holds an entropy histogram.", "missing")]


def _rank_charts(
    runs: Sequence[TrainingRun],
    names: Sequence[str],
    key: str,
    label: str,
    unit: Callable[[float], float],
    extra: str | None,
) -> list[Chart]:
    """Ranks over training, on one scale for all charts. extra: a further line of the probes."""
    drawn: list[tuple[TrainingRun, dict[str, Line]]] = []
    for run in runs:
        probes = [d for d in run.diagnostics if d.get(key)]
        ranks = max((len(d[key]) for d in probes), default=0)
        lines: dict[str, Line] = {
            f"rank {n + 1}": {d["step"]: unit(finite(d[key][n])) for d in probes if len(d[key]) > n}
            for n in range(ranks)
        }
        if extra is not None and lines:
            lines[extra] = {d["step"]: unit(finite(d.get(extra))) for d in probes}
        lines = {name: line for name, line in lines.items() if any(map(math.isfinite, line.values()))}
        if lines:
            drawn.append((run, lines))
    values = [y for _, lines in drawn for line in lines.values() for y in line.values() if math.isfinite(y)]
    if not values:
        return []
    room = 0.06 * (max(values) - min(values) or 1.0)
    limits = (min(values) - room, max(values) + room)
    return [
        Chart(
            f"{label}, {run.method}",
            partial(_draw_ranks, label=label, lines=lines, extra=extra, hue=colour(run.method, names), limits=limits),
            lines,
            title=run.method,
        )
        for run, lines in drawn
    ]


def _draw_ranks(
    figure: "Figure", label: str, lines: Mapping[str, Line], extra: str | None, hue: str, limits: tuple[float, float]
) -> None:
    panel, ends = step_axes(figure, label), []
    for n, (name, line) in enumerate(lines.items()):
        plain = name != extra
        ink = hue if plain else INK
        shade = _RANK_SHADES[min(n, len(_RANK_SHADES) - 1)] if plain else 1.0
        style = "-" if plain else DASHED
        panel.plot(list(line), list(line.values()), color=ink, alpha=shade, linestyle=style, marker="o", markersize=3)
        ends.append((name, next(y for y in reversed(list(line.values())) if math.isfinite(y)), ink))
    panel.set_ylim(*limits)
    label_ends(panel, ends)


def _rank_bars(runs: Sequence[TrainingRun], names: Sequence[str]) -> list[Chart]:
    """The mean probability of each rank at gated tokens, at the first and the last probe."""
    found = []
    for run in runs:
        probes = [
            d for d in run.diagnostics if any(map(math.isfinite, map(finite, d.get("gated_rank_probability") or ())))
        ]
        if probes:
            ends = [(d["step"], [finite(x) for x in d["gated_rank_probability"]]) for d in (probes[0], probes[-1])]
            places = [f"rank {n + 1}" for n in range(min(len(values) for _, values in ends))]
            found.append(
                _before_and_after(f"ranks at gated tokens, {run.method}", run, names, places, ends, "probability")
            )
    return found


def _histograms(runs: Sequence[TrainingRun], names: Sequence[str]) -> list[Chart]:
    """The share of tokens by entropy, at the first and the last probe."""
    found = []
    for run in runs:
        probes = [d for d in run.diagnostics if isinstance(d.get("entropy_histogram"), Mapping)]
        if probes:
            ends = [(d["step"], [finite(x) for x in d["entropy_histogram"]["share"]]) for d in (probes[0], probes[-1])]
            edges = probes[0]["entropy_histogram"]["edges"]
            places = [f"{a:g}+" if b is None else f"{a:g}-{b:g}" for a, b in itertools.pairwise(edges)]
            found.append(
                _before_and_after(f"entropy of tokens, {run.method}", run, names, places, ends, "share of tokens")
            )
    return found


def _before_and_after(
    label: str,
    run: TrainingRun,
    names: Sequence[str],
    places: Sequence[str],
    ends: Sequence[tuple[Any, Sequence[float]]],
    y: str,
) -> Chart:
    """Bars at the first probe in grey and at the last in the method's colour. ends: (step, values) of both."""

    def draw(figure: "Figure") -> None:
        panel = axes(figure, "token entropy, nats" if y.startswith("share") else "", y)
        looks: tuple[dict[str, Any], ...] = (
            {"color": COLOURS["base"]},
            {"color": colour(run.method, names), "fill": True, "alpha": 0.35},
        )
        for (step, values), look in zip(ends, looks, strict=True):
            panel.stairs(values, range(len(values) + 1), label=f"step {step}", linewidth=1.6, **look)
        panel.set_xticks([i + 0.5 for i in range(len(places))], places, fontsize=9, rotation=30)
        panel.set_ylim(0, 1.05)
        panel.legend(frameon=False)

    series = {f"step {step}": dict(zip(places, map(float, values), strict=False)) for step, values in ends}
    return Chart(label, draw, series, "", title=run.method)


def _first_runs(runs: Sequence[TrainingRun], names: Sequence[str]) -> list[TrainingRun]:
    """The first run of each method, one with probes if there is one."""
    found: dict[str, TrainingRun] = {}
    for run in sorted(runs, key=lambda run: not run.diagnostics):
        found.setdefault(run.method, run)
    return sorted(found.values(), key=lambda run: names.index(run.method))


def _series(run: TrainingRun, key: str) -> dict[float, float]:
    """{step: value} from the training log, or else from the probes. Empty without a finite value.

    Steps that should have logged the metric and did not have nan: steps with a rollout for metrics of rollouts, all steps for
    metrics of updates.
    """
    due = "num_tokens" if key.startswith(_ROLLOUT_METRICS) else "loss"
    for rows in (run.metrics, run.diagnostics):
        points = {float(r["step"]): finite(r.get(key)) for r in rows if due in r or key in r}
        if not all(map(math.isnan, points.values())):
            return points
    return {}


def _moving_mean(values: Sequence[float]) -> list[float]:
    """Centred mean over a tenth of the steps, narrower at the ends. Gaps stay gaps and are left out of the means."""
    half = max(1, len(values) // 20)
    windows = [[x for x in values[max(0, i - half) : i + half + 1] if not math.isnan(x)] for i in range(len(values))]
    return [math.nan if math.isnan(x) else sum(w) / len(w) for x, w in zip(values, windows, strict=True)]
