"""The raw rows of the study: how they are read, and which belong to a model at the end of its training.

A row is one evaluation of one model. Two rivals need no training of their own and are named here: the base, and GRPO at the
step of its best validation pass@64. Methods that the protocol stops end at the step of the best validation criterion.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float

from simko.evaluate import pass_at_k_matrix
from simko.evaluate.files import replacing

BASE, GRPO, EARLY = "base", "grpo", "grpo_early"
OUTCOMES = (1, 16, 64)
STAGES = ("base", "tuning", "final", "sensitivity")
SPLITS = ("validation", "test")
Setting = tuple[tuple[str, Any], ...]
"""A method's options, sorted by name."""


@dataclass(frozen=True)
class Row:
    """One evaluation of one model."""

    task: str
    """The task's name."""
    method: str
    """The method's name; BASE for the base."""
    setting: str
    """The learning rate and the method's options, as JSON."""
    stage: str
    """base, tuning, final or sensitivity."""
    seed: int
    """The training seed."""
    step: int
    """Rollouts done."""
    split: str
    """validation or test."""
    temperature: float
    """Of the samples."""
    samples: int
    """Samples a problem."""
    correct: tuple[int, ...]
    """How many of them are correct, by problem."""
    entropy: float
    """Mean over tokens, nats."""
    concentration: tuple[float, ...]
    """Lambda^(1) to Lambda^(6): the mean log-probability of the candidate of each rank, natural logarithm."""
    sampled: float
    """The mean log-probability of the sampled token."""
    rank1_gated: float
    """The mean probability of the first candidate at tokens of high entropy."""
    distinct: float
    """Distinct responses among a problem's samples, mean over problems."""
    distinct_correct: float
    """Distinct correct ones."""
    reward: float
    """The mean training reward since the evaluation before."""
    seconds: float
    """Training alone, so far."""
    protocol: str
    """Protocol.digest of the task: rows of two protocols are never compared."""

    @cached_property
    def options(self) -> dict[str, Any]:
        """The setting."""
        return cast(dict[str, Any], json.loads(self.setting or "{}"))

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """{problem: (samples, correct)}, as `pass_at_k_curve` takes it."""
        return {f"{i:06d}": (self.samples, c) for i, c in enumerate(self.correct)}

    def passes(self, ks: Sequence[int]) -> Float[np.ndarray, "P K"]:
        """pass@K of each problem."""
        return pass_at_k_matrix([self.samples] * len(self.correct), self.correct, ks)

    def mean_pass(self, k: int) -> float:
        """The mean over problems of pass@k; of all samples if there are fewer than k."""
        return float(self.passes([min(k, self.samples)]).mean())

    @property
    def criterion(self) -> float:
        """What tuning maximises: the mean of pass@1, pass@16 and pass@64."""
        return sum(self.mean_pass(k) for k in OUTCOMES) / len(OUTCOMES)


Seeds = Mapping[int, Row]
"""{training seed: the row of its model}."""


