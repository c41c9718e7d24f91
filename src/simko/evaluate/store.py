"""The store of samples and verdicts, one SQLite file per run. A kill or a full disk loses no acknowledged row."""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simko.evaluate.answers import Answer
from simko.evaluate.changes import Change, Stored, change
from simko.evaluate.database import damage_error, explain_errors, open_reader, open_writer
from simko.evaluate.files import storable
from simko.records import Problem, Sample, Verdict

logger = logging.getLogger("simko")
_SAMPLE = "problem, sample, response, tokens, finish_reason, prompt_tokens, seed, thinking, failure"
_COLUMNS = f"{_SAMPLE}, outcome, extracted, rule"
_INSERT = f"INSERT INTO samples (setting, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FAILED = Verdict("failed")
_GRADE = "UPDATE samples SET outcome = ?, extracted = ?, rule = ? WHERE setting = ? AND problem = ? AND sample = ?"
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Setting:
    """One task at one sampling setting."""

    id: int
    """The store's number of it."""
    task: str
    """The name of the set of problems."""
    name: str
    """Its name within the task."""
    record: Mapping[str, Any]
    """Everything that decides its draws, except n."""
    verifier: str
    """The verifier's name."""
    n: int
    """The samples per problem that were last asked for."""

    @property
    def holds_counts(self) -> bool:
        """Whether its samples are counts that were judged elsewhere, without responses."""
        return self.record.get("backend") == "counts"


@dataclass(frozen=True)
class Tally:
    """Sums over the samples of a setting."""

    samples: int
    """The number of samples."""
    tokens: int | None
    """Their generated tokens; None if unknown."""
    truncated: int | None
    """How many were truncated at the limit; None if unknown."""
    outcomes: Mapping[str, int]
    """{outcome: the number of samples}, with "ungraded" for those without a verdict."""


@dataclass(frozen=True)
class Failures:
    """The failed samples of a problem."""

    count: int
    """How many."""
    words: str
    """The server's words on the first of them."""


