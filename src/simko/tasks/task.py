"""A task: problems, their verifier, and how to sample responses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from simko.records import Problem

Split = Literal["train", "test"]
"""The two parts of a task's problems, which share none."""


class Loader(Protocol):
    """load(split, limit) -> the split's first `limit` problems, in a fixed order. None gives the split's usual size."""

    def __call__(self, split: Split, limit: int | None = None) -> list[Problem]: ...


@dataclass(frozen=True)
class Task:
    """A named set of problems, with defaults for sampling."""

    name: str
    """The task's name."""
    description: str
    """The task, in words."""
    verifier: str
    """A name in `simko.verifiers.VERIFIERS`, or of the user's own."""
    load: Loader
    """Loads the problems. ValueError for a split that the task does not have."""
    temperature: float
    """0 is greedy."""
    top_p: float
    """The probability mass to keep."""
    max_new_tokens: int
    """The length at which a response is truncated."""
    stop: tuple[str, ...]
    """Strings that end a response and are not part of it."""
    source: str
    """Where the problems come from, with the pinned revision."""
    licence: str
    """The licence of the problems."""
    chat: bool = False
    """Send prompts as a user message in the model's chat template."""
    samples: int = 128
    """Responses per problem; the paper's number if it gives one."""
    known_defects: tuple[str, ...] = ()
    """Defects of the data, one sentence each, with counts."""
    sizes: Mapping[Split, int | None] = field(default_factory=dict)
    """{split: the number of problems, or None if unknown}."""
    version: str | Callable[[], str] = "1"
    """The revision, or a function that returns it. A generated task's version rises when its problems change."""

    @property
    def revision(self) -> str:
        """What a run is bound to, besides its prompts: hub commits, a file's sha256, or a generated task's version.

        It may read a file or ask the hub, with the errors of `load`.
        """
        return self.version if isinstance(self.version, str) else self.version()


def check_request(name: str, split: str, limit: int | None, splits: tuple[str, ...] = ("train", "test")) -> None:
    """ValueError unless the task `name` has `split` and limit is None or positive."""
    if split not in splits:
        raise ValueError(f"the task {name!r} has no split {split!r}; choose one of: {', '.join(splits)}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}: give at least 1, or None for the usual number of problems")


def fill(template: str, problem: str) -> str:
    r"""The template with the problem's text in place of {problem}. Other braces, as in \boxed{}, stay unchanged."""
    return template.replace("{problem}", problem)
