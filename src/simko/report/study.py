"""What a study's page shows, and how a study directory is read: study.json, its runs, and its evaluations. What is absent
is noted, not fatal."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from simko.evaluate import Counts, SampleStore, Setting, only_setting
from simko.evaluate.files import read_json
from simko.records import Problem, Sample, Verdict

BASE = "base"
_NAMES = {"base": "Base model", "grpo": "GRPO", "simko": "SimKO"} | {
    name: name.upper() for name in ("dapo", "gspo", "nsr", "pkpo", "psr", "ucpo")
}


@dataclass(frozen=True)
class Run:
    """One training run; metrics and diagnostics hold one dict a logged step."""

    name: str
    method: str
    seed: int | None
    objective: str
    config: Mapping[str, Any]
    versions: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    diagnostics: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Evaluation:
    """The graded samples of one model at one temperature; step 0 is the base model."""

    name: str
    method: str
    run: str | None
    seed: int | None
    step: int
    temperature: float
    counts: Counts
    problems: Mapping[str, Problem]
    store: Path
    setting: Setting

    @property
    def samples(self) -> int:
        """The fewest samples of any problem."""
        return min(n for n, _ in self.counts.values())

    def answers(self, problem_id: str) -> list[tuple[Sample, Verdict]]:
        """The graded samples of one problem, in order."""
        with SampleStore(self.store, read_only=True) as store:
            rows = store.rows(self.setting, problem_id)
            return [(sample, verdict) for sample, verdict in rows if verdict is not None]


@dataclass(frozen=True)
class Study:
    """A study as read, or training runs as one. notes: what is missing, a sentence each."""

    title: str
    task: str
    task_description: str
    base_model: str
    setting: str
    command: str
    headline_step: int
    ks: tuple[int, ...]
    runs: tuple[Run, ...]
    evaluations: tuple[Evaluation, ...]
    notes: tuple[str, ...]

    @cached_property
    def temperature(self) -> float:
        """The temperature of the curves: the one with most samples a problem; of equals, the one nearest 1."""
        at_step = [e for e in self.evaluations if self.is_at_step(e)]
        return max(at_step, key=lambda e: (e.samples, -abs(e.temperature - 1.0), e.temperature)).temperature

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Methods of the headline, in the order base, grpo, others by name, simko."""
        return in_order({e.method for e in self.evaluations if self.is_headline(e)})

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All methods, evaluated or trained, in that order: each has a colour of its own."""
        return in_order({e.method for e in self.evaluations} | {r.method for r in self.runs})

    def is_at_step(self, evaluation: Evaluation) -> bool:
        """Whether it is of the base or of a run at the headline step."""
        return evaluation.method == BASE or evaluation.step == self.headline_step

    def is_headline(self, evaluation: Evaluation) -> bool:
        """Whether the curves show it: `is_at_step`, at the curves' temperature."""
        return self.is_at_step(evaluation) and evaluation.temperature == self.temperature

    def headline(self, method: str) -> list[Evaluation]:
        """The method's evaluations in the curves, one a seed."""
        return [e for e in self.evaluations if e.method == method and self.is_headline(e)]

    def runs_of(self, method: str) -> list[Run]:
        return [r for r in self.runs if r.method == method]


def in_order(methods: set[str]) -> tuple[str, ...]:
    """base first, grpo second, simko last, the others by name between."""
    return tuple(sorted(methods, key=lambda m: ({BASE: 0, "grpo": 1, "simko": 3}.get(m, 2), m)))


def display(method: str) -> str:
    """The name that a reader sees: "Base model", "GRPO", "SimKO", known abbreviations in capitals, others as they stand."""
    return _NAMES.get(method, method)


def read_study(study_dir: Path) -> Study:
    """The study under study_dir. ValueError where there is none, or where nothing was evaluated yet."""
    path = study_dir / "study.json"
    if not path.is_file():
        raise ValueError(
            f"{study_dir} is no study: it has no study.json. Give the directory given to simko quickstart or real-model."
        )
    raw = read_json(path)
    notes: list[str] = []
    try:
        runs = tuple(read_run(study_dir / "runs" / str(row["name"]), row, notes) for row in raw.get("runs", []))
        read = [_read_evaluation(study_dir / "evaluations", row, notes) for row in raw.get("evaluations", [])]
        evaluations = _comparable([e for e in read if e is not None], notes)
        ks = tuple(sorted({int(k) for k in raw["ks"]}))
        headline_step = int(raw["headline_step"])
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}: add it, or run the study again.") from None
    if not evaluations:
        raise ValueError(f"{study_dir} has no graded samples yet: evaluate at least one model, then report.")
    headline_step = _evaluated_step(evaluations, headline_step, notes)
    words = {
        key: str(raw.get(key, "")) for key in ("title", "task", "task_description", "base_model", "setting", "command")
    }
    return Study(**words, headline_step=headline_step, ks=ks, runs=runs, evaluations=evaluations, notes=tuple(notes))


