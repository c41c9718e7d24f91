"""Families whose answer is a list of places: norinori, star placement, minesweeper."""

from collections import Counter
from typing import Any

from simko.records import Problem
from simko.verifiers.synlogic.family import Family, field, grid_field
from simko.verifiers.synlogic.grids import AROUND, NEXT, Grid, Place
from simko.verifiers.synlogic.reading import last_literal


def _is_place(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(type(number) is int for number in value)


def _is_domino(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_place, value))


def read_dominoes(text: str) -> tuple[str, list[tuple[Place, Place]]] | None:
    """The last list of pairs of places: [[(1,2), (1,3)], ...]."""
    found = last_literal(
        text, lambda value: isinstance(value, list | tuple) and bool(value) and all(map(_is_domino, value))
    )
    return None if found is None else (found[0], [((a, b), (c, d)) for (a, b), (c, d) in found[1]])


def read_stars(text: str) -> tuple[str, dict[str, list[Place]]] | None:
    """The last dict of regions to lists of places: {'A': [(1, 1)], ...}."""

    def fits(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and bool(value)
            and all(
                isinstance(key, str) and isinstance(places, list | tuple) and all(map(_is_place, places))
                for key, places in value.items()
            )
        )

    found = last_literal(text, fits)
    return None if found is None else (found[0], {k: [(r, c) for r, c in places] for k, places in found[1].items()})


def read_places(text: str) -> tuple[str, list[Place]] | None:
    """The last list of places, perhaps empty: [(0, 1), (2, 3)]."""
    found = last_literal(text, lambda value: isinstance(value, list) and all(map(_is_place, value)))
    return None if found is None else (found[0], [(r, c) for r, c in found[1]])


def norinori_holds(dominoes: list[tuple[Place, Place]], regions: Grid) -> bool:
    """Dominoes on two cells side by side, none beside another, two cells a region, every X covered. Counted from 1."""
    owner: dict[Place, int] = {}
    for number, domino in enumerate(dominoes):
        (a, b), (c, d) = domino
        if abs(a - c) + abs(b - d) != 1:
            return False
        for row, column in domino:
            if not (1 <= row <= len(regions) and 1 <= column <= len(regions[0])) or (row, column) in owner:
                return False
            owner[row, column] = number
    if any(owner.get((r + i, c + j), number) != number for (r, c), number in owner.items() for i, j in NEXT):
        return False
    cells = Counter(value for row in regions for value in row)
    covered = Counter(regions[r - 1][c - 1] for r, c in owner)
    return all(covered[name] == (count if name == "X" else 2) for name, count in cells.items())


def stars_puzzle(problem: Problem) -> tuple[Grid, int]:
    """(regions, stars in each row, column and region)."""
    return grid_field(problem, "region_grid"), int(field(problem, "k"))


def stars_hold(stars: dict[str, list[Place]], puzzle: tuple[Grid, int]) -> bool:
    """k stars in each row, column and region, none touching another, each listed under its region. Counted from 1."""
    regions, k = puzzle
    places = [place for listed in stars.values() for place in listed]
    size = len(regions)
    if len(set(places)) != len(places) or any(not (1 <= r <= size and 1 <= c <= len(regions[0])) for r, c in places):
        return False
    if any(regions[r - 1][c - 1] != name.strip().upper() for name, listed in stars.items() for r, c in listed):
        return False
    if any((r + i, c + j) in set(places) for r, c in places for i, j in AROUND):
        return False
    names = {name for row in regions for name in row}
    counts = (
        Counter(r for r, _ in places),
        Counter(c for _, c in places),
        Counter(regions[r - 1][c - 1] for r, c in places),
    )
    wanted = (range(1, size + 1), range(1, len(regions[0]) + 1), names)
    return all(count == dict.fromkeys(keys, k) for count, keys in zip(counts, wanted, strict=True))


def mines_puzzle(problem: Problem) -> set[Place]:
    """The cells that one-step reasoning shows to be mines, counted from 0."""
    return {(int(r), int(c)) for r, c in field(problem, "current_mines")}


PLACE_FAMILIES: dict[str, Family] = {
    "norinori": Family(lambda problem: grid_field(problem, "region_grid"), read_dominoes, norinori_holds),
    "star_placement_puzzle": Family(stars_puzzle, read_stars, stars_hold),
    "minesweeper": Family(mines_puzzle, read_places, lambda places, mines: set(places) == mines),
}
