"""The inputs of `simko report`: a study, training runs, or evaluations."""

from collections.abc import Sequence
from pathlib import Path

from simko.report.comparison import Section, read_sections
from simko.report.runs import parse_group
from simko.report.study import Study, read_study
from simko.report.training import is_training_run, read_training

_KINDS = {"study": "a study", "training": "a training run", "evaluation": "an evaluation"}


def read_sources(sources: Sequence[str]) -> Study | list[Section]:
    """A study, or training runs as a study, or the sections that evaluations have in common.

    sources: runs, or name=run1,run2 for training seeds. ValueError for a directory of another kind, for mixed kinds, and as in
    the readers.
    """
    groups = [parse_group(source) for source in sources]
    kinds = {run.path: _kind(run.path) for group in groups for run in group.runs}
    if len(set(kinds.values())) > 1:
        found = ", ".join(f"{path} is {_KINDS[kind]}" for path, kind in kinds.items())
        raise ValueError(f"give runs of one kind ({found}); simko compare sets held-out problems beside evaluations")
    kind = next(iter(kinds.values()))
    if kind == "evaluation":
        return read_sections(groups)
    if kind == "training":
        return read_training(groups)
    if len(kinds) > 1:
        raise ValueError(f"a study has a page of its own: give one of {', '.join(map(str, kinds))}")
    return read_study(next(iter(kinds)))


def _kind(path: Path) -> str:
    """The kind of a path. A training run that also holds an evaluation is a training run."""
    if (path / "study.json").is_file():
        return "study"
    if is_training_run(path):
        return "training"
    if path.is_file() or (path / "samples.db").is_file():
        return "evaluation"
    if not path.exists():
        raise ValueError(f"there is no file or folder {path}")
    raise ValueError(
        f"{path} is no study (study.json), no training run (metrics.jsonl) and no evaluation (samples.db): give the "
        "directory of simko quickstart, train or evaluate, or a store of PassAtKCallback"
    )
