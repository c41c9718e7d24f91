"""Evaluation runs -> a self-contained HTML page, of one run or several side by side."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simko.evaluate import Crossing, Difference, Point, SampleStore, Stratum
from simko.evaluate.files import write_whole
from simko.generations import UNKNOWN
from simko.report.comparison import Pair, Section, Side
from simko.report.figures import steps_figure
from simko.report.findings import percent, points_apart, with_interval
from simko.report.page import OptionRow, option_rows
from simko.report.plots import brief, colour, draw_curves, draw_differences, draw_model, pair_colours, svg
from simko.report.runs import RunEvaluation
from simko.report.template import markup, render

_MAX_CHARACTERS = 4000
_KINDS = {
    "correct": "judged correct",
    "wrong": "judged incorrect",
    "unparsed": "no answer found in it",
    "timeout": "exhausted the grader’s limits",
    "error": "could not be graded",
    "failed": "no response came",
}

_SHARES = {
    "truncated": "were cut off at the length limit",
    "unparsed": "hold no answer",
    "timeout": "exhausted the grader’s limits and count as incorrect",
    "ungraded": "are not graded yet",
}


_DRAWS = {
    "model": "model",
    "temperature": "temperature",
    "top_p": "top-p",
    "max_new_tokens": "token limit",
    "seed": "seed",
}


@dataclass(frozen=True)
class GradedResponse:
    """One response as the grader saw it."""

    side: str
    """The name of the side."""
    kind: str
    """How it was judged, in words."""
    problem: str
    """The problem's id."""
    prompt: str
    """The problem's prompt."""
    gold: str
    """The gold answer."""
    extracted: str
    """The answer that was judged."""
    response: str
    """The response."""


def write_runs_page(sections: Sequence[Section], path: Path) -> Path:
    """Write the page of `sections` to path, whole or not at all."""
    write_whole(path, render_runs(sections))
    return path


def render_runs(sections: Sequence[Section]) -> str:
    """The page of `sections`."""
    names = [side.name for side in sections[0].sides]
    context = {
        "title": " against ".join(names) if len(names) < 4 else f"{len(names)} models",
        "sections": sections,
        "names": names,
        "figures": [section_figures(section, names) for section in sections],
        "seen": [_graded_responses(section) for section in sections],
        "settings": [_settings(section) for section in sections],
        "sweeps": sweeps(sections),
        "headlines": [headline(section) for section in sections],
        "notes": [notes(section) for section in sections],
    }
    filters: dict[str, Callable[..., Any]] = {
        "colour": lambda name: colour(name, names),
        "ends": _ends,
        "zipped": lambda columns: list(zip(*columns, strict=True)),
    }
    return render("runs.html.jinja", context, filters)


def headline(section: Section) -> list[str]:
    """The main numbers of a section, with one sentence per side and one or two per pair."""
    said = []
    for side in section.sides:
        first, at_k = at(side.curve.points, 1), at(side.curve.points, section.headline_k)
        more = f", pass@{section.headline_k} {with_interval(at_k)}" if section.headline_k > 1 else ""
        said.append(f"{side.name}: pass@1 {with_interval(first)}{more}.")
    for pair in section.pairs:
        d = at(pair.comparison.points, section.headline_k)
        words = "no difference shown" if d.low <= 0 <= d.high else ("higher" if d.difference > 0 else "lower")
        said.append(
            f"{pair.ours} against {pair.other} at K = {section.headline_k}: {points_apart(d.difference)} points "
            f"({points_apart(d.low)} to {points_apart(d.high)}), {words}; p = {pair.p_holm:.3f} after Holm over all tasks "
            f"and pairs shown.{f' {_crossing_words(pair)}' if pair.crossing else ''}"
        )
    return said


def _crossing_words(pair: Pair) -> str:
    assert pair.crossing is not None
    said = [pair.crossing.describe(pair.ours, pair.other)]
    if pair.crossing.first_loss[1] is not None:
        said.append(pair.crossing.describe_first_loss(pair.ours, pair.other))
    return " ".join(said)


def notes(section: Section) -> list[str]:
    """The reservations about the numbers of a section."""
    said = []
    if section.most_samples > section.samples:
        said.append(
            f"n is not the same for all: {section.samples} to {section.most_samples} samples a problem. More samples solve "
            "more problems by that alone, so newly solved and newly lost ones are not counted."
        )
    if section.headline_k < section.ks[-1]:
        said.append(
            f"† n = {section.samples} samples a problem: for K above {section.samples // 2} one lucky sample can decide a "
            f"problem. The headline is K = {section.headline_k}."
        )
    if section.guessing is not None:
        line = section.guessing
        unknown = f" ({line.unknown} problems have no known number of possible answers and count as 0)"
        said.append(
            f"Guessing alone solves {percent(line.values[0])} at K = 1 and {percent(line.values[-1])} at "
            f"K = {line.ks[-1]}{unknown if line.unknown else ''}."
        )
    for side in section.sides:
        if side.lacking:
            wanted = max(e.setting.n for e in side.evaluations)
            said.append(f"{side.name} is unfinished: {side.lacking} problems lack samples of the {wanted} asked for.")
        shares = [f"{percent(s)} {words}" for o, words in _SHARES.items() if (s := side.shares[o]) and s >= 0.005]
        if side.errors_as_correct is not None:
            best = at(side.errors_as_correct.points, section.headline_k)
            shares.append(
                f"{side.shares['error'] or 0:.2%} could not be graded, by our own fault, and count as not correct (as correct, "
                f"pass@{section.headline_k} would be {percent(best.estimate)})"
            )
        failures = {i: f for e in side.evaluations for i, f in e.failures.items()}
        if failures:
            problem, first = next(iter(failures.items()))
            shares.append(
                f"{side.shares['failed'] or 0:.2%} never came and count as incorrect (problems: {len(failures)}, {problem} first: "
                f"{first.words})"
            )
        if shares:
            said.append(f"{side.name}: of its responses {', '.join(shares)}.")
        if unsaid := _unsaid(side):
            said.append(f"{side.name} was graded from files that do not say its {', '.join(unsaid)}.")
        if side.model is not None and not side.model.fits:
            said.append(
                f"{side.name}: one Beta distribution over the problems leaves the band (at K = {side.model.worst_k} it is "
                f"{points_apart(side.model.worst_gap)} points off), so no model is drawn beyond n."
            )
    return said


