"""A sudoku of 4 x 4 cells: every row, every column and every box of 2 x 2 cells holds 1, 2, 3 and 4.

The prompt reads ". . 2 . . 4 . . . . . . 3 . 4 .": the cells row by row, a dot for a blank. A response gives all 16 cells in the
same order: "1 3 2 4 2 4 1 3 4 1 3 2 3 2 4 1", which is one of this problem's three solutions.
"""

import re

from simko.records import Problem, Verdict
from simko.verifiers.direct import Direct, Judge

SIDE = 4
ROWS = [[SIDE * row + column for column in range(SIDE)] for row in range(SIDE)]
COLUMNS = [list(column) for column in zip(*ROWS, strict=True)]
BOXES = [[first, first + 1, first + SIDE, first + SIDE + 1] for first in (0, 2, 8, 10)]
UNITS = ROWS + COLUMNS + BOXES
"""The cells' indices in each row, column and box."""

_PROMPT = re.compile(r"[.1-4](?: [.1-4]){15}")
_TOKEN = re.compile(r"[^ \t\r\n]+")
_DIGITS = frozenset("1234")


@Direct
def verify_mini_sudoku(problem: Problem) -> Judge:
    """Check a response's 16 cells against problem.prompt's clues and the rules; any solution passes.

    Cells are separated by ASCII spaces, tabs and line ends. "unparsed": no cell, or one that is not an ASCII 1, 2, 3 or 4.
    "wrong": too few or too many cells, a cell that is not its clue, a digit twice in a row, a column or a box. `extracted` is
    the response with single spaces.

    Raises ValueError if the prompt is not 16 cells, each a digit 1-4 or a dot, with single spaces.
    """
    if not _PROMPT.fullmatch(problem.prompt):
        raise ValueError(
            f"problem {problem.id!r}: a mini sudoku's prompt reads like '. . 2 . . 4 . . . . . . 3 . 4 .', not "
            f"{problem.prompt!r}"
        )
    clues = problem.prompt.split(" ")

    def judge(response: str) -> Verdict:
        cells = _TOKEN.findall(response)
        if not cells or not _DIGITS.issuperset(cells):
            return Verdict("unparsed")
        solved = (
            len(cells) == len(clues)
            and all(clue in (".", cell) for clue, cell in zip(clues, cells, strict=True))
            and all({cells[index] for index in unit} == _DIGITS for unit in UNITS)
        )
        return Verdict("correct" if solved else "wrong", " ".join(cells))

    return judge
