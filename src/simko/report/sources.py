"""The inputs of `simko report`: studies, training runs, evaluations and diagnoses, alone or together."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from simko.report.comparison import Section, adjust_p, read_sections, sweeps
from simko.report.content import Content
from simko.report.diagnosis import diagnosis_title, is_diagnosis, read_diagnosis
from simko.report.runs import RunGroup, parse_group
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
    places = {kind: [run.path for group in found for run in group.runs] for kind, found in kinds.items()}
    parts = [read_study(place) for place in dict.fromkeys(places["study"])]
    if kinds["training"]:
        parts.append(read_training(kinds["training"]))
    if kinds["evaluation"]:
        parts.append(of_sections(read_sections(kinds["evaluation"])))
    for place in dict.fromkeys(places["diagnosis"]):
        summary = read_diagnosis(place)
        parts.append(Content(diagnosis_title(summary), diagnoses=(summary,)))
    content = parts[0] if len(parts) == 1 else _together(parts)
    return replace(content, commands=(*content.commands, f"simko report {shlex.join(sources)}"))


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
    if path.is_file() or (path / "samples.db").is_file():
        return "evaluation"
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    raise ValueError(
        f"{path} is no study (study.json), no training run (metrics.jsonl), no evaluation (samples.db) and no diagnosis "
        "(plan.json): give the directory of simko quickstart, train or evaluate, the records of simko diagnose, or a store of "
        "PassAtKCallback"
    )
