"""Families whose answer is a grid of cells; each answer is checked against the puzzle's rules, not against one gold."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from math import prod

from simko.records import Problem
from simko.verifiers.synlogic.family import Family, as_grid, field, gold, grid_field, int_list, is_latin, same_shape
from simko.verifiers.synlogic.reading import double_bracketed, last_literal, parse_literal

Cell = int | str
Grid = list[list[Cell]]
Place = tuple[int, int]
NEXT: tuple[Place, ...] = ((0, 1), (1, 0), (0, -1), (-1, 0))
AROUND: tuple[Place, ...] = (*NEXT, (1, 1), (1, -1), (-1, 1), (-1, -1))


def read_grid(text: str) -> tuple[str, Grid] | None:
    """The last list of lists (or tuple of tuples) of cells."""
    found = last_literal(text, lambda value: as_grid(value) is not None)
    if found is None:
        return None
    return found[0], as_grid(found[1]) or []


def read_rows(text: str) -> tuple[str, Grid] | None:
    """The last [[1 2,3 4]], rows separated by commas or line ends and cells by spaces; or the last list of lists."""
    inner = double_bracketed(text)
    if inner is not None and "[" not in inner and "]" not in inner:
        rows = [row.split() for row in inner.replace("\n", ",").split(",") if row.strip()]
        grid = as_grid(rows)
        if grid is not None and len(grid) > 1:
            return f"[[{inner}]]", grid
    return read_grid(text)


def _parse_places(cells: list[str]) -> list[Place]:
    """["(1,3)", ...] counted from 1 -> [(0, 2), ...]."""
    places = [parse_literal(text) if isinstance(text, str) else text for text in cells]
    return [(int(row) - 1, int(column) - 1) for row, column in places]


def _neighbours(grid: Grid, place: Place, steps: tuple[Place, ...]) -> list[Place]:
    around = [(place[0] + down, place[1] + right) for down, right in steps]
    return [(r, c) for r, c in around if 0 <= r < len(grid) and 0 <= c < len(grid[0])]


def _places(grid: Grid, wanted: Cell) -> list[Place]:
    return [(r, c) for r, row in enumerate(grid) for c, value in enumerate(row) if value == wanted]


def _keeps(clues: Grid, grid: Grid, free: tuple[Cell, ...]) -> bool:
    """Whether a grid has the clues' shape and every clue that is not a free cell."""
    return same_shape(clues, grid) and all(
        clue in free or clue == value
        for clues_row, row in zip(clues, grid, strict=True)
        for clue, value in zip(clues_row, row, strict=True)
    )


def sudoku_holds(grid: Grid, clues: Grid) -> bool:
    """Rows, columns and 3 x 3 boxes hold 1 ... 9 once each, and the clues stand."""
    if not _keeps(clues, grid, ("X", 0)) or not is_latin(grid, 9):
        return False
    boxes = [{grid[r + i][c + j] for i in range(3) for j in range(3)} for r in (0, 3, 6) for c in (0, 3, 6)]
    return all(len(box) == 9 for box in boxes)


def sudoku_puzzle(problem: Problem) -> Grid:
    """The clues: 9 x 9."""
    clues = grid_field(problem, "original_sudoku")
    if len(clues) != 9 or len(clues[0]) != 9:
        raise ValueError("original_sudoku is not 9 x 9")
    return clues


def futoshiki_puzzle(problem: Problem) -> tuple[int, dict[Place, Cell], list[tuple[Place, Place, str]]]:
    """(size, given numbers by place, inequalities); the given numbers are the gold's at prefilled_coords."""
    size = int(field(problem, "grid_size"))
    solution = as_grid(parse_literal(gold(problem)))
    if solution is None or not is_latin(solution, size):
        raise ValueError("the gold answer is not a filled grid")
    given = {(r, c): solution[r][c] for r, c in field(problem, "prefilled_coords")}
    return size, given, [((a, b), (c, d), sign) for (a, b), (c, d), sign in field(problem, "constraints")]


