"""A diagnosis -> the part of a page that shows where the probability of each model gathers."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simko.evaluate.files import read_json
from simko.report.document import (
    Block,
    Cell,
    Code,
    Document,
    Figures,
    Heading,
    Prose,
    Table,
    as_markdown,
    write_document,
)
from simko.report.plots import DASHED, axes, colour, label_ends, log2_ticks, step_axes, svg
from simko.report.tokens import Candidate, Candidates, Column, Matrix, Reading, Token, TokenView, in_text, on_one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SETS = {"": "all", "gated": "gated", "correct": "correct", "incorrect": "incorrect"}
_RANKS = 10
_LEAST = -12.0  # log10 of a probability, drawn
_TOKENS_OF_PAGE = 3000
_NONE = "—"
_Summary = Mapping[str, Any]


def is_diagnosis(path: Path) -> bool:
    """Whether the folder is a records directory of simko diagnose."""
    return (path / "plan.json").is_file()


def read_diagnosis(path: Path) -> dict[str, Any]:
    """The summary that simko diagnose wrote into its records directory. ValueError if it has not got so far."""
    if not (path / "diagnosis.json").is_file():
        raise ValueError(f"{path} holds records without a summary: run simko diagnose to its end")
    return read_json(path / "diagnosis.json")


def write_diagnosis(summary: _Summary, path: Path) -> Path:
    """Write the page to path, whole or not at all."""
    names = [m["name"] for m in summary["models"]]
    title = f"Where the probability gathers: {', '.join(names)}"
    return write_document(Document(title, diagnosis_blocks(summary), _colours(names)), path)


def diagnosis_text(summary: _Summary) -> str:
    """The words and the numbers, for a terminal."""
    return as_markdown([*_words(summary), _numbers(summary), *_differences(summary)])


def diagnosis_blocks(summary: _Summary) -> list[Block]:
    """The blocks of a diagnosis: words, numbers, charts, candidate matrices and token views."""
    models = summary["models"]
    blocks: list[Block] = [*_words(summary), _numbers(summary), *_differences(summary)]
    for heading, words, charts in _charts(models):
        if charts:
            blocks += [Heading(heading), Prose(words, "caption"), *_drawn(charts)]
    if summary["shown"]:
        each = max(20, _TOKENS_OF_PAGE // max(1, sum(len(one["views"]) for one in summary["shown"])))
        alone = len({one["source"] for one in summary["shown"]}) == 1
        blocks.append(Heading("Token by token"))
        for i, one in enumerate(summary["shown"]):
            blocks += _response(one, models, f"d{i}", each, alone)
    blocks.append(Heading("How this was measured"))
    return [*blocks, *_measured(summary)]


# Words and numbers.


def _words(summary: _Summary) -> list[Block]:
    models = summary["models"]
    first = {m["name"]: m["summary"]["rank_probability"][0] for m in models}
    ordered = sorted(first, key=lambda name: -first[name])
    said = ", ".join(f"{name} {first[name]:.3f}" for name in ordered)
    sources = dict.fromkeys(m["source"] for m in models)
    if len(models) == 1:
        lead = f"On average {ordered[0]} gives {first[ordered[0]]:.3f} to its first candidate."
    else:
        lead = f"Mean probability of the first candidate: {said}. {ordered[0]} is the most concentrated."
    if len(sources) == 1:
        read = f"All models read the same responses, those of {next(iter(sources))}."
        read += " Those of one model are likelier under it than under the others." if len(models) > 1 else ""
    else:
        read = (
            "Each model reads responses of its own: "
            + "; ".join(f"{m['name']} those of {m['source']}" for m in models)
            + "."
        )
    blocks: list[Block] = [Prose(lead, "lead"), Prose(read)]
    without = [m["name"] for m in models if "correct" not in m["summary"]]
    if without:
        said = f"There are no verdicts for {', '.join(without)}, so correct and incorrect responses are not told apart: give --verifier."
        blocks.append(Prose(said, "missing"))
    return blocks


def _numbers(summary: _Summary) -> Table:
    header = [
        "model",
        "over",
        "responses",
        "tokens",
        "Λ(1)",
        "Λ(2)",
        "Λ(3)",
        "Λ sampled",
        "entropy",
        "sampled at rank 1",
        "top-3 mass",
    ]
    rows = []
    for m in summary["models"]:
        for key, name in _SETS.items():
            numbers = m["summary"] if not key else m["summary"].get(key)
            if numbers is None:
                continue
            logs = [
                *numbers["concentration_log10"][:3],
                *[None] * (3 - len(numbers["concentration_log10"])),
                numbers["sampled_log10"],
            ]
            mass = numbers["top_mass"][min(3, len(numbers["top_mass"])) - 1]
            rows.append(
                (m["name"], name, str(numbers["responses"]), str(numbers["tokens"]), *(_number(x) for x in logs),
                 _number(numbers["entropy"]), _number(numbers["sampled_rank1"]), _number(mass))
            )  # fmt: skip
    caption = (
        "Λ(n) is the mean log-probability of the candidate of rank n, log10, a mean over responses of means over their tokens. "
        "Entropy in nats. Gated tokens are those of high entropy in their response, where SimKO acts."
    )
    return Table(header, rows, caption)


def _differences(summary: _Summary) -> list[Block]:
    """A table of differences from the first model; nothing for one model or one problem."""
    found = summary["differences"]
    if not found:
        return []
    rows: list[list[Cell]] = []
    for d in found:
        numbers = [(_signed(m), f"{_signed(low)} to {_signed(high)}") for m, low, high in d["numbers"].values()]
        rows.append([f"{d['ours']} − {d['other']}", str(d["problems"]), *numbers])
    caption = (
        "Differences on the same problems: means over problems of means over responses of means over tokens, with 95 % t "
        "intervals over problems."
    )
    return [Table(["difference", "problems", *found[0]["numbers"]], rows, caption)]


def _signed(x: float) -> str:
    return f"{x:+.3f}".replace("-", "−")


def _number(x: float | None) -> str:
    return _NONE if x is None else f"{x:.3f}".replace("-", "−")


# Charts.


@dataclass(frozen=True)
class _Chart:
    """A chart and its numbers."""

    label: str
    draw: Callable[["Figure"], None]
    series: Mapping[str, Mapping[Any, float]]
    x: str
    caption: str


def _drawn(charts: Sequence[_Chart]) -> list[Block]:
    blocks: list[Block] = [Figures([(c.caption, svg(c.label, c.draw)) for c in charts])]
    for c in charts:
        places = list(dict.fromkeys(x for points in c.series.values() for x in points))
        rows = [[str(x), *(_number(points.get(x)) for points in c.series.values())] for x in places]
        blocks.append(Table([c.x, *c.series], rows, folded=f"Numbers: {c.label}"))
    return blocks


def _charts(models: Sequence[_Summary]) -> list[tuple[str, str, list[_Chart]]]:
    """(heading, words, charts)."""
    histograms = [_rank_histogram(models, n) for n in range(3)]
    judged = [m for m in models if "correct" in m["summary"]]
    return [
        (
            "How the probability falls with the rank",
            "As Λ(1) nears 0 and the others sink, there is little left to sample from: K draws show one token.",
            [_by_rank(models, ""), _by_rank(models, "gated"), _distinct(models, ""), _distinct(models, "gated")],
        ),
        (
            "Over the training",
            "Checkpoints of one run, by step.",
            [chart for n in (0, 1, 2) if (chart := _over_steps(models, n)) is not None],
        ),
        (
            "How often each rank has how much",
            "Share of all tokens by the entropy of their distribution, and by the probability of its first three candidates.",
            [_entropy_histogram(models), *[h for h in histograms if h is not None]],
        ),
        (
            "Correct and incorrect responses",
            "The same by verdict: solid for correct responses, dashed for incorrect ones.",
            [_by_verdict(judged)] if judged else [],
        ),
    ]


def _colours(names: Sequence[str]) -> dict[str, str]:
    return {name: colour(name, names) for name in names}


def _of(m: _Summary, key: str) -> _Summary:
    found: _Summary = m["summary"][key] if key else m["summary"]
    return found


def _ranks(numbers: _Summary) -> dict[int, float]:
    logs = numbers["concentration_log10"][:_RANKS]
    return {n: max(_LEAST, x) for n, x in enumerate(logs, start=1) if x is not None}


def _by_rank(models: Sequence[_Summary], key: str) -> _Chart:
    hues, series = _colours([m["name"] for m in models]), {m["name"]: _ranks(_of(m, key)) for m in models}
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
    return _Chart(f"log-probability by rank, {which}", draw, with_sampled, "rank", caption)


def _distinct(models: Sequence[_Summary], key: str) -> _Chart:
    hues, found = _colours([m["name"] for m in models]), {m["name"]: _of(m, key)["distinct"] for m in models}
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
    return _Chart(f"distinct tokens in K draws, {which}", draw, series, "K", caption)


def _over_steps(models: Sequence[_Summary], n: int) -> _Chart | None:
    runs: dict[str, dict[int, float]] = {}
    for m in models:
        if m["step"] is not None and len(m["summary"]["concentration_log10"]) > n:
            runs.setdefault(m["run"], {})[m["step"]] = m["summary"]["concentration_log10"][n]
    runs = {run: dict(sorted(points.items())) for run, points in runs.items() if len(points) > 1}
    if not runs:
        return None

    def draw(figure: "Figure") -> None:
        panel, hues = step_axes(figure, f"Λ({n + 1}), log10"), _colours(list(runs))
        for run, points in runs.items():
            panel.plot(list(points), list(points.values()), color=hues[run], marker="o", markersize=4)
        label_ends(panel, [(run, list(points.values())[-1], _colours(list(runs))[run]) for run, points in runs.items()])

    return _Chart(
        f"rank {n + 1} over the training", draw, runs, "step", f"Mean log-probability of rank {n + 1}, all tokens."
    )


def _bars(panel: Any, shares: Mapping[str, Sequence[float]], hues: Mapping[str, str]) -> None:
    """Bars side by side for each bin."""
    width = 0.84 / max(1, len(shares))
    for i, (name, share) in enumerate(shares.items()):
        at = [j + 0.08 + (i + 0.5) * width for j in range(len(share))]
        panel.bar(at, share, width=width, color=hues[name], label=name)


def _entropy_histogram(models: Sequence[_Summary]) -> _Chart:
    hues, edges = _colours([m["name"] for m in models]), models[0]["summary"]["entropy_histogram"]["edges"]
    shares = {m["name"]: [x or 0.0 for x in m["summary"]["entropy_histogram"]["share"]] for m in models}
    named = [f"{a:g}+" if b is None else f"{a:g}–{b:g}" for a, b in itertools.pairwise(edges)]

    def draw(figure: "Figure") -> None:
        panel = axes(figure, "entropy, nats", "share of tokens")
        _bars(panel, shares, hues)
        panel.set_xticks([i + 0.5 for i in range(len(named))], named, fontsize=9, rotation=30)
        panel.legend(frameon=False, fontsize=9)

    series = {name: dict(zip(named, share, strict=True)) for name, share in shares.items()}
    return _Chart("tokens by entropy", draw, series, "entropy", "Tokens by the entropy of their distribution.")


def _rank_histogram(models: Sequence[_Summary], n: int) -> _Chart | None:
    if any(len(m["summary"]["rank_histogram"]["share"]) <= n for m in models):
        return None
    hues, edges = _colours([m["name"] for m in models]), models[0]["summary"]["rank_histogram"]["edges"]
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
    return _Chart(f"probability of rank {n + 1}", draw, series, "probability", caption)


def _by_verdict(models: Sequence[_Summary]) -> _Chart:
    hues = _colours([m["name"] for m in models])
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
    return _Chart(
        "log-probability by rank and verdict", draw, series, "rank", "Mean log-probability of each rank by verdict."
    )


# Tokens.


def _response(one: Mapping[str, Any], models: Sequence[_Summary], key: str, most: int, alone: bool) -> list[Block]:
    verdict = {True: "correct", False: "incorrect"}.get(one["correct"], "not judged")
    what = f"Response {one['sample']} to {one['problem_id']}, {verdict}"
    what += "" if alone else f", of {one['source']}"
    blocks: list[Block] = [Heading(what, 3)]
    if one["prompt"]:
        blocks.append(Code(one["prompt"]))
    ranks = {m["name"]: m["candidates"] for m in models}
    segment = one["segment"]
    matrices = [
        Candidates(name, [_column(text, column, name) for text, column in zip(segment["path"], columns, strict=True)])
        for name, columns in segment["models"].items()
    ]
    caption = (
        f"The most uncertain {len(segment['path'])} tokens, from token {segment['start'] + 1}: candidates by rank until they "
        "reach 95 %. The sampled path is framed."
    )
    blocks.append(Matrix(f"{key}m", matrices, caption))
    readings = [Reading(name, [_token(t) for t in view[:most]], ranks[name]) for name, view in one["views"].items()]
    longest = max(len(r.tokens) for r in readings)
    caption = f"The first {longest} of {one['tokens']} tokens." if longest < one["tokens"] else ""
    return [*blocks, TokenView(f"{key}t", readings, caption)]


def _token(t: Mapping[str, Any]) -> Token:
    candidates = [(on_one_line(text), p) for text, p in t["candidates"]]
    shown = in_text(t["text"]), on_one_line(t["text"])
    return Token(*shown, t["p"], t["rank"], t["entropy"], t["gated"], t["acts"], candidates)


def _column(text: str, column: Mapping[str, Any], own: str) -> Column:
    elsewhere = {own: column["elsewhere"][own]} | column["elsewhere"]
    candidates = [
        Candidate(on_one_line(shown), p, n == column["sampled"], {name: at[n] for name, at in elsewhere.items()})
        for n, (shown, p) in enumerate(column["candidates"])
    ]
    return Column(on_one_line(text), f"{column['sampled_p']:.3f}", candidates, f"{column['rest']:.3f}")


# How it was measured.


def _measured(summary: _Summary) -> list[Block]:
    rows = []
    for m in summary["models"]:
        left_out = "; ".join(f"{n} ({reason})" for reason, n in m["left_out"].items()) or "none"
        rows.append(
            (m["name"], m["path"], m["weights"], m["source"], "; ".join(m["settings"]), m["judge"] or _NONE, str(m["responses"]),
             left_out, str(m["other_lengths"]))
        )  # fmt: skip
    header = (
        "model",
        "path",
        "weights",
        "responses of",
        "settings",
        "verifier",
        "responses",
        "left out",
        "of another length",
    )
    first = summary["models"][0]
    caption = (
        f"Distributions at temperature {first['temperature']:g}; {first['candidates']} candidates a token; the gate at the "
        f"{first['gate_quantile']:g} quantile. A response is read as the tokens of its text, and its end token where it was "
        "sampled: those of another length than was sampled were split into other tokens then."
    )
    blocks: list[Block] = [Table(header, rows, caption)]
    return [*blocks, Code(summary["command"])] if summary["command"] else blocks