def _unsaid(side: Side) -> list[str]:
    """What the files of a side do not say of its draws."""
    records = [e.setting.record for e in side.evaluations]
    return [words for key, words in _DRAWS.items() if any(record.get(key) == UNKNOWN for record in records)]


def at(points: Sequence[Any], k: int) -> Any:
    """The point (or difference) at k."""
    return next(point for point in points if point.k == k)


def sweeps(sections: Sequence[Section]) -> list[dict[str, Any]]:
    """For each task with several temperatures, pass@1 and pass@headline K: one row per side, one column per temperature."""
    by_task: dict[str, list[Section]] = {}
    for section in sections:
        by_task.setdefault(section.task, []).append(section)
    found = []
    for task, same in by_task.items():
        if len(same) < 2:
            continue
        k = min(s.headline_k for s in same)
        rows: dict[str, list[tuple[Point, Point]]] = {
            side.name: [(at(s.sides[i].curve.points, 1), at(s.sides[i].curve.points, k)) for s in same]
            for i, side in enumerate(same[0].sides)
        }
        found.append({"task": task, "k": k, "settings": [s.setting for s in same], "rows": rows})
    return found


def section_figures(section: Section, names: Sequence[str]) -> dict[str, Any]:
    """The figures of a section as markup, None for one that it lacks."""
    rows = [(side.name, colour(side.name, names), side.curve) for side in section.sides]
    line = section.guessing.values if section.guessing else None
    label = f"{section.task} {section.setting}"
    hues = pair_colours([(p.ours, p.other) for p in section.pairs], names)
    pairs: list[tuple[str, str, Sequence[Difference]]] = [
        (f"{brief(p.ours)} − {brief(p.other)}", hue, p.comparison.points)
        for p, hue in zip(section.pairs, hues, strict=True)
    ]
    course = [(name, colour(name, names), points) for name, points in section.course.items()]
    bands = {side.name: side.band for side in section.sides}
    apart = {shown[0]: _ends(pair.crossing) for shown, pair in zip(pairs, section.pairs, strict=True) if pair.crossing}
    beyond = [_beyond(side, colour(side.name, names), section.ks) for side in section.sides if _fits(side)]
    drawn = {
        "curves": svg(f"pass@K, {label}", lambda figure: draw_curves(figure, rows, section.headline_k, line, bands)),
        "differences": svg(f"differences, {label}", lambda figure: draw_differences(figure, pairs, apart))
        if pairs
        else None,
        "model": svg(f"model beyond n, {label}", lambda figure: draw_model(figure, beyond, section.samples))
        if beyond
        else None,
        "first_by_step": steps_figure(course, True) if course else None,
        "largest_by_step": steps_figure(course, False) if course and section.headline_k > 1 else None,
    }
    return {key: markup(value) for key, value in drawn.items()}


def _ends(found: Crossing) -> dict[int, tuple[float, float]]:
    return {point.k: (point.low, point.high) for point in found.points}


def _fits(side: Side) -> bool:
    return side.model is not None and side.model.fits


def _beyond(side: Side, hue: str, ks: Sequence[int]) -> tuple[str, str, dict[int, float], dict[int, float]]:
    """The name, colour, measured curve and model of a side, the model up to 16 times as many samples."""
    assert side.model is not None
    model = {k: side.model.pass_at_k(k) for k in [*ks, *(ks[-1] * 2**i for i in range(1, 5))]}
    return side.name, hue, {p.k: p.estimate for p in side.curve.points}, model


def _graded_responses(section: Section) -> list[GradedResponse]:
    """The first response of each side and outcome, by problem and index."""
    return [
        found
        for side in section.sides
        for kind in _KINDS
        if not side.evaluations[0].setting.holds_counts and (found := _first(side, side.evaluations[0], kind))
    ]


def _first(side: Side, e: RunEvaluation, outcome: str) -> GradedResponse | None:
    with SampleStore(e.store, read_only=True) as store:
        found = store.first(e.setting, outcome)
    if found is None:
        return None
    sample, verdict = found
    problem = e.problems.get(sample.problem_id)
    return GradedResponse(
        side.name,
        _KINDS[outcome],
        sample.problem_id,
        _cut(problem.prompt if problem else ""),
        problem.answer if problem else "",
        verdict.extracted or "",
        _cut(sample.failure or sample.response),
    )


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]} … ({len(text):,} characters)"


def _settings(section: Section) -> tuple[list[str], list[OptionRow]]:
    """The names of the runs, and the fingerprints side by side."""
    every = [e for side in section.sides for e in side.evaluations]
    records: list[Mapping[str, Any]] = [
        {**e.setting.record, "verifier": e.setting.verifier, "samples a problem": e.setting.n} for e in every
    ]
    rows = option_rows([{k: v for k, v in record.items() if v is not None} for record in records])
    return [str(e.run) for e in every], rows


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
                "band": p.crossing and _ends(p.crossing),
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
