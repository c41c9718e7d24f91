"""Where graded samples live: one SQLite file, so that a kill or a full disk loses no acknowledged row."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from simko.records import Sample, Verdict

_SCHEMA = """
CREATE TABLE IF NOT EXISTS samples (
    problem_id TEXT NOT NULL, sample INTEGER NOT NULL, response TEXT NOT NULL, tokens INTEGER NOT NULL,
    truncated INTEGER NOT NULL, outcome TEXT NOT NULL, extracted TEXT, PRIMARY KEY (problem_id, sample)
) WITHOUT ROWID
"""


class SampleStore:
    """Graded samples keyed by (problem, sample index); adding a row again replaces it.

    Use as a context manager. Every `add` is one transaction: all of its rows are kept, or none.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(_SCHEMA)

    def __enter__(self) -> "SampleStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def add(self, graded: Iterable[tuple[Sample, Verdict]]) -> None:
        """Keep graded samples, all or none."""
        rows = [
            (s.problem_id, s.index, s.response, s.tokens, int(s.truncated), v.outcome, v.extracted) for s, v in graded
        ]
        with self._db:
            self._db.executemany("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def rows(self, problem_id: str | None = None) -> list[tuple[Sample, Verdict]]:
        """All graded samples in order of problem and index, or those of one problem."""
        where, args = ("WHERE problem_id = ?", (problem_id,)) if problem_id is not None else ("", ())
        query = f"SELECT problem_id, sample, response, tokens, truncated, outcome, extracted FROM samples {where} ORDER BY problem_id, sample"
        return [
            (Sample(p, i, response, tokens, bool(cut)), Verdict(outcome, extracted))
            for p, i, response, tokens, cut, outcome, extracted in self._db.execute(query, args)
        ]

    def counts(self) -> dict[str, tuple[int, int]]:
        """{problem id: (n samples, c correct)}."""
        query = "SELECT problem_id, COUNT(*), SUM(outcome = 'correct') FROM samples GROUP BY problem_id"
        return {p: (n, c) for p, n, c in self._db.execute(query)}