class SampleStore:
    """Samples keyed by (setting, problem, index), with their verdicts. Use it as a context manager.

    Every writing call is one transaction, which is on disk when the call returns. It stores all of its rows or none. One process
    writes (see `files.locked`) while any number read. OSError if the disk is full, ValueError if the file is damaged or has another
    version; both name the file and say what to do.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._db = open_reader(path) if read_only else open_writer(path)

    def __enter__(self) -> "SampleStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def begin(
        self,
        task: str,
        name: str,
        record: Mapping[str, Any],
        verifier: str,
        problems: Sequence[Problem],
        n: int,
        problem_keys: Sequence[str] = (),
    ) -> Setting:
        """Create the setting `name` of `task`, or find it and set its n.

        A setting without samples, left by an error before the first, is replaced. Where only the problems have changed and
        problem_keys are given, samples stay with the problems of their prompt, as the log says in one line: without their verdicts
        where the answer or metadata have changed, and set aside where the problem is dropped, until it returns. Samples that are
        set aside are stored under the setting's negative number, and belong to no setting.

        Args:
            task: the name of the set of problems.
            name: the setting's name within the task.
            record: everything that decides the draws, except n, as JSON values.
            verifier: the verifier's name.
            problems: the problems, in order.
            n: the samples per problem to draw.
            problem_keys: the keys of the record that describe the problems, which may then change.

        ValueError, with nothing changed, if the stored setting has another record, another verifier or none of the problems; it
        names what differs.
        """
        found = next((s for s in self.settings() if (s.task, s.name) == (task, name)), None)
        wanted = json.loads(json.dumps(dict(record)))
        if found is not None and not self._holds_samples(found):
            self._delete(found)
            found = None
        changed = None
        if found is not None:
            changed = change(self._stored(found), problems) if problem_keys else None
            self._check_same(found, wanted | {"verifier": verifier}, problem_keys if changed and changed.kept else ())
        with self._transaction():
            if found is None:
                values = (task, name, json.dumps(wanted), verifier, n)
                cursor = self._db.execute("INSERT INTO settings VALUES (NULL, ?, ?, ?, ?, ?)", values)
                self._insert_problems(cursor.lastrowid, enumerate(problems))
            else:
                self._db.execute(
                    "UPDATE settings SET n = ?, record = ? WHERE id = ?", (n, json.dumps(wanted), found.id)
                )
                if changed is not None and not changed.nothing:
                    self._change_problems(found.id, changed, problems)
        if changed is not None and (said := changed.said(self.path.name)):
            logger.warning("%s %s: %s", task, name, said)
        return next(s for s in self.settings() if (s.task, s.name) == (task, name))

    def _insert_problems(self, setting: int | None, problems: Iterable[tuple[int, Problem]]) -> None:
        rows = [(setting, i, p.id, _text(p.prompt), _text(p.answer), json.dumps(dict(p.metadata))) for i, p in problems]
        self._db.executemany("INSERT INTO problems VALUES (?, ?, ?, ?, ?, ?)", rows)

    def _stored(self, setting: Setting) -> list[Stored]:
        """A setting's problems, and those that are set aside."""
        aside = [replace(p, id=p.id.rpartition(" ")[0]) for p in self._problems(-setting.id)]
        return [Stored(p, False) for p in self.problems(setting)] + [Stored(p, True) for p in aside]

    def _change_problems(self, setting: int, changed: Change, problems: Sequence[Problem]) -> None:
        """Put `problems` in the place of a setting's, with the samples that they keep. Call it in a transaction."""
        move = "UPDATE samples SET setting = ?, problem = ? WHERE setting = ? AND problem = ?"
        moved = [(k.old, k.new.id) for k in changed.kept if k.old.aside or k.old.problem.id != k.new.id]
        leaving = [old for old in (*changed.dropped, *(old for old, _ in moved)) if not old.aside]
        # first all that leave their ids, which may be exchanged
        self._db.executemany(move, [(-setting, old.key, setting, old.problem.id) for old in leaving])
        self._db.executemany(move, [(setting, id, -setting, old.key) for old, id in moved])
        anew = [(setting, k.new.id) for k in changed.kept if k.anew]
        clear = (
            "UPDATE samples SET outcome = NULL, extracted = NULL, rule = NULL "
            "WHERE setting = ? AND problem = ? AND failure IS NULL"
        )
        self._db.executemany(clear, anew)
        self._db.execute("DELETE FROM problems WHERE setting = ?", (setting,))
        self._insert_problems(setting, enumerate(problems))
        returned = [(-setting, k.old.key) for k in changed.kept if k.old.aside]
        self._db.executemany("DELETE FROM problems WHERE setting = ? AND problem = ?", returned)
        self._insert_problems(-setting, ((0, replace(old.problem, id=old.key)) for old in changed.dropped))

    def _holds_samples(self, setting: Setting) -> bool:
        query = "SELECT 1 FROM samples WHERE setting IN (?, ?) LIMIT 1"
        return self._db.execute(query, (setting.id, -setting.id)).fetchone() is not None

    def _delete(self, setting: Setting) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM problems WHERE setting = ?", (setting.id,))
            self._db.execute("DELETE FROM settings WHERE id = ?", (setting.id,))

    def _check_same(self, found: Setting, wanted: Mapping[str, Any], free: Sequence[str]) -> None:
        kept = {**found.record, "verifier": found.verifier}
        differing = [
            f"{key} is {kept.get(key)!r} there and {wanted.get(key)!r} here"
            for key in dict.fromkeys([*kept, *wanted])
            # earlier versions recorded less
            if kept.get(key, wanted.get(key)) != wanted.get(key) and key not in free
        ]
        if differing:
            raise ValueError(
                f"{self.path} holds another evaluation of {found.task} at {found.name} ({'; '.join(differing)}): "
                "choose another place, or restore the configuration to continue that one"
                + (
                    "; simko audit --verifier ... --apply puts the other verifier in its place, and this command then continues"
                    if kept["verifier"] != wanted["verifier"]
                    else ""
                )
            )

    def settings(self) -> list[Setting]:
        """All settings, in the order of their creation."""
        rows = self._db.execute("SELECT id, task, name, record, verifier, n FROM settings ORDER BY id")
        return [Setting(i, task, name, self._json(record), v, n) for i, task, name, record, v, n in rows]

    def problems(self, setting: Setting) -> list[Problem]:
        """The problems of a setting, in the task's order."""
        return self._problems(setting.id)

    def _problems(self, setting: int) -> list[Problem]:
        query = "SELECT problem, prompt, answer, metadata FROM problems WHERE setting = ? ORDER BY position"
        return [Problem(i, p, a, self._json(m)) for i, p, a, m in self._db.execute(query, (setting,))]

    def _json(self, text: str) -> dict[str, Any]:
        try:
            return dict(json.loads(text))
        except (ValueError, TypeError) as error:
            raise damage_error(self.path, error) from error

    def add(self, setting: Setting, samples: Iterable[Sample], verdicts: Iterable[Verdict] | None = None) -> None:
        """Store samples, with or without verdicts. Failed samples get theirs here, and are replaced by later ones.

        sqlite3.IntegrityError for a sample that is already stored and has not failed.
        """
        samples = list(samples)
        graded: Sequence[Verdict | None] = [None] * len(samples) if verdicts is None else list(verdicts)
        rows = [_inserted(setting, s, _FAILED if s.failure else v) for s, v in zip(samples, graded, strict=True)]
        keys = [row[:3] for row in rows]
        with self._transaction():
            self._db.executemany(
                "DELETE FROM samples WHERE setting = ? AND problem = ? AND sample = ? AND failure IS NOT NULL", keys
            )
            self._db.executemany(_INSERT, rows)

    def load(self, setting: Setting, pairs: Iterable[tuple[Sample, Verdict | None]]) -> None:
        """Store samples with their verdicts as they come, all or none, so that they need not fit into memory."""
        rows = (_inserted(setting, s, _FAILED if s.failure else v) for s, v in pairs)
        with self._transaction():
            self._db.executemany(_INSERT, rows)

    def grade(self, setting: Setting, verdicts: Iterable[tuple[Sample, Verdict]]) -> None:
        """Set the verdicts of stored samples."""
        rows = [_graded(setting, s, v) for s, v in verdicts]
        with self._transaction():
            self._db.executemany(_GRADE, rows)

    def regrade(self, setting: Setting, verifier: str, verdicts: Iterable[tuple[Sample, Verdict]]) -> Setting:
        """Replace a setting's verdicts and the name of its verifier, in one transaction."""
        rows = (_graded(setting, s, v) for s, v in verdicts)
        with self._transaction():
            self._db.execute("UPDATE settings SET verifier = ? WHERE id = ?", (verifier, setting.id))
            self._db.executemany(_GRADE, rows)
        return next(s for s in self.settings() if s.id == setting.id)

    def missing(self, setting: Setting, n: int, *, failed: bool = False) -> dict[str, Sequence[int]]:
        """{problem id: indices below n that are not stored, with `failed` or have failed}, for problems that lack any."""
        where = f"WHERE setting = ? AND sample < ?{' AND failure IS NULL' if failed else ''}"
        kept = dict(
            self._db.execute(f"SELECT problem, COUNT(*) FROM samples {where} GROUP BY problem", (setting.id, n))
        )
        query = f"SELECT sample FROM samples {where} AND problem = ?"
        missing: dict[str, Sequence[int]] = {}
        for problem in self.problems(setting):
            count = kept.get(problem.id, 0)
            if count == 0:
                missing[problem.id] = range(n)
            elif count < n:
                there = {i for (i,) in self._db.execute(query, (setting.id, n, problem.id))}
                missing[problem.id] = tuple(i for i in range(n) if i not in there)
        return missing

    def ungraded(self, setting: Setting) -> Iterator[list[Sample]]:
        """Samples without a verdict, or with the verdict "error", a few hundred at a time.

        They may be graded during the iteration, and none is returned twice.
        """
        query = (
            f"SELECT rowid, {_COLUMNS} FROM samples WHERE setting = ? AND rowid > ? "
            f"AND failure IS NULL AND (outcome IS NULL OR outcome = 'error') ORDER BY rowid LIMIT {_ROWS_AT_ONCE}"
        )
        last = -1
        while rows := self._db.execute(query, (setting.id, last)).fetchall():
            last = rows[-1][0]
            yield [_row(row[1:])[0] for row in rows]

    def rows(self, setting: Setting, problem_id: str | None = None) -> Iterator[tuple[Sample, Verdict | None]]:
        """Samples with their verdicts (None: not graded), in order of problem and index, of all problems or of one."""
        where, args = ("AND problem = ?", (problem_id,)) if problem_id is not None else ("", ())
        query = f"SELECT {_COLUMNS} FROM samples WHERE setting = ? {where} ORDER BY problem, sample"
        return map(_row, self._db.execute(query, (setting.id, *args)))

    def first(self, setting: Setting, outcome: str) -> tuple[Sample, Verdict] | None:
        """The first sample with this outcome, by problem and index."""
        query = f"SELECT {_COLUMNS} FROM samples WHERE setting = ? AND outcome = ? ORDER BY problem, sample LIMIT 1"
        row = self._db.execute(query, (setting.id, outcome)).fetchone()
        return None if row is None else (_row(row)[0], Verdict(*row[-3:-1], rule=row[-1]))

    def counts(self, setting: Setting) -> dict[str, tuple[int, int]]:
        """{problem id: (n graded samples, c correct)}, in the task's order. A problem without graded samples has (0, 0).

        A sample that could not be graded ("error") or drawn ("failed") counts among the n as not correct.
        """
        query = (
            "SELECT problem, COUNT(outcome), COALESCE(SUM(outcome = 'correct'), 0) FROM samples "
            "WHERE setting = ? GROUP BY problem"
        )
        found = {p: (n, c) for p, n, c in self._db.execute(query, (setting.id,))}
        return {p.id: found.get(p.id, (0, 0)) for p in self.problems(setting)}

    def errors(self, setting: Setting) -> dict[str, int]:
        """{problem id: number of samples that could not be graded}, for problems that have any."""
        query = "SELECT problem, COUNT(*) FROM samples WHERE setting = ? AND outcome = 'error' GROUP BY problem"
        return dict(self._db.execute(query, (setting.id,)))

    def failures(self, setting: Setting) -> dict[str, Failures]:
        """{problem id: how many of its samples failed, and the first one's words}, for problems that have any."""
        query = (
            "SELECT problem, COUNT(*), failure, MIN(sample) FROM samples "  # failure is that of MIN(sample)
            "WHERE setting = ? AND failure IS NOT NULL GROUP BY problem"
        )
        return {p: Failures(count, words) for p, count, words, _ in self._db.execute(query, (setting.id,))}

    def tally(self, setting: Setting) -> Tally:
        """The sums over all samples of a setting."""
        ends = (
            "SUM(CASE finish_reason WHEN 'length' THEN 1 WHEN 'unknown' THEN NULL ELSE 0 END)"  # NULL if none is known
        )
        query = f"SELECT COUNT(*), NULLIF(SUM(tokens), 0), {ends} FROM samples WHERE setting = ?"
        samples, tokens, truncated = self._db.execute(query, (setting.id,)).fetchone()
        query = "SELECT COALESCE(outcome, 'ungraded'), COUNT(*) FROM samples WHERE setting = ? GROUP BY outcome"
        return Tally(samples, tokens, truncated, dict(self._db.execute(query, (setting.id,))))

    def answers(self, setting: Setting) -> dict[str, list[Answer]]:
        """{problem id: its distinct answers, the most frequent first}, over graded samples."""
        query = (
            "SELECT problem, extracted, COUNT(*) AS given, SUM(outcome = 'correct') FROM samples "
            "WHERE setting = ? AND outcome IS NOT NULL GROUP BY problem, extracted ORDER BY problem, given DESC, extracted"
        )
        found: dict[str, list[Answer]] = {}
        for problem, form, count, correct in self._db.execute(query, (setting.id,)):
            found.setdefault(problem, []).append(Answer(form, count, correct))
        return found

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with explain_errors(self.path), self._db:
            yield


