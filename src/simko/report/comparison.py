"""The numbers of evaluation runs side by side: curves, differences, crossings, answers. No text and no plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from simko.evaluate import Comparison, Counts, Curve, Difference, Point, paired_difference, pass_at_k_curve, reliable
from simko.evaluate.answers import (
    GuessingLine,
    answer_entropy,
    cover_at_tau,
    distinct_answers,
    guessing_line,
    majority,
)
from simko.evaluate.bands import curve_band, whole_ks
from simko.evaluate.crossing import Crossing, crossing
from simko.evaluate.difficulty import Stratum, by_difficulty
from simko.evaluate.extrapolation import Extrapolation, extrapolate
from simko.evaluate.intervals import holm
from simko.evaluate.passk import Interval, values_by_seed, with_errors_as_correct
from simko.report.runs import Evaluation, MatchedTask, RunGroup, match, parse_group

BASE = "base"
"""The name of the model before training."""
_TAUS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class StepPoint:
    """pass@1 and pass@k of one method at one training step."""

    step: int
    """The training step."""
    first: Point
    """pass@1."""
    largest: Point
    """pass@k."""


@dataclass(frozen=True)
class Side:
    """One group on one task at one setting. All numbers are means over training seeds."""

    name: str
    """The group's name."""
    evaluations: tuple[Evaluation, ...]
    """One per training seed."""
    curve: Curve
    """pass@K."""
    errors_as_correct: Curve | None
    """The curve if every sample on which the grader failed were correct; None if it failed on none."""
    without_failed: Curve | None
    """The curve without the problems that have a failed sample; None if none failed, or all problems have one."""
    majority: tuple[tuple[int, float | None], ...]
    """(k, maj@k), with None if the verifier extracts no answers."""
    distinct: float | None
    """The distinct answers among `Section.distinct_among` samples; None if the verifier extracts no answers."""
    entropy: float | None
    """The answer entropy in nats; None if the verifier extracts no answers, or n differs."""
    cover: tuple[tuple[float, float], ...] | None
    """(tau, Cover@tau); None if n differs."""
    shares: Mapping[str, float | None]
    """{"truncated" or an outcome: the share of samples}, with None for an unknown one."""
    tokens: float | None
    """The tokens per sample; None if unknown."""
    lacking: int
    """The number of problems with fewer samples than were asked for."""
    band: Mapping[int, Interval]
    """{k: the ends of the band that holds at all of them}, up to half of the samples of any side."""
    model: Extrapolation | None
    """The model beyond n; None if there is no fit."""


@dataclass(frozen=True)
class Pair:
    """Ours against other."""

    ours: str
    """The name of the one side."""
    other: str
    """The name of the other side."""
    comparison: Comparison
    """Their differences."""
    crossing: Crossing | None
    """Whether the curves cross; None if a problem has a single sample."""
    p_holm: float
    """The p value at the headline K, adjusted over all tasks and pairs."""
    strata: tuple[Stratum, ...]
    """The pair by difficulty for the other, at the powers of two up to a quarter of the samples; empty for too few samples."""


@dataclass(frozen=True)
class Section:
    """One task at one setting."""

    task: str
    """The task's name."""
    setting: str
    """The setting's name, or the names of those compared."""
    problems: int
    """The number of problems."""
    samples: int
    """The fewest samples of any problem."""
    most_samples: int
    """The most samples of any problem."""
    ks: tuple[int, ...]
    """The powers of two up to `samples`."""
    headline_k: int
    """The largest k <= samples / 2."""
    distinct_among: int
    """The number of samples among which distinct answers are counted."""
    sides: tuple[Side, ...]
    """One per group."""
    pairs: tuple[Pair, ...]
    """The pairs that are compared."""
    guessing: GuessingLine | None
    """None if no problem has a known number of possible answers."""
    course: Mapping[str, Sequence[StepPoint]]
    """{side: pass@1 and pass@headline_k at every training step}; empty if the runs hold one step."""


@dataclass(frozen=True)
class Sweep:
    """pass@1 and pass@k of one task by temperature."""

    task: str
    """The task's name."""
    k: int
    """The largest k <= half of the fewest samples."""
    settings: tuple[str, ...]
    """The temperatures."""
    rows: Mapping[str, Sequence[tuple[Point, Point] | None]]
    """{side: pass@1 and pass@k at each temperature, None where it was not evaluated}."""
    best_base: tuple[str, Point] | None = None
    """The base's temperature with the highest pass@1; None if it was evaluated at one."""
    against_best: Mapping[str, Difference] = field(default_factory=dict)
    """{side: its pass@1 at the curves' temperature - that of the base at its best}."""


