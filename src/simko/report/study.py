"""Reads a study: study.json, its runs and its evaluations. A missing part is noted and is no error."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simko.evaluate import Counts, SampleStore, only_setting
from simko.evaluate.files import read_json
from simko.report.comparison import BASE, Section, Sweep, adjust_p, make_section, make_sweep
from simko.report.content import Content, TrainingRun, in_order
from simko.report.plots import finite
from simko.report.runs import Evaluation, read_evaluation
from simko.report.words import counted


@dataclass(frozen=True)
class Model:
    """A model of a study, and its graded samples at one temperature."""

    method: str
    """The method's name, or BASE."""
    seed: int | None
    """The training seed."""
    step: int
    """The training step; 0 is the base model."""
    temperature: float
    """The temperature of the samples."""
    evaluation: Evaluation
    """The samples."""

    @property
    def samples(self) -> int:
        """The fewest samples of any problem."""
        return min(n for n, _ in self.evaluation.counts.values())


def read_study(study_dir: Path) -> Content:
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
        read = [_read_model(study_dir / "evaluations", row, notes) for row in raw.get("evaluations", [])]
        models = _comparable([m for m in read if m is not None], notes)
        headline_step = int(raw["headline_step"])
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}: add it, or run the study again.") from None
    if not models:
        raise ValueError(f"{study_dir} has no graded samples yet: evaluate at least one model, then report.")
    headline_step = _evaluated_step(models, headline_step, notes)
    title, task, about, base, setting, command = (
        str(raw.get(key, "")) for key in ("title", "task", "task_description", "base_model", "setting", "command")
    )
    sections, by_temperature = study_numbers(task or "study", models, headline_step)
    return Content(
        title=title or task or "Study",
        words=described(setting, task, about, base, headline_step),
        sections=tuple(sections),
        sweeps=tuple(by_temperature),
        runs=runs,
        commands=(command,) if command else (),
        notes=tuple(notes),
    )


def described(setting: str, task: str, about: str, base: str, step: int | None) -> tuple[str, ...]:
    """What a study or training runs are about, in up to three paragraphs."""
    named = f"Task: {task}. {about}" if task else about
    models = f"Base model: {base}." if base else ""
    return tuple(
        words
        for words in (
            setting,
            named.strip(),
            f"{models}{'' if step is None else f' Trained models at step {step}.'}".strip(),
        )
        if words
    )


def study_numbers(task: str, models: Sequence[Model], headline_step: int) -> tuple[list[Section], list[Sweep]]:
    """The models at the headline step and the temperature of the curves, and those at all temperatures, if several.

    The temperature of the curves is the one with the most samples per problem, and of equals the one nearest 1.
    """
    at_step = [m for m in models if m.method == BASE or m.step == headline_step]
    if not at_step:
        return [], []
    temperature = max(at_step, key=lambda m: (m.samples, -abs(m.temperature - 1.0), m.temperature)).temperature
    shown = [m for m in at_step if m.temperature == temperature]
    methods = in_order({m.method for m in shown})
    groups = {name: [m.evaluation for m in shown if m.method == name] for name in methods}
    course = _course([m for m in models if m.temperature == temperature], methods)
    sides: dict[str, dict[str, list[Counts]]] = {name: {} for name in methods}
    for m in sorted(at_step, key=lambda m: m.temperature):
        if m.method in sides:
            sides[m.method].setdefault(_setting(m.temperature), []).append(m.evaluation.counts)
    swept = make_sweep(task, sides, _setting(temperature))
    return adjust_p([make_section(task, _setting(temperature), groups, course)]), [swept] if swept else []


def _setting(temperature: float) -> str:
    return f"T={temperature:g}"


def _course(models: Sequence[Model], methods: Sequence[str]) -> dict[str, dict[int, list[Counts]]]:
    """{method: {step: the counts of each seed}}, the base as step 0. Empty if fewer than two steps were evaluated."""
    if len({m.step for m in models if m.method != BASE}) < 2:
        return {}
    start = [m.evaluation.counts for m in models if m.method == BASE]
    course: dict[str, dict[int, list[Counts]]] = {}
    for method in methods:
        if method != BASE:
            steps: dict[int, list[Counts]] = {0: start} if start else {}
            for m in models:
                if m.method == method:
                    steps.setdefault(m.step, []).append(m.evaluation.counts)
            course[method] = steps
    return course


def read_run(directory: Path, row: Mapping[str, Any], notes: list[str]) -> TrainingRun:
    """The training run in a directory. row: its "name" and "method". notes: gets a sentence for what is missing."""
    config, versions = _read_dict(directory / "config.json"), _read_dict(directory / "versions.json")
    metrics, diagnostics = read_log(directory / "metrics.jsonl"), read_log(directory / "diagnostics.jsonl")
    parts = (
        ("configuration", config),
        ("versions", versions),
        ("training log", metrics.rows),
        ("probes", diagnostics.rows),
    )
    lacking = [label for label, part in parts if not part]
    if lacking:
        notes.append(f"Run {row['name']} has no {', no '.join(lacking)}.")
    notes += [f"Run {row['name']}: {said}" for log in (metrics, diagnostics) for said in log.faults]
    return TrainingRun(
        str(row["name"]),
        str(row["method"]),
        row.get("seed", config.get("seed")),
        str(row.get("objective") or config.get("objective", "")),
        config,
        versions,
        metrics.rows,
        diagnostics.rows,
    )