def futoshiki_holds(grid: Grid, puzzle: tuple[int, dict[Place, Cell], list[tuple[Place, Place, str]]]) -> bool:
    """A Latin square with the given numbers in which every inequality holds."""
    size, given, inequalities = puzzle
    if not is_latin(grid, size) or any(grid[r][c] != value for (r, c), value in given.items()):
        return False
    values = [(int(grid[a][b]), int(grid[c][d]), sign) for (a, b), (c, d), sign in inequalities]
    return all(left < right if sign == "<" else left > right for left, right, sign in values)


def calcudoko_puzzle(problem: Problem) -> tuple[int, list[tuple[list[Place], str, int]]]:
    """(size, regions as (places, operator, target))."""
    regions = [(_parse_places(r["cells"]), str(r["operator"]), int(r["target"])) for r in field(problem, "regions")]
    if any(operator not in _REACHES for _, operator, _ in regions):
        raise ValueError("a region has an operator other than + - * / ÷ ×")
    size = int(field(problem, "grid_size"))
    if any(not (0 <= number < size) for places, _, _ in regions for place in places for number in place):
        raise ValueError("a region's cell lies outside the grid")
    return size, regions


# - and ÷ take all others from the largest number: 2 and 6 make 6 - 2 and 6 ÷ 2
_REACHES: dict[str, Callable[[list[int], int], bool]] = {
    "+": lambda values, target: sum(values) == target,
    "*": lambda values, target: prod(values) == target,
    "×": lambda values, target: prod(values) == target,
    "-": lambda values, target: 2 * max(values) - sum(values) == target,
    "÷": lambda values, target: max(values) ** 2 == target * prod(values),
    "/": lambda values, target: max(values) ** 2 == target * prod(values),
}


def calcudoko_holds(grid: Grid, puzzle: tuple[int, list[tuple[list[Place], str, int]]]) -> bool:
    """A Latin square, no number twice in a region, each region's numbers giving its target exactly."""
    size, regions = puzzle
    if not is_latin(grid, size):
        return False
    filled = [([int(grid[r][c]) for r, c in cells], operator, target) for cells, operator, target in regions]
    return all(len(set(v)) == len(v) and _REACHES[operator](v, target) for v, operator, target in filled)


def campsite_puzzle(problem: Problem) -> tuple[Grid, list[int], list[int]]:
    """(trees, tents by row, tents by column)."""
    return grid_field(problem, "grid"), int_list(problem, "row_constraints"), int_list(problem, "col_constraints")


def campsite_holds(grid: Grid, puzzle: tuple[Grid, list[int], list[int]]) -> bool:
    """Tents in the given numbers, none touching another, and tents and trees in pairs that stand side by side.

    The prompts say "adjacent to exactly one tree", but mean the pairing: the set's own solutions have tents beside two.
    """
    trees, by_row, by_column = puzzle
    if not _keeps(trees, grid, ("X",)) or any(value not in ("T", "C", "X") for row in grid for value in row):
        return False
    tents = _places(grid, "C")
    return (
        [row.count("C") for row in grid] == by_row
        and [column.count("C") for column in zip(*grid, strict=True)] == by_column
        and _places(trees, "T") == _places(grid, "T")
        and all(grid[r][c] != "C" for tent in tents for r, c in _neighbours(grid, tent, AROUND))
        and _pairs_up(grid, tents)
    )


def _pairs_up(grid: Grid, tents: list[Place]) -> bool:
    """Whether each tent can have a tree beside it as its own, and no tree is left (augmenting paths)."""
    tent_of: dict[Place, Place] = {}

    def settle(tent: Place, tried: set[Place]) -> bool:
        for tree in _neighbours(grid, tent, NEXT):
            if grid[tree[0]][tree[1]] == "T" and tree not in tried:
                tried.add(tree)
                if tree not in tent_of or settle(tent_of[tree], tried):
                    tent_of[tree] = tent
                    return True
        return False

    return len(tents) == len(_places(grid, "T")) and all(settle(tent, set()) for tent in tents)


def kukurasu_puzzle(problem: Problem) -> tuple[list[int], list[int]]:
    """(row sums, column sums)."""
    return int_list(problem, "row_sums"), int_list(problem, "col_sums")


