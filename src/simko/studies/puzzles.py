"""The small tasks of the studies: what a tiny model needs to know to be warm-started on each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

from simko.tasks import countdown_traces, graph_paths, graph_paths_traces, mini_sudoku_traces, operator_puzzle_traces
from simko.verifiers import countdown, operator_puzzle

Traces = Callable[[int, int, float], list[tuple[str, str]]]
"""(n, seed, share) -> n pairs of prompt and response to imitate. share: how much of them is at random, so that they show the
moves and not the plan."""


@dataclass(frozen=True)
class Puzzle:
    """A task whose texts are words of a small vocabulary, split at spaces."""

    words: tuple[str, ...]
    """All words of prompts and responses."""
    traces: Traces
    """Responses to imitate."""
    max_new_tokens: int
    """The length of a solution with its end token."""


_EDGES = tuple(a + b for a, b in combinations(graph_paths.NODES, 2))
_SIGNS = ("+", "-", "*", "/", "=")


def _numbers(last: int) -> tuple[str, ...]:
    return tuple(str(value) for value in range(last + 1))


PUZZLES: Mapping[str, Puzzle] = {
    "operator_puzzle": Puzzle((*_numbers(operator_puzzle.MAX_VALUE), *_SIGNS), operator_puzzle_traces, 9),
    "countdown": Puzzle((*_numbers(countdown.MAX_VALUE), *_SIGNS, ";"), countdown_traces, 18),
    "graph_paths": Puzzle((*_EDGES, *graph_paths.NODES, ":", str(graph_paths.LENGTH)), graph_paths_traces, 6),
    "mini_sudoku": Puzzle(tuple(".1234"), mini_sudoku_traces, 17),
}
"""{the task's name: its puzzle}."""
