"""What a sampler does, whatever it runs on."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol

from simko.records import Problem, Sample

SampleKey = tuple[str, int]
"""(problem id, sample index)."""


class Sampler(Protocol):
    """Draws responses to problems."""

    def sample(
        self, problems: Sequence[Problem], n: int, *, seed: int, skip: AbstractSet[SampleKey] = frozenset()
    ) -> Iterator[Sample]:
        """Samples 0..n-1 of every problem as they finish, in any order, except those in `skip`.

        A back-end that draws its own random numbers gives the same sample under the same key for the same arguments,
        whatever `skip` holds: an interrupted evaluation ends as an uninterrupted one.
        """
        ...
