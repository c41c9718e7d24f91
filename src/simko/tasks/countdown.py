"""Countdown, generated. `simko.verifiers.countdown` has its rules.

Numbers are drawn uniformly. A random valid walk gives the target, so every problem has a solution, and most have many. A hash
of the sorted numbers decides the split: the numbers of a test problem never occur together in training, in no order and with
no target.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from simko.records import Problem
from simko.tasks import operator_puzzle
from simko.tasks.task import Split, Task, check_request
from simko.verifiers.countdown import MAX_VALUE, apply_operator

COUNT = 4
LARGEST = 12
OPERATORS = "+-*/"
DEFAULT_SIZES: dict[Split, int] = {"train": 20_000, "test": 128}

_Ints = npt.NDArray[np.int64]
_POOL_SEED = 125
_CHUNK = 40_000
_MAX_CHUNKS = 10
_VALUES = range(1, MAX_VALUE + 1)
_RESULTS: _Ints = np.array([[[apply_operator(a, o, b) or 0 for o in OPERATORS] for b in _VALUES] for a in _VALUES])
"""[a - 1, b - 1, operator] -> result, or 0 if the step is not allowed."""


def load(split: Split, limit: int | None = None) -> list[Problem]:
    """The first `limit` distinct problems of a split (None: 20,000 for training, 128 for testing).

    Two orders of the same numbers with one target are one problem, which is given in the order drawn first.
    """
    check_request("countdown", split, limit)
    limit = DEFAULT_SIZES[split] if limit is None else limit
    found: dict[tuple[int, ...], Sequence[int]] = {}
    for chunk in range(_MAX_CHUNKS):
        numbers, steps = _walks(_CHUNK, np.random.default_rng([_POOL_SEED, chunk]))
        drawn = np.column_stack([numbers, steps[:, -1, -1]])[is_test(numbers) == (split == "test")]
        for *given, target in drawn.tolist():
            found.setdefault((*sorted(given), target), (*given, target))
        if len(found) >= limit:
            return [_problem(puzzle) for puzzle in list(found.values())[:limit]]
    raise ValueError(f"countdown has about {len(found)} {split} problems to give, not {limit}: lower the limit")


def countdown_traces(n: int, seed: int, shuffled_targets: float = 0.5) -> list[tuple[str, str]]:
    """n pairs (prompt, response) for a supervised warm start, with numbers of the training split.

    Each response is a random valid walk. A share `shuffled_targets` of the rows exchange their prompts' targets, so that nearly
    all of their walks end at another value. A model that imitates the rows learns the moves but hardly to plan, which leaves
    something for reinforcement learning.
    """
    rng = np.random.default_rng([seed, 1])
    numbers, steps = _walks(n + n // 4 + 64, rng)  # a tenth is of the test split
    training = ~is_test(numbers)
    numbers, steps = numbers[training][:n], steps[training][:n]
    targets = operator_puzzle.exchange_targets(steps[:, -1, -1], shuffled_targets, rng)
    prompts = map(_prompt, np.column_stack([numbers, targets]).tolist())
    return [(prompt, _response(walk)) for prompt, walk in zip(prompts, steps.tolist(), strict=True)]


def is_test(numbers: _Ints) -> npt.NDArray[np.bool_]:
    """[n, COUNT] numbers -> [n], whether each row is in the test split (one row in ten), whatever its order."""
    return operator_puzzle.is_test(np.sort(numbers, 1))


def _walks(n: int, rng: np.random.Generator) -> tuple[_Ints, _Ints]:
    """n random walks: numbers [n, COUNT] and steps [n, COUNT - 1, 4] of (a, operator's index, b, result).

    Each step is drawn uniformly from the valid ones. One is always valid: a / b or a - b.
    """
    numbers = rng.integers(1, LARGEST + 1, (n, COUNT))
    rows, pool, steps = np.arange(n), numbers, []
    for count in range(COUNT, 1, -1):
        first, second = np.nonzero(~np.eye(count, dtype=bool))
        results = _RESULTS[pool[:, first] - 1, pool[:, second] - 1].reshape(n, -1)
        move = (rng.random(results.shape) * (results > 0)).argmax(1)
        pair, operator = np.divmod(move, len(OPERATORS))
        i, j, result = first[pair], second[pair], results[rows, move]
        steps.append(np.stack([pool[rows, i], operator, pool[rows, j], result], 1))
        unused = np.ones_like(pool, dtype=bool)
        unused[rows, i] = unused[rows, j] = False
        pool = np.column_stack([pool[unused].reshape(n, -1), result])
    return numbers, np.stack(steps, 1)


def _problem(puzzle: Sequence[int]) -> Problem:
    prompt = _prompt(puzzle)
    return Problem(prompt.replace(" = ", "=").replace(" ", "_"), prompt)


def _prompt(puzzle: Sequence[int]) -> str:
    *numbers, target = puzzle
    return f"{' '.join(map(str, numbers))} = {target}"


def _response(walk: list[list[int]]) -> str:
    return " ; ".join(f"{a} {OPERATORS[o]} {b} = {result}" for a, o, b, result in walk)


COUNTDOWN = Task(
    name="countdown",
    description="Join all numbers with + - * /, two at a time and in any order, so that the last result is the target.",
    verifier="countdown",
    load=load,
    temperature=1.0,
    top_p=1.0,
    max_new_tokens=24,
    stop=("\n",),
    source="generated",
    licence="Apache-2.0",
    sizes=DEFAULT_SIZES,
    version="1",
)