def read_sections(
    groups: Sequence[str | RunGroup], *, anyway: bool = False, reference: str | None = None
) -> list[Section]:
    """Every task and setting that all groups of runs have. A group is a run, or "name=run1,run2".

    anyway: see `match`. reference: the name against which differences are taken; None compares every pair. ValueError as in
    `match`, and for an unknown reference.
    """
    parsed = [parse_group(text) if isinstance(text, str) else text for text in groups]
    names = [group.name for group in parsed]
    if reference is not None and reference not in names:
        raise ValueError(f"--reference {reference} is none of the names compared: {', '.join(names)}")
    return adjust_p([_matched(found, names, reference) for found in match(parsed, anyway=anyway)])


def _matched(found: MatchedTask, names: Sequence[str], reference: str | None) -> Section:
    course = {
        name: {step: [e.counts for e in groups[i]] for step, groups in found.steps.items()}
        for i, name in enumerate(names)
    }
    groups = dict(zip(names, found.groups, strict=True))
    return make_section(found.task, found.setting, groups, course if found.steps else {}, reference)


def make_section(
    task: str,
    setting: str,
    groups: Mapping[str, Sequence[Evaluation]],
    course: Mapping[str, Mapping[int, Sequence[Counts]]],
    reference: str | None = None,
) -> Section:
    """The numbers of one task at one setting, with p not yet adjusted.

    groups: {name: its evaluations, one per training seed}. course: {name: {training step: the counts of each seed}}.
    """
    every = [e for group in groups.values() for e in group]
    sizes = {n for e in every for n, _ in e.counts.values()}
    samples, most = min(sizes), max(sizes)
    ks = tuple(2**i for i in range(samples.bit_length()))
    sides = tuple(_side(name, group, ks, samples == most) for name, group in groups.items())
    headline_k = max((k for k in ks if reliable(samples, k)), default=1)
    pairs = tuple(_pair(other, ours, ks) for other, ours in _pairs(sides, reference))
    given = {i: p.metadata.get("choices") for i, p in every[0].problems.items()}
    choices = {
        i: number if isinstance(number, int) and number > 0 else None for i, number in given.items()
    }  # or options
    fewest = min(
        (n for side in course.values() for runs in side.values() for run in runs for n, _ in run.values()), default=1
    )
    return Section(
        task=task,
        setting=setting,
        problems=len(every[0].counts),
        samples=samples,
        most_samples=most,
        ks=ks,
        headline_k=headline_k,
        distinct_among=ks[-1],
        sides=sides,
        pairs=pairs,
        guessing=guessing_line(choices, ks) if any(choices.values()) else None,
        course={name: _step_points(steps, min(headline_k, fewest)) for name, steps in course.items()},
    )


def _step_points(steps: Mapping[int, Sequence[Counts]], k: int) -> list[StepPoint]:
    return [StepPoint(step, *_both(counts, k)) for step, counts in sorted(steps.items())]


def _both(counts: Sequence[Counts], k: int) -> tuple[Point, Point]:
    """pass@1 and pass@k."""
    first, largest = pass_at_k_curve(counts, [1, k]).points
    return first, largest


def sweeps(sections: Sequence[Section]) -> list[Sweep]:
    """A sweep for each task with several temperatures."""
    by_task: dict[str, dict[str, dict[str, Sequence[Counts]]]] = {}
    for section in sections:
        sides = by_task.setdefault(section.task, {})
        for side in section.sides:
            sides.setdefault(side.name, {})[section.setting] = [e.counts for e in side.evaluations]
    return [found for task, sides in by_task.items() if (found := make_sweep(task, sides))]


def make_sweep(task: str, sides: Mapping[str, Mapping[str, Sequence[Counts]]], at: str | None = None) -> Sweep | None:
    """None for a single temperature. sides: {name: {temperature: the counts of each seed}}. at: the curves' temperature."""
    settings = tuple(dict.fromkeys(setting for side in sides.values() for setting in side))
    if len(settings) < 2:
        return None
    fewest = min(n for side in sides.values() for runs in side.values() for run in runs for n, _ in run.values())
    k = 2 ** max(0, fewest.bit_length() - 2)
    points = {name: {setting: _both(runs, k) for setting, runs in side.items()} for name, side in sides.items()}
    rows = {name: [side.get(setting) for setting in settings] for name, side in points.items()}
    base = {setting: first for setting, (first, _) in points.get(BASE, {}).items()}
    if at is None or len(base) < 2:
        return Sweep(task, k, settings, rows)
    best = max(base.items(), key=lambda row: row[1].estimate)
    reference = sides[BASE][best[0]]
    compared = {name: side[at] for name, side in sides.items() if name != BASE and at in side}
    against = {name: paired_difference(counts, reference, [1]).points[0] for name, counts in compared.items()}
    return Sweep(task, k, settings, rows, best, against)


