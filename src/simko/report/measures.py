"""The numbers of a study: curves, paired differences, temperatures, steps. No text and no plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from simko.evaluate import Comparison, Counts, Curve, Point, holm_over, paired_difference, pass_at_k_curve, reliable
from simko.report.study import BASE, Study

_SHOWN_PAIRS = (("grpo", BASE), ("simko", BASE), ("simko", "grpo"))


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
class Measures:
    """All numbers of the page."""

    ks: tuple[int, ...]
    """The study's ks for which every problem of every curve has samples."""
    left_out_ks: tuple[int, ...]
    """The study's other ks."""
    reliable_k: int
    """The largest k <= samples / 2."""
    samples: int
    """The fewest samples of any problem."""
    problems: int
    """The number of problems."""
    curves: Mapping[str, Curve]
    """{method: pass@K}."""
    pairs: Mapping[tuple[str, str], Comparison]
    """{(ours, other): ours - other}."""
    p_holm: Mapping[int, Mapping[tuple[str, str], float]]
    """{k: the p values of the pairs, adjusted over the pairs at that k}."""
    at_temperature: Mapping[str, Sequence[tuple[float, Point]]]
    """{method: [(temperature, pass@1)]}, including the curves' temperature."""
    best_base: tuple[float, Point] | None
    """The base's temperature with the highest pass@1; None if it was evaluated at one."""
    against_best: Mapping[str, Comparison]
    """{method: the paired difference to best_base}."""
    steps: Mapping[str, Sequence[StepPoint]]
    """{method: its points over training}."""
    steps_k: int
    """The k of these points."""

    @property
    def seeds(self) -> int:
        """The fewest training seeds of any trained method; 0 if none was trained."""
        return min((len(c.per_seed) for m, c in self.curves.items() if m != BASE), default=0)


def measure(study: Study) -> Measures:
    """Every number that the page states."""
    counts = {m: [e.counts for e in study.headline(m)] for m in study.methods}
    samples = min(n for runs in counts.values() for run in runs for n, _ in run.values())
    ks = tuple(k for k in study.ks if k <= samples) or (1,)
    pairs = {pair: paired_difference(counts[pair[0]], counts[pair[1]], ks) for pair in _pairs(study.methods)}
    curves = {m: pass_at_k_curve(runs, ks) for m, runs in counts.items()}
    temperatures = _by_temperature(study)
    base = [(t, pass_at_k_curve(runs, [1]).points[0]) for t, runs in temperatures.get(BASE, {}).items()]
    best = max(base, key=lambda row: (row[1].estimate, -row[0])) if len(base) > 1 else None
    against = {}
    if best is not None:
        reference = temperatures[BASE][best[0]]
        against = {m: paired_difference(counts[m], reference, [1]) for m in study.methods if m != BASE}
    steps, steps_k = _over_steps(study)
    return Measures(
        ks=ks,
        left_out_ks=tuple(k for k in study.ks if k > samples),
        reliable_k=max((k for k in ks if reliable(samples, k)), default=ks[0]),
        samples=samples,
        problems=next(iter(curves.values())).problems,
        curves=curves,
        pairs=pairs,
        p_holm={k: holm_over(pairs, k) for k in ks},
        at_temperature={
            m: [(t, pass_at_k_curve(runs, [1]).points[0]) for t, runs in rows.items()]
            for m, rows in temperatures.items()
        },
        best_base=best,
        against_best=against,
        steps=steps,
        steps_k=steps_k,
    )


def _pairs(methods: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs to show: each method against the base, then against those before it."""
    every = [(ours, other) for other, ours in combinations(methods, 2)]
    return sorted(every, key=lambda p: (_SHOWN_PAIRS.index(p) if p in _SHOWN_PAIRS else 9, p[1] != BASE))


def _by_temperature(study: Study) -> dict[str, dict[float, list[Counts]]]:
    """{method: {temperature: the counts of each seed}} at the headline step."""
    found: dict[str, dict[float, list[Counts]]] = {}
    for e in sorted(study.evaluations, key=lambda e: e.temperature):
        if e.method == BASE or e.step == study.headline_step:
            found.setdefault(e.method, {}).setdefault(e.temperature, []).append(e.counts)
    return {m: found[m] for m in study.methods if m in found}


def _over_steps(study: Study) -> tuple[dict[str, list[StepPoint]], int]:
    """{method: its points by step, the base as step 0}, and their k. Empty if fewer than two steps were evaluated."""
    at = [e for e in study.evaluations if e.temperature == study.temperature]
    trained = [e for e in at if e.method != BASE]
    if len({e.step for e in trained}) < 2:
        return {}, 0
    fewest = min(e.samples for e in at)
    k = max((k for k in study.ks if reliable(fewest, k)), default=1)
    start = [e.counts for e in at if e.method == BASE]
    steps: dict[str, list[StepPoint]] = {}
    for method in study.methods:
        if method == BASE:
            continue
        groups: dict[int, list[Counts]] = {}
        for e in trained:
            if e.method == method:
                groups.setdefault(e.step, []).append(e.counts)
        if start:
            groups.setdefault(0, start)
        steps[method] = step_points(groups, k)
    return steps, k


def step_points(groups: Mapping[int, Sequence[Counts]], k: int) -> list[StepPoint]:
    """pass@1 and pass@k by training step. groups: {step: the counts of each seed}."""
    points = []
    for step, counts in sorted(groups.items()):
        first, largest = pass_at_k_curve(counts, [1, k]).points
        points.append(StepPoint(step, first, largest))
    return points
