"""What `simko report` is given: a study, training runs, or evaluations."""

from collections.abc import Sequence
from pathlib import Path

from simko.report.comparison import Section, read_sections
from simko.report.runs import parse_group
from simko.report.study import Study, read_study
from simko.report.training import is_training_run, read_training

_KINDS = {"study": "a study", "training": "a training run", "evaluation": "an evaluation"}


def read_sources(words: Sequence[str]) -> Study | list[Section]:
    """A study, or training runs as one; or what several evaluations have in common. Each word is a run, or
    name=run1,run2 for training seeds.

    ValueError for a directory that is none of the three, for kinds that do not go together, and as the readers say.
    """
    groups = [parse_group(word) for word in words]
    kinds = {chosen.path: _kind(chosen.path) for group in groups for chosen in group.runs}
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
    """What a path holds. A training run with an evaluation in its directory is a training run."""
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
