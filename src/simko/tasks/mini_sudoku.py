"""The generated mini sudoku. `simko.verifiers.mini_sudoku` has its rules.

Four cells of a random solved grid are the clues, so every problem has a solution, and nine in ten have several. A hash of the
clues, digits renamed in the order of their first appearance, decides the split: no test problem is a training problem with its
digits exchanged.
"""

from itertools import permutations

import numpy as np
import numpy.typing as npt

from simko.records import Problem
from simko.tasks.task import Split, Task, check_request
from simko.verifiers.mini_sudoku import BOXES, SIDE, UNITS

CLUES = 4
DEFAULT_SIZES: dict[Split, int] = {"train": 20_000, "test": 128}

_Ints = npt.NDArray[np.int64]
_POOL_SEED = 124
_CHUNK = 40_000
_MAX_CHUNKS = 10


def load(split: Split, limit: int | None = None) -> list[Problem]:
    """The first `limit` distinct problems of a split (None: 20,000 for training, 128 for testing)."""
    check_request("mini_sudoku", split, limit)
    limit = DEFAULT_SIZES[split] if limit is None else limit
    found: dict[str, None] = {}
    for chunk in range(_MAX_CHUNKS):
        _, clues = _grids_and_clues(_CHUNK, np.random.default_rng([_POOL_SEED, chunk]))
        found |= dict.fromkeys(map(_text, clues[is_test(clues) == (split == "test")].tolist()))
        if len(found) >= limit:
            return [Problem(prompt.replace(" ", ""), prompt) for prompt in list(found)[:limit]]
    raise ValueError(f"mini_sudoku has about {len(found)} {split} problems to give, not {limit}: lower the limit")


def mini_sudoku_traces(n: int, seed: int, shuffled_rows: float = 0.3) -> list[tuple[str, str]]:
    """n pairs (prompt, response) for a supervised warm start, with problems of the training split.

    Each response is a random solution in which a share `shuffled_rows` of the grid's rows have the digits of their blanks
    exchanged at random, so that they agree with their own clues and seldom with the other rows. A model that imitates the pairs
    learns to fill rows but hardly to mind columns and boxes, which leaves something for reinforcement learning.
    """
    if not 0 <= shuffled_rows <= 1:
        raise ValueError(f"shuffled_rows is {shuffled_rows}: give a share from 0 to 1")
    rng = np.random.default_rng([seed, 1])
    parts: list[tuple[_Ints, _Ints]] = []
    while sum(len(grids) for grids, _ in parts) < n:
        grids, clues = _grids_and_clues(n + n // 4 + 64, rng)
        training = ~is_test(clues)
        parts.append((grids[training], clues[training]))
    grids, clues = (np.concatenate(columns)[:n] for columns in zip(*parts, strict=True))
    shuffled = rng.random((n, SIDE, 1)) < shuffled_rows
    answers = np.where(shuffled, _exchange_blanks(_rows(grids), _rows(clues) == 0, rng), _rows(grids))
    return list(zip(map(_text, clues.tolist()), map(_text, answers.reshape(n, -1).tolist()), strict=True))


def is_test(clues: _Ints) -> npt.NDArray[np.bool_]:
    """[n, 16] clues, 0 for a blank -> [n], whether each problem is in the test split (about one in ten)."""
    digits = np.arange(1, SIDE + 1)
    present = clues[:, :, None] == digits
    first = np.where(present.any(1), present.argmax(1), clues.shape[1])
    names = np.pad(first.argsort(1, kind="stable").argsort(1) + 1, ((0, 0), (1, 0)))
    renamed = np.take_along_axis(names, clues, 1)
    key = (renamed @ 5 ** np.arange(clues.shape[1])).astype(np.uint64) * np.uint64(11_400_714_819_323_198_485)
    held_out: npt.NDArray[np.bool_] = (key >> np.uint64(32)) % 10 == 0
    return held_out


def _solved_grids() -> _Ints:
    """[288, 16], every solved grid."""
    rows = np.array(list(permutations(range(1, SIDE + 1))))
    halves = _pairs(rows)
    grids = _pairs(halves[_hold(halves, BOXES[:2])])
    return grids[_hold(grids, UNITS)]


def _pairs(parts: _Ints) -> _Ints:
    """[n, c] -> [n * n, 2 * c], each row followed by each."""
    return np.hstack([np.repeat(parts, len(parts), 0), np.tile(parts, (len(parts), 1))])


def _hold(cells: _Ints, units: list[list[int]]) -> npt.NDArray[np.bool_]:
    """[n, cells] -> [n], whether each unit holds 1, 2, 3 and 4."""
    held: npt.NDArray[np.bool_] = (np.sort(cells[:, units], 2) == np.arange(1, SIDE + 1)).all((1, 2))
    return held


_GRIDS = _solved_grids()


def _grids_and_clues(n: int, rng: np.random.Generator) -> tuple[_Ints, _Ints]:
    """n random solved grids, [n, 16], and as many of their cells as there are CLUES, [n, 16] with 0 for a blank."""
    grids = _GRIDS[rng.integers(len(_GRIDS), size=n)]
    return grids, np.where(rng.random(grids.shape).argsort(1) < CLUES, grids, 0)


def _exchange_blanks(rows: _Ints, blank: npt.NDArray[np.bool_], rng: np.random.Generator) -> _Ints:
    """rows [..., SIDE] with the values at the blanks of each row in random order."""
    places = np.where(blank, np.arange(SIDE), SIDE + np.arange(SIDE)).argsort(-1)
    chosen = np.where(blank, rng.random(rows.shape), SIDE + np.arange(SIDE)).argsort(-1)
    exchanged = np.empty_like(rows)
    np.put_along_axis(exchanged, places, np.take_along_axis(rows, chosen, -1), -1)
    return exchanged


def _rows(cells: _Ints) -> _Ints:
    return cells.reshape(-1, SIDE, SIDE)


def _text(cells: list[int]) -> str:
    return " ".join(".1234"[cell] for cell in cells)


MINI_SUDOKU = Task(
    name="mini_sudoku",
    description="Fill a 4 x 4 sudoku that has four clues and, most often, several solutions.",
    verifier="mini_sudoku",
    load=load,
    temperature=1.0,
    top_p=1.0,
    max_new_tokens=40,
    stop=("\n",),
    source="generated",
    licence="Apache-2.0",
    sizes=DEFAULT_SIZES,
    version="1",
)
