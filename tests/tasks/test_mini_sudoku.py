"""The mini sudoku: exactly the solutions pass, and its problems, their split and the traces of the warm start."""

import time
from functools import cache
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simko.records import Problem
from simko.tasks import get_task, mini_sudoku_traces
from simko.tasks.mini_sudoku import CLUES, is_test
from simko.verifiers import verify_mini_sudoku

Grid = tuple[int, ...]

# other problems under the same name would make old figures incomparable
PINNED = {
    "test": ["...113...4......", "...332...4......", "..2..4......3.4."],
    "train": [".....2....3...14", "....3.4.2...1...", "...11..3.......4"],
}


@cache
def solved_grids() -> list[Grid]:
    """Every solved grid: of all ways to stack four permutations, those whose columns and boxes hold four digits."""
    rows = list(permutations((1, 2, 3, 4)))
    halves = [(a, b) for a, b in product(rows, rows) if len({*a[:2], *b[:2]}) == len({*a[2:], *b[2:]}) == 4]
    stacks = [(*top, *bottom) for top, bottom in product(halves, halves)]
    return [tuple(sum(rows, ())) for rows in stacks if all(len(set(column)) == 4 for column in zip(*rows, strict=True))]


def outcome(clues: Grid, cells: Grid) -> str:
    problem = Problem("p", " ".join(".1234"[clue] for clue in clues))
    return verify_mini_sudoku(" ".join(map(str, cells)), problem).outcome


def solutions(clues: Grid) -> list[Grid]:
    return [g for g in solved_grids() if all(c in (0, v) for c, v in zip(clues, g, strict=True))]


GRID = st.integers(0, 287).map(lambda index: solved_grids()[index])
MASK = st.sets(st.integers(0, 15))


def _clues(grid: Grid, shown: set[int]) -> Grid:
    return tuple(value if index in shown else 0 for index, value in enumerate(grid))


@given(GRID, MASK)
def test_of_all_solved_grids_those_that_keep_the_clues_pass(grid: Grid, shown: set[int]) -> None:
    clues = _clues(grid, shown)
    assert {g for g in solved_grids() if outcome(clues, g) == "correct"} == set(solutions(clues)) >= {grid}


@given(GRID, MASK, st.integers(0, 15), st.sampled_from([1, 2, 3, 4]))
def test_a_solution_with_another_cell_fails(grid: Grid, shown: set[int], index: int, value: int) -> None:
    changed = (*grid[:index], value, *grid[index + 1 :])
    assert outcome(_clues(grid, shown), changed) == ("correct" if changed == grid else "wrong")


@given(GRID, MASK, st.permutations(range(16)))
def test_moved_cells_pass_only_as_a_solution(grid: Grid, shown: set[int], order: list[int]) -> None:
    clues, moved = _clues(grid, shown), tuple(grid[index] for index in order)
    assert (outcome(clues, moved) == "correct") == (moved in solutions(clues))


@given(st.tuples(*[st.permutations((1, 2, 3, 4))] * 4))
def test_rows_that_hold_are_not_enough(rows: tuple[list[int], ...]) -> None:
    cells = tuple(cell for row in rows for cell in row)
    assert (outcome((0,) * 16, cells) == "correct") == (cells in solved_grids())


def test_there_are_288_solved_grids() -> None:
    assert len(solved_grids()) == len(set(solved_grids())) == 288


BLANK = " ".join(["."] * 16)


@pytest.mark.parametrize(
    "prompt",
    ["", ".", BLANK[:-2], BLANK + " .", BLANK.replace(" ", ""), BLANK.replace(" ", "  ", 1), BLANK + "\n"]
    + [cell + BLANK[1:] for cell in ("0", "5", "_", "11", "\u0661", "\uff11")],
)
def test_a_malformed_sudoku_is_named(prompt: str) -> None:
    with pytest.raises(ValueError, match="problem 'p'"):
        verify_mini_sudoku("1", Problem("p", prompt))


def read(prompt: str) -> tuple[int, ...]:
    return tuple(".1234".index(cell) for cell in prompt.split())


def _renamed(prompt: str) -> tuple[int, ...]:
    """The clues with digits renamed in the order of their first appearance."""
    names: dict[int, int] = {0: 0}
    return tuple(names.setdefault(clue, len(names)) for clue in read(prompt))


