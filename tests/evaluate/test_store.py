"""The sample store: what is acknowledged stays, whatever happens to the process, the disk or the directory."""

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from stores import PROBLEMS, batch, begin

import simko
from simko.evaluate import Answer, SampleStore, only_setting
from simko.evaluate.filesystem import is_network
from simko.records import Verdict

WRITER = """
import sys
from pathlib import Path
from simko.evaluate import SampleStore
from simko.records import Problem, Sample, Verdict
problems = [Problem(f"p{i}", "?", "1") for i in range(3)]
with SampleStore(Path(sys.argv[1])) as store:
    setting = store.begin("t", "T=1", {}, "v", problems, 1_000_000)
    start = min(len(x) and x[0] for x in store.missing(setting, 1_000_000).values())
    for first in range(start, start + 100_000, 4):
        batch = [Sample(p.id, i, "x" * int(sys.argv[2]), 1, "stop") for p in problems for i in range(first, first + 4)]
        store.add(setting, batch)
        print(first, flush=True)
        store.grade(setting, [(s, Verdict("wrong")) for s in batch])
"""

CHECK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
print(*db.execute("PRAGMA integrity_check").fetchone(), *db.execute("SELECT COUNT(*), MAX(sample) FROM samples").fetchone())
"""
SOURCE = Path(simko.__file__).parents[1]


def test_samples_come_back_as_they_were_kept(tmp_path):
    samples = batch(0, 2, response='"\n\0é\U0001f600', finish_reason="length", prompt_tokens=7, seed=2**63 - 1)
    with SampleStore(tmp_path / "s.db") as store:
        setting = begin(store)
        store.add(setting, samples)
        assert [s for s, _ in store.rows(setting)] == samples
        assert {v for _, v in store.rows(setting)} == {None}
        store.grade(setting, [(s, Verdict("correct", "1")) for s in samples[:3]])
        assert list(store.rows(setting, "p1")) == [(samples[2], Verdict("correct", "1")), (samples[3], None)]
        assert store.counts(setting) == {"p0": (2, 2), "p1": (1, 1), "p2": (0, 0)}
        assert store.tally(setting).truncated == 6
        assert store.tally(setting).outcomes == {"correct": 3, "ungraded": 3}
        assert [s for part in store.ungraded(setting) for s in part] == samples[3:]


def test_answers_are_grouped_by_form(tmp_path):
    verdicts = [Verdict("wrong", "2"), Verdict("correct", "1"), Verdict("wrong", "2"), Verdict("unparsed")]
    with SampleStore(tmp_path / "s.db") as store:
        setting = begin(store, problems=PROBLEMS[:1])
        store.add(setting, batch(0, 4)[:4], verdicts)
        assert store.answers(setting) == {"p0": [Answer("2", 2, 0), Answer(None, 1, 0), Answer("1", 1, 1)]}


def test_a_row_is_never_kept_twice_and_a_failed_batch_leaves_nothing(tmp_path):
    with SampleStore(tmp_path / "s.db") as store:
        setting = begin(store)
        store.add(setting, batch(0, 2))
        with pytest.raises(sqlite3.IntegrityError):
            store.add(setting, batch(1, 2))
        assert store.tally(setting).samples == 6
        assert store.missing(setting, 3) == {p.id: (2,) for p in PROBLEMS}
        assert store.missing(setting, 2) == {}


def test_settings_are_apart(tmp_path):
    with SampleStore(tmp_path / "s.db") as store:
        one, two = begin(store), begin(store, name="T=0.5")
        store.add(one, batch(0, 1))
        assert store.counts(two)["p0"] == (0, 0)
        with pytest.raises(ValueError, match="2 settings"):
            only_setting(store)


def test_a_setting_without_samples_binds_to_nothing(tmp_path):
    with SampleStore(tmp_path / "s.db") as store:
        other = begin(store, name="T=2")
        begin(store)
        setting = begin(store, record={"model": "other"}, problems=PROBLEMS[:2], n=2)
        assert store.settings() == [other, setting]
        assert (setting.record, setting.n, store.problems(setting)) == ({"model": "other"}, 2, PROBLEMS[:2])
        assert store.problems(other) == PROBLEMS
        store.add(setting, batch(0, 1)[:1])
        with pytest.raises(ValueError, match="model is 'other' there and 'm' here"):
            begin(store)
        assert store.settings() == [other, setting]


def test_regrading_is_whole_or_not_at_all(tmp_path):
    def failing():
        yield samples[0], Verdict("correct")
        raise KeyError

    samples = batch(0, 1)
    with SampleStore(tmp_path / "s.db") as store:
        setting = begin(store)
        store.add(setting, samples, [Verdict("wrong")] * 3)
        with pytest.raises(KeyError):
            store.regrade(setting, "w", failing())
        assert store.tally(setting).outcomes == {"wrong": 3}
        assert store.settings() == [setting]
        assert store.regrade(setting, "w", [(s, Verdict("correct")) for s in samples]).verifier == "w"
        assert store.tally(setting).outcomes == {"correct": 3}


def test_kill_9_loses_no_acknowledged_row_and_doubles_none(tmp_path):
    rng, path = random.Random(0), tmp_path / "s.db"
    acknowledged = -1
    for _ in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), "3000"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        child.stdout.readline()
        time.sleep(rng.uniform(0, 0.1))
        child.kill()
        last = child.communicate()[0].split()
        acknowledged = int(last[-1]) if last else acknowledged
        with SampleStore(path, read_only=True) as store:
            setting = only_setting(store)
            keys = [(s.problem_id, s.index) for s, _ in store.rows(setting)]
        assert len(set(keys)) == len(keys)
        assert len(keys) % 12 == 0
        assert {(p.id, i) for p in PROBLEMS for i in range(acknowledged + 4)} <= set(keys)
    assert acknowledged > 8


def test_a_full_disk_is_said_and_the_file_stays_whole(tmp_path, bwrap):
    (tmp_path / "writer.py").write_text(WRITER)
    (tmp_path / "check.py").write_text(CHECK)
    sandbox = [bwrap, "--dev-bind", "/", "/", "--size", "3000000", "--tmpfs", "/mnt", "--setenv", "PYTHONPATH"]
    both = f"{sys.executable} {tmp_path}/writer.py /mnt/s.db 3000; {sys.executable} {tmp_path}/check.py /mnt/s.db"
    command = [*sandbox, str(SOURCE), "sh", "-c", both]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "OSError: /mnt/s.db could not be written" in result.stderr
    assert "make room and run the same command again" in result.stderr
    lines = result.stdout.split("\n")
    acknowledged = int(next(line for line in reversed(lines) if line.isdigit()))
    assert lines[-2] == f"ok {3 * (acknowledged + 4)} {acknowledged + 3}"


def test_readers_are_free_while_one_writes_and_change_nothing(tmp_path):
    path = tmp_path / "s.db"
    with SampleStore(path) as writer:
        setting = begin(writer)
        writer.add(setting, batch(0, 1))
        with SampleStore(path, read_only=True) as reader:
            rows = reader.rows(setting)
            next(rows)
            writer.add(setting, batch(1, 1))
            assert len(list(rows)) == 2  # the rows as they were when the reading began
            assert reader.tally(setting).samples == 6
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader.add(setting, batch(2, 1))


@pytest.mark.parametrize("statement", ["SELECT 1", "PRAGMA journal_mode=WAL"])
def test_a_reader_that_comes_before_the_tables_sees_no_samples(tmp_path, statement):
    path = tmp_path / "s.db"
    path.touch()
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute(statement)
        with SampleStore(path, read_only=True) as reader:
            assert reader.settings() == []


def test_a_finished_store_is_read_where_nothing_can_be_written(tmp_path, bwrap):
    folder = tmp_path / "archive"
    with SampleStore(folder / "s.db") as store:
        begin(store)
    before = (folder / "s.db").read_bytes()
    code = "import sys; from pathlib import Path; from simko.evaluate import SampleStore, only_setting\n"
    code += "with SampleStore(Path(sys.argv[1]), read_only=True) as s: print(only_setting(s).task)"
    sandbox = [bwrap, "--dev-bind", "/", "/", "--ro-bind", folder, folder, "--setenv", "PYTHONPATH", SOURCE]
    command = [*sandbox, sys.executable, "-c", code, folder / "s.db"]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert result.stdout == "t\n", result.stderr
    assert (folder / "s.db").read_bytes() == before
    assert {p.name for p in folder.iterdir()} == {"s.db"}


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("/dev/sda / ext4 rw 0 0\nhost:/x /data nfs4 rw 0 0", True),
        ("host:/x / nfs4 rw 0 0\n/dev/sda /data ext4 rw 0 0", False),
        ("/dev/sda / ext4 rw 0 0\nhost:/x /data/run\\040two lustre rw 0 0", False),
        ("/dev/sda / ext4 rw 0 0\nhost:/x /dat nfs rw 0 0", False),
        ("/dev/sda / ext4 rw 0 0\nx /data/runs fuse.sshfs rw 0 0\ny /data/runs tmpfs rw 0 0", False),
    ],
)
def test_network_file_systems_are_known(tmp_path, mounts, expected):
    (tmp_path / "mounts").write_text(mounts)
    assert is_network(Path("/data/runs"), tmp_path / "mounts") is expected
    assert not is_network(Path("/data/runs"), tmp_path / "none")


def test_on_a_network_file_system_a_rollback_journal_is_used_and_said_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("simko.evaluate.database.is_network", lambda directory: True)
    path = tmp_path / "s.db"
    for first in (0, 1):
        with SampleStore(path) as store:
            store.add(begin(store), batch(first, 1))
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert [(r.name, r.levelname) for r in caplog.records] == [("simko", "WARNING")]
    assert "network file system" in caplog.text
