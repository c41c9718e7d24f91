"""Methods compared on one protocol: train each from the same base with the same recipe, evaluate, report.

Every step is a `simko` command in a process of its own, some side by side, and each continues where it was stopped.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from simko.adapters.trl import may_skip_rows
from simko.evaluate import SampleStore
from simko.evaluate.files import read_json
from simko.report import write_report
from simko.studies.jobs import Job, run_jobs
from simko.tasks import get_task
from simko.training.run_directory import latest_checkpoint, step_of, write_json


@dataclass(frozen=True)
class Comparison:
    """What is compared. steps: the updates after which checkpoints are evaluated, the last being the run's length;
    samples: responses a problem; other_temperatures: at which base and methods are also evaluated, for pass@1, with
    `samples_there` responses; base_label: what the page calls the base; overrides: further options of `simko train`,
    the same for every method."""

    title: str
    task: str
    setting: str
    command: str
    recipe: Path
    base_model: str
    base_label: str
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]
    headline_step: int
    samples: int
    ks: tuple[int, ...]
    other_temperatures: tuple[float, ...]
    samples_there: int
    batch_size: int
    problems: int | None = None
    overrides: tuple[str, ...] = ()
    dtype: str = "float32"


def run_comparison(plan: Comparison, out: Path, *, workers: int) -> Path:
    """Train, evaluate and report; the path of the page. ValueError where `out` holds another study."""
    runs = [(f"{method}-seed{seed}", method, seed) for seed in plan.seeds for method in plan.methods]
    evaluations = _evaluations(plan, runs)
    _write_study(plan, out, runs, evaluations)
    training = [_training_job(plan, out, *run) for run in runs]
    headline_first = sorted(evaluations, key=lambda e: e["step"] not in (0, plan.headline_step))
    grading = [_evaluation_job(plan, out, e) for e in headline_first]
    for stage in (training, grading):  # one after the other: a run's checkpoints are there before they are graded
        run_jobs(stage, out / "logs", workers)
    return write_report(out)


def _evaluations(plan: Comparison, runs: Sequence[tuple[str, str, int]]) -> list[dict[str, object]]:
    """The base at every temperature, then each run at every step, and at every temperature at the headline step."""
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
    plan: Comparison, out: Path, runs: Sequence[tuple[str, str, int]], evaluations: list[dict[str, object]]
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


def _training_job(plan: Comparison, out: Path, name: str, method: str, seed: int) -> Job:
    directory, length = out / "runs" / name, max(plan.steps)
    words = ["train", str(plan.recipe), "--method", method, "--seed", str(seed), "--output_dir", str(directory)]
    words += ["--model_name_or_path", plan.base_model, "--max_steps", str(length), "--disable_tqdm", "True"]
    if not may_skip_rows(method):  # a saving of time alone
        words += ["--skip_zero_advantage", "false"]

    def done() -> int:
        checkpoint = latest_checkpoint(directory, weights_only=True)
        if checkpoint and step_of(checkpoint) >= length:
            return length
        return min(_last_step(directory / "metrics.jsonl"), length - 1)

    return Job(f"train {name}", (*words, *plan.overrides), done, length, "step")


def _evaluation_job(plan: Comparison, out: Path, row: dict[str, object]) -> Job:
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

    return Job(f"evaluate {row['name']}", tuple(words), done, samples * problems, "sample")


def _last_step(metrics: Path) -> int:
    if not metrics.is_file():
        return 0
    lines = metrics.read_text(encoding="utf-8").rsplit("\n", 2)
    return int(json.loads(lines[-2])["step"]) if len(lines) > 1 and lines[-2] else 0
