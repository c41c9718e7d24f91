"""The store's SQLite file: its schema and version, how it is opened, and errors that name it and say what to do."""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, get_args

from simko.evaluate.filesystem import is_network
from simko.records import Outcome

VERSION = 1
"""Of the schema, as PRAGMA user_version; files of the first releases have it without saying so (0)."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (
    id INTEGER PRIMARY KEY, task TEXT NOT NULL, name TEXT NOT NULL, record TEXT NOT NULL, verifier TEXT NOT NULL,
    n INTEGER NOT NULL, UNIQUE (task, name)
);
CREATE TABLE IF NOT EXISTS problems (
    setting INTEGER NOT NULL, position INTEGER NOT NULL, problem TEXT NOT NULL, prompt TEXT NOT NULL,
    answer TEXT NOT NULL, metadata TEXT NOT NULL, PRIMARY KEY (setting, problem)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS samples (
    setting INTEGER NOT NULL, problem TEXT NOT NULL, sample INTEGER NOT NULL, tokens INTEGER NOT NULL,
    finish_reason TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, seed INTEGER, outcome TEXT, extracted TEXT,
    response TEXT NOT NULL, PRIMARY KEY (setting, problem, sample)
);
CREATE INDEX IF NOT EXISTS outcomes ON samples (setting, problem, outcome);
"""
_NO_WAL = (
    "lies where SQLite cannot keep a write-ahead log (a network file system): rows are written through a rollback "
    "journal, which is slower, and readers wait for the writer"
)
_told: set[Path] = set()
_whole: set[tuple[int, ...]] = set()
_FOREIGN = {
    "settings": "typeof(task) || typeof(name) || typeof(record) || typeof(verifier) || typeof(n) "
    "!= 'texttexttexttextinteger'",
    "problems": "typeof(problem) || typeof(prompt) || typeof(answer) || typeof(metadata) != 'texttexttexttext' "
    "OR typeof(position) != 'integer'",
    "samples": "typeof(sample) || typeof(tokens) || typeof(prompt_tokens) != 'integerintegerinteger' "
    "OR typeof(finish_reason) || typeof(response) != 'texttext' OR typeof(seed) NOT IN ('integer', 'null') "
    f"OR typeof(extracted) NOT IN ('text', 'null') OR outcome NOT IN {get_args(Outcome)} "
    "OR NOT EXISTS (SELECT 1 FROM problems p WHERE p.setting = samples.setting AND p.problem = samples.problem)",
}
"""By table, what is true of no row that a store wrote."""


def open_writer(path: Path) -> sqlite3.Connection:
    """The file, made where there is none. ValueError where it is no store of this version, OSError where it cannot be
    written."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, timeout=60, factory=_connection(path))
        try:
            version = _check_version(path, db)
            mode = "DELETE" if is_network(path.parent) else "WAL"
            (taken,) = db.execute(f"PRAGMA journal_mode={mode}").fetchone()
            if taken.upper() != "WAL" and path not in _told:
                _told.add(path)
                print(f"simko: {path} {_NO_WAL}", file=sys.stderr)
            db.execute("PRAGMA synchronous=FULL")
            if version != VERSION:
                db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        except BaseException:
            db.close()
            raise
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, also in a directory that cannot be written. ValueError as for a writer."""
    if not path.is_file():
        raise ValueError(f"{path.parent} holds no samples: it has no {path.name}")
    uri = path.resolve().as_uri()
    try:
        return _read(path, f"{uri}?mode=ro")
    except OSError as error:
        cause = error.__cause__
        unopened = isinstance(cause, sqlite3.Error) and cause.sqlite_errorcode & 0xFF == sqlite3.SQLITE_CANTOPEN
        if not unopened or Path(f"{path}-wal").exists():
            raise
    return _read(path, f"{uri}?immutable=1")  # closed well, in a directory without write access


def _read(path: Path, uri: str) -> sqlite3.Connection:
    with explained(path):
        db = sqlite3.connect(uri, uri=True, timeout=60, factory=_connection(path))
        try:
            _check_version(path, db)
            if not _columns(db)["settings"]:
                raise ValueError(f"{path} holds no evaluation")
        except BaseException:
            db.close()
            raise
    return db


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of SQLite's that are the file's, the disk's or another process's: with the file, and what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _explanation(path, error) from error