def read_rows(path: Path) -> list[Row]:
    """The rows of a parquet file. ValueError if it is none, or lacks a column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = [field.name for field in fields(Row)]
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(
            f"{path} cannot be read as parquet ({error}): give the rows that simko study run wrote"
        ) from None
    lacking = [name for name in wanted if name not in table.column_names]
    if lacking:
        raise ValueError(f"{path} lacks the column {lacking[0]}: give the rows that simko study run wrote")
    rows = table.select(wanted).to_pylist()
    return [parsed_row(row) for row in rows]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows, sorted, to a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [field.name for field in fields(Row)]
    ordered = sorted(rows, key=lambda r: (r.stage, r.task, r.method, r.setting, r.seed, r.step, r.split, r.temperature))
    table = pa.Table.from_pylist([{name: _plain(getattr(row, name)) for name in names} for row in ordered])
    place = table.schema.get_field_index("correct")
    table = table.set_column(place, "correct", table.column("correct").cast(pa.list_(pa.int16())))
    with replacing(path) as new:
        pq.write_table(table, new, compression="zstd")


def _plain(value: Any) -> Any:
    """Tuples as lists, and nan as null."""
    if isinstance(value, tuple):
        return list(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def parsed_row(row: Mapping[str, Any]) -> Row:
    """A row from JSON or parquet. A measure that was not taken is nan."""
    known = {field.name: row.get(field.name) for field in fields(Row)}
    known = {name: math.nan if value is None else value for name, value in known.items()}
    return Row(**known | {"correct": tuple(row["correct"]), "concentration": tuple(row.get("concentration") or ())})


class Results:
    """The rows by what they are for. The derived rivals are finals like the others."""

    def __init__(self, rows: Sequence[Row], order: Sequence[str], stopped: Collection[str] = ()) -> None:
        """order: the methods in the order of the tables. stopped: those that are stopped by the criterion.

        ValueError for two rows of one evaluation, and as in `_check`.
        """
        _check(rows)
        self._order = {name: i for i, name in enumerate(dict.fromkeys((BASE, GRPO, EARLY, *order)))}
        self.unfinished = _unfinished(rows)
        kept = [row for row in rows if (row.task, row.method, row.seed) not in self.unfinished or row.stage != "final"]
        bases = [replace(row, stage="final", method=BASE) for row in rows if row.stage == "base"]
        grpo = [row for row in kept if row.stage == "final" and row.method == GRPO]
        early = [replace(row, method=EARLY) for row in _at_best(grpo, lambda row: row.mean_pass(OUTCOMES[-1]))]
        whole = [row for row in kept if row.stage != "base" and row.method not in stopped]
        cut = _at_best([row for row in kept if row.method in stopped], lambda row: row.criterion)
        self.rows = [*whole, *bases, *early, *cut]
        self.stopped = set(stopped)
        self.without_course = {BASE, EARLY, *stopped}
        self._finals: dict[tuple[str, str, str, float], dict[int, dict[int, Row]]] = {}
        for row in sorted(self.rows, key=lambda row: (row.seed, row.step)):
            if row.stage == "final":
                at = self._finals.setdefault((row.task, row.method, row.split, row.temperature), {})
                at.setdefault(row.seed, {})[row.step] = row

    def methods(self, task: str) -> tuple[str, ...]:
        """The methods with a final of the task on test problems at temperature 1, in order."""
        found = {m for t, m, split, temperature in self._finals if (t, split, temperature) == (task, "test", 1.0)}
        return tuple(sorted(found, key=lambda name: (self._order.get(name, len(self._order)), name)))

    def end(self, task: str, method: str, split: str = "test", temperature: float = 1.0) -> dict[int, Row]:
        """The rows of a method's models at the end of training."""
        steps = self._finals.get((task, method, split, temperature), {})
        return {seed: at[max(at)] for seed, at in steps.items()}

    def over_training(self, task: str, method: str) -> dict[int, dict[int, Row]]:
        """{step: {seed: row}} at temperature 1, without the base; of `self.course_split`."""
        found: dict[int, dict[int, Row]] = {}
        for seed, at in self._finals.get((task, method, self.course_split(task), 1.0), {}).items():
            for step, row in at.items():
                found.setdefault(step, {})[seed] = row
        return dict(sorted(found.items()))

    def course_split(self, task: str) -> str:
        """The problems on which training was followed: test, if more than its end was evaluated on them."""
        runs = [
            runs
            for (t, m, split, at), runs in self._finals.items()
            if (t, split, at) == (task, "test", 1.0) and m not in self.without_course
        ]
        return "test" if any(len(steps) > 1 for seeds in runs for steps in seeds.values()) else "validation"

    def best_temperature(self, task: str, method: str, k: int) -> float | None:
        """The temperature of the highest validation pass@k at the end, mean over seeds; None with fewer than two to choose from.

        Of equal ones the nearest to 1. A temperature is a choice if every seed was evaluated at it, on both splits: a run that
        is stopped early was sampled at other temperatures only if it was stopped at its last rollout.
        """
        seeds = self.end(task, method).keys()
        means = {
            t: np.mean([row.mean_pass(k) for row in self.end(task, method, "validation", t).values()])
            for of, m, split, t in self._finals
            if (of, m, split) == (task, method, "validation")
            and all(self.end(task, method, s, t).keys() == seeds for s in SPLITS)
        }
        return max(means, key=lambda t: (means[t], -abs(t - 1))) if len(means) > 1 else None

    def of_stage(self, task: str, stage: str, split: str) -> dict[tuple[str, Setting], dict[int, Row]]:
        """{(method, options): {seed: row at the end}} of a stage other than final, at temperature 1."""
        found: dict[tuple[str, Setting], dict[int, Row]] = {}
        chosen = (r for r in self.rows if (r.task, r.stage, r.split, r.temperature) == (task, stage, split, 1.0))
        for row in sorted(
            chosen, key=lambda row: (self._order.get(row.method, len(self._order)), row.method, row.step)
        ):
            found.setdefault((row.method, tuple(sorted(row.options.items()))), {})[row.seed] = row
        return found


