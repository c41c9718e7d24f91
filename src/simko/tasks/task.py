"""What a task is: problems, the verifier that judges them, and how to sample answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from simko.records import Problem

Split = Literal["train", "test"]


class Loader(Protocol):
    """load(split, limit) -> the split's first `limit` problems in an order that never changes; None: its usual size."""

    def __call__(self, split: Split, limit: int | None = None) -> list[Problem]: ...


@dataclass(frozen=True)
class Task:
    """A named set of problems.

    verifier: a name in `simko.verifiers.VERIFIERS`; load: see `Loader`, ValueError for a split the task has not got;
    temperature (0: greedy), top_p, max_new_tokens: sampling defaults; stop: strings that end an answer, none of which
    belongs to it; source, licence: where the problems come from (with the pinned revision) and on what terms;
    chat: whether prompts are by default sent as a user message in the model's chat template; samples: responses a
    problem by default, the paper's where it names them; known_defects: what is wrong with the
    data, a sentence each, with counts; sizes: problems by split, None where the number is not known; version: what
    `revision` gives, or a function that finds it out. A generated task's version is raised when its problems change.
    """

    name: str
    description: str
    verifier: str
    load: Loader
    temperature: float
    top_p: float
    max_new_tokens: int
    stop: tuple[str, ...]
    source: str
    licence: str
    chat: bool = False
    samples: int = 128
    known_defects: tuple[str, ...] = ()
    sizes: Mapping[Split, int | None] = field(default_factory=dict)
    version: str | Callable[[], str] = "1"

    @property
    def revision(self) -> str:
        """What a run is bound to, beside its prompts: hub commits, a file's sha256, or a generated task's version.

        Finding it out may read a file or ask the hub; it fails as `load` does.
        """
        return self.version if isinstance(self.version, str) else self.version()


def check_request(name: str, split: str, limit: int | None, splits: tuple[str, ...] = ("train", "test")) -> None:
    """ValueError unless the task `name` has `split` and limit is None or positive."""
    if split not in splits:
        raise ValueError(f"the task {name!r} has no split {split!r}; choose one of: {', '.join(splits)}")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}: give at least 1, or None for the usual number of problems")


def fill(template: str, problem: str) -> str:
    r"""The template with the problem's text in place of {problem}; other braces, as in \boxed{}, stay as they are."""
    return template.replace("{problem}", problem)
