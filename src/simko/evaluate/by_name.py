"""`simko evaluate` and `simko compare` from Python: models, tasks and runs by their names."""

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from simko.records import VerifierLike
    from simko.report.results import Results
    from simko.sampling import SamplingSettings
    from simko.tasks import Task

Paths = str | PathLike[str] | Iterable[str | PathLike[str]]


def evaluate(
    model: str,
    task: str | Sequence[str],
    out: str | PathLike[str],
    *,
    samples: int | None = None,
    seed: int = 0,
    verifier: "VerifierLike | None" = None,
    columns: str | None = None,
    template: str | None = None,
    split: Literal["test", "train"] = "test",
    limit: int | None = None,
    temperature: float | Sequence[float] | None = None,
    top_p: float | None = None,
    top_k: int = 0,
    max_new_tokens: int | None = None,
    chat: bool | None = None,
    backend: str = "transformers",
    max_failed: float = 0.1,
    quiet: bool = False,
    **options: Any,
) -> "Results":
    """Draw responses to every problem of some tasks and grade them, as the command `simko evaluate` does.

    The same call continues an interrupted evaluation. With a larger `samples` it draws only the missing ones.
    `simko.evaluate.run.evaluate` takes problems and a sampler of your own.

    Args:
        model: a checkpoint folder, a hub id, or a server's name of its model.
        task: the name of a task, or a .jsonl, .csv or .parquet file; or several.
        out: the directory of this evaluation.
        samples: responses per problem; None for the task's number.
        seed: of all random draws.
        verifier: how responses are judged: see `VerifierLike`; None for the task's own. A file needs one.
        columns: for files: where the parts of a problem stand, "prompt=Question,answer=gold".
        template: for files: the prompt around the problem, "Q: {problem} A:".
        split: "test" or "train".
        limit: only the first problems.
        temperature: one or several; None for the task's.
        top_p: keep the most likely tokens with this total probability; None for the task's.
        top_k: keep this many most likely tokens; 0 for all.
        max_new_tokens: the length at which a response is truncated; None for the task's.
        chat: send prompts in the model's chat template, or as they are; None for the task's way.
        backend: "transformers", "vllm" or "openai".
        max_failed: end the run when more than this share of all samples fail.
        quiet: show no progress bar.
        options: of the back-end: base_url, concurrency, timeout, batch_size, dtype, revision.

    Returns the numbers of everything in `out`. ValueError with what to do, before a model is loaded, for what cannot be evaluated.
    """
    from simko.evaluate import run
    from simko.evaluate.files import locked
    from simko.evaluate.store import SampleStore
    from simko.report.results import read_results
    from simko.sampling import open_sampler
    from simko.sampling.loading import loading_bars
    from simko.verifiers import as_verifier

    place = Path(out)
    if place.exists() and not place.is_dir():
        raise ValueError(f"--out {place} is a file: give the directory of the evaluation")
    if verifier is not None:
        as_verifier(verifier)
    given = [task] if isinstance(task, str) else task
    tasks = [_task(name, verifier, columns, template, chat) for name in given]
    names = [found.name for found in tasks]
    if len(set(names)) != len(names):
        raise ValueError(f"two tasks are called {max(names, key=names.count)!r}: evaluate them in two directories")
    sampling = {"top_p": top_p, "top_k": top_k, "max_new_tokens": max_new_tokens, "chat": chat}
    planned = [(found, settings) for found in tasks for settings in _settings(found, temperature, sampling)]
    problems = {found.name: found.load(split, limit) for found in tasks}
    for found, settings in planned:
        run.check_plan(problems[found.name], verifier or found.verifier, samples or found.samples, settings)
    with locked(place), SampleStore(place / "samples.db") as store:
        with loading_bars(not quiet or backend == "openai"):  # which loads no model
            sampler = open_sampler(backend, model, **options)
        for found, settings in planned:
            run.evaluate(
                store,
                sampler,
                problems[found.name],
                verifier or found.verifier,
                samples or found.samples,
                settings,
                task=found.name,
                revision=found.revision,
                seed=seed,
                progress=not quiet,
                max_failed=max_failed,
            )
    return read_results([fspath(place)])


def compare(
    *runs: str | PathLike[str], reference: str | None = None, anyway: bool = False, **named: Paths
) -> "Results":
    """Compare evaluated models, as the command `simko compare` does.

        compare("base=runs/qwen", "simko=runs/s1,runs/s2")
        compare(base="runs/qwen", simko=["runs/s1", "runs/s2"])

    Args:
        runs: runs, or "name=run1,run2" for several training seeds. RUN@0.6 selects a temperature, RUN@step=40 a step.
        reference: compare with this name only; None compares all pairs.
        anyway: compare runs even if their problems or settings differ.
        named: {name: a run, or the runs of several training seeds}.

    Returns tables and figures. ValueError for one run, and for runs that cannot be compared.
    """
    from simko.report.results import read_results

    groups = [fspath(run) for run in runs]
    for name, paths in named.items():
        each = [paths] if isinstance(paths, str | PathLike) else paths
        groups.append(f"{name}={','.join(fspath(run) for run in each)}")
    if len(groups) < 2:
        raise ValueError("give at least two runs to compare; simko report shows one")
    return read_results(groups, reference=reference, anyway=anyway)


def _task(
    name: str, verifier: "VerifierLike | None", columns: str | None, template: str | None, chat: bool | None
) -> "Task":
    from simko.tasks import check_file, get_task, is_file_name, parse_columns, read_file

    if not is_file_name(name):
        for option, value in (("template", template), ("columns", columns)):
            if value:
                raise ValueError(f"--{option} is for files: {name} has prompts of its own")
        return get_task(name)
    check_file(Path(name))
    if not verifier:
        raise ValueError(f"{name} needs --verifier, e.g. --verifier math")
    judge = verifier if isinstance(verifier, str) else None  # no other has a form of file of its own
    return read_file(name, judge, template, chat=chat, columns=parse_columns(columns))


def _settings(
    task: "Task", temperature: float | Sequence[float] | None, given: Mapping[str, Any]
) -> "list[SamplingSettings]":
    from simko.evaluate.run import setting_name
    from simko.sampling import SamplingSettings

    chosen = task.temperature if temperature is None else temperature
    own: dict[str, Any] = {
        "top_p": task.top_p,
        "max_new_tokens": task.max_new_tokens,
        "chat": task.chat,
        "stop": task.stop,
    }
    kept = own | {name: value for name, value in given.items() if value is not None}
    temperatures = [chosen] if isinstance(chosen, int | float) else chosen
    settings = [SamplingSettings(temperature=float(one), **kept) for one in temperatures]
    names = [setting_name(one) for one in settings]
    if len(set(names)) != len(names):
        raise ValueError(f"--temperature names {max(names, key=names.count)} twice")
    return settings