def kukurasu_holds(grid: Grid, puzzle: tuple[list[int], list[int]]) -> bool:
    """Cells 1 or X; the column numbers of a row's 1s sum to its row sum, and the reverse for columns."""
    row_sums, column_sums = puzzle
    if (
        len(grid) != len(row_sums)
        or len(grid[0]) != len(column_sums)
        or any(v not in (1, "X") for r in grid for v in r)
    ):
        return False
    return [sum(j for j, v in enumerate(row, 1) if v == 1) for row in grid] == row_sums and [
        sum(i for i, v in enumerate(column, 1) if v == 1) for column in zip(*grid, strict=True)
    ] == column_sums


def numbrix_holds(grid: Grid, clues: Grid) -> bool:
    """1 ... n once each, consecutive numbers side by side, the clues kept."""
    if not _keeps(clues, grid, ("X",)):
        return False
    where = {value: (r, c) for r, row in enumerate(grid) for c, value in enumerate(row)}
    count = len(grid) * len(grid[0])
    if set(where) != set(range(1, count + 1)):
        return False
    path = [where[number] for number in range(1, count + 1)]
    return all(abs(a - c) + abs(b - d) == 1 for (a, b), (c, d) in pairwise(path))


def number_wall_holds(grid: Grid, clues: Grid) -> bool:
    """Islands of the size of their one number, no 2 x 2 of walls. Islands may meet at a corner: walls separate them."""
    if not _keeps(clues, grid, ("X",)):
        return False
    flat = [(clue, value) for a, b in zip(clues, grid, strict=True) for clue, value in zip(a, b, strict=True)]
    if any(value not in ("A", "X") for clue, value in flat if clue == "X"):
        return False
    walls = set(_places(grid, "A"))
    if any({(r, c), (r + 1, c), (r, c + 1), (r + 1, c + 1)} <= walls for r, c in walls):
        return False
    unseen = {(r, c) for r in range(len(grid)) for c in range(len(grid[0]))} - walls
    while unseen:
        island, reached = [], [unseen.pop()]
        while reached:
            place = reached.pop()
            island.append(grid[place[0]][place[1]])
            near = [n for n in _neighbours(grid, place, NEXT) if n in unseen]
            unseen.difference_update(near)
            reached += near
        if [value for value in island if value != "X"] != [len(island)]:
            return False
    return True


def survo_puzzle(problem: Problem) -> tuple[Grid, list[int]]:
    """(the matrix with 0 for what is asked, the numbers to use)."""
    matrix = grid_field(problem, "original_matrix")
    if len(_places(matrix, 0)) != len(int_list(problem, "candidate_numbers")):
        raise ValueError("there are not as many candidate_numbers as empty cells")
    return matrix, int_list(problem, "candidate_numbers")


def survo_holds(grid: Grid, puzzle: tuple[Grid, list[int]]) -> bool:
    """Each candidate is used once, and the last cell of each row and column is the sum of the others."""
    matrix, candidates = puzzle
    if not _keeps(matrix, grid, (0,)) or any(not isinstance(value, int) for row in grid for value in row):
        return False
    filled = Counter(grid[r][c] for r, c in _places(matrix, 0))
    lines = [*grid, *zip(*grid, strict=True)]
    return filled == Counter(candidates) and all(sum(map(int, line[:-1])) == line[-1] for line in lines)


GRID_FAMILIES: dict[str, Family] = {
    "sudoku": Family(sudoku_puzzle, read_grid, sudoku_holds),
    "futoshiki": Family(futoshiki_puzzle, read_rows, futoshiki_holds),
    "calcudoko": Family(calcudoko_puzzle, read_rows, calcudoko_holds),
    "campsite": Family(campsite_puzzle, read_grid, campsite_holds),
    "kukurasu": Family(kukurasu_puzzle, read_grid, kukurasu_holds),
    "numbrix": Family(lambda problem: grid_field(problem, "grid"), read_grid, numbrix_holds),
    "number_wall": Family(lambda problem: grid_field(problem, "grid"), read_grid, number_wall_holds),
    "survo": Family(survo_puzzle, read_grid, survo_holds),
}
