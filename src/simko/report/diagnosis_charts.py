"""The charts of a diagnosis: log-probabilities by rank, histograms, distinct tokens, checkpoints over a training."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simko.report.document import Chart
from simko.report.plots import DASHED, axes, colour, label_ends, log2_ticks, step_axes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RANKS = 10
_LEAST = -12.0  # log10 of a probability, drawn
_Summary = Mapping[str, Any]


def charts(models: Sequence[_Summary], hues: Mapping[str, str]) -> list[tuple[str, str, list[Chart]]]:
    """(heading, words, charts). hues: {model: its colour}."""
    histograms = [_rank_histogram(models, n, hues) for n in range(3)]
    judged = [m for m in models if "correct" in m["summary"]]
    return [
        (
            "How the probability falls with the rank",
            "As Λ(1) nears 0 and the others sink, there is little left to sample from: K draws show one token.",
            [
                _by_rank(models, "", hues),
                _by_rank(models, "gated", hues),
                _distinct(models, "", hues),
                _distinct(models, "gated", hues),
            ],
        ),
        (
            "Over the training",
            "Checkpoints of one run, by step.",
            [chart for n in (0, 1, 2) if (chart := _over_steps(models, n)) is not None],
        ),
        (
            "How often each rank has how much",
            "Share of all tokens by the entropy of their distribution, and by the probability of its first three candidates.",
            [_entropy_histogram(models, hues), *[h for h in histograms if h is not None]],
        ),
        (
            "Correct and incorrect responses",
            "The same by verdict: solid for correct responses, dashed for incorrect ones.",
            [_by_verdict(judged, hues)] if judged else [],
        ),
    ]


def colours(names: Sequence[str]) -> dict[str, str]:
    return {name: colour(name, names) for name in names}


def _of(m: _Summary, key: str) -> _Summary:
    found: _Summary = m["summary"][key] if key else m["summary"]
    return found


def _ranks(numbers: _Summary) -> dict[int, float]:
    logs = numbers["concentration_log10"][:_RANKS]
    return {n: max(_LEAST, x) for n, x in enumerate(logs, start=1) if x is not None}


def _by_rank(models: Sequence[_Summary], key: str, hues: Mapping[str, str]) -> Chart:
    series = {m["name"]: _ranks(_of(m, key)) for m in models}
    sampled = {m["name"]: _of(m, key)["sampled_log10"] for m in models}
    which = "gated tokens" if key else "all tokens"

    def draw(figure: "Figure") -> None:
        panel = axes(figure, "rank of the candidate", "Λ, log10 of probability")
        for name, points in series.items():
            panel.plot(list(points), list(points.values()), color=hues[name], marker="o", markersize=4)
            if sampled[name] is not None:
                panel.axhline(sampled[name], color=hues[name], linestyle=DASHED, linewidth=1.1)
        panel.set_xticks(sorted({n for points in series.values() for n in points}))
        label_ends(panel, [(name, list(points.values())[-1], hues[name]) for name, points in series.items() if points])

    with_sampled = {name: points | {"sampled": sampled[name]} for name, points in series.items()}
    caption = f"Mean log-probability of each rank, {which}. Dashed: of the sampled token."
    return Chart(f"log-probability by rank, {which}", draw, with_sampled, "rank", caption)


def _distinct(models: Sequence[_Summary], key: str, hues: Mapping[str, str]) -> Chart:
    found = {m["name"]: _of(m, key)["distinct"] for m in models}
    which = "gated tokens" if key else "all tokens"

    def draw(figure: "Figure") -> None:
        panel = axes(figure, "draws K", "distinct next tokens")
        ends = []
        for name, d in found.items():
            if None in (*d["low"], *d["high"]):
                continue
            panel.fill_between(d["draws"], d["low"], d["high"], color=hues[name], alpha=0.2, lw=0)
            panel.plot(d["draws"], d["low"], color=hues[name], marker="o", markersize=3.5)
            ends.append((name, d["low"][-1], hues[name]))
        log2_ticks(panel, next(iter(found.values()))["draws"])
        panel.set_ylim(bottom=1)
        label_ends(panel, ends)

    series = {
        f"{name}, {end}": dict(zip(d["draws"], d[end], strict=True))
        for name, d in found.items()
        for end in ("low", "high")
    }
    caption = f"Distinct next tokens that K draws show in expectation, {which}: at least the line, at most the shade's upper edge."
    return Chart(f"distinct tokens in K draws, {which}", draw, series, "K", caption)


def _over_steps(models: Sequence[_Summary], n: int) -> Chart | None:
    runs: dict[str, dict[int, float]] = {}
    for m in models:
        if m["step"] is not None and len(m["summary"]["concentration_log10"]) > n:
            runs.setdefault(m["run"], {})[m["step"]] = m["summary"]["concentration_log10"][n]
    runs = {run: dict(sorted(points.items())) for run, points in runs.items() if len(points) > 1}
    if not runs:
        return None

    def draw(figure: "Figure") -> None:
        panel, of_run = step_axes(figure, f"Λ({n + 1}), log10"), colours(list(runs))
        for run, points in runs.items():
            panel.plot(list(points), list(points.values()), color=of_run[run], marker="o", markersize=4)
        label_ends(panel, [(run, list(points.values())[-1], of_run[run]) for run, points in runs.items()])

    return Chart(
        f"rank {n + 1} over the training", draw, runs, "step", f"Mean log-probability of rank {n + 1}, all tokens."
    )


def _bars(panel: Any, shares: Mapping[str, Sequence[float]], hues: Mapping[str, str]) -> None:
    """Bars side by side for each bin."""
    width = 0.84 / max(1, len(shares))
    for i, (name, share) in enumerate(shares.items()):
        at = [j + 0.08 + (i + 0.5) * width for j in range(len(share))]
        panel.bar(at, share, width=width, color=hues[name], label=name)


def _entropy_histogram(models: Sequence[_Summary], hues: Mapping[str, str]) -> Chart:
    edges = models[0]["summary"]["entropy_histogram"]["edges"]
    shares = {m["name"]: [x or 0.0 for x in m["summary"]["entropy_histogram"]["share"]] for m in models}
    named = [f"{a:g}+" if b is None else f"{a:g}–{b:g}" for a, b in itertools.pairwise(edges)]

    def draw(figure: "Figure") -> None:
        panel = axes(figure, "entropy, nats", "share of tokens")
        _bars(panel, shares, hues)
        panel.set_xticks([i + 0.5 for i in range(len(named))], named, fontsize=9, rotation=30)
        panel.legend(frameon=False, fontsize=9)

    series = {name: dict(zip(named, share, strict=True)) for name, share in shares.items()}
    return Chart("tokens by entropy", draw, series, "entropy", "Tokens by the entropy of their distribution.")


def _rank_histogram(models: Sequence[_Summary], n: int, hues: Mapping[str, str]) -> Chart | None:
    if any(len(m["summary"]["rank_histogram"]["share"]) <= n for m in models):
        return None
    edges = models[0]["summary"]["rank_histogram"]["edges"]
    shares = {m["name"]: [x or 0.0 for x in m["summary"]["rank_histogram"]["share"][n]] for m in models}

    def draw(figure: "Figure") -> None:
        panel = axes(figure, f"probability of rank {n + 1}", "share of tokens")
        for name, share in shares.items():
            panel.stairs(share, edges, color=hues[name], linewidth=1.6, label=name)
        panel.set_yscale("symlog", linthresh=0.001)
        ticks = (0, 0.001, 0.01, 0.1, 1)
        panel.set_yticks(ticks, [f"{x:g}" for x in ticks])
        panel.set_ylim(0, 1.3)
        panel.minorticks_off()
        panel.legend(frameon=False, fontsize=9)

    named = [f"{a:.2f}–{b:.2f}" for a, b in itertools.pairwise(edges)]
    series = {name: dict(zip(named, share, strict=True)) for name, share in shares.items()}
    end, where = (0, "Below 0.05") if n else (-1, "Above 0.95")
    said = ", ".join(f"{name} {100 * share[end]:.0f} %" for name, share in shares.items())
    caption = f"Tokens by the probability of their rank-{n + 1} candidate, bins of 0.05. {where}: {said}."
    return Chart(f"probability of rank {n + 1}", draw, series, "probability", caption)


def _by_verdict(models: Sequence[_Summary], hues: Mapping[str, str]) -> Chart:
    sides = {(m["name"], key): _ranks(_of(m, key)) for m in models for key in ("correct", "incorrect")}

    def draw(figure: "Figure") -> None:
        panel = axes(figure, "rank of the candidate", "Λ, log10 of probability")
        for (name, key), points in sides.items():
            style: Any = "-" if key == "correct" else DASHED
            panel.plot(
                list(points), list(points.values()), color=hues[name], linestyle=style, marker="o", markersize=3.5
            )
        panel.set_xticks(sorted({n for points in sides.values() for n in points}))
        ends = [
            (name, list(points.values())[-1], hues[name])
            for (name, key), points in sides.items()
            if points and key == "correct"
        ]
        label_ends(panel, ends)

    series = {f"{name}, {key}": points for (name, key), points in sides.items()}
    return Chart(
        "log-probability by rank and verdict", draw, series, "rank", "Mean log-probability of each rank by verdict."
    )
