"""Rows over training -> numbers: concentration and its kin, what predicts the end, the effect of each option.

Axes: B resamples, R runs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from simko.evaluate.intervals import holm
from simko.report.comparison import StepPoint
from simko.studies.head_to_head.findings import Difference, curve_of, mean_difference, outcomes
from simko.studies.head_to_head.rows import BASE, Results, Row, Seeds, Setting

RANKS = 6
TUNED = {"alpha": "alpha", "top_penalty": "lambda", "top_k": "N", "gate_quantile": "q"}
"""{option of SimKO: its name in the paper}."""
_RESAMPLES = 1000

Measure = Callable[[Row, Row | None], float]
"""(row, the base's row or None) -> a number; nan if it cannot be known."""


def _rank(n: int) -> Measure:
    return lambda row, base: row.concentration[n] / math.log(10) if n < len(row.concentration) else math.nan


def _changed(row: Row, base: Row | None, solved: bool) -> float:
    """Problems with a correct sample in one of row and base alone: newly solved, or lost."""
    if base is None or base.samples != row.samples:
        return math.nan
    pairs = zip(row.correct, base.correct, strict=True)
    return float(sum((now > 0) == solved and (before > 0) != solved for now, before in pairs))


MEASURES: Mapping[str, Measure] = {
    **{f"Λ({n + 1}), log10": _rank(n) for n in range(RANKS)},
    "rank-1 probability, gated": lambda row, base: row.rank1_gated,
    "entropy, nats a token": lambda row, base: row.entropy,
    "distinct responses": lambda row, base: row.distinct,
    "distinct correct": lambda row, base: row.distinct_correct,
    "newly solved problems": lambda row, base: _changed(row, base, solved=True),
    "lost problems": lambda row, base: _changed(row, base, solved=False),
}
"""{what is followed over training: how}."""

PREDICTORS: Mapping[str, Callable[[Row], float]] = {
    "Λ(1)": lambda row: row.concentration[0] if row.concentration else math.nan,
    "rank-1 probability, gated": lambda row: row.rank1_gated,
    "entropy": lambda row: row.entropy,
    "reward": lambda row: row.reward,
    "learning rate": lambda row: float(row.options.get("learning_rate", math.nan)),
}
"""{what might predict pass@K at the end: the paper's, then its rivals}. The last is known before training."""


@dataclass(frozen=True)
class Correlation:
    """A rank correlation over runs."""

    rho: float
    """Spearman's; nan if one side is constant."""
    low: float
    """The low end of its 95 % percentile interval over resampled groups of runs; nan for fewer than five groups."""
    high: float
    """The high end."""
    runs: int
    """The number of runs."""


@dataclass(frozen=True)
class Effect:
    """The ends of training at several values of one option, all others alike."""

    method: str
    """The method."""
    option: str
    """The option."""
    others: Setting
    """The other options."""
    ends: Mapping[float, Seeds]
    """{value: {seed: row}}. No gate is the quantile 0."""
    changes: Mapping[float, Difference]
    """{value: the mean of pass@K over the primary ks less that of the finals' value}; p adjusted over all values of the task."""


def trained(results: Results, task: str) -> tuple[str, ...]:
    """The methods that have a training of their own, up to the last rollout."""
    return tuple(method for method in results.methods(task) if method not in results.without_course)


def courses(results: Results, task: str) -> dict[str, list[StepPoint]]:
    """{method: pass@1 and pass@K, the last of the primary ks, over training}, from the base as step 0."""
    first, last = outcomes(results, task)[0], outcomes(results, task)[-1]
    base = results.end(task, BASE, results.course_split(task))
    found = {}
    for method in trained(results, task):
        at = results.over_training(task, method)
        if len(at) < 2:
            continue
        steps = ({0: base} if base else {}) | at
        fewest = min(row.samples for seeds in steps.values() for row in seeds.values())
        curves = {step: curve_of(seeds, [first, min(last, fewest)], _RESAMPLES).points for step, seeds in steps.items()}
        found[method] = [StepPoint(step, *points) for step, points in curves.items()]
    return found


def followed(results: Results, task: str, measure: Measure) -> dict[str, list[tuple[int, float]]]:
    """{method: [(step, mean over seeds)]} of one of MEASURES over training, without what is not known."""
    base = next(iter(results.end(task, BASE, results.course_split(task)).values()), None)
    found = {}
    for method in trained(results, task):
        steps = ({0: {0: base}} if base else {}) | results.over_training(task, method)
        points = [
            (step, float(np.mean([measure(row, base) for row in seeds.values()]))) for step, seeds in steps.items()
        ]
        known = [point for point in points if math.isfinite(point[1])]
        if len(known) > 1:
            found[method] = known
    return found


def at_the_end(results: Results, task: str, measure: Measure) -> dict[str, list[float]]:
    """{method: one of MEASURES of each seed's model at the end}, on test problems."""
    base = next(iter(results.end(task, BASE).values()), None)
    ends = {method: results.end(task, method) for method in results.methods(task)}
    return {method: [measure(row, base) for row in seeds.values()] for method, seeds in ends.items()}


def early_steps(results: Results, task: str, most: int = 4) -> list[int]:
    """At most so many steps before the last that every final run was evaluated at, spread evenly."""
    runs = [results.over_training(task, method) for method in trained(results, task)]
    steps = sorted(set(runs[0]).intersection(*runs[1:]))[:-1] if runs else []
    places = np.unique(np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int))
    return [steps[i] for i in places]


