"""Rows -> numbers: finals with intervals, paired differences, and what the base must show first. No text and no plots.

Axes: S training seeds, P problems, K ks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from simko.evaluate import BandPoint, Curve, Point, pass_at_k_curve, reliable, simultaneous_band
from simko.evaluate.intervals import holm
from simko.studies.head_to_head.rows import BASE, GRPO, OUTCOMES, Results, Seeds

REFERENCES = (GRPO, "simko")
LEVEL = 0.05  # a difference is shown if its adjusted p is below
LOW, HIGH, GAIN = 0.2, 0.85, 2.0  # a base's pass@1 and pass@128, and GRPO's pass@1 over the base's


@dataclass(frozen=True)
class BaseCheck:
    """Whether a task can tell the methods apart."""

    curve: Curve
    """The base's pass@K."""
    grpo: float | None
    """The best validation pass@1 of GRPO's tuning runs; None before there is one."""
    gain: float | None
    """That over the base's on the same problems."""
    passes: bool | None
    """Whether pass@1 < LOW, pass@K > HIGH at the largest K, and the gain >= GAIN; None before GRPO is trained."""


@dataclass(frozen=True)
class Outcome:
    """pass@k of a method at the end of training."""

    point: Point
    """The mean over seeds with its interval over problems."""
    by_seed: tuple[float, ...]
    """One per seed."""
    temperature: float
    """Of the samples."""


@dataclass(frozen=True)
class Final:
    """A method at the end of training."""

    method: str
    """Its name."""
    seeds: tuple[int, ...]
    """Its training seeds."""
    curve: Curve
    """pass@K at temperature 1."""
    at_1: Mapping[int, Outcome]
    """{k: pass@k at temperature 1}."""
    at_best: Mapping[int, Outcome]
    """{k: pass@k at the temperature of the best validation pass@k}; without a k that has no two temperatures."""
    seconds: float
    """Training alone, mean over seeds."""


@dataclass(frozen=True)
class Difference:
    """A method against another at one k, by problem and seed."""

    difference: float
    """Mean over problems and seeds of pass@k(ours) - pass@k(other)."""
    band: BandPoint | None
    """Its band over problems and seeds, for all ks at once; None for one seed or if fewer than eight problems differ."""
    over_seeds: float | None
    """The standard deviation over seeds of the mean over problems; None for one seed."""
    p: float
    """The band's p, adjusted by Holm over the methods compared with `other` on the task; 1 without a band."""


Differences = Mapping[tuple[str, str], Mapping[int, Difference]]
"""{(ours, other): {k: difference}}."""


