"""The inputs of `simko report`: studies, training runs, evaluations and diagnoses, alone or together."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from simko.report.comparison import Section, adjust_p, read_sections, sweeps
from simko.report.content import Content
from simko.report.diagnosis import diagnosis_title, is_diagnosis, read_diagnosis
from simko.report.runs import RunGroup, is_store, parse_group
from simko.report.study import read_study
from simko.report.training import is_training_run, read_training


def read_content(sources: Sequence[str]) -> Content:
    """What the sources hold together: evaluations are compared with each other, and so are training runs.

    sources: runs, or name=run1,run2 for training seeds. ValueError for a directory of another kind, for a group of several kinds,
    and as in the readers.
    """
    kinds: dict[str, list[RunGroup]] = {"study": [], "training": [], "evaluation": [], "diagnosis": []}
    for group in map(parse_group, sources):
        found = {_kind(run.path): run.path for run in group.runs}
        if len(found) > 1:
            raise ValueError(f"{group.name} mixes {' and '.join(found)} ({', '.join(map(str, found.values()))})")
        kinds[next(iter(found))].append(group)
    parts = [_named(group, read_study(_alone(group))) for group in _once(kinds["study"])]
    if kinds["training"]:
        parts.append(read_training(kinds["training"]))
    if kinds["evaluation"]:
        parts.append(of_sections(read_sections(kinds["evaluation"])))
    for group in _once(kinds["diagnosis"]):
        summary = read_diagnosis(_alone(group)) | ({"name": group.name} if group.given else {})
        parts.append(Content(diagnosis_title(summary), diagnoses=(summary,)))
    content = parts[0] if len(parts) == 1 else _together(parts)
    return replace(content, commands=(*content.commands, f"simko report {shlex.join(sources)}"))


def _once(groups: Sequence[RunGroup]) -> Sequence[RunGroup]:
    """The groups. ValueError for a directory that two of them hold."""
    places = [run.path.resolve() for group in groups for run in group.runs]
    twice = next((place for place in places if places.count(place) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is given twice: give it once")
    return groups


def _alone(group: RunGroup) -> Path:
    """The directory of a group. ValueError for several, and for a selected step or temperature."""
    first, *more = group.runs
    if more:
        raise ValueError(
            f"{group.name} groups {first.path} and {more[0].path}, which are no training seeds: give each by itself"
        )
    if first.marks:
        raise ValueError(f"{first.path} is shown whole: leave @{'@'.join(first.marks)} out")
    return first.path


def _named(group: RunGroup, content: Content) -> Content:
    """The content under the name that was given for it."""
    return replace(content, title=f"{group.name}: {content.title}") if group.given else content


def of_sections(sections: Sequence[Section]) -> Content:
    """Evaluations alone."""
    names = [side.name for side in sections[0].sides]
    title = " against ".join(names) if len(names) < 4 else f"{len(names)} models"
    return Content(title, sections=tuple(sections), sweeps=tuple(sweeps(sections)))


def _together(parts: Sequence[Content]) -> Content:
    """One content of several. A section is told apart by what it is from."""
    titles = [part.title for part in parts]
    parts = [
        replace(part, title=f"{part.title} ({i + 1})") if titles.count(part.title) > 1 else part
        for i, part in enumerate(parts)
    ]
    sections = adjust_p([replace(s, task=f"{part.title}: {s.task}") for part in parts for s in part.sections])
    return Content(
        title="; ".join(part.title for part in parts),
        words=tuple(words for part in parts for words in part.words),
        sections=tuple(sections),
        sweeps=tuple(replace(s, task=f"{part.title}: {s.task}") for part in parts for s in part.sweeps),
        runs=tuple(run for part in parts for run in part.runs),
        diagnoses=tuple(summary for part in parts for summary in part.diagnoses),
        commands=tuple(command for part in parts for command in part.commands),
        notes=tuple(note for part in parts for note in part.notes),
    )


def _kind(path: Path) -> str:
    """The kind of a path. A training run that also holds an evaluation is a training run."""
    if (path / "study.json").is_file():
        return "study"
    if is_training_run(path):
        return "training"
    if is_diagnosis(path):
        return "diagnosis"
    if is_store(path) or (path / "samples.db").is_file():
        return "evaluation"
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    what = "no study (study.json), no training run (metrics.jsonl), no evaluation (samples.db) and no diagnosis (plan.json)"
    if path.is_file():
        what = f"a {path.suffix or 'plain'} file, and no store of samples"
    raise ValueError(
        f"{path} is {what}: give the directory of simko quickstart, train, evaluate or grade, the records of simko diagnose, or a "
        "store of PassAtKCallback"
    )
