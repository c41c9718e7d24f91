"""What becomes of a setting's samples when its problems change: they belong to a problem's content, not to its file."""

import hashlib
import json
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from simko.records import Problem

PROBLEM_KEYS = ("task_revision", "problems", "problems_sha256")
"""The keys of a setting's record that describe its problems. All other keys decide how any problem is sampled."""
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
        return f"{self.problem.id} {content(self.problem)}"


@dataclass(frozen=True)
class Change:
    """What a new list of problems makes of the stored ones."""

    kept: Sequence[tuple[Stored, Problem]]
    """(stored, wanted): the samples of the one are the other's."""
    dropped: Sequence[Stored]
    """Stored problems that are not wanted, without those that were set aside before."""
    added: Sequence[Problem]
    """Wanted problems without samples."""
    nothing: bool
    """Whether the problems are the same, in the same order."""

    def judged_anew(self, old: Stored, new: Problem) -> bool:
        """Whether the verdicts on the samples are void."""
        return old.aside or content(old.problem) != content(new)

    def said(self, place: str) -> str | None:
        """The change in one line; None if no sample is affected."""
        anew = [new.id for old, new in self.kept if self.judged_anew(old, new)]
        moved = [new.id for old, new in self.kept if old.problem.id != new.id]
        returned = [new.id for old, new in self.kept if old.aside]
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
            + (f"; {place} keeps the samples of what is dropped for when it returns" if self.dropped else "")
        )


def change(stored: Sequence[Stored], wanted: Sequence[Problem]) -> Change:
    """Give each wanted problem the stored one of its content, else that of its prompt, since a prompt decides the draws.

    Of several, the one of its id is taken first.
    """
    left, open_ = dict(enumerate(stored)), dict(enumerate(wanted))
    kept: dict[int, tuple[Stored, Problem]] = {}
    for key in _KEYS:
        found: dict[Hashable, list[int]] = {}
        for place, old in left.items():
            found.setdefault(key(old.problem), []).append(place)
        for place, new in list(open_.items()):
            if places := found.get(key(new)):
                kept[place] = left.pop(places.pop(0)), open_.pop(place)
    dropped = [old for old in left.values() if not old.aside]
    before = [_KEYS[0](old.problem) for old in stored if not old.aside]
    nothing = before == [_KEYS[0](new) for new in wanted]
    return Change([kept[place] for place in sorted(kept)], dropped, list(open_.values()), nothing)


def content(problem: Problem) -> str:
    """A digest of all that a problem is, except its id."""
    parts = [problem.prompt, problem.answer, dict(problem.metadata)]
    # question marks for lone surrogates, as the store writes them
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")
    return hashlib.sha256(text).hexdigest()[:32]


_KEYS: tuple[Callable[[Problem], Hashable], ...] = (
    lambda p: (p.id, content(p)),
    content,
    lambda p: (p.id, _prompt(p)),
    lambda p: _prompt(p),
)


def _prompt(problem: Problem) -> bytes:
    return problem.prompt.encode("utf-8", "replace")


def _named(ids: Sequence[str]) -> str:
    """The number of ids, with the first of them."""
    shown = ", ".join(map(repr, ids[:_NAMED])) + (", ..." if len(ids) > _NAMED else "")
    return f"{len(ids)} ({shown})" if ids else "0"
