"""The generated operator puzzle. `simko.verifiers.operator_puzzle` has its rules.

Digits are drawn uniformly. A random valid walk through the operators gives the target, so every problem has a solution, and
most have several. A hash of the digits decides the split: the digits of a test problem never occur in training, whatever the
target.
"""

import numpy as np
import numpy.typing as npt

from simko.records import Problem
from simko.tasks.task import Split, Task, check_request
from simko.verifiers.operator_puzzle import MAX_VALUE, apply_operator

LENGTH = 5
OPERATORS = "+-*/"
DEFAULT_SIZES = {"train": 20_000, "test": 128}

_Ints = npt.NDArray[np.int64]
_POOL_SEED = 124
_CHUNK = 40_000
_MAX_CHUNKS = 40
_RESULTS: _Ints = np.array(
    [
        [[-1 if (r := apply_operator(v, o, d)) is None else r for d in range(1, 10)] for o in OPERATORS]
        for v in range(MAX_VALUE + 1)
    ]
)
"""[value, operator, digit - 1] -> result, or -1 if the step is not allowed."""


def load(split: Split, limit: int | None = None) -> list[Problem]:
    """The first `limit` distinct problems of a split (None: 20,000 for training, 128 for testing)."""
    check_request("operator_puzzle", split, limit)
    limit = DEFAULT_SIZES[split] if limit is None else limit
    found: dict[tuple[int, ...], None] = {}
    for chunk in range(_MAX_CHUNKS):
        digits, _, values = _walks(_CHUNK, np.random.default_rng([_POOL_SEED, chunk]))
        puzzles = np.column_stack([digits, values[:, -1]])[is_test(digits) == (split == "test")]
        found |= dict.fromkeys(map(tuple, puzzles.tolist()))
        if len(found) >= limit:
            return [_problem(puzzle) for puzzle in list(found)[:limit]]
    raise ValueError(f"operator_puzzle has about {len(found)} {split} problems to give, not {limit}: lower the limit")


def operator_puzzle_traces(n: int, seed: int, shuffled_targets: float = 0.7) -> list[tuple[str, str]]:
    """n pairs (prompt, response) for a supervised warm start, with digits of the training split.

    Each response is a random valid walk. A share `shuffled_targets` of the rows exchange their prompts' targets, so that nearly
    all of their walks end at another value. A model that imitates the rows learns to calculate but hardly to search, which
    leaves something for reinforcement learning.
    """
    rng = np.random.default_rng([seed, 1])
    parts: list[tuple[_Ints, _Ints, _Ints]] = []
    while sum(len(digits) for digits, _, _ in parts) < n:
        walks = _walks(n + n // 4 + 64, rng)
        training = ~is_test(walks[0])
        parts.append((walks[0][training], walks[1][training], walks[2][training]))
    digits, operators, values = (np.concatenate(columns)[:n] for columns in zip(*parts, strict=True))
    targets = exchange_targets(values[:, -1], shuffled_targets, rng)
    rows = zip(digits.tolist(), targets.tolist(), operators.tolist(), values.tolist(), strict=True)
    return [
        (_prompt(d, t), " ".join(f"{OPERATORS[o]} {r}" for o, r in zip(ops, vs, strict=True))) for d, t, ops, vs in rows
    ]


def exchange_targets(targets: _Ints, share: float, rng: np.random.Generator) -> _Ints:
    """The targets [n], a share of which, drawn at random, have changed places. ValueError unless it is from 0 to 1."""
    if not 0 <= share <= 1:
        raise ValueError(f"shuffled_targets is {share}: give a share from 0 to 1")
    exchanged = targets.copy()
    chosen = np.flatnonzero(rng.random(len(targets)) < share)
    exchanged[chosen] = targets[rng.permutation(chosen)]
    return exchanged


def is_test(digits: _Ints) -> npt.NDArray[np.bool_]:
    """[n, LENGTH] digits -> [n], whether each row is in the test split (one row in ten)."""
    key = np.zeros(len(digits), np.int64)
    for column in digits.T:
        key = key * 31 + column
    held_out: npt.NDArray[np.bool_] = (key * 2_654_435_761 % 2**32) % 10 == 0
    return held_out


def _walks(n: int, rng: np.random.Generator) -> tuple[_Ints, _Ints, _Ints]:
    """n random walks: digits [n, LENGTH], operators [n, LENGTH - 1] as indices, running values [n, LENGTH - 1]."""
    digits = rng.integers(1, 10, (n, LENGTH))
    value, operators, values = digits[:, 0], [], []
    for step in range(1, LENGTH):
        results = _RESULTS[value, :, digits[:, step] - 1]
        operator = (rng.random(results.shape) * (results >= 0)).argmax(1)
        value = results[np.arange(n), operator]
        operators.append(operator)
        values.append(value)
    return digits, np.stack(operators, 1), np.stack(values, 1)


def _problem(puzzle: tuple[int, ...]) -> Problem:
    digits, target = puzzle[:-1], puzzle[-1]
    return Problem(f"{''.join(map(str, digits))}={target}", _prompt(digits, target))


def _prompt(digits: tuple[int, ...] | list[int], target: int) -> str:
    return f"{' '.join(map(str, digits))} = {target}"


OPERATOR_PUZZLE = Task(
    name="operator_puzzle",
    description="Put + - * / between five digits, left to right, so that the last value is the target.",
    verifier="operator_puzzle",
    load=load,
    temperature=1.0,
    top_p=1.0,
    max_new_tokens=24,
    stop=("\n",),
    source="generated",
    licence="Apache-2.0",
    sizes={"train": 20_000, "test": 128},
    version="1",
)
