"""Reads the evaluations of runs and matches them by task, temperature and training step.

A run is a store of `simko evaluate` or PassAtKCallback. Runs may be grouped as training seeds.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from simko.evaluate import Answer, Counts, Failures, SampleStore, Setting, Tally
from simko.generations import UNKNOWN
from simko.records import Problem

_COMPARED_KEYS = (
    "problems_sha256",
    "task_revision",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "do_sample",
    "max_new_tokens",
    "stop",
    "chat",
)
"""The keys of a record that two compared evaluations must share: all but those of the model and the seed."""
_TEMPERATURE_KEYS = frozenset({"temperature", "do_sample"})
_SQLITE = b"SQLite format 3\0"
_SYNTAX = "write RUN@0.6 for a temperature, RUN@step=40 for a step"


@dataclass(frozen=True)
class RunSelection:
    """A run, and which of its evaluations to use."""

    path: Path
    """The run's directory or store."""
    marks: tuple[str, ...] = ()
    """The words after each "@"."""

    @property
    def by_step(self) -> bool:
        """Whether a step is selected."""
        return any(mark.startswith("step=") for mark in self.marks)

    @property
    def by_temperature(self) -> bool:
        """Whether a temperature is selected."""
        return any(not mark.startswith("step=") for mark in self.marks)


@dataclass(frozen=True)
class RunGroup:
    """A run, or the runs of several training seeds, under one name."""

    name: str
    """The name."""
    runs: tuple[RunSelection, ...]
    """One per training seed."""
    given: bool = False
    """Whether the user gave the name."""

    @property
    def by_step(self) -> bool:
        """Whether a step is selected of any run."""
        return any(run.by_step for run in self.runs)

    @property
    def by_temperature(self) -> bool:
        """Whether a temperature is selected of any run."""
        return any(run.by_temperature for run in self.runs)


@dataclass(frozen=True)
class Evaluation:
    """One task at one setting of one run."""

    run: Path
    """The run, as it was given."""
    store: Path
    """Its store."""
    setting: Setting
    """The setting in the store."""
    problems: Mapping[str, Problem]
    """{problem id: problem}."""
    counts: Counts
    """{problem id: (n, c)}."""
    errors: Mapping[str, int]
    """{problem id: samples that could not be graded}, without zeros."""
    failures: Mapping[str, Failures]
    """{problem id: its failed samples}, for problems that have any."""
    tally: Tally
    """Sums over the samples."""
    answers: Mapping[str, Sequence[Answer]]
    """{problem id: its distinct answers}."""

    @property
    def lacking(self) -> int:
        """The number of problems with fewer graded samples than were asked for."""
        return sum(n < self.setting.n for n, _ in self.counts.values())

    @property
    def step(self) -> int | None:
        """The training step at which PassAtKCallback measured; None otherwise."""
        return self.setting.record.get("step")

    @property
    def temperature(self) -> str:
        """The setting's name without the step, such as "T=0.6"."""
        return self.setting.name.removeprefix(f"step={self.step}, ")

    @property
    def place(self) -> tuple[Path, int]:
        """The store and setting, which no two compared evaluations may share."""
        return self.store.resolve(), self.setting.id


GroupedEvaluations = list[list[Evaluation]]
"""The evaluations of each group."""


@dataclass(frozen=True)
class MatchedTask:
    """The evaluations of one task that all groups have."""

    task: str
    """The task's name."""
    setting: str
    """The settings, in words."""
    groups: GroupedEvaluations
    """The evaluations, at the last step if there are several."""
    steps: Mapping[int, GroupedEvaluations]
    """The evaluations at every training step that all groups have; empty without several such steps."""


def store_of(run: Path) -> Path:
    """The store of a run: the file itself, its samples.db, or its held-out/samples.db. ValueError if there is none."""
    for path in (run / "samples.db", run / "held-out" / "samples.db"):
        if path.is_file():
            return path
    if is_store(run):
        return run
    if not run.exists():
        raise ValueError(f"there is no file or folder {run}")
    lacks = f"is a {run.suffix or 'plain'} file and no store" if run.is_file() else "holds no samples"
    raise ValueError(
        f"{run} {lacks}: give a directory of simko evaluate or grade (with samples.db), one of simko train with passk_every "
        "(with held-out/samples.db), or a store file"
    )


def is_store(file: Path) -> bool:
    """Whether a file looks like a store: it is an SQLite database, or is called one."""
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(len(_SQLITE)) == _SQLITE or file.suffix == ".db"


