"""The store's SQLite file: schema, version, opening it, and errors that name the file and say what to do."""

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, get_args

from simko.evaluate.filesystem import is_network
from simko.records import Outcome

logger = logging.getLogger("simko")

VERSION = 3
"""The schema's version, as PRAGMA user_version. Version 2 added a rule to samples, 3 thinking and failure."""
_ADDED = ("rule", "thinking", "failure")
"""Columns of samples, all texts or NULL, that files of an earlier version lack. A writer adds them."""
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
    response TEXT NOT NULL, rule TEXT, thinking TEXT, failure TEXT, PRIMARY KEY (setting, problem, sample)
);
CREATE INDEX IF NOT EXISTS outcomes ON samples (setting, problem, outcome);
"""
_NO_WAL = (
    "lies where SQLite cannot keep a write-ahead log, such as a network file system: it uses a rollback journal, which "
    "is slower, and readers wait for the writer"
)
_warned: set[Path] = set()
_intact: set[tuple[int, ...]] = set()
_INVALID_ROWS = {
    "settings": "typeof(task) || typeof(name) || typeof(record) || typeof(verifier) || typeof(n) "
    "!= 'texttexttexttextinteger'",
    "problems": "typeof(problem) || typeof(prompt) || typeof(answer) || typeof(metadata) != 'texttexttexttext' "
    "OR typeof(position) != 'integer'",
    "samples": "typeof(sample) || typeof(tokens) || typeof(prompt_tokens) != 'integerintegerinteger' "
    "OR typeof(finish_reason) || typeof(response) != 'texttext' OR typeof(seed) NOT IN ('integer', 'null') "
    "OR typeof(extracted) NOT IN ('text', 'null') OR typeof({rule}) NOT IN ('text', 'null') "
    "OR typeof({thinking}) NOT IN ('text', 'null') OR typeof({failure}) NOT IN ('text', 'null') "
    f"OR outcome NOT IN {get_args(Outcome)} "
    "OR NOT EXISTS (SELECT 1 FROM problems p WHERE p.setting = samples.setting AND p.problem = samples.problem)",
}
"""{table: a condition that no row written by a store meets}."""


def open_writer(path: Path) -> sqlite3.Connection:
    """A connection to the file, which is created if it does not exist.

    ValueError if it is not a store of this version, OSError if it cannot be written.
    """
    with explain_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, timeout=60, factory=_connection(path))
        try:
            version = _check_version(path, db)
            mode = "DELETE" if is_network(path.parent) else "WAL"
            (actual,) = db.execute(f"PRAGMA journal_mode={mode}").fetchone()
            if actual.upper() != "WAL" and path not in _warned:
                _warned.add(path)
                logger.warning("%s %s", path, _NO_WAL)
            db.execute("PRAGMA synchronous=FULL")
            if version != VERSION:
                added = (f"ALTER TABLE samples ADD COLUMN {name} TEXT;" for name in _lacking(_columns(db)))
                db.executescript(f"BEGIN; {_SCHEMA} {' '.join(added)} PRAGMA user_version = {VERSION}; COMMIT;")
        except BaseException:  # an interrupt too closes the connection
            db.close()
            raise
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection, even in a read-only directory. ValueError as in `open_writer`.

    A store whose writer has not made its tables yet is read as one without samples.
    """
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
    return _read(path, f"{uri}?immutable=1")  # a cleanly closed file in a read-only directory


def _read(path: Path, uri: str) -> sqlite3.Connection:
    with explain_errors(path):
        db = sqlite3.connect(uri, uri=True, timeout=60, factory=_connection(path))
        try:
            _check_version(path, db)
            columns = _columns(db)
            if not columns["settings"]:
                if db.execute("SELECT 1 FROM sqlite_master").fetchone():
                    raise ValueError(f"{path} is no store of samples: choose another file")
                db.executescript(
                    _SCHEMA.replace("CREATE TABLE", "CREATE TEMP TABLE").replace("outcomes", "temp.outcomes")
                )
            if lacking := _lacking(columns):  # the file may not change: the view stands before the table of its name
                nulls = ", ".join(f"NULL AS {name}" for name in lacking)
                db.execute(f"CREATE TEMP VIEW samples AS SELECT *, {nulls} FROM main.samples")
        except BaseException:  # an interrupt too closes the connection
            db.close()
            raise
    return db


@contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Raises SQLite's errors about the file, the disk or another process with the file's name and what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _explanation(path, error) from error


def _explanation(path: Path, error: sqlite3.DatabaseError) -> Exception:
    """The explained error, or the error itself if it is about neither the file, the disk nor another process."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None and "decode" in str(error):  # raised by the module: text that is not UTF-8
        code = sqlite3.SQLITE_CORRUPT
    if code == sqlite3.SQLITE_ERROR and str(error) == "unsupported file format":
        code = sqlite3.SQLITE_NOTADB
    if code is None or code & 0xFF not in _EXPLANATIONS:
        return error
    kind, text = _EXPLANATIONS[code & 0xFF]
    return kind(text.format(path=path, error=error))


_FULL = "{path} could not be written ({error}): what it held before is intact; make room and run the same command again"
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


def damage_error(path: Path, error: Exception | str) -> ValueError:
    """The error for a file that SQLite reads but that does not hold what simko wrote."""
    return ValueError(_EXPLANATIONS[sqlite3.SQLITE_CORRUPT][1].format(path=path, error=error))


def _check_version(path: Path, db: sqlite3.Connection) -> int:
    """The schema's version, 0 for a new file. ValueError for another version than this code's."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise ValueError(
            f"{path} was written by a newer version of simko (schema {version}, this one knows {VERSION}): upgrade simko"
        )
    there, expected = _columns(db), _expected()
    lacking = _lacking(there)
    allowed = {name: columns - (set(lacking) if version < VERSION else set()) for name, columns in expected.items()}
    if any(there.values()) and there != allowed:
        raise ValueError(
            f"{path} was written by an older version of simko, or is no store of samples: choose another directory, or "
            "open it with the version that wrote it"
        )
    if not any(there.values()):
        return 0
    _check_intact(path, db, {name: "NULL" if name in lacking else name for name in _ADDED})
    return version


def _lacking(columns: dict[str, set[str]]) -> list[str]:
    """The columns that samples of an earlier version lack; none if there are no samples."""
    return [name for name in _ADDED if columns["samples"] and name not in columns["samples"]]


def _check_intact(path: Path, db: sqlite3.Connection, added: dict[str, str]) -> None:
    """ValueError for a file with lost pages, an index that contradicts the rows, or rows that no store writes.

    added: {name in _ADDED: the samples' column of that name, or NULL before there was one}.

    An unchanged file is checked once. The check takes half a second for 250 MB.
    """
    stat = path.stat()
    state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if state in _intact:
        return
    (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise damage_error(path, found)
    for table, condition in _INVALID_ROWS.items():
        if db.execute(f"SELECT 1 FROM {table} WHERE {condition.format(**added)} LIMIT 1").fetchone():
            raise damage_error(path, f"{table} holds rows that simko did not write")
    _intact.add(state)


@cache
def _expected() -> dict[str, set[str]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_SCHEMA)
        return _columns(db)


def _columns(db: sqlite3.Connection) -> dict[str, set[str]]:
    tables = ("settings", "problems", "samples")
    return {table: {row[1] for row in db.execute(f"PRAGMA table_info({table})")} for table in tables}


def _connection(path: Path) -> type[sqlite3.Connection]:
    """A connection class whose statements and rows raise explained errors."""

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def explaining(*args: Any) -> Any:
            try:
                return method(*args)
            except sqlite3.DatabaseError as error:  # not explain_errors, which costs more than reading a row
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
