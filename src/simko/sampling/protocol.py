"""What every sampler does, whatever it runs on."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from simko.records import Problem, Sample

Wanted = Mapping[str, Sequence[int]]
"""{problem id: the sample indices to draw, ascending}. A problem that is missing needs none."""


@dataclass(frozen=True)
class SamplingSettings:
    """How responses are drawn. Every field is sent to the back-end, so that no default of a model or server applies.

    ValueError for a field out of range.
    """

    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    """The probability mass of the most likely tokens to keep; 1 keeps all."""
    top_k: int = 0
    """How many of the most likely tokens to keep; 0 keeps all."""
    max_new_tokens: int = 1024
    """The length at which a response is truncated."""
    stop: tuple[str, ...] = ()
    """Strings that end a response. The response is cut before the first of them."""
    chat: bool = False
    """Send the prompt as a user message in the model's chat template, not as the text that the model continues."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}: give 0 (greedy) or a finite number above")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}: give a share above 0, or 1 to keep every token")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}: give the number of tokens to keep, or 0 to keep every token")
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}: give at least 1")
        if isinstance(self.stop, str) or not all(self.stop):
            raise ValueError(f"stop is {self.stop!r}: give a tuple of non-empty strings")

    @property
    def do_sample(self) -> bool:
        """Whether responses are drawn at random."""
        return self.temperature > 0


class Sampler(Protocol):
    """A model that draws responses."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON values that, with the settings, decide the draws; a run is recognised by them.

        Back-end, model, its revision or digests of weights and other files, dtype, and any layout that changes the draws.
        """
        ...

    def sample(
        self, problems: Sequence[Problem], wanted: Wanted, settings: SamplingSettings, *, seed: int
    ) -> Iterator[list[Sample]]:
        """The wanted samples in lists, as they finish, in any order. The caller stores a list whole or not at all.

        A sample that cannot be drawn has a `failure`. It counts as not correct.

        A back-end that draws its own random numbers seeds them with `block_seed` only. The same lists then give the same
        sample under the same key, and no draw is used twice.

        Args:
            problems: all problems of the evaluation, even those that want no sample, so that a resumed run has the same batches.
            wanted: the sample indices to draw of each problem.
            settings: how to draw.
            seed: the seed of the run, task and setting (see `setting_seed`).
        """
        ...


@runtime_checkable
class Served(Protocol):
    """A sampler whose identity depends on the settings, since they decide what is asked of a server."""

    def identity_with(self, settings: SamplingSettings) -> Mapping[str, Any]:
        """`Sampler.identity` in a run with these settings."""
        ...


def check_wanted(problems: Sequence[Problem], wanted: Wanted) -> None:
    """ValueError for problems that share an id, and for wanted indices that are unknown, out of order or repeated."""
    ids = {problem.id for problem in problems}
    if len(ids) != len(problems):
        raise ValueError("two problems share an id: ids must be unique")
    for problem_id, indices in wanted.items():
        if problem_id not in ids:
            raise ValueError(
                f"samples of {problem_id!r} are wanted, which is none of the problems: give its problem too"
            )
        if list(indices) != sorted({i for i in indices if i >= 0}):
            raise ValueError(f"problem {problem_id!r}: give sample indices from 0 in ascending order, each once")


def block_seed(seed: int, problem_id: str, first: int) -> int:
    """The seed (63 bits) of samples of one problem that are drawn together.

    seed: the seed of the run, task and setting (see `setting_seed`). first: the lowest sample index.
    """
    return _hash(str(seed), problem_id, str(first))


def setting_seed(run_seed: int, task: str, setting: str) -> int:
    """The seed (63 bits) of one task at one setting of a run."""
    return _hash(str(run_seed), task, setting)


def _hash(*parts: str) -> int:
    text = "\0".join(parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1
