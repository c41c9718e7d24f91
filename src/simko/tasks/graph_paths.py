"""Generated path problems on small graphs. `simko.verifiers.graph_paths` has their rules.

A graph's edges are drawn uniformly and written in a random order. A random walk that visits no node twice gives the start and
the goal, so every problem has a solution, and most have several. A hash of the set of edges decides the split: the graph of a
test problem never occurs in training, whatever the order of its edges, the start and the goal.
"""

import itertools

import numpy as np
import numpy.typing as npt

from simko.records import Problem
from simko.tasks.task import Split, Task, check_request

NODES = "ABCDEFGH"
EDGES = 12
LENGTH = 5
DEFAULT_SIZES = {"train": 20_000, "test": 128}
MAX_PROBLEMS = 1_000_000

_Ints = npt.NDArray[np.int64]
_POOL_SEED = 124
_CHUNK = 8_000
_NAMES = ["".join(pair) for pair in itertools.combinations(NODES, 2)]
_PAIRS: _Ints = np.array(list(itertools.combinations(range(len(NODES)), 2)))
"""[edge, 2] -> the two nodes of every possible edge."""
_HASHES: _Ints = np.random.default_rng(_POOL_SEED).integers(0, 2**62, len(_PAIRS))


def load(split: Split, limit: int | None = None) -> list[Problem]:
    """The first `limit` distinct problems of a split (None: 20,000 for training, 128 for testing; at most a million)."""
    check_request("graph_paths", split, limit)
    limit = DEFAULT_SIZES[split] if limit is None else limit
    if limit > MAX_PROBLEMS:
        raise ValueError(f"graph_paths gives at most {MAX_PROBLEMS} problems, not {limit}: lower the limit")
    found: dict[str, Problem] = {}
    for chunk in itertools.count():
        edges, paths = _walks(_CHUNK, np.random.default_rng([_POOL_SEED, chunk]))
        chosen = is_test(edges) == (split == "test")
        for graph, path in zip(edges[chosen].tolist(), paths[chosen].tolist(), strict=True):
            problem = _problem(graph, path[0], path[-1])
            found.setdefault(problem.id, problem)
        if len(found) >= limit:
            break
    return list(found.values())[:limit]


def graph_paths_traces(n: int, seed: int, shuffled_targets: float = 0.8) -> list[tuple[str, str]]:
    """n pairs (prompt, response) for a supervised warm start, on graphs of the training split.

    Each response is a random path. A share `shuffled_targets` of the rows ask for a random goal, so that most of their paths end
    at another node. A model that imitates the rows learns to walk but hardly to plan, which leaves something for reinforcement
    learning.
    """
    if not 0 <= shuffled_targets <= 1:
        raise ValueError(f"shuffled_targets is {shuffled_targets}: give a share from 0 to 1")
    rng = np.random.default_rng([seed, 1])
    parts: list[tuple[_Ints, _Ints]] = []
    while sum(len(edges) for edges, _ in parts) < n:
        edges, paths = _walks(2 * n + 64, rng)
        training = ~is_test(edges)
        parts.append((edges[training], paths[training]))
    edges, paths = (np.concatenate(columns)[:n] for columns in zip(*parts, strict=True))
    other = (paths[:, 0] + rng.integers(1, len(NODES), n)) % len(NODES)
    goals = np.where(rng.random(n) < shuffled_targets, other, paths[:, -1])
    rows = zip(edges.tolist(), paths.tolist(), goals.tolist(), strict=True)
    return [(_prompt(graph, path[0], goal), " ".join(NODES[v] for v in path[1:])) for graph, path, goal in rows]


def is_test(edges: _Ints) -> npt.NDArray[np.bool_]:
    """[n, EDGES] indices of edges -> [n], whether each row's graph is in the test split (one in ten)."""
    held_out: npt.NDArray[np.bool_] = np.bitwise_xor.reduce(_HASHES[edges], axis=1) % 10 == 0  # Zobrist: any order
    return held_out


def _walks(n: int, rng: np.random.Generator) -> tuple[_Ints, _Ints]:
    """Up to n random paths in as many graphs: edges [m, EDGES] as indices, nodes [m, LENGTH + 1]. Dead ends are left out."""
    edges = rng.random((n, len(_PAIRS))).argsort(1)[:, :EDGES]
    row = np.arange(n)
    open_ = np.zeros((n, len(NODES), len(NODES)), bool)
    a, b = _PAIRS[edges].transpose(2, 0, 1)
    open_[row[:, None], a, b] = open_[row[:, None], b, a] = True
    path = [rng.integers(0, len(NODES), n)]
    walked = np.ones(n, bool)
    for _ in range(LENGTH):
        open_[row, :, path[-1]] = False  # no way back to a visited node
        steps = open_[row, path[-1]]
        walked &= steps.any(1)
        path.append((rng.random(steps.shape) * steps).argmax(1))
    return edges[walked], np.stack(path, 1)[walked]


def _problem(edges: list[int], start: int, goal: int) -> Problem:
    graph = "".join(_NAMES[edge] for edge in sorted(edges))
    return Problem(f"{graph}:{NODES[start]}{NODES[goal]}", _prompt(edges, start, goal))


def _prompt(edges: list[int], start: int, goal: int) -> str:
    return f"{' '.join(_NAMES[edge] for edge in edges)} : {NODES[start]} {NODES[goal]} {LENGTH}"


GRAPH_PATHS = Task(
    name="graph_paths",
    description="Go from a start to a goal along the edges of a graph, in five steps and through no node twice.",
    verifier="graph_paths",
    load=load,
    temperature=1.0,
    top_p=1.0,
    max_new_tokens=12,
    stop=("\n",),
    source="generated",
    licence="Apache-2.0",
    sizes={"train": 20_000, "test": 128},
    version="1",
)
