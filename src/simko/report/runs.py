"""Reads evaluations and matches them: stores of `simko evaluate` and of PassAtKCallback, one or several, perhaps
training seeds together, perhaps one of their temperatures or steps alone."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from simko.evaluate import Answer, Counts, SampleStore, Setting, Tally
from simko.records import Problem

_COMPARED = (
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
"""What two evaluations must share to be compared: everything of the record that is not the model's or the seed."""
_OF_THE_TEMPERATURE = frozenset({"temperature", "do_sample"})
_SYNTAX = "write RUN@0.6 for a temperature, RUN@step=40 for a step"


@dataclass(frozen=True)
class Chosen:
    """A run, and of what it holds the part to take: `marks` are the words after each "@"."""

    path: Path
    marks: tuple[str, ...] = ()

    @property
    def by_step(self) -> bool:
        return any(mark.startswith("step=") for mark in self.marks)

    @property
    def by_temperature(self) -> bool:
        return any(not mark.startswith("step=") for mark in self.marks)


@dataclass(frozen=True)
class Group:
    """What is compared under one name: a run, or several of which each is of another training seed."""

    name: str
    runs: tuple[Chosen, ...]

    @property
    def by_step(self) -> bool:
        return any(run.by_step for run in self.runs)

    @property
    def by_temperature(self) -> bool:
        return any(run.by_temperature for run in self.runs)


@dataclass(frozen=True)
class Evaluated:
    """One task at one setting of one run. errors: samples a problem that could not be graded, where there are any."""

    run: Path
    store: Path
    setting: Setting
    problems: Mapping[str, Problem]
    counts: Counts
    errors: Mapping[str, int]
    tally: Tally
    answers: Mapping[str, Sequence[Answer]]

    @property
    def lacking(self) -> int:
        """How many problems have fewer graded samples than were asked for."""
        return sum(n < self.setting.n for n, _ in self.counts.values())

    @property
    def step(self) -> int | None:
        """The training step, where PassAtKCallback measured it; None for a model on its own."""
        return self.setting.record.get("step")

    @property
    def temperature(self) -> str:
        """ "T=0.6": the setting's name without the step."""
        return self.setting.name.removeprefix(f"step={self.step}, ")

    @property
    def place(self) -> tuple[Path, int]:
        """What no two of the compared evaluations may share."""
        return self.store.resolve(), self.setting.id


Groups = list[list[Evaluated]]
"""For each group its runs."""


@dataclass(frozen=True)
class Matched:
    """What all groups have of one task. setting: at which settings, in words; steps: the same at every training step that
    all have, `groups` the last of them; empty where they are models on their own, or one step of each was chosen."""

    task: str
    setting: str
    groups: Groups
    steps: Mapping[int, Groups]


def store_of(run: Path) -> Path:
    """The store of a run: the file itself, samples.db in it, or what a training run measured on held-out problems."""
    for path in (run, run / "samples.db", run / "held-out" / "samples.db"):
        if path.is_file():
            return path
    if not run.exists():
        raise ValueError(f"there is no file or folder {run}")
    raise ValueError(
        f"{run} holds no samples: give a directory of simko evaluate (with samples.db), one of simko train with "
        "passk_every (with held-out/samples.db), or a store file"
    )


def parse_group(words: str) -> Group:
    """ "name=run1,run2" or a run alone, which then names itself; each run may end in @temperature or @step=N."""
    name, equals, runs = words.partition("=")
    if not equals or _parse_run(words).path.exists() or re.search(r"@(step|T)$", name):
        chosen = _parse_run(words)
        return Group("@".join((_name(chosen.path), *chosen.marks)), (chosen,))
    if not name or not all(runs.split(",")):
        raise ValueError(f"{words!r} is no group: write name=run1,run2, or a run alone")
    return Group(name, tuple(_parse_run(run) for run in runs.split(",")))


def _name(path: Path) -> str:
    """The name of the directory or file, or of that above where it is the same in every run."""
    path = path.resolve()
    while path.name in ("samples.db", "held-out"):
        path = path.parent
    return path.name


def _parse_run(words: str) -> Chosen:
    path, marks = words, ()  # type: str, tuple[str, ...]
    while "@" in path and not Path(path).exists():
        path, _, mark = path.rpartition("@")
        marks = (mark, *marks)
    return Chosen(Path(path), marks)


def read_evaluations(run: Path) -> tuple[list[Evaluated], list[Setting]]:
    """Every task and setting of a run that has a graded sample of each problem, and the settings that lack some.
    ValueError where there is no store."""
    found, waiting = [], []
    path = store_of(run)
    with SampleStore(path, read_only=True) as store:
        for setting in store.settings():
            counts = store.counts(setting)
            if not counts or not all(n for n, _ in counts.values()):
                waiting.append(setting)
                continue
            problems = {p.id: p for p in store.problems(setting)}
            measured = (store.errors(setting), store.tally(setting), store.answers(setting))
            found.append(Evaluated(run, path, setting, problems, counts, *measured))
    return found, waiting


def _read_chosen(chosen: Chosen) -> list[Evaluated]:
    """Of a run what its marks choose. ValueError, listing what the run holds, where that is nothing."""
    found, waiting = read_evaluations(chosen.path)
    if not found:
        begun = _listed(waiting) or "nothing"
        raise ValueError(
            f"{chosen.path} has no task with graded samples of every problem yet ({begun} begun): run it again"
        )
    kept = found
    for mark in chosen.marks:
        kept = [e for e in kept if _fits(e, mark, f"{chosen.path}@{mark}", found)]
    if not kept:
        asked = " and ".join(f"@{mark}" for mark in chosen.marks)
        other = chosen.path / "held-out"
        hidden = (other / "samples.db").is_file() and found[0].store != other / "samples.db"
        hint = f"; what it measured during training is {other}" if hidden else ""
        raise ValueError(f"{chosen.path} has nothing at {asked}: it holds {_listed(e.setting for e in found)}{hint}")
    return kept