def _check(rows: Iterable[Row]) -> None:
    """ValueError for an unknown stage or split, for two rows of one evaluation, for rows of different protocols or on different
    problems, and for finals at different settings."""
    rows = list(rows)
    keys = Counter((r.task, r.method, r.setting, r.stage, r.seed, r.step, r.split, r.temperature) for r in rows)
    twice = next((key for key, count in keys.items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"two rows are of one evaluation, {twice}: keep one of them")
    protocols: dict[str, str] = {}
    sizes: dict[tuple[str, str], int] = {}
    settings: dict[tuple[str, str], str] = {}
    for row in rows:
        for name, allowed in (("stage", STAGES), ("split", SPLITS)):
            if getattr(row, name) not in allowed:
                raise ValueError(f"a row’s {name} is {getattr(row, name)!r}: it must be one of {', '.join(allowed)}")
        if protocols.setdefault(row.task, row.protocol) != row.protocol:
            raise ValueError(f"{row.task}: rows of two protocols, {protocols[row.task]} and {row.protocol}: keep one")
        if sizes.setdefault((row.task, row.split), len(row.correct)) != len(row.correct):
            raise ValueError(
                f"{row.task}, {row.split}: rows on {len(row.correct)} and on {sizes[row.task, row.split]} problems cannot be paired"
            )
        if row.stage == "final" and settings.setdefault((row.task, row.method), row.setting) != row.setting:
            raise ValueError(
                f"{row.task}, {row.method}: finals at two settings, {settings[row.task, row.method]} and {row.setting}: keep one"
            )


def _unfinished(rows: Iterable[Row]) -> set[tuple[str, str, int]]:
    """(task, method, seed) of finals that end before the task's last step."""
    ends: dict[tuple[str, str, int], int] = {}
    for row in rows:
        if row.stage == "final":
            ends[row.task, row.method, row.seed] = max(row.step, ends.get((row.task, row.method, row.seed), 0))
    last = {task: max(step for (t, *_), step in ends.items() if t == task) for task, *_ in ends}
    return {run for run, step in ends.items() if step < last[run[0]]}


def _at_best(rows: Iterable[Row], score: Callable[[Row], float]) -> list[Row]:
    """For each run its rows at the step of the best validation score at temperature 1; a final's step must be tested too."""
    runs: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        runs.setdefault((row.task, row.method, row.setting, row.stage, row.seed), []).append(row)
    found = []
    for run in runs.values():
        at_1 = [row for row in run if row.temperature == 1.0]
        tested = {row.step for row in at_1 if row.split == "test" or row.stage == "tuning"}
        choices = [row for row in at_1 if row.split == "validation" and row.step in tested]
        if len(choices) > 1:
            best = max(choices, key=lambda row: (score(row), -row.step)).step
            found += [row for row in run if row.step == best]
    return found
