"""Reads the training runs of `simko train`. A missing part is noted and is no error."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from simko.report.comparison import BASE
from simko.report.content import Content, TrainingRun
from simko.report.runs import Evaluation, RunGroup, read_evaluations, setting_differences
from simko.report.study import Model, described, read_run, study_numbers


def is_training_run(folder: Path) -> bool:
    """Whether `simko train` wrote to the folder, even if it was stopped before the first step."""
    return (folder / "metrics.jsonl").is_file() or (folder / "versions.json").is_file()


def read_training(groups: Sequence[RunGroup]) -> Content:
    """Training runs, with pass@K on their held-out problems. The runs of a group are its training seeds.

    ValueError for a run with a selected step or temperature, and for a run that is given twice.
    """
    notes: list[str] = []
    runs, measured = [], []
    for group in groups:
        method = f"{group.name} run" if group.name == BASE else group.name
        for selection in group.runs:
            if selection.marks:
                raise ValueError(f"{selection.path} is a training run, whose page shows every step: leave @ out")
            name = method if len(group.runs) == 1 else f"{method}, {selection.path.resolve().name}"
            run = read_run(selection.path, {"name": name, "method": method}, notes)
            runs.append(run)
            measured += [(run, e) for e in _held_out(selection.path, run, notes)]
            notes += _progress(run)
            if (store := selection.path / "samples.db").is_file():
                notes.append(f"Run {name} also holds an evaluation: simko report {store} shows it.")
    places = [selection.path.resolve() for group in groups for selection in group.runs]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is given twice: give each run once")
    kept = _comparable(measured, notes)
    names = ", ".join(dict.fromkeys(run.method for run in runs))
    models, step = _models(kept, runs, notes)
    task = _shared(runs, "task", "train_file")
    sections, _ = study_numbers(kept[0][1].setting.task if kept else task, models, step)
    return Content(
        title=f"Training of {names}",
        words=described("", task, "", _shared(runs, "model_name_or_path"), step if models else None),
        sections=tuple(sections),
        runs=tuple(runs),
        notes=tuple(notes),
    )


def _shared(runs: Sequence[TrainingRun], *keys: str) -> str:
    """The distinct values in the runs of the first of these options that each sets."""
    found = [next((run.config[key] for key in keys if run.config.get(key)), None) for run in runs]
    return ", ".join(dict.fromkeys(str(value) for value in found if value is not None))


def _held_out(folder: Path, run: TrainingRun, notes: list[str]) -> list[Evaluation]:
    """The finished evaluations of the held-out problems."""
    store = folder / "held-out" / "samples.db"
    if not store.is_file():
        notes.append(f"Run {run.name} has no held-out problems, so no pass@K: set passk_every to measure it.")
        return []
    found, waiting = read_evaluations(folder / "held-out")
    unfinished = [e.setting.name for e in found if e.lacking] + [setting.name for setting in waiting]
    if unfinished:
        notes.append(f"Run {run.name} has not finished pass@K at {', '.join(unfinished)}, so that is left out.")
    return [replace(e, run=folder) for e in found if not e.lacking and e.step is not None]


def _progress(run: TrainingRun) -> list[str]:
    """A sentence if the log does not reach the end of training."""
    if not run.metrics:
        return []
    step, wanted = int(run.metrics[-1]["step"]), run.config.get("max_steps")
    wanted = wanted if isinstance(wanted, int) else -1
    finished = any("train_runtime" in row for row in run.metrics if row["step"] == step)
    if finished or 0 < wanted <= step:
        return []
    whole = f" of {wanted}" if wanted > 0 else ""
    return [f"Run {run.name} has logged up to step {step}{whole}: it is still running, or was stopped."]


def _comparable(
    measured: Sequence[tuple[TrainingRun, Evaluation]], notes: list[str]
) -> list[tuple[TrainingRun, Evaluation]]:
    """The evaluations at the same settings as the first. Others cannot be paired with it."""
    kept, left_out = [], {}  # type: list[tuple[TrainingRun, Evaluation]], dict[str, list[str]]
    for run, e in measured:
        differing = setting_differences([measured[0][1], e])
        if differing or e.counts.keys() != measured[0][1].counts.keys():
            left_out[run.name] = differing or ["other problems"]
        else:
            kept.append((run, e))
    for name, differing in left_out.items():
        notes.append(f"The held-out problems of run {name} are left out, as they differ: {'; '.join(differing)}.")
    return kept


def _models(
    measured: Sequence[tuple[TrainingRun, Evaluation]], runs: Sequence[TrainingRun], notes: list[str]
) -> tuple[list[Model], int]:
    """The evaluated models, and the headline step: the latest of the steps that most runs have.

    If all runs start from one model, step 0 is the base model, once per seed of its samples.
    """
    starts: dict[int | None, tuple[TrainingRun, Evaluation]] = {}
    for run, e in measured:
        if e.step == 0:
            starts.setdefault(run.seed, (run, e))
    found: list[Model] = []
    if starts and len({str(run.config.get("model_name_or_path")) for run in runs}) == 1:
        found = [_model(run, e, BASE) for run, e in starts.values()]
        measured = [(run, e) for run, e in measured if e.step]
    elif starts:
        notes.append("The runs start from different models, so none is shown as the base model.")
    steps = Counter(e.step or 0 for _, e in measured)
    if not steps and found:
        notes.append("pass@K was measured at step 0 only.")
    headline = max(steps, key=lambda step: (step > 0, steps[step], step), default=0)
    having = {run.name for run, e in measured if e.step == headline}
    lacking = [run.name for run in runs if run.name not in having and any(run is other for other, _ in measured)]
    if lacking:
        notes.append(f"pass@K of {', '.join(lacking)} was not measured at step {headline}, which the curves show.")
    return [*found, *(_model(run, e, run.method) for run, e in measured)], headline


def _model(run: TrainingRun, e: Evaluation, method: str) -> Model:
    return Model(method, run.seed, e.step or 0, float(e.setting.record["temperature"]), e)