def test_first_problems_are_pinned() -> None:
    for split in ("train", "test"):
        assert [p.id for p in get_task("mini_sudoku").load(split, 3)] == PINNED[split]


def test_no_test_problem_is_a_training_problem_with_its_digits_exchanged() -> None:
    task = get_task("mini_sudoku")
    train, test = ({_renamed(p.prompt) for p in task.load(s, n)} for s, n in (("train", 20_000), ("test", 5_000)))
    assert not train & test
    assert len(test) / (len(train) + len(test)) == pytest.approx(0.1, abs=0.02)


@given(st.lists(st.integers(0, 4), min_size=16, max_size=16), st.permutations([1, 2, 3, 4]))
def test_the_split_does_not_see_which_digits_are_used(clues: list[int], names: list[int]) -> None:
    exchanged = [[0, *names][clue] for clue in clues]
    assert is_test(np.array([clues])) == is_test(np.array([exchanged]))


def test_every_kind_of_problem_is_in_both_splits() -> None:
    # a split by a weak hash could leave all problems with, say, an odd number of different digits to one side
    for split in ("train", "test"):
        problems = get_task("mini_sudoku").load(split, 2_000)
        for cell in range(16):
            assert 0.2 < np.mean([p.id[cell] != "." for p in problems]) < 0.3
        different = [len(set(p.id) - {"."}) for p in problems]
        assert 0.1 < np.mean(np.array(different) == 4) < 0.3
        assert 0.5 < np.mean(np.array(different) == 3) < 0.7


def test_every_problem_has_a_solution_and_most_have_several() -> None:
    problems = get_task("mini_sudoku").load("test", 256)
    counts = []
    for problem in problems:
        found = solutions(read(problem.prompt))
        counts.append(len(found))
        assert sum(cell != "." for cell in problem.id) == CLUES
        for grid in found:
            assert verify_mini_sudoku(" ".join(map(str, grid)), problem).outcome == "correct"
    assert min(counts) >= 1
    assert np.mean(np.array(counts) > 1) > 0.85


def test_it_says_when_it_runs_out() -> None:
    with pytest.raises(ValueError, match=r"mini_sudoku has about .* lower the limit"):
        get_task("mini_sudoku").load("test", 10**7)


def test_traces_keep_rows_and_clues_on_the_training_side() -> None:
    rows = mini_sudoku_traces(2_000, seed=3)
    clues = np.array([read(prompt) for prompt, _ in rows])
    answers = np.array([read(response) for _, response in rows])
    assert not is_test(clues).any()
    assert ((clues == 0) | (clues == answers)).all()
    assert (np.sort(answers.reshape(-1, 4), 1) == [1, 2, 3, 4]).all()


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 1.0, 1.0), (0.3, 0.2, 0.4), (1.0, 0.0, 0.03)])
def test_the_share_sets_how_many_traces_are_solutions(share: float, low: float, high: float) -> None:
    rows = mini_sudoku_traces(1_000, 3, share)
    correct = [verify_mini_sudoku(response, Problem("p", prompt)).outcome == "correct" for prompt, response in rows]
    assert low <= np.mean(correct) <= high


def test_exchanged_rows_take_every_order_equally_often() -> None:
    first = [r.split()[:4] for p, r in mini_sudoku_traces(30_000, 0, 1.0) if p.startswith("1 . . .")]
    _, counts = np.unique([" ".join(row) for row in first], return_counts=True)
    assert len(counts) == 6
    assert counts.max() < 1.5 * counts.min()


def test_traces_are_seeded_and_quick() -> None:
    start = time.process_time()
    rows = mini_sudoku_traces(60_000, seed=0)
    assert time.process_time() - start < 2.0
    assert len(rows) == 60_000
    assert mini_sudoku_traces(100, seed=0) == mini_sudoku_traces(100, seed=0)
    assert mini_sudoku_traces(100, seed=0) != mini_sudoku_traces(100, seed=1)
    with pytest.raises(ValueError, match="share from 0 to 1"):
        mini_sudoku_traces(10, seed=0, shuffled_rows=30)
