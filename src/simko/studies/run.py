"""Compares methods on one protocol: trains each from the same base with the same recipe, evaluates, reports.

Every step is a `simko` command in its own process, several in parallel. An interrupted step continues.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simko.adapters.trl import may_skip_rows
from simko.evaluate import SampleStore
from simko.evaluate.checkpoint_files import latest_checkpoint, step_of
from simko.evaluate.files import read_json
from simko.report import write_report
from simko.studies.commands import Command, run_commands
from simko.tasks import get_task
from simko.training.run_directory import write_json


@dataclass(frozen=True)
class StudyPlan:
    """What a study trains and evaluates."""

    title: str
    """The page's title."""
    task: str
    """The task's name."""
    setting: str
    """The training setup, in words."""
    command: str
    """The command that runs the study, for the page."""
    recipe: Path
    """The recipe of every run."""
    base_model: str
    """A checkpoint folder or hub id."""
    base_label: str
    """The base model's name on the page."""
    methods: tuple[str, ...]
    """The methods."""
    seeds: tuple[int, ...]
    """The training seeds of each method."""
    steps: tuple[int, ...]
    """The updates after which checkpoints are evaluated; the last is the run's length."""
    headline_step: int
    """The step that the curves show."""
    samples: int
    """The responses per problem."""
    ks: tuple[int, ...]
    """The ks of the curves."""
    other_temperatures: tuple[float, ...]
    """Further temperatures at which base and methods are evaluated, for pass@1."""
    samples_there: int
    """The responses per problem at these temperatures."""
    batch_size: int
    """Of the evaluations."""
    problems: int | None = None
    """The number of problems; None for all."""
    overrides: tuple[str, ...] = ()
    """Further options of `simko train`, the same for every method."""
    dtype: str = "float32"
    """Of the evaluations."""


def run_study(plan: StudyPlan, out: Path, *, workers: int) -> Path:
    """Train, evaluate and report, and return the path of the page. ValueError if `out` holds another study."""
    runs = [(f"{method}-seed{seed}", method, seed) for seed in plan.seeds for method in plan.methods]
    evaluations = _evaluations(plan, runs)
    _write_study(plan, out, runs, evaluations)
    training = [_training_command(plan, out, *run) for run in runs]
    headline_first = sorted(evaluations, key=lambda e: e["step"] not in (0, plan.headline_step))
    grading = [_evaluation_command(plan, out, e) for e in headline_first]
    for stage in (training, grading):  # a run's checkpoints must exist before they are evaluated
        run_commands(stage, out / "logs", workers)
    return write_report(out)


def _evaluations(plan: StudyPlan, runs: Sequence[tuple[str, str, int]]) -> list[dict[str, object]]:
    """The base at every temperature, and each run at every step; at the headline step also at every temperature."""
    rows: list[dict[str, object]] = []
    models = [("base", None, "base", None, 0)]
    models += [(f"{name}-step{s}", name, method, seed, s) for name, method, seed in runs for s in plan.steps]
    for name, run, method, seed, step in models:
        temperatures = (1.0, *plan.other_temperatures) if step in (0, plan.headline_step) else (1.0,)
        rows += [
            {
                "name": name if temperature == 1 else f"{name}-T{temperature:g}",
                "run": run,
                "method": method,
                "seed": seed,
                "step": step,
                "temperature": temperature,
            }
            for temperature in temperatures
        ]
    return rows


def _write_study(
    plan: StudyPlan, out: Path, runs: Sequence[tuple[str, str, int]], evaluations: list[dict[str, object]]
) -> None:
    study = {
        "title": plan.title,
        "task": plan.task,
        "task_description": get_task(plan.task).description,
        "base_model": plan.base_label,
        "base_folder": Path(plan.base_model).name,
        "setting": plan.setting,
        "command": plan.command,
        "headline_step": plan.headline_step,
        "ks": list(plan.ks),
        "samples": plan.samples,
        "problems": plan.problems,
        "overrides": list(plan.overrides),
        "recipe": plan.recipe.read_text(encoding="utf-8"),
        "runs": [{"name": name, "method": method, "seed": seed} for name, method, seed in runs],
        "evaluations": evaluations,
    }
    path = out / "study.json"
    if path.is_file():
        kept = read_json(path)
        for key in ("task", "base_folder", "recipe", "samples", "problems", "overrides"):
            if kept.get(key) != study[key]:
                raise ValueError(
                    f"{out} holds a study with another {key}: choose another --out, or remove that directory"
                )
    elif out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and holds no study: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, study)


def _training_command(plan: StudyPlan, out: Path, name: str, method: str, seed: int) -> Command:
    directory, length = out / "runs" / name, max(plan.steps)
    words = ["train", str(plan.recipe), "--method", method, "--seed", str(seed), "--output_dir", str(directory)]
    words += ["--model_name_or_path", plan.base_model, "--max_steps", str(length), "--disable_tqdm", "True"]
    if not may_skip_rows(method):  # skipping only saves time
        words += ["--skip_zero_advantage", "false"]

    def done() -> int:
        checkpoint = latest_checkpoint(directory, weights_only=True)
        if checkpoint and step_of(checkpoint) >= length:
            return length
        return min(_last_step(directory / "metrics.jsonl"), length - 1)

    return Command(f"train {name}", (*words, *plan.overrides), done, length, "step")


def _evaluation_command(plan: StudyPlan, out: Path, row: dict[str, object]) -> Command:
    directory = out / "evaluations" / str(row["name"])
    samples = plan.samples if row["temperature"] == 1 else plan.samples_there
    model = f"{out}/runs/{row['run']}/checkpoint-{row['step']}" if row["run"] else plan.base_model
    words = ["evaluate", "--model", model, "--task", plan.task, "-n", str(samples), "--out", str(directory)]
    words += ["--temperature", f"{row['temperature']:g}", "--batch-size", str(plan.batch_size), "--quiet"]
    words += ["--dtype", plan.dtype]
    if plan.problems is not None:
        words += ["--limit", str(plan.problems)]
    problems = len(get_task(plan.task).load("test", plan.problems))

    def done() -> int:
        if not (directory / "samples.db").is_file():
            return 0
        with SampleStore(directory / "samples.db", read_only=True) as store:
            return sum(n for setting in store.settings() for n, _ in store.counts(setting).values())

    return Command(f"evaluate {row['name']}", tuple(words), done, samples * problems, "sample")


def _last_step(metrics: Path) -> int:
    if not metrics.is_file():
        return 0
    lines = metrics.read_text(encoding="utf-8").rsplit("\n", 2)
    return int(json.loads(lines[-2])["step"]) if len(lines) > 1 and lines[-2] else 0