def _pairs(sides: Sequence[Side], reference: str | None) -> list[tuple[Side, Side]]:
    """(other, ours) of all pairs, or of those with the reference."""
    if reference is None:
        return list(combinations(sides, 2))
    other = next(side for side in sides if side.name == reference)
    return [(other, side) for side in sides if side is not other]


def _side(name: str, group: Sequence[Evaluation], ks: tuple[int, ...], equal: bool) -> Side:
    counts = [e.counts for e in group]
    errors = sum(sum(e.errors.values()) for e in group)
    total = sum(e.tally.samples for e in group)
    outcomes = {
        o: sum(e.tally.outcomes.get(o, 0) for e in group)
        for o in ("unparsed", "timeout", "error", "failed", "ungraded")
    }
    truncated, tokens = (_share([getattr(e.tally, what) for e in group], total) for what in ("truncated", "tokens"))
    # a user's verifier may return True or False only; then there are no answers to count
    extracts = any(answer.form is not None for e in group for rows in e.answers.values() for answer in rows)
    failed = {i for e in group for i in e.failures}
    whole = [{i: e.counts[i] for i in e.counts if i not in failed} for e in group]
    return Side(
        name=name,
        evaluations=tuple(group),
        curve=pass_at_k_curve(counts, ks),
        errors_as_correct=pass_at_k_curve([with_errors_as_correct(e.counts, e.errors) for e in group], ks)
        if errors
        else None,
        without_failed=pass_at_k_curve(whole, ks) if failed and all(whole) else None,
        majority=_majority(group, ks[2::2]) if extracts else tuple((k, None) for k in ks[2::2]),
        distinct=_mean([[distinct_answers(e.answers, ks[-1])] for e in group])[0] if extracts else None,
        entropy=_mean([[answer_entropy(e.answers)] for e in group])[0] if equal and extracts else None,
        cover=_cover(group) if equal else None,
        shares={"truncated": truncated} | {o: count / total for o, count in outcomes.items()},
        tokens=tokens,
        lacking=sum(e.lacking for e in group),
        band=_band(counts, ks[-1] // 2),
        model=extrapolate(counts),
    )


def _pair(other: Side, ours: Side, ks: Sequence[int]) -> Pair:
    left: list[Counts] = [e.counts for e in ours.evaluations]
    right: list[Counts] = [e.counts for e in other.evaluations]
    crossed = crossing(left, right) if ks[-1] > 1 else None
    quarter = [k for k in ks if 4 * k <= min(n for run in [*left, *right] for n, _ in run.values())]
    strata = by_difficulty(left, right, quarter) if quarter else ()
    return Pair(ours.name, other.name, paired_difference(left, right, ks), crossed, 1.0, strata)


def _band(counts: Sequence[Counts], most: int) -> dict[int, Interval]:
    ks = whole_ks(most)
    if not ks:
        return {}
    return dict(zip(ks, map(tuple, curve_band(values_by_seed(counts, ks)[1]).tolist()), strict=True))


def adjust_p(sections: Sequence[Section]) -> list[Section]:
    """The sections with p_holm adjusted over all of their pairs, each at its section's headline K."""
    at_headline = [
        next(d.p for d in pair.comparison.points if d.k == section.headline_k)
        for section in sections
        for pair in section.pairs
    ]
    adjusted = iter(holm(np.array(at_headline, dtype=float)).tolist())
    return [replace(s, pairs=tuple(replace(pair, p_holm=next(adjusted)) for pair in s.pairs)) for s in sections]


def _majority(group: Sequence[Evaluation], ks: Sequence[int]) -> tuple[tuple[int, float], ...]:
    """(k, maj@k). It is exact and takes some milliseconds per problem and k."""
    values = _mean(
        [[sum(majority(rows, k) for rows in e.answers.values()) / len(e.answers) for k in ks] for e in group]
    )
    return tuple(zip(ks, values, strict=True))


def _cover(group: Sequence[Evaluation]) -> tuple[tuple[float, float], ...]:
    return tuple(zip(_TAUS, _mean([[c.share for c in cover_at_tau(e.counts, _TAUS)] for e in group]), strict=True))


def _share(counts: Sequence[int | None], total: int) -> float | None:
    """The sum over the samples, None if any is unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) / total if len(known) == len(counts) else None


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]