def powers(samples: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to samples."""
    return tuple(2**i for i in range(samples.bit_length()))


def outcomes(results: Results, task: str) -> tuple[int, ...]:
    """The primary ks of which every final has at least twice as many samples; 1 if there is none."""
    fewest = min(row.samples for method in results.methods(task) for row in results.end(task, method).values())
    found = tuple(k for k in OUTCOMES if reliable(fewest, k))
    return found or (1,)


def base_check(results: Results, task: str) -> BaseCheck | None:
    """None without the base's rows on test problems."""
    base = results.end(task, BASE)
    if not base:
        return None
    samples = min(row.samples for row in base.values())
    curve = curve_of(base, tuple(k for k in (*OUTCOMES, 128) if k <= samples))
    first, last = curve.points[0].estimate, curve.points[-1].estimate
    runs = [
        row
        for (name, _), at in results.of_stage(task, "tuning", "validation").items()
        for row in at.values()
        if name == GRPO
    ]
    before = [row.mean_pass(1) for row in results.end(task, BASE, "validation").values()]
    if not runs or not before:
        return BaseCheck(curve, None, None, None)
    after = max(row.mean_pass(1) for row in runs)
    gain = after / before[0] if before[0] else float("inf")
    return BaseCheck(curve, after, gain, first < LOW and last > HIGH and gain >= GAIN)


def curve_of(seeds: Seeds, ks: Sequence[int], resamples: int = 4000) -> Curve:
    """pass@K with intervals over problems; each problem's value is its mean over seeds."""
    return pass_at_k_curve([row.counts for row in seeds.values()], ks, resamples=resamples)


def finals(results: Results, task: str) -> list[Final]:
    """Every method at the end of training."""
    found = []
    ks = outcomes(results, task)
    for method in results.methods(task):
        rows = results.end(task, method)
        best = {k: t for k in ks if (t := results.best_temperature(task, method, k)) is not None}
        found.append(
            Final(
                method=method,
                seeds=tuple(rows),
                curve=curve_of(rows, powers(min(row.samples for row in rows.values()))),
                at_1={k: outcome(rows, k, 1.0) for k in ks},
                at_best={k: outcome(results.end(task, method, temperature=t), k, t) for k, t in best.items()},
                seconds=float(np.mean([row.seconds for row in rows.values()])),
            )
        )
    return found


def outcome(seeds: Seeds, k: int, temperature: float = 1.0) -> Outcome:
    """pass@k over the seeds. temperature: of the rows."""
    curve = curve_of(seeds, [k])
    return Outcome(curve.points[0], tuple(values[0] for values in curve.per_seed), temperature)


def differences(results: Results, task: str, at_best: bool) -> Differences:
    """Every method against each of REFERENCES, at temperature 1 or each at its own best temperature.

    The band covers all K = 1, 2, 4, ... up to half of the samples at temperature 1, and the primary ks at the best one.
    """
    shown = outcomes(results, task)
    methods = results.methods(task)
    fewest = min(row.samples for m in methods for row in results.end(task, m).values())
    ks = shown if at_best else powers(max(fewest // 2, 1))
    return _compared({m: found for m in methods if (found := _values(results, task, m, ks, at_best))}, ks, shown)


def mean_differences(results: Results, task: str) -> dict[tuple[str, str], Difference]:
    """{(ours, other): the difference in the mean over the primary ks at temperature 1}.

    It is what tuning maximises, here on the test problems. Two methods that are tuned to different places of the trade of
    pass@1 for pass@K are compared by it.
    """
    ks = outcomes(results, task)
    values = {m: _means(results.end(task, m), ks) for m in results.methods(task)}
    return {pair: at[ks[0]] for pair, at in _compared(values, ks[:1], ks[:1]).items()}


def mean_difference(ours: Seeds, other: Seeds, ks: Sequence[int]) -> Difference | None:
    """The difference in the mean over ks, its p not adjusted; None without a shared seed."""
    by_seed = _paired({"ours": _means(ours, ks), "other": _means(other, ks)}, "ours", "other")
    return None if by_seed is None else _banded(by_seed, ks[:1])[ks[0]]


def _means(seeds: Seeds, ks: Sequence[int]) -> dict[int, Float[np.ndarray, "P 1"]]:
    """{seed: the mean over ks of pass@k of each problem}."""
    return {seed: row.passes(ks).mean(axis=1, keepdims=True) for seed, row in seeds.items()}


def _compared(
    values: Mapping[str, Mapping[int, Float[np.ndarray, "P K"]]], ks: Sequence[int], shown: Sequence[int]
) -> Differences:
    """Every method against each of REFERENCES at the ks that are shown; values: {method: {seed: ...}}."""
    compared: dict[tuple[str, str], dict[int, Difference]] = {}
    for other in REFERENCES:
        for ours in values:
            if other in values and ours != other and (by_seed := _paired(values, ours, other)) is not None:
                compared[ours, other] = {k: d for k, d in _banded(by_seed, ks).items() if k in shown}
    return _adjusted(compared)


def _values(
    results: Results, task: str, method: str, ks: Sequence[int], at_best: bool
) -> dict[int, Float[np.ndarray, "P K"]]:
    """{seed: pass@K of each problem}, each k at its own temperature if at_best; empty if a k has no best temperature."""
    if not at_best:
        return {seed: row.passes(ks) for seed, row in results.end(task, method).items()}
    columns: list[dict[int, np.ndarray]] = []
    for k in ks:
        temperature = results.best_temperature(task, method, k)
        if temperature is None:
            return {}
        rows = results.end(task, method, temperature=temperature)
        columns.append({seed: row.passes([k])[:, 0] for seed, row in rows.items() if row.samples >= k})
    seeds = set(columns[0]).intersection(*columns[1:])
    return {seed: np.stack([column[seed] for column in columns], axis=1) for seed in sorted(seeds)}


def _paired(values: Mapping[str, Mapping[int, np.ndarray]], ours: str, other: str) -> Float[np.ndarray, "S P K"] | None:
    """ours - other for each seed that both have; the base is the same for every seed. None without such a seed."""
    left, right = values[ours], values[other]
    if ours == BASE:
        mean: np.ndarray = np.stack(list(left.values())).mean(axis=0)
        left = dict.fromkeys(right, mean)
    shared = sorted(left.keys() & right.keys())
    return np.stack([left[seed] - right[seed] for seed in shared]) if shared else None


def _banded(by_seed: Float[np.ndarray, "S P K"], ks: Sequence[int]) -> dict[int, Difference]:
    """The difference at each k, with the band's p not adjusted yet."""
    points = simultaneous_band(by_seed, ks)[0] if len(by_seed) > 1 else ()
    band = {point.k: point for point in points}
    means = by_seed.mean(axis=1)
    spread = means.std(axis=0, ddof=1) if len(means) > 1 else [None] * len(ks)
    return {
        k: Difference(float(mean), band.get(k), None if sd is None else float(sd), band[k].p if k in band else 1.0)
        for k, mean, sd in zip(ks, means.mean(axis=0), spread, strict=True)
    }


def _adjusted(compared: Mapping[tuple[str, str], Mapping[int, Difference]]) -> Differences:
    """The differences with p adjusted over the methods that are compared with one reference at one k."""
    adjusted: dict[tuple[str, str], dict[int, Difference]] = {pair: dict(at) for pair, at in compared.items()}
    for reference in REFERENCES:
        pairs = [pair for pair in compared if pair[1] == reference]
        for k in compared[pairs[0]] if pairs else ():
            p = holm(np.array([compared[pair][k].p for pair in pairs]))
            for pair, value in zip(pairs, p, strict=True):
                adjusted[pair][k] = replace(compared[pair][k], p=float(value))
    return adjusted
