"""A store that is damaged, of another version, held or no store is said so; it never gives other numbers."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from stores import batch, begin

from simko.evaluate import SampleStore, only_setting
from simko.evaluate.database import VERSION
from simko.records import Problem, Sample, Verdict


def test_files_that_are_no_store_are_refused(tmp_path):
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at" * 20)
    for read_only in (False, True):
        with pytest.raises(ValueError, match="no SQLite file"):
            SampleStore(tmp_path / "text.db", read_only=read_only)
    with pytest.raises(ValueError, match="holds no samples"):
        SampleStore(tmp_path / "none.db", read_only=True)
    old = sqlite3.connect(tmp_path / "old.db")
    old.execute("CREATE TABLE samples (problem_id TEXT, sample INTEGER)")
    old.close()
    with pytest.raises(ValueError, match="older version"):
        SampleStore(tmp_path / "old.db")
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("CREATE TABLE photos (name TEXT)")
    with pytest.raises(ValueError, match=r"other\.db is no store of samples"):
        SampleStore(tmp_path / "other.db", read_only=True)


def versioned(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {version}")


def test_the_schema_has_a_version_and_another_is_told_so(tmp_path):
    path = tmp_path / "s.db"
    with SampleStore(path) as store:
        store.add(begin(store), batch(0, 1))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
    versioned(path, 0)
    for read_only in (True, False):
        with SampleStore(path, read_only=read_only) as store:
            assert store.tally(only_setting(store)).samples == 3
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,), "a writer says it"
    versioned(path, VERSION + 1)
    for read_only in (True, False):
        with pytest.raises(
            ValueError, match=rf"s\.db was written by a newer version of simko \(schema {VERSION + 1}, .*upgrade"
        ):
            SampleStore(path, read_only=read_only)


@pytest.mark.parametrize(
    ("version", "lacking"),
    [(0, ("rule", "thinking", "failure")), (1, ("rule", "thinking", "failure")), (2, ("thinking", "failure"))],
)
def test_a_store_of_an_earlier_version_is_read_and_continued(tmp_path, version, lacking):
    path = tmp_path / "s.db"
    with SampleStore(path) as store:
        store.add(begin(store), batch(0, 1), [Verdict("correct", "1")] * 3)
    with closing(sqlite3.connect(path)) as db, db:
        for column in lacking:
            db.execute(f"ALTER TABLE samples DROP COLUMN {column}")
    versioned(path, version)
    before = path.read_bytes()
    with SampleStore(path, read_only=True) as store:
        setting = only_setting(store)
        assert [verdict for _, verdict in store.rows(setting)] == [Verdict("correct", "1")] * 3
        assert store.first(setting, "correct") is not None
        assert store.answers(setting)["p0"][0].form == "1"
    assert path.read_bytes() == before, "a reader changes nothing"
    boxed = Verdict("wrong", "2", rule="box")
    with SampleStore(path) as store:
        setting = begin(store)
        store.add(setting, batch(1, 1, thinking="hm"), [boxed] * 3)
        store.regrade(setting, "v", [(sample, boxed) for sample, _ in store.rows(setting, "p0")])
    with SampleStore(path, read_only=True) as store:
        verdicts = [verdict for _, verdict in store.rows(only_setting(store))]
        assert verdicts == [boxed, boxed] + [Verdict("correct", "1"), boxed] * 2
        assert store.first(only_setting(store), "wrong")[1] == boxed
        assert [sample.thinking for sample, _ in store.rows(only_setting(store))] == [None, "hm"] * 3


@pytest.mark.parametrize(
    "statement", ["DROP TABLE problems", "ALTER TABLE samples DROP COLUMN seed", "ALTER TABLE settings ADD x"]
)
def test_a_store_of_another_schema_is_refused(tmp_path, statement):
    path = tmp_path / "s.db"
    with SampleStore(path) as store:
        begin(store)
    versioned(path, 0)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)
    before = path.read_bytes()
    for read_only in (True, False):
        with pytest.raises(ValueError, match=r"s\.db was written by an older version of simko"):
            SampleStore(path, read_only=read_only)
    assert path.read_bytes() == before


def read_all(path: Path) -> None:
    with SampleStore(path, read_only=True) as store:
        for setting in store.settings():
            store.problems(setting)
            list(store.rows(setting))
            store.counts(setting), store.tally(setting), store.answers(setting), store.errors(setting)
            store.missing(setting, 200)
            store.first(setting, "wrong")
            list(store.ungraded(setting))


def write_all(path: Path) -> None:
    with SampleStore(path) as store:
        for setting in store.settings():
            begin(store, n=setting.n)
            samples = [sample for sample, _ in store.rows(setting)]
            store.regrade(setting, "w", [(sample, Verdict("correct", "another answer")) for sample in samples])
            store.add(setting, batch(500, 5, response="x" * 300))


@pytest.mark.parametrize("damage", [bytes(4096), b"\xff" * 4096, b"\x05\x80" * 2048], ids=["zeros", "ones", "noise"])
def test_a_damaged_page_is_said_with_the_file_and_what_to_do(tmp_path, damage):
    with SampleStore(tmp_path / "whole.db") as store:
        setting = begin(store)
        samples = batch(0, 100, response="x" * 300)
        store.add(setting, samples)
        store.grade(setting, [(sample, Verdict("wrong", "y" * 100)) for sample in samples[10:]])
    whole, path, said = (tmp_path / "whole.db").read_bytes(), tmp_path / "s.db", []
    for page in range(0, len(whole), 4096):
        for use in (read_all, write_all):
            path.write_bytes(whole[:page] + damage + whole[page + 4096 :])
            try:
                use(path)
            except ValueError as error:
                said.append(str(error))
            for left in tmp_path.glob("s.db-*"):
                left.unlink()
    assert len(said) > len(whole) / 4096, "most pages are needed by either use"
    for text in said:
        assert str(path) in text
        assert any(cause in text for cause in ("is damaged", "is no SQLite file", "older version"))


@pytest.mark.parametrize("column", ["record", "verifier"])
def test_text_that_was_damaged_is_said_too(tmp_path, column):
    path = tmp_path / "s.db"
    with SampleStore(path) as store:
        begin(store)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE settings SET {column} = CAST(x'7bff80' AS TEXT)")
    with pytest.raises(ValueError, match=r"s\.db is damaged"), SampleStore(path, read_only=True) as store:
        store.settings()


def test_a_place_where_no_store_can_be_is_said(tmp_path):
    (tmp_path / "s.db").mkdir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "s.db", tmp_path / "file" / "s.db"):
        with pytest.raises(OSError, match=str(tmp_path)):
            SampleStore(path)


def test_a_store_that_another_process_holds_is_said(tmp_path, monkeypatch):
    path = tmp_path / "s.db"
    with SampleStore(path) as store:
        setting = begin(store)
        with closing(sqlite3.connect(path)) as other:
            other.execute("BEGIN IMMEDIATE")
            store._db.execute("PRAGMA busy_timeout = 50")
            with pytest.raises(OSError, match=r"s\.db is held by another process"):
                store.add(setting, batch(0, 1))


def kept(path: Path) -> list[object]:
    """All that a store says."""
    with SampleStore(path, read_only=True) as store:
        asked = (store.problems, store.counts, store.errors, store.tally, store.answers, lambda s: list(store.rows(s)))
        return [[setting, *(ask(setting) for ask in asked)] for setting in store.settings()]


def test_a_file_that_was_cut_or_blanked_never_gives_other_numbers(tmp_path):
    path = tmp_path / "s.db"
    with SampleStore(path) as store:
        setting = begin(store)
        store.add(setting, batch(0, 100, response="r" * 40), [Verdict("correct", "1"), Verdict("wrong", "2")] * 150)
    whole, before = path.read_bytes(), kept(path)
    cuts = [whole[:end] for end in range(100, len(whole), 997)]
    blanks = [whole[:i] + bytes(512) + whole[i + 512 :] for i in range(0, len(whole), 512)]
    for number, content in enumerate([*cuts, *blanks]):
        damaged = tmp_path / f"{number}.db"
        damaged.write_bytes(content)
        try:
            found = kept(damaged)
        except ValueError as error:
            found = str(error)
        assert found == before or str(damaged) in found


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM problems WHERE problem = 'p1'",
        "UPDATE settings SET n = 'many'",
        "UPDATE settings SET record = '3'",
        "UPDATE problems SET metadata = 'null'",
        "UPDATE samples SET outcome = 'Correct' WHERE sample = 1",
        "UPDATE samples SET tokens = 'x' WHERE sample = 1",
        "UPDATE samples SET seed = 0.5",
        "UPDATE samples SET response = x'00ff' WHERE sample = 1",
    ],
)
def test_rows_that_no_store_wrote_are_said(tmp_path, statement):
    path = tmp_path / "s.db"
    with SampleStore(path) as store:
        store.add(begin(store), batch(0, 2), [Verdict("wrong")] * 6)
    assert kept(path)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)
    with pytest.raises(ValueError, match=r"s\.db is damaged"):
        kept(path)


def test_what_a_store_may_hold_is_not_taken_for_damage(tmp_path):
    path = tmp_path / "s.db"
    odd = [Problem("⟨é⟩\0", "p" * 10**5, "", {"x": float("nan"), "y": None})]
    with SampleStore(path) as store:
        for number, name in enumerate(("T=1", "T=0.5")):
            setting = begin(store, name=name, problems=odd, record={"t": float("inf")})
            samples = [Sample(odd[0].id, i, "", 0, "stop", seed=(None, -1)[number]) for i in range(3)]
            store.add(setting, samples[:2], [Verdict("error"), Verdict("unparsed", "\0")])
            store.add(setting, samples[2:])
    assert len(kept(path)) == 2
    with SampleStore(path):
        pass
