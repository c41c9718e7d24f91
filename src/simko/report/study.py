"""A study, and how it is read from study.json, its runs and its evaluations. A missing part is noted and is no error."""

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
class TrainingRun:
    """One training run."""

    name: str
    """Its name on the page."""
    method: str
    """The method's name."""
    seed: int | None
    """The training seed."""
    objective: str
    """The objective in effect, in words."""
    config: Mapping[str, Any]
    """Its options."""
    versions: Mapping[str, Any]
    """The versions of the packages."""
    metrics: Sequence[Mapping[str, Any]]
    """The training log, one dict per logged step."""
    diagnostics: Sequence[Mapping[str, Any]]
    """The probes, one dict per probed step."""


@dataclass(frozen=True)
class ModelEvaluation:
    """The graded samples of one model at one temperature."""

    name: str
    """Its name on the page."""
    method: str
    """The method's name, or BASE."""
    run: str | None
    """The name of the training run."""
    seed: int | None
    """The training seed."""
    step: int
    """The training step; 0 is the base model."""
    temperature: float
    """The temperature of the samples."""
    counts: Counts
    """{problem id: (n, c)}."""
    problems: Mapping[str, Problem]
    """{problem id: problem}."""
    store: Path
    """The store of the samples."""
    setting: Setting
    """The setting in the store."""

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
    """A study, or training runs as a study."""

    title: str
    """The page's title."""
    task: str
    """The task's name."""
    task_description: str
    """The task, in words."""
    base_model: str
    """The base model's name."""
    setting: str
    """The training setup, in words."""
    command: str
    """The command that ran the study."""
    headline_step: int
    """The training step that the curves show."""
    ks: tuple[int, ...]
    """The ks of the curves."""
    runs: tuple[TrainingRun, ...]
    """The training runs."""
    evaluations: tuple[ModelEvaluation, ...]
    """The evaluations."""
    notes: tuple[str, ...]
    """What is missing, one sentence each."""

    @cached_property
    def temperature(self) -> float:
        """The temperature of the curves: the one with the most samples per problem, and of equals the one nearest 1."""
        at_step = [e for e in self.evaluations if self.is_at_step(e)]
        return max(at_step, key=lambda e: (e.samples, -abs(e.temperature - 1.0), e.temperature)).temperature

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods in the curves, in the order base, grpo, others by name, simko."""
        return in_order({e.method for e in self.evaluations if self.is_headline(e)})

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All methods, evaluated or trained, in that order."""
        return in_order({e.method for e in self.evaluations} | {r.method for r in self.runs})

    def is_at_step(self, evaluation: ModelEvaluation) -> bool:
        """Whether the model is the base, or a run at the headline step."""
        return evaluation.method == BASE or evaluation.step == self.headline_step

    def is_headline(self, evaluation: ModelEvaluation) -> bool:
        """Whether the curves show the evaluation: `is_at_step`, at the curves' temperature."""
        return self.is_at_step(evaluation) and evaluation.temperature == self.temperature

    def headline(self, method: str) -> list[ModelEvaluation]:
        """The method's evaluations in the curves, one per seed."""
        return [e for e in self.evaluations if e.method == method and self.is_headline(e)]


def in_order(methods: set[str]) -> tuple[str, ...]:
    """base first, then grpo, then others by name, simko last."""
    return tuple(sorted(methods, key=lambda m: ({BASE: 0, "grpo": 1, "simko": 3}.get(m, 2), m)))


def display(method: str) -> str:
    """The name on the page: "Base model", "GRPO", "SimKO", known abbreviations in capitals, others unchanged."""
    return _NAMES.get(method, method)


def read_study(study_dir: Path) -> Study:
    """The study in study_dir. ValueError if there is none, or if nothing was evaluated yet."""
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


def read_run(directory: Path, row: Mapping[str, Any], notes: list[str]) -> TrainingRun:
    """The training run in a directory. row: its "name" and "method". notes: gets a sentence for what is missing."""
    config, versions = _read_dict(directory / "config.json"), _read_dict(directory / "versions.json")
    metrics, diagnostics = read_lines(directory / "metrics.jsonl"), read_lines(directory / "diagnostics.jsonl")
    parts = (("configuration", config), ("versions", versions), ("training log", metrics), ("probes", diagnostics))
    lacking = [label for label, part in parts if not part]
    if lacking:
        notes.append(f"Run {row['name']} has no {', no '.join(lacking)}.")
    return TrainingRun(
        str(row["name"]),
        str(row["method"]),
        row.get("seed", config.get("seed")),
        str(row.get("objective") or config.get("objective", "")),
        config,
        versions,
        _by_step(metrics, directory / "metrics.jsonl"),
        _by_step(diagnostics, directory / "diagnostics.jsonl"),
    )


def _by_step(rows: Sequence[Mapping[str, Any]], path: Path) -> list[Mapping[str, Any]]:
    """The rows with a step, in its order. ValueError for a step that is not a finite number."""
    found = [row for row in rows if "step" in row]
    for row in found:
        if not isinstance(row["step"], int | float) or not math.isfinite(row["step"]):
            raise ValueError(f"{path} has a line whose step is {row['step']!r}: mend or remove it.")
    return sorted(found, key=lambda row: row["step"])


def _read_evaluation(folder: Path, row: Mapping[str, Any], notes: list[str]) -> ModelEvaluation | None:
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
    return ModelEvaluation(
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


def _comparable(evaluations: list[ModelEvaluation], notes: list[str]) -> tuple[ModelEvaluation, ...]:
    """The evaluations on the same problems as the first. Others cannot be paired with it."""
    kept = []
    for evaluation in evaluations:
        if evaluation.counts.keys() == evaluations[0].counts.keys():
            kept.append(evaluation)
        else:
            notes.append(
                f"Evaluation {evaluation.name} is on other problems than {evaluations[0].name}, so it is left out."
            )
    return tuple(kept)


def _evaluated_step(evaluations: Sequence[ModelEvaluation], wanted: int, notes: list[str]) -> int:
    """The wanted headline step, or the last evaluated step if no trained model was evaluated at it."""
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
    """The objects of a JSON-lines file, or none if it is missing. A truncated last line is ignored.

    ValueError for another broken line.
    """
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