def _explanation(path: Path, error: sqlite3.DatabaseError) -> Exception:
    """The error in our words; itself where it is neither the file's, nor the disk's, nor another process's."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None and "decode" in str(error):  # the module's own: text that is no UTF-8
        code = sqlite3.SQLITE_CORRUPT
    if code == sqlite3.SQLITE_ERROR and str(error) == "unsupported file format":
        code = sqlite3.SQLITE_NOTADB
    if code is None or code & 0xFF not in _EXPLANATIONS:
        return error
    kind, text = _EXPLANATIONS[code & 0xFF]
    return kind(text.format(path=path, error=error))


_FULL = "{path} could not be written ({error}): what was kept before is whole; make room and run the same command again"
_EXPLANATIONS: dict[int, tuple[type[Exception], str]] = {
    sqlite3.SQLITE_NOTADB: (ValueError, "{path} is no SQLite file: restore it, or choose another directory"),
    sqlite3.SQLITE_CORRUPT: (
        ValueError,
        "{path} is damaged ({error}): restore a copy, or save the rows that can still be read with "
        "sqlite3 {path} .recover | sqlite3 rescued.db",
    ),
    sqlite3.SQLITE_FULL: (OSError, _FULL),
    sqlite3.SQLITE_IOERR: (OSError, _FULL),
    sqlite3.SQLITE_BUSY: (
        OSError,
        "{path} is held by another process ({error}): wait for it and run the command again",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        OSError,
        "{path} could not be opened ({error}): see that it is a file you may read and write",
    ),
}


def damaged(path: Path, error: Exception | str) -> ValueError:
    """For what a file that is whole to SQLite holds in place of what was kept."""
    return ValueError(_EXPLANATIONS[sqlite3.SQLITE_CORRUPT][1].format(path=path, error=error))


def _check_version(path: Path, db: sqlite3.Connection) -> int:
    """The schema's version, 0 of a new file; ValueError for another than this code's."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise ValueError(
            f"{path} was written by a newer version of simko (schema {version}, this one knows {VERSION}): upgrade simko"
        )
    there, expected = _columns(db), _expected()
    if any(there.values()) and there != expected:
        raise ValueError(
            f"{path} was written by an older version of simko, or is no store of samples: choose another directory, or "
            "open it with the version that wrote it"
        )
    if not any(there.values()):
        return 0
    _check_whole(path, db)
    return version


def _check_whole(path: Path, db: sqlite3.Connection) -> None:
    """ValueError for a file that lost pages, whose index says other than its rows, or which holds what no store does.
    Looked for once as long as the file stays; half a second for 250 MB."""
    stat = path.stat()
    looked_at = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if looked_at in _whole:
        return
    (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise damaged(path, found)
    for table, wrong in _FOREIGN.items():
        if db.execute(f"SELECT 1 FROM {table} WHERE {wrong} LIMIT 1").fetchone():
            raise damaged(path, f"{table} holds what simko has not written")
    _whole.add(looked_at)


@cache
def _expected() -> dict[str, list[str]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_SCHEMA)
        return _columns(db)


def _columns(db: sqlite3.Connection) -> dict[str, list[str]]:
    tables = ("settings", "problems", "samples")
    return {table: [row[1] for row in db.execute(f"PRAGMA table_info({table})")] for table in tables}


def _connection(path: Path) -> type[sqlite3.Connection]:
    """Connections whose every statement and row is `explained`."""

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def explaining(*args: Any) -> Any:
            try:
                return method(*args)
            except sqlite3.DatabaseError as error:  # not `explained`, which would cost more than a row
                raise _explanation(path, error) from error

        return explaining

    class Cursor(sqlite3.Cursor):
        execute = wrapped(sqlite3.Cursor.execute)
        executemany = wrapped(sqlite3.Cursor.executemany)
        executescript = wrapped(sqlite3.Cursor.executescript)
        fetchone = wrapped(sqlite3.Cursor.fetchone)
        fetchall = wrapped(sqlite3.Cursor.fetchall)
        __next__ = wrapped(sqlite3.Cursor.__next__)

    class Connection(sqlite3.Connection):
        def cursor(self, *_: Any) -> sqlite3.Cursor:  # type: ignore[override]
            return super().cursor(Cursor)

        def execute(self, *args: Any) -> sqlite3.Cursor:
            return self.cursor().execute(*args)

        def executemany(self, *args: Any) -> sqlite3.Cursor:
            return self.cursor().executemany(*args)

        def executescript(self, *args: Any) -> sqlite3.Cursor:
            return self.cursor().executescript(*args)

    return Connection
