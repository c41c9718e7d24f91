"""The numbers of evaluation runs side by side: curves, differences, crossings, answers. No words and no plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from simko.evaluate import Comparison, Counts, Curve, paired_difference, pass_at_k_curve, reliable
from simko.evaluate.answers import (
    GuessingLine,
    answer_entropy,
    cover_at_tau,
    distinct_answers,
    guessing_line,
    majority,
)
from simko.evaluate.crossing import Crossing, crossing
from simko.evaluate.intervals import holm
from simko.evaluate.passk import with_errors_as_correct
from simko.report.measures import StepPoint, step_points
from simko.report.runs import Evaluated, Group, Matched, match, parse_group

_TAUS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Side:
    """One group on one task at one setting.

    errors_as_correct: the curve if every sample that the grader failed on were right, None where it failed on none;
    majority: (k, maj@k); distinct: mean number of distinct answers among `Section.distinct_among`; entropy: mean answer
    entropy in nats, and cover: (tau, Cover@tau), None where n is not the same for all; means over seeds, all of them; shares: of samples that were truncated, held no answer, exhausted their
    limits, could not be graded; tokens: mean a sample.
    """

    name: str
    evaluations: tuple[Evaluated, ...]
    curve: Curve
    errors_as_correct: Curve | None
    majority: tuple[tuple[int, float | None], ...]
    distinct: float | None
    entropy: float | None
    cover: tuple[tuple[float, float], ...] | None
    shares: Mapping[str, float]
    tokens: float
    lacking: int


@dataclass(frozen=True)
class Pair:
    """ours against other. crossing: None where a problem has one sample only; p_holm: of the headline K, adjusted over
    all tasks and pairs of the comparison."""

    ours: str
    other: str
    comparison: Comparison
    crossing: Crossing | None
    p_holm: float


@dataclass(frozen=True)
class Section:
    """One task at one setting. samples: the fewest of any problem, most_samples: the most. ks: powers of two up to the fewest; headline_k: the
    largest k <= n / 2;
    guessing: None where no problem has a known number of possible answers; course: by side, pass@1 and pass@headline_k
    at every training step, where the runs hold several."""

    task: str
    setting: str
    problems: int
    samples: int
    most_samples: int
    ks: tuple[int, ...]
    headline_k: int
    distinct_among: int
    sides: tuple[Side, ...]
    pairs: tuple[Pair, ...]
    guessing: GuessingLine | None
    course: Mapping[str, Sequence[StepPoint]]


def read_sections(
    groups: Sequence[str | Group], *, anyway: bool = False, reference: str | None = None
) -> list[Section]:
    """Every task and setting that all of some runs, or groups of runs "name=run1,run2", have.

    reference: the name against which all differences are taken; default: every pair. ValueError as in `match`, and for
    a reference that is none of the names.
    """
    parsed = [parse_group(words) if isinstance(words, str) else words for words in groups]
    names = [group.name for group in parsed]
    if reference is not None and reference not in names:
        raise ValueError(f"--reference {reference} is none of the names compared: {', '.join(names)}")
    return _adjusted([_section(found, names, reference) for found in match(parsed, anyway=anyway)])


def _section(found: Matched, names: Sequence[str], reference: str | None) -> Section:
    groups = found.groups
    every = [e for group in groups for e in group]
    sizes = {n for e in every for n, _ in e.counts.values()}
    samples, most = min(sizes), max(sizes)
    ks = tuple(2**i for i in range(samples.bit_length()))
    sides = tuple(_side(name, group, ks, samples == most) for name, group in zip(names, groups, strict=True))
    headline_k = max((k for k in ks if reliable(samples, k)), default=1)
    pairs = tuple(_pair(other, ours, ks) for other, ours in _pairs(sides, reference))
    choices: dict[str, int | None] = {i: p.metadata.get("choices") for i, p in every[0].problems.items()}
    return Section(
        task=found.task,
        setting=found.setting,
        problems=len(every[0].counts),
        samples=samples,
        most_samples=most,
        ks=ks,
        headline_k=headline_k,
        distinct_among=ks[-1],
        sides=sides,
        pairs=pairs,
        guessing=guessing_line(choices, ks) if any(choices.values()) else None,
        course=_course(found, names, headline_k),
    )


def _pairs(sides: Sequence[Side], reference: str | None) -> list[tuple[Side, Side]]:
    """(other, ours): all pairs, or those with the reference."""
    if reference is None:
        return list(combinations(sides, 2))
    against = next(side for side in sides if side.name == reference)
    return [(against, side) for side in sides if side is not against]


def _course(found: Matched, names: Sequence[str], k: int) -> dict[str, Sequence[StepPoint]]:
    """By name, its points over training steps, k lowered to what the fewest samples of any step allow."""
    if not found.steps:
        return {}
    counts = [{step: [e.counts for e in groups[i]] for step, groups in found.steps.items()} for i in range(len(names))]
    fewest = min(n for side in counts for runs in side.values() for run in runs for n, _ in run.values())
    return {name: step_points(side, min(k, fewest)) for name, side in zip(names, counts, strict=True)}


def _side(name: str, group: Sequence[Evaluated], ks: tuple[int, ...], equal: bool) -> Side:
    counts = [e.counts for e in group]
    errors = sum(sum(e.errors.values()) for e in group)
    total = sum(e.tally.samples for e in group)
    outcomes = {o: sum(e.tally.outcomes.get(o, 0) for e in group) for o in ("unparsed", "timeout", "error", "ungraded")}
    truncated = sum(e.tally.truncated for e in group)
    # a verifier of one's own may say right or not alone: then there are no answers to count, which is not the answer None
    read = any(answer.form is not None for e in group for rows in e.answers.values() for answer in rows)
    return Side(
        name=name,
        evaluations=tuple(group),
        curve=pass_at_k_curve(counts, ks),
        errors_as_correct=pass_at_k_curve([with_errors_as_correct(e.counts, e.errors) for e in group], ks)
        if errors
        else None,
        majority=_majority(group, ks[2::2]) if read else tuple((k, None) for k in ks[2::2]),
        distinct=_mean([[distinct_answers(e.answers, ks[-1])] for e in group])[0] if read else None,
        entropy=_mean([[answer_entropy(e.answers)] for e in group])[0] if equal and read else None,
        cover=_cover(group) if equal else None,
        shares={"truncated": truncated / total} | {o: count / total for o, count in outcomes.items()},
        tokens=sum(e.tally.tokens for e in group) / total,
        lacking=sum(e.lacking for e in group),
    )


def _pair(other: Side, ours: Side, ks: Sequence[int]) -> Pair:
    left: list[Counts] = [e.counts for e in ours.evaluations]
    right: list[Counts] = [e.counts for e in other.evaluations]
    crossed = crossing(left, right) if ks[-1] > 1 else None
    return Pair(ours.name, other.name, paired_difference(left, right, ks), crossed, 1.0)


def _adjusted(drafts: Sequence[Section]) -> list[Section]:
    """The sections with p_holm over all of their pairs, each at its section's headline K."""
    at_headline = [
        next(d.p for d in pair.comparison.points if d.k == section.headline_k)
        for section in drafts
        for pair in section.pairs
    ]
    adjusted = iter(holm(np.array(at_headline, dtype=float)).tolist())
    return [replace(s, pairs=tuple(replace(pair, p_holm=next(adjusted)) for pair in s.pairs)) for s in drafts]


def _majority(group: Sequence[Evaluated], ks: Sequence[int]) -> tuple[tuple[int, float], ...]:
    """maj@k is exact, and costs some milliseconds a problem and k."""
    values = _mean(
        [[sum(majority(rows, k) for rows in e.answers.values()) / len(e.answers) for k in ks] for e in group]
    )
    return tuple(zip(ks, values, strict=True))


def _cover(group: Sequence[Evaluated]) -> tuple[tuple[float, float], ...]:
    return tuple(zip(_TAUS, _mean([[c.share for c in cover_at_tau(e.counts, _TAUS)] for e in group]), strict=True))


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]