def parse_group(text: str) -> RunGroup:
    """A group from "name=run1,run2", or from a single run, whose name it takes. Runs may end in @temperature or @step=N.

    ValueError for other text.
    """
    name, equals, runs = text.partition("=")
    if not equals or _parse_run(text).path.exists() or re.search(r"@(step|T)$", name):
        selection = _parse_run(text)
        return RunGroup("@".join((_name(selection.path), *selection.marks)), (selection,))
    if not name or not all(runs.split(",")):
        raise ValueError(f"{text!r} is no group: write name=run1,run2, or a run alone")
    return RunGroup(name, tuple(_parse_run(run) for run in runs.split(",")), given=True)


def _name(path: Path) -> str:
    """The name of the file or directory, or of the one above if every run has it."""
    path = path.resolve()
    while path.name in ("samples.db", "held-out"):
        path = path.parent
    return path.name


def _parse_run(text: str) -> RunSelection:
    path, marks = text, ()  # type: str, tuple[str, ...]
    while "@" in path and not Path(path).exists():
        path, _, mark = path.rpartition("@")
        marks = (mark, *marks)
    return RunSelection(Path(path), marks)


def read_evaluations(run: Path) -> tuple[list[Evaluation], list[Setting]]:
    """The settings of a run with a graded sample of every problem, and the other settings. ValueError without a store."""
    found, waiting = [], []
    with SampleStore(store_of(run), read_only=True) as store:
        for setting in store.settings():
            evaluation = read_evaluation(store, setting, run)
            if evaluation is not None and all(n for n, _ in evaluation.counts.values()):
                found.append(evaluation)
            else:
                waiting.append(setting)
    return found, waiting


def read_evaluation(store: SampleStore, setting: Setting, run: Path) -> Evaluation | None:
    """One setting of a run's store; None without problems."""
    counts = store.counts(setting)
    if not counts:
        return None
    problems = {p.id: p for p in store.problems(setting)}
    measured = (store.errors(setting), store.failures(setting), store.tally(setting), store.answers(setting))
    return Evaluation(run, store.path, setting, problems, counts, *measured)


def _read_selection(selection: RunSelection) -> list[Evaluation]:
    """The selected evaluations of a run. ValueError, listing what the run holds, if there is none."""
    found, waiting = read_evaluations(selection.path)
    if not found:
        begun = _list_settings(waiting) or "nothing"
        raise ValueError(
            f"{selection.path} has no task with graded samples of every problem yet ({begun} begun): run it again"
        )
    kept = found
    for mark in selection.marks:
        kept = [e for e in kept if _matches_mark(e, mark, f"{selection.path}@{mark}", found)]
    if not kept:
        marks = " and ".join(f"@{mark}" for mark in selection.marks)
        other = selection.path / "held-out"
        hidden = (other / "samples.db").is_file() and found[0].store != other / "samples.db"
        hint = f"; what it measured during training is {other}" if hidden else ""
        holds = _list_settings(e.setting for e in found)
        raise ValueError(f"{selection.path} has nothing at {marks}: it holds {holds}{hint}")
    return kept


def _matches_mark(e: Evaluation, mark: str, text: str, found: Sequence[Evaluation]) -> bool:
    name, _, value = mark.rpartition("=")
    try:
        if name == "step":
            return e.step == int(value)
        word = value if name == "T" else mark
        return e.temperature == f"T={word if word == UNKNOWN else f'{float(word):g}'}"
    except ValueError:
        holds = _list_settings(e.setting for e in found)
        raise ValueError(f"{text}: {mark!r} is no temperature and no step; {_SYNTAX}; the run holds {holds}") from None


def _list_settings(settings: Iterable[Setting]) -> str:
    return ", ".join(f"{s.task} at {s.name}" for s in settings)


def match(groups: Sequence[RunGroup], *, anyway: bool = False) -> list[MatchedTask]:
    """The evaluations that all groups have, matched by task and temperature, or by task if a temperature is selected.

    Of several training steps it takes the last that all groups have, or the selected ones. anyway: compare evaluations whose
    problems, settings or verifiers differ, on the problems that all have. ValueError for such evaluations otherwise, and for
    groups that have nothing in common.
    """
    names = [group.name for group in groups]
    if len(set(names)) != len(names):
        raise ValueError(f"two groups are called {max(names, key=names.count)!r}: name them, a=... b=...")
    selections = [run for group in groups for run in group.runs]
    by_step = any(group.by_step for group in groups)
    read = [_last_steps(found) if by_step else found for found in map(_read_selection, selections)]
    by_task = any(group.by_temperature for group in groups)
    keyed = [[((e.setting.task, "" if by_task else e.temperature), e) for e in run] for run in read]
    keys = [key for key, _ in keyed[0] if all(any(key == other for other, _ in run) for run in keyed)]
    if not keys:
        had = "; ".join(
            f"{run.path.name}: {_list_settings(e.setting for e in es)}"
            for run, es in zip(selections, read, strict=True)
        )
        raise ValueError(f"the runs have no task and temperature in common ({had}): evaluate them alike, or {_SYNTAX}")
    return [
        _match_task(groups, [[e for other, e in run if other == key] for run in keyed], anyway)
        for key in dict.fromkeys(keys)
    ]