def only_setting(store: SampleStore) -> Setting:
    """The setting of a store that holds one. ValueError if it holds none or several."""
    settings = store.settings()
    if len(settings) != 1:
        raise ValueError(f"{store.path} holds {len(settings)} settings, where one is expected")
    return settings[0]


def _text(text: str | None) -> str | None:
    return None if text is None else storable(text)


def _graded(setting: Setting, sample: Sample, verdict: Verdict) -> tuple[Any, ...]:
    """The values that `_GRADE` takes."""
    texts = (verdict.outcome, _text(verdict.extracted), _text(verdict.rule))
    return (*texts, setting.id, sample.problem_id, sample.index)


def _inserted(setting: Setting, s: Sample, verdict: Verdict | None) -> tuple[Any, ...]:
    """The values that `_INSERT` takes."""
    v = verdict
    return (
        *(setting.id, s.problem_id, s.index, _text(s.response), s.tokens, s.finish_reason, s.prompt_tokens, s.seed),
        *(_text(s.thinking), _text(s.failure)),
        *((None, None, None) if v is None else (v.outcome, _text(v.extracted), _text(v.rule))),
    )


def _row(row: Sequence[Any]) -> tuple[Sample, Verdict | None]:
    *drawn, outcome, extracted, rule = row
    sample = Sample(*drawn)
    return sample, None if outcome is None else Verdict(outcome, extracted, rule=rule)
