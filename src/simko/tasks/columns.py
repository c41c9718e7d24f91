"""Which column of a file is the prompt, the answer and the id: named by the user, or recognised."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from simko.tasks.table_files import Row

RECOGNISED = {"prompt": ("prompt", "problem", "question"), "answer": ("answer",), "id": ("id",)}
"""{what a problem needs: the columns in which it is looked for, whatever the case of their names}."""
_SHOWN = 12


@dataclass(frozen=True)
class Cell:
    """A value in a row, and where it stood."""

    column: str
    """Its column, or the path to it."""
    whole: bool
    """Whether it is all that its column holds."""
    value: Any
    entries: Sequence[Any] = ()
    """The list that the path takes it from."""


@dataclass(frozen=True)
class Columns:
    """Where problems' parts stand in a file's rows.

    A name is a column's, or a path into a nested one: `reward_model.ground_truth`, `prompt.0.content`.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    """{"prompt", "answer" or "id": the name}; what is not named is recognised."""
    recognised: Mapping[str, Sequence[str]] = field(default_factory=lambda: RECOGNISED)
    """{role: the names under which it is looked for}, for rows that hold more than problems."""

    def __post_init__(self) -> None:
        if unknown := [role for role in self.names if role not in self.recognised]:
            raise ValueError(f"columns can be named for {', '.join(self.recognised)}, not for {', '.join(unknown)}")

    def find(self, row: Row, role: str) -> Cell | None:
        """The cell of a role, None if there is none. ValueError if the user named a column that is not there, or two fit."""
        if (name := self.names.get(role)) is not None:
            found = _at(row, name)
            if found is None:
                raise ValueError(f"the column {name!r}, named for the {role}, is missing; there are {_listed(row)}")
            return found
        for name in self.recognised[role]:
            fitting = [name] if name in row else [c for c in row if c.strip().casefold() == name]
            if len(fitting) > 1:
                raise ValueError(f"{' and '.join(map(repr, fitting))} may be the {role}: name one, {_option(role)}")
            if fitting:
                return Cell(fitting[0], True, row[fitting[0]])
        return None

    def needed(self, row: Row, role: str) -> Cell:
        """The cell of a role. ValueError if there is none."""
        if (found := self.find(row, role)) is None:
            *others, last = self.recognised[role]
            if others:
                missing = f"there is no column {', '.join(others)} or {last}"
            else:
                missing = f"the column {last!r} is missing"
            raise ValueError(f"{missing}; name another, {_option(role)}: there are {_listed(row)}")
        return found


def parse_columns(text: str | None, roles: Iterable[str] = RECOGNISED) -> dict[str, str]:
    """{role: column} of a text such as prompt=Question,answer=reward_model.ground_truth; {} of None."""
    known = list(roles)
    named: dict[str, str] = {}
    for part in [] if text is None else text.split(","):
        role, equals, name = part.partition("=")
        if not equals or not name or role.strip() in named or role.strip() not in known:
            wanted = ",".join(f"{role}=NAME" for role in known)
            raise ValueError(f"columns {text!r}: write {wanted}, or those of them that you need")
        named[role.strip()] = name
    return named


def text_of(row: Row, column: str) -> str:
    """The text in a column. KeyError if the column is missing, ValueError if it is not a text."""
    return cell_text(Cell(column, True, row[column]), "prompt")


def cell_text(cell: Cell, role: str) -> str:
    """The text in a cell. ValueError, with the option that reads a part of it, if it is not a text."""
    if not isinstance(cell.value, str):
        raise ValueError(f"the column {cell.column!r} must be a text, not {_kind(cell.value)}{_parts(cell, role)}")
    return cell.value


def cell_answer(cell: Cell) -> str:
    """The text in a cell, or a number as the file writes it (in Parquet the shortest form).

    ValueError, with the option that reads a part of it, if it is neither, and for one of several answers.
    """
    value = cell.value
    several = value if isinstance(value, list) else cell.entries
    if len(several) > 1 and not any(isinstance(entry, Mapping | list) for entry in several):
        what = f"a list of {len(value)}" if several is value else f"one entry in a list of {len(several)}"
        raise ValueError(
            f"the column {cell.column!r} must be a text or a number, not {what}: write what a response has to give as one "
            "text, such as '3, 4'"
        )
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(
            f"the column {cell.column!r} must be a text or a number, not {_kind(value)}{_parts(cell, 'answer')}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"the column {cell.column!r} must be a text or a finite number, not {value}")
    return repr(value).removesuffix(".0") if type(value) is float else str(value)


def cell_id(cell: Cell) -> str:
    """An id as text. ValueError for a list, an object, a truth value and bytes that are no text."""
    if isinstance(cell.value, Mapping | list | bool | bytes):
        raise ValueError(
            f"the column {cell.column!r} must be a text or a number, not {_kind(cell.value)}{_parts(cell, 'id')}"
        )
    return str(cell.value)


def _at(row: Row, name: str) -> Cell | None:
    """The value under a column's name or a path; None if there is none."""
    if name in row:
        return Cell(name, True, row[name])
    value: Any = row
    entries: Sequence[Any] = ()
    for part in name.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value, entries = value[int(part)], value
        else:
            return None
    return Cell(name, False, value, entries)


def _paths(name: str, value: Any) -> Iterator[str]:
    """The paths to the texts and numbers in a value."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _paths(f"{name}.{key}", part)
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _paths(f"{name}.{place}", part)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield name


def _parts(cell: Cell, role: str) -> str:
    """The option that reads a part of a nested cell."""
    paths = [path for path in _paths(cell.column, cell.value) if not path.endswith((".role", ".type"))]
    if not paths or not isinstance(cell.value, Mapping | list):
        return ": write it as text" if cell.value is not None else ""
    return f"; read a part of it, {_option(role, paths[0])}" + "".join(f" or {path}" for path in paths[1:3])


def _kind(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(part, Mapping) and "role" in part for part in value):
        return f"list of chat messages ({', '.join(str(part['role']) for part in value)})"
    return f"list of {len(value)}" if isinstance(value, list) else type(value).__name__


def _listed(row: Row) -> str:
    names = [path for column, value in row.items() for path in ([*_paths(column, value)] or [column])]
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "") or "none"


def _option(role: str, name: str = "NAME") -> str:
    return f"--columns {role}={name}"