def read_run(here: Path, row: Mapping[str, Any], notes: list[str]) -> Run:
    """The training run in the directory `here`, called as row["name"] and row["method"] say."""
    config, versions = _read_dict(here / "config.json"), _read_dict(here / "versions.json")
    metrics, diagnostics = read_lines(here / "metrics.jsonl"), read_lines(here / "diagnostics.jsonl")
    parts = (("configuration", config), ("versions", versions), ("training log", metrics), ("probes", diagnostics))
    lacking = [label for label, part in parts if not part]
    if lacking:
        notes.append(f"Run {row['name']} has no {', no '.join(lacking)}.")
    return Run(
        str(row["name"]),
        str(row["method"]),
        row.get("seed", config.get("seed")),
        str(row.get("objective") or config.get("objective", "")),
        config,
        versions,
        _by_step(metrics, here / "metrics.jsonl"),
        _by_step(diagnostics, here / "diagnostics.jsonl"),
    )


def _by_step(rows: Sequence[Mapping[str, Any]], path: Path) -> list[Mapping[str, Any]]:
    """The rows of a step, in its order; ValueError where that is no number."""
    found = [row for row in rows if "step" in row]
    for row in found:
        if not isinstance(row["step"], int | float) or not math.isfinite(row["step"]):
            raise ValueError(f"{path} has a line whose step is {row['step']!r}: mend or remove it.")
    return sorted(found, key=lambda row: row["step"])


def _read_evaluation(folder: Path, row: Mapping[str, Any], notes: list[str]) -> Evaluation | None:
    name = str(row["name"])
    store = folder / name / "samples.db"
    if not store.is_file():
        notes.append(f"Evaluation {name} has no samples yet.")
        return None
    with SampleStore(store, read_only=True) as samples:
        if not samples.settings():
            notes.append(f"Evaluation {name} has no samples yet.")
            return None
        setting = only_setting(samples)
        counts = samples.counts(setting)
        problems = {problem.id: problem for problem in samples.problems(setting)}
    lacking = sum(n < setting.n for n, _ in counts.values())
    if lacking:
        notes.append(f"Evaluation {name} is unfinished ({lacking} problems lack samples), so it is left out.")
        return None
    return Evaluation(
        name,
        str(row["method"]),
        row.get("run"),
        row.get("seed"),
        int(row.get("step", 0)),
        float(row.get("temperature", 1.0)),
        counts,
        problems,
        store,
        setting,
    )


def _comparable(evaluations: list[Evaluation], notes: list[str]) -> tuple[Evaluation, ...]:
    """Those on the problems of the first one; the rest cannot be paired with it."""
    kept = []
    for evaluation in evaluations:
        if evaluation.counts.keys() == evaluations[0].counts.keys():
            kept.append(evaluation)
        else:
            notes.append(
                f"Evaluation {evaluation.name} is on other problems than {evaluations[0].name}, so it is left out."
            )
    return tuple(kept)


def _evaluated_step(evaluations: Sequence[Evaluation], wanted: int, notes: list[str]) -> int:
    """The wanted headline step, or the last one evaluated where no trained model was evaluated there."""
    steps = {e.step for e in evaluations if e.method != BASE}
    if not steps or wanted in steps:
        return wanted
    notes.append(
        f"No trained model was evaluated at step {wanted} yet. The curves show step {max(steps)} in its place."
    )
    return max(steps)


def _read_dict(path: Path) -> Mapping[str, Any]:
    return read_json(path) if path.is_file() else {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; none where it is missing, and none for a last line cut short."""
    rows: list[dict[str, Any]] = []
    if not path.is_file():
        return rows
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if line.strip()]
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            if number < len(lines):
                raise ValueError(f"{path}, line {number} is no JSON object: mend or remove it.") from None
    return rows