def _read_model(folder: Path, row: Mapping[str, Any], notes: list[str]) -> Model | None:
    name = str(row["name"])
    path = folder / name / "samples.db"
    evaluation = None
    if path.is_file():
        with SampleStore(path, read_only=True) as store:
            if store.settings():
                evaluation = read_evaluation(store, only_setting(store), folder / name)
    if evaluation is None:
        notes.append(f"Evaluation {name} has no samples yet.")
        return None
    if evaluation.lacking:
        notes.append(
            f"Evaluation {name} is unfinished ({evaluation.lacking} problems lack samples), so it is left out."
        )
        return None
    step, temperature = int(row.get("step", 0)), float(row.get("temperature", 1.0))
    return Model(str(row["method"]), row.get("seed"), step, temperature, evaluation)


def _comparable(models: Sequence[Model], notes: list[str]) -> list[Model]:
    """The models on the same problems as the first. Others cannot be paired with it."""
    kept = [m for m in models if m.evaluation.counts.keys() == models[0].evaluation.counts.keys()]
    notes += [
        f"Evaluation {m.evaluation.run.name} is on other problems than {models[0].evaluation.run.name}, so it is left out."
        for m in models
        if m not in kept
    ]
    return kept


def _evaluated_step(models: Sequence[Model], wanted: int, notes: list[str]) -> int:
    """The wanted headline step, or the last evaluated step if no trained model was evaluated at it."""
    steps = {m.step for m in models if m.method != BASE}
    if not steps or wanted in steps:
        return wanted
    notes.append(
        f"No trained model was evaluated at step {wanted} yet. The curves show step {max(steps)} in its place."
    )
    return max(steps)


def _read_dict(path: Path) -> Mapping[str, Any]:
    return read_json(path) if path.is_file() else {}


@dataclass(frozen=True)
class Log:
    """A log of a training run."""

    rows: Sequence[Mapping[str, Any]]
    """Its lines, in the order of their steps."""
    faults: Sequence[str]
    """What could not be read of it, a sentence each."""


def read_log(path: Path) -> Log:
    """The objects with a step of a JSON-lines file, or none if it is missing. What cannot be read is left out and said."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    *whole, last = text.split("\n")
    rows, broken = [], []
    for number, line in enumerate(whole, start=1):
        if line.strip():
            row = _row(line)
            rows += [row] if row else []
            broken += [] if row else [number]
    faults = []
    if last.strip():
        row = _row(last)
        rows += [row] if row else []
        faults += [] if row else [f"the last line of {path.name} is cut off, as while it is written or after a kill."]
    if broken:
        faults.append(
            f"{counted(len(broken), 'line')} of {path.name}, the first of them line {broken[0]}, {'is' if len(broken) == 1 else 'are'} "
            "left out: no JSON object with a number for its step, or not what a run writes."
        )
    odd = [(row["step"], key) for row in rows for key, value in row.items() if _is_odd(value)]
    if odd:
        step, key = odd[0]
        faults.append(
            f"{counted(len(odd), 'value')} of {path.name}, the first of them {key} at step {step}, {'is' if len(odd) == 1 else 'are'} "
            "NaN, infinite or too large to draw: gaps in the charts."
        )
    return Log(sorted(rows, key=lambda row: row["step"]), faults)


def _row(line: str) -> dict[str, Any] | None:
    """The object of a line; None if it is none, or has no finite number for its step."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    known = isinstance(row, dict) and not isinstance(row.get("step"), bool) and math.isfinite(finite(row.get("step")))
    return row if known and _is_written(row) and "\ufffd" not in line else None


def _is_written(row: Mapping[str, Any]) -> bool:
    """Whether what the probe logs beside numbers has its form."""
    lists = [row.get(key) or [] for key in ("concentration", "gated_rank_probability")]
    if (histogram := row.get("entropy_histogram")) is not None:
        if not isinstance(histogram, dict):
            return False
        edges, share = (histogram.get(key) for key in ("edges", "share"))
        if not (isinstance(edges, list) and isinstance(share, list) and len(edges) == len(share) + 1):
            return False
        if None in edges[:-1]:  # the last one is infinite
            return False
        lists += [edges, share]
    return all(isinstance(values, list) and all(isinstance(x, int | float | None) for x in values) for values in lists)


def _is_odd(value: object) -> bool:
    """Whether a value is a number that is not finite, or holds one."""
    if isinstance(value, dict | list):
        return any(map(_is_odd, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int | float) and math.isnan(finite(value))