def _fits(e: Evaluated, mark: str, words: str, found: Sequence[Evaluated]) -> bool:
    name, _, value = mark.rpartition("=")
    try:
        if name == "step":
            return e.step == int(value)
        return e.temperature == f"T={float(value if name == 'T' else mark):g}"
    except ValueError:
        holds = _listed(e.setting for e in found)
        raise ValueError(f"{words}: {mark!r} is no temperature and no step; {_SYNTAX}; the run holds {holds}") from None


def _listed(settings: Iterable[Setting]) -> str:
    return ", ".join(f"{s.task} at {s.name}" for s in settings)


def match(groups: Sequence[Group], *, anyway: bool = False) -> list[Matched]:
    """What all groups have: by task and temperature, or by task alone where a temperature is chosen; of training steps
    the last that all have, or those chosen.

    ValueError where they have nothing in common, or where problems, settings or verifiers differ; anyway: then
    compared all the same, on the problems that all have.
    """
    names = [group.name for group in groups]
    if len(set(names)) != len(names):
        raise ValueError(f"two groups are called {max(names, key=names.count)!r}: name them, a=... b=...")
    chosen = [run for group in groups for run in group.runs]
    by_step = any(group.by_step for group in groups)
    read = [_last_steps(found) if by_step else found for found in map(_read_chosen, chosen)]
    by_task = any(group.by_temperature for group in groups)
    keyed = [[((e.setting.task, "" if by_task else e.temperature), e) for e in run] for run in read]
    keys = [key for key, _ in keyed[0] if all(any(key == other for other, _ in run) for run in keyed)]
    if not keys:
        had = "; ".join(
            f"{run.path.name}: {_listed(e.setting for e in es)}" for run, es in zip(chosen, read, strict=True)
        )
        raise ValueError(f"the runs have no task and temperature in common ({had}): evaluate them alike, or {_SYNTAX}")
    return [
        _matched(groups, [[e for other, e in run if other == key] for run in keyed], anyway)
        for key in dict.fromkeys(keys)
    ]


def _last_steps(found: Sequence[Evaluated]) -> list[Evaluated]:
    """The last training step of each task and temperature: all of what a step is chosen of."""
    ordered = sorted(found, key=lambda e: e.step or 0)
    return list({(e.setting.task, e.temperature): e for e in ordered}.values())


def _matched(groups: Sequence[Group], runs: Sequence[list[Evaluated]], anyway: bool) -> Matched:
    """One task of all runs: one evaluation of each, or one at each of the training steps that all have."""
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
        had = "; ".join(f"{run[0].run.name}: {_listed(e.setting for e in run)}" for run in runs)
        raise ValueError(f"the runs have no training step of {task} in common ({had}): {_SYNTAX}")
    rows.sort(key=lambda row: row[0].step or 0)
    steps = {row[0].step: _checked(groups, row, anyway) for row in rows}
    last = list(steps.values())[-1]
    names = [e.setting.name for group in last for e in group]
    label = names[0]
    if len(set(names)) > 1:
        label = "; ".join(f"{group.name}: {es[0].setting.name}" for group, es in zip(groups, last, strict=True))
    course = {step: at for step, at in steps.items() if step is not None} if len(steps) > 1 else {}
    return Matched(task, label, last, course)


def _checked(groups: Sequence[Group], row: Sequence[Evaluated], anyway: bool) -> Groups:
    """One evaluation a run, in groups. ValueError where they cannot be compared."""
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
    by_choice = _OF_THE_TEMPERATURE if any(group.by_temperature for group in groups) else frozenset[str]()
    differing = setting_differences(row, by_choice)
    if differing and not anyway:
        where = f"{row[0].setting.task} at {row[0].setting.name}"
        raise ValueError(
            f"{where} is not the same in all runs ({'; '.join(differing)}): evaluate them alike, or say "
            "--anyway to compare them on the problems they share"
        )
    return _on_common_problems(found)


def setting_differences(evaluations: Sequence[Evaluated], chosen: frozenset[str] = frozenset()) -> list[str]:
    """In what evaluations differ that should be alike, in words; chosen: what differs by choice."""
    first = evaluations[0]
    found = {}
    for other in evaluations[1:]:
        here = {key: first.setting.record.get(key) for key in _COMPARED} | {"verifier": first.setting.verifier}
        there = {key: other.setting.record.get(key) for key in _COMPARED} | {"verifier": other.setting.verifier}
        for key in here.keys() - chosen:
            if here[key] != there[key]:
                found[key] = f"{key} is {here[key]!r} in {first.run.name} and {there[key]!r} in {other.run.name}"
    return [found[key] for key in (*_COMPARED, "verifier") if key in found]


def _on_common_problems(groups: Groups) -> Groups:
    every = [e for group in groups for e in group]
    common = [i for i in every[0].counts if all(i in e.counts for e in every)]
    if not common:
        raise ValueError(f"{every[0].setting.task}: the runs share no problem")
    if all(len(e.counts) == len(common) for e in every):
        return groups
    return [[_restricted(e, common) for e in group] for group in groups]


def _restricted(e: Evaluated, ids: Sequence[str]) -> Evaluated:
    return replace(
        e,
        problems={i: e.problems[i] for i in ids},
        counts={i: e.counts[i] for i in ids},
        errors={i: n for i, n in e.errors.items() if i in ids},
        answers={i: e.answers[i] for i in ids},
    )