def predicts(results: Results, task: str, predictor: Callable[[Row], float], step: int) -> Correlation | None:
    """Spearman's correlation over all final runs of predictor at a step with pass@K at the end, K the last primary one.

    The interval resamples methods, each with all its runs: runs of one method are alike. None for fewer than five runs.
    """
    k = outcomes(results, task)[-1]
    found: list[tuple[float, float, int]] = []
    for group, method in enumerate(trained(results, task)):
        at, end = results.over_training(task, method).get(step, {}), results.end(task, method)
        found += [(predictor(at[seed]), end[seed].mean_pass(k), group) for seed in at.keys() & end.keys()]
    known = [run for run in found if math.isfinite(run[0])]
    if len(known) < 5:
        return None
    early, late, groups = map(np.array, zip(*known, strict=True))
    return spearman(early, late, groups)


def spearman(
    x: Float[np.ndarray, " R"],
    y: Float[np.ndarray, " R"],
    groups: Int[np.ndarray, " R"],
    resamples: int = 2000,
    seed: int = 0,
) -> Correlation:
    """Spearman's correlation with a percentile interval that resamples groups of runs."""
    names, member = np.unique(groups, return_inverse=True)
    rho = float(_rank_correlation(x, y, np.ones((1, len(x))))[0])
    low = high = math.nan
    if len(names) >= 5:
        times = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
        among = _rank_correlation(x, y, times[:, member])
        low, high = np.nanquantile(among, [0.025, 0.975]) if np.isfinite(among).any() else (math.nan, math.nan)
    return Correlation(rho, float(low), float(high), len(x))


def _rank_correlation(
    x: Float[np.ndarray, " R"], y: Float[np.ndarray, " R"], times: Float[np.ndarray, "B R"]
) -> Float[np.ndarray, " B"]:
    """Spearman's correlation of samples that hold each run so many times; nan where one side is constant."""

    def centered(side: Float[np.ndarray, " R"]) -> Float[np.ndarray, "B R"]:
        below = (side[:, None] > side) + (side[:, None] == side) / 2
        rank: np.ndarray = times @ below.T
        return rank - (times * rank).sum(1, keepdims=True) / times.sum(1, keepdims=True)

    a, b = centered(x), centered(y)
    scale = np.sqrt((times * a**2).sum(1) * (times * b**2).sum(1))
    product: np.ndarray = np.divide((times * a * b).sum(1), scale, out=np.full(len(scale), np.nan), where=scale > 0)
    return product


def effects(results: Results, task: str) -> list[Effect]:
    """One for each option of TUNED and each choice of the others that was tried at two values or more.

    Values are compared with that of the finals: run again among them, or else the finals themselves for the seeds that they have.
    """
    tried = results.of_stage(task, "sensitivity", "test") or results.of_stage(task, "sensitivity", "validation")
    split = next((row.split for seeds in tried.values() for row in seeds.values()), "test")
    seeds = {seed for rows in tried.values() for seed in rows}
    centers: dict[str, Seeds] = {}
    for (method, setting), rows in results.of_stage(task, "final", split).items():
        if method in {name for name, _ in tried}:
            shared = {seed: row for seed, row in rows.items() if seed in seeds}
            if shared:
                centers[method] = tried.setdefault((method, setting), shared)
    found: dict[tuple[str, str, Setting], dict[float, Seeds]] = {}
    for (method, setting), rows in tried.items():
        for option in TUNED:
            options = dict(setting)
            if option in options:
                value = float(options.pop(option) or 0)
                found.setdefault((method, option, tuple(sorted(options.items()))), {})[value] = rows
    series = {key: dict(sorted(ends.items())) for key, ends in found.items() if len(ends) > 1}
    ks = outcomes(results, task)
    every = [Effect(*key, ends, _changes(ends, centers.get(key[0], {}), ks)) for key, ends in series.items()]
    return sorted(_adjusted(every), key=lambda effect: list(TUNED).index(effect.option))


def _changes(ends: Mapping[float, Seeds], center: Seeds, ks: Sequence[int]) -> dict[float, Difference]:
    """{value: its difference from the center}, p not adjusted; empty if no value is the center."""
    if center not in ends.values():
        return {}
    found = {value: mean_difference(rows, center, ks) for value, rows in ends.items() if rows is not center}
    return {value: change for value, change in found.items() if change is not None}


def _adjusted(effects: Sequence[Effect]) -> list[Effect]:
    """The effects with the p of their changes adjusted by Holm over all of them."""
    p = iter(holm(np.array([change.p for effect in effects for change in effect.changes.values()])))
    return [replace(e, changes={v: replace(c, p=float(next(p))) for v, c in e.changes.items()}) for e in effects]
