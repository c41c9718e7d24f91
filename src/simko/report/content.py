"""What a report shows, of whatever kinds of directories it was read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from simko.report.comparison import BASE, Section, Sweep


@dataclass(frozen=True)
class TrainingRun:
    """One training run."""

    name: str
    """Its name on the page."""
    method: str
    """The method's name."""
    seed: int | None
    """The training seed."""
    objective: str
    """The objective in effect, in words."""
    config: Mapping[str, Any]
    """Its options."""
    versions: Mapping[str, Any]
    """The versions of the packages."""
    metrics: Sequence[Mapping[str, Any]]
    """The training log, one dict per logged step."""
    diagnostics: Sequence[Mapping[str, Any]]
    """The probes, one dict per probed step."""


@dataclass(frozen=True)
class Content:
    """Everything that a page, the terminal and Markdown show."""

    title: str
    """The page's title."""
    words: tuple[str, ...] = ()
    """What it is about, one paragraph each."""
    sections: tuple[Section, ...] = ()
    """The evaluations, with p adjusted over all of their pairs."""
    sweeps: tuple[Sweep, ...] = ()
    """The evaluations by temperature."""
    runs: tuple[TrainingRun, ...] = ()
    """The training runs."""
    diagnoses: tuple[Mapping[str, Any], ...] = ()
    """The summaries of simko diagnose."""
    commands: tuple[str, ...] = ()
    """The commands that make it again."""
    notes: tuple[str, ...] = ()
    """What is missing, one sentence each."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All methods and models, in the order of their colours."""
        evaluated = [side.name for section in self.sections for side in section.sides]
        diagnosed = [model["name"] for summary in self.diagnoses for model in summary["models"]]
        return in_order(dict.fromkeys([*evaluated, *(run.method for run in self.runs), *diagnosed]))


def in_order(names: Mapping[str, Any] | set[str]) -> tuple[str, ...]:
    """base first, then grpo, then others as they come (a set: by name), simko last."""
    given = sorted(names) if isinstance(names, set) else names
    return tuple(sorted(given, key=lambda m: {BASE: 0, "grpo": 1, "simko": 3}.get(m, 2)))
