"""Reads evaluation runs: the directories that `simko evaluate` writes, one or several, perhaps training seeds together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from simko.evaluate import Answer, Counts, SampleStore, Setting, Tally
from simko.records import Problem

_COMPARED = (
    "problems_sha256",
    "task_revision",
    "temperature",
    "top_p",
    "top_k",
    "do_sample",
    "max_new_tokens",
    "stop",
    "chat",
)
"""What two evaluations must share to be compared: everything of the record that is not the model's or the seed."""


@dataclass(frozen=True)
class Group:
    """What is compared under one name: a run, or several of which each is of another training seed."""

    name: str
    runs: tuple[Path, ...]


@dataclass(frozen=True)
class Evaluated:
    """One task at one setting of one run. errors: samples a problem that could not be graded, where there are any."""

    run: Path
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


Key = tuple[str, str]
"""(task, setting name)."""


def parse_group(words: str) -> Group:
    """ "name=run1,run2" or a run alone, which its directory's name then names."""
    name, equals, runs = words.partition("=")
    if not equals:
        return Group(Path(words).resolve().name, (Path(words),))
    if not name or not all(runs.split(",")):
        raise ValueError(f"{words!r} is no group: write name=run1,run2, or a run alone")
    return Group(name, tuple(Path(run) for run in runs.split(",")))


def read_run(run: Path) -> dict[Key, Evaluated]:
    """Every task and setting of a run that has a graded sample of each problem. ValueError where there is none."""
    found: dict[Key, Evaluated] = {}
    with SampleStore(run / "samples.db", read_only=True) as store:
        settings = store.settings()
        for setting in settings:
            counts = store.counts(setting)
            if all(n for n, _ in counts.values()):
                problems = {p.id: p for p in store.problems(setting)}
                found[setting.task, setting.name] = Evaluated(
                    run,
                    setting,
                    problems,
                    counts,
                    store.errors(setting),
                    store.tally(setting),
                    store.answers(setting),
                )
    if not found:
        waiting = ", ".join(f"{s.task} at {s.name}" for s in settings) or "nothing"
        raise ValueError(f"{run} has no task with graded samples of every problem yet ({waiting} begun): run it again")
    return found


def read_groups(groups: Sequence[Group], *, anyway: bool = False) -> dict[Key, list[list[Evaluated]]]:
    """{(task, setting): for each group its runs}, for what all groups have.

    ValueError where they have nothing in common, or where problems, settings or verifiers differ; anyway: then
    compared all the same, on the problems that all have.
    """
    names = [group.name for group in groups]
    if len(set(names)) != len(names):
        raise ValueError(f"two groups are called {max(names, key=names.count)!r}: name them, a=... b=...")
    places = [run.resolve() for group in groups for run in group.runs]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is given twice: a run can be compared with others only, and is one training seed")
    read = [[read_run(run) for run in group.runs] for group in groups]
    every = [run for group in read for run in group]
    keys = [key for key in every[0] if all(key in run for run in every)]
    if not keys:
        had = "; ".join(f"{run.name}: {', '.join(map(' at '.join, found))}" for run, found in _named(groups, read))
        raise ValueError(f"the runs have no task and temperature in common ({had})")
    for key in keys:
        differing = _differing([run[key] for run in every])
        if differing and not anyway:
            raise ValueError(
                f"{' at '.join(key)} is not the same in all runs ({'; '.join(differing)}): evaluate them alike, or say "
                "--anyway to compare them on the problems they share"
            )
    return {key: _on_common_problems([[run[key] for run in group] for group in read]) for key in keys}


def _named(groups: Sequence[Group], read: list[list[dict[Key, Evaluated]]]) -> list[tuple[Path, dict[Key, Evaluated]]]:
    return [pair for group, found in zip(groups, read, strict=True) for pair in zip(group.runs, found, strict=True)]


def _differing(evaluations: Sequence[Evaluated]) -> list[str]:
    first = evaluations[0]
    found = {}
    for other in evaluations[1:]:
        here = {key: first.setting.record.get(key) for key in _COMPARED} | {"verifier": first.setting.verifier}
        there = {key: other.setting.record.get(key) for key in _COMPARED} | {"verifier": other.setting.verifier}
        for key in here:
            if here[key] != there[key]:
                found[key] = f"{key} is {here[key]!r} in {first.run.name} and {there[key]!r} in {other.run.name}"
    return list(found.values())


def _on_common_problems(groups: list[list[Evaluated]]) -> list[list[Evaluated]]:
    every = [e for group in groups for e in group]
    common = [i for i in every[0].counts if all(i in e.counts for e in every)]
    if not common:
        raise ValueError(f"{every[0].setting.task}: the runs share no problem")
    if all(len(e.counts) == len(common) for e in every):
        return groups
    return [[_restricted(e, common) for e in group] for group in groups]


def _restricted(e: Evaluated, ids: Sequence[str]) -> Evaluated:
    return Evaluated(
        e.run,
        e.setting,
        {i: e.problems[i] for i in ids},
        {i: e.counts[i] for i in ids},
        {i: n for i, n in e.errors.items() if i in ids},
        e.tally,
        {i: e.answers[i] for i in ids},
    )
