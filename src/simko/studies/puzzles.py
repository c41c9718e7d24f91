"""The small tasks of the studies: what a tiny model needs to know to be warm-started on each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from simko.tasks import operator_puzzle_traces
from simko.verifiers.operator_puzzle import MAX_VALUE

Traces = Callable[[int, int, float], list[tuple[str, str]]]
"""(n, seed, share) -> n pairs of prompt and response to imitate; share: of the rows that do not solve their prompt."""


@dataclass(frozen=True)
class Puzzle:
    """A task whose texts are words of a small vocabulary, split at spaces."""

    words: tuple[str, ...]
    """All words of prompts and responses."""
    traces: Traces
    """Responses to imitate."""
    max_new_tokens: int
    """The length of a solution with its end token."""


def _numbers(last: int) -> tuple[str, ...]:
    return tuple(str(value) for value in range(last + 1))


PUZZLES: Mapping[str, Puzzle] = {
    "operator_puzzle": Puzzle((*_numbers(MAX_VALUE), "+", "-", "*", "/", "="), operator_puzzle_traces, 9),
}
"""{the task's name: its puzzle}."""
