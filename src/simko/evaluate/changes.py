"""What becomes of a setting's samples when its problems change: they belong to a problem's content, not to its file."""

import hashlib
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from simko.records import Problem

_NAMED = 5


@dataclass(frozen=True)
class Stored:
    """A problem in the store."""

    problem: Problem
    """The problem, under the id that it had when it was last asked for."""
    aside: bool
    """Whether its row was dropped, and its samples are set aside."""

    @property
    def key(self) -> str:
        """Its id while it is set aside, where two contents may have had one id."""
        return f"{self.problem.id} {_content(self.problem)}"


@dataclass(frozen=True)
class Kept:
    """A wanted problem that has a stored one's samples."""

    old: Stored
    """The stored problem."""
    new: Problem
    """The wanted problem, of the same prompt."""
    anew: bool
    """Whether the samples' verdicts are void: the answer or metadata have changed, or the verifier may have."""


@dataclass(frozen=True)
class Change:
    """What a new list of problems makes of the stored ones."""

    kept: Sequence[Kept]
    """The stored problems that are wanted."""
    dropped: Sequence[Stored]
    """Stored problems that are not wanted, without those that were set aside before."""
    added: Sequence[Problem]
    """Wanted problems without samples."""
    nothing: bool
    """Whether the problems are the same, in the same order."""

    def said(self, file: str) -> str | None:
        """The change in one line, for the store in `file`; None if no sample is affected."""
        anew = [kept.new.id for kept in self.kept if kept.anew]
        moved = [kept.new.id for kept in self.kept if kept.old.problem.id != kept.new.id]
        returned = [kept.new.id for kept in self.kept if kept.old.aside]
        if not (anew or moved or self.dropped or self.added):
            return None
        notes = [
            f"{_named(ids)} {what}"
            for ids, what in ((anew, "judged anew"), (moved, "under a new id"), (returned, "back from before"))
            if ids
        ]
        return (
            f"the problems have changed: {len(self.kept)} kept with their samples"
            + (f" ({', '.join(notes)})" if notes else "")
            + f", {_named([old.problem.id for old in self.dropped])} dropped, {_named([p.id for p in self.added])} added"
            + (f"; {file} keeps the samples of what is dropped for when it returns" if self.dropped else "")
        )


def change(stored: Sequence[Stored], wanted: Sequence[Problem]) -> Change:
    """Give each wanted problem the stored one of its content, else that of its prompt, since a prompt decides the draws.

    Of several, the one of its id is taken first.
    """
    old, new = [_keys(s.problem) for s in stored], [_keys(p) for p in wanted]
    kept: dict[int, int] = {}
    for level in range(len(_LEVELS)):
        places: dict[Hashable, list[int]] = {}
        taken = set(kept.values())
        for place, keys in enumerate(old):
            if place not in taken:
                places.setdefault(keys[level], []).append(place)
        for place, keys in enumerate(new):
            if place not in kept and (found := places.get(keys[level])):
                kept[place] = found.pop(0)
    taken = set(kept.values())
    return Change(
        kept=[
            Kept(stored[kept[i]], p, stored[kept[i]].aside or old[kept[i]][1] != new[i][1])
            for i, p in enumerate(wanted)
            if i in kept
        ],
        dropped=[s for place, s in enumerate(stored) if place not in taken and not s.aside],
        added=[p for i, p in enumerate(wanted) if i not in kept],
        nothing=[keys[0] for keys, s in zip(old, stored, strict=True) if not s.aside] == [keys[0] for keys in new],
    )


_LEVELS = ("id and content", "content", "id and prompt", "prompt")


def _keys(problem: Problem) -> tuple[Hashable, ...]:
    """What two problems may have in common, by _LEVELS."""
    whole, prompt = _content(problem), problem.prompt.encode("utf-8", "replace")
    return (problem.id, whole), whole, (problem.id, prompt), prompt


def _content(problem: Problem) -> str:
    """A digest of all that a problem is, except its id."""
    parts = [problem.prompt, problem.answer, dict(problem.metadata)]
    # question marks for lone surrogates, as the store writes them
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")
    return hashlib.sha256(text).hexdigest()[:32]


def _named(ids: Sequence[str]) -> str:
    """The number of ids, with the first of them."""
    shown = ", ".join(map(repr, ids[:_NAMED])) + (", ..." if len(ids) > _NAMED else "")
    return f"{len(ids)} ({shown})" if ids else "0"