def _last_steps(found: Sequence[Evaluation]) -> list[Evaluation]:
    """The last training step of each task and temperature."""
    ordered = sorted(found, key=lambda e: e.step or 0)
    return list({(e.setting.task, e.temperature): e for e in ordered}.values())


def _match_task(groups: Sequence[RunGroup], runs: Sequence[list[Evaluation]], anyway: bool) -> MatchedTask:
    """One task: an evaluation of each run, at each of the training steps that all have."""
    task = runs[0][0].setting.task
    for run in runs:
        temperatures = sorted({e.temperature for e in run})
        if len(temperatures) > 1:
            raise ValueError(f"{run[0].run} holds {task} at {', '.join(temperatures)}: {_SYNTAX}")
    by_step = [{e.step: e for e in run} for run in runs]
    rows = [[run[step] for run in by_step] for step in by_step[0] if all(step in run for run in by_step)]
    if any(group.by_step for group in groups):
        rows = [[run[0] for run in runs]]
    if not rows:
        had = "; ".join(f"{run[0].run.name}: {_list_settings(e.setting for e in run)}" for run in runs)
        raise ValueError(f"the runs have no training step of {task} in common ({had}): {_SYNTAX}")
    rows.sort(key=lambda row: row[0].step or 0)
    steps = {row[0].step: _group_row(groups, row, anyway) for row in rows}
    last = list(steps.values())[-1]
    names = [e.setting.name for group in last for e in group]
    label = names[0]
    if len(set(names)) > 1:
        label = "; ".join(f"{group.name}: {es[0].setting.name}" for group, es in zip(groups, last, strict=True))
    course = {step: at for step, at in steps.items() if step is not None} if len(steps) > 1 else {}
    return MatchedTask(task, label, last, course)


def _group_row(groups: Sequence[RunGroup], row: Sequence[Evaluation], anyway: bool) -> GroupedEvaluations:
    """One evaluation per run, in groups. ValueError if they cannot be compared."""
    places = [e.place for e in row]
    twice = next((e for e in row if places.count(e.place) > 1), None)
    if twice is not None:
        raise ValueError(
            f"{twice.run} is given twice: a run can be compared with others only, and is one training seed"
        )
    rest = iter(row)
    found = [[next(rest) for _ in group.runs] for group in groups]
    for group, evaluations in zip(groups, found, strict=True):
        mixed = list(dict.fromkeys(e.setting.name for e in evaluations))
        if len(mixed) > 1:
            raise ValueError(f"{group.name} mixes {' and '.join(mixed)}: runs of one group are seeds of one setting")
    ignored = _TEMPERATURE_KEYS if any(group.by_temperature for group in groups) else frozenset[str]()
    differing = setting_differences(row, ignored)
    if differing and not anyway:
        where = f"{row[0].setting.task} at {row[0].setting.name}"
        raise ValueError(
            f"{where} is not the same in all runs ({'; '.join(differing)}): evaluate them alike, or say "
            "--anyway to compare them on the problems they share"
        )
    return _on_common_problems(found)


def setting_differences(evaluations: Sequence[Evaluation], ignored: frozenset[str] = frozenset()) -> list[str]:
    """The differences between evaluations that make them incomparable, in words. ignored: keys that may differ."""
    first = evaluations[0]
    found = {}
    for other in evaluations[1:]:
        here = {key: first.setting.record.get(key) for key in _COMPARED_KEYS} | {"verifier": first.setting.verifier}
        there = {key: other.setting.record.get(key) for key in _COMPARED_KEYS} | {"verifier": other.setting.verifier}
        for key in here.keys() - ignored:
            if here[key] != there[key]:
                found[key] = f"{key} is {here[key]!r} in {first.run.name} and {there[key]!r} in {other.run.name}"
    return [found[key] for key in (*_COMPARED_KEYS, "verifier") if key in found]


def _on_common_problems(groups: GroupedEvaluations) -> GroupedEvaluations:
    every = [e for group in groups for e in group]
    common = [i for i in every[0].counts if all(i in e.counts for e in every)]
    if not common:
        raise ValueError(f"{every[0].setting.task}: the runs share no problem")
    if all(len(e.counts) == len(common) for e in every):
        return groups
    return [[_restrict(e, common) for e in group] for group in groups]


def _restrict(e: Evaluation, ids: Sequence[str]) -> Evaluation:
    return replace(
        e,
        problems={i: e.problems[i] for i in ids},
        counts={i: e.counts[i] for i in ids},
        errors={i: n for i, n in e.errors.items() if i in ids},
        failures={i: f for i, f in e.failures.items() if i in ids},
        answers={i: e.answers[i] for i in ids},
    )
