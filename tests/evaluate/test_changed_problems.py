"""Samples belong to a problem's content: what evaluate() keeps, draws and says when rows are corrected, added and removed."""

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.evaluate import SampleStore, Setting
from simko.evaluate.run import digest, evaluate
from simko.records import Problem, Sample
from simko.sampling import SamplingSettings, Wanted
from simko.verifiers import verify_last_integer

PROBLEMS = [Problem(f"{i}", f"{i}+1=", str(i + 1), {"level": i}) for i in range(1, 6)]
N = 3


class Echo:
    """Answers every prompt with the number it starts with and the draw's; keeps what was drawn, by prompt."""

    identity = {"backend": "echo"}  # noqa: RUF012

    def __init__(self) -> None:
        self.drawn: list[tuple[str, int]] = []

    def sample(
        self, problems: Sequence[Problem], wanted: Wanted, settings: SamplingSettings, *, seed: int
    ) -> Iterator[list[Sample]]:
        for p in problems:
            for i in wanted.get(p.id, ()):
                self.drawn.append((p.prompt, i))
                yield [Sample(p.id, i, f"{p.prompt} draw {i} {int(p.prompt.split('+')[0]) + 1}", 2, "stop")]


def run(path: Path, problems: Sequence[Problem], **changes: Any) -> tuple[Setting, list[tuple[str, int]]]:
    """The setting and the draws of one evaluation of `problems`."""
    options = {"task": "sums", "n": N, "revision": digest(problems), "progress": False} | changes
    sampler = Echo()
    with SampleStore(path / "samples.db") as store:
        sampling = options.pop("settings", SamplingSettings(1.0))
        n = options.pop("n")
        return evaluate(store, sampler, problems, verify_last_integer, n, sampling, **options), sampler.drawn


def rows(path: Path, setting: Setting) -> dict[tuple[str, int], tuple[str, str]]:
    """{(problem id, index): (response, outcome)}."""
    with SampleStore(path / "samples.db", read_only=True) as store:
        return {(s.problem_id, s.index): (s.response, v.outcome if v else "none") for s, v in store.rows(setting)}


def stored(path: Path) -> set[str]:
    with closing(sqlite3.connect(path / "samples.db")) as db:
        return {response for (response,) in db.execute("SELECT response FROM samples")}


def numbered(prompts: Sequence[str], answer: int = 1) -> list[Problem]:
    """Problems as from a file without ids: the id is the row's number."""
    return [Problem(str(i), p, str(int(p.split("+")[0]) + answer)) for i, p in enumerate(prompts, start=1)]


def test_a_corrected_answer_is_judged_anew_and_nothing_is_drawn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, PROBLEMS)
    corrected = [replace(p, answer="0") if p.id == "3" else p for p in PROBLEMS]
    setting, drawn = run(tmp_path, corrected)
    assert drawn == []
    with SampleStore(tmp_path / "samples.db", read_only=True) as store:
        assert store.counts(setting) == {p.id: (N, 0 if p.id == "3" else N) for p in PROBLEMS}
        assert store.problems(setting) == corrected
    assert setting.record["problems_sha256"] == setting.record["task_revision"] == digest(corrected)
    (line,) = caplog.messages
    assert "5 kept with their samples (1 ('3') judged anew), 0 dropped, 0 added" in line


def test_removed_and_added_rows_leave_the_others_their_samples(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    setting, _ = run(tmp_path, numbered(["1+", "2+", "3+", "4+"]))
    before = rows(tmp_path, setting)
    setting, drawn = run(tmp_path, numbered(["1+", "3+", "4+", "9+"]))  # rows 3 and 4 get other numbers
    assert drawn == [("9+", i) for i in range(N)]
    after = rows(tmp_path, setting)
    for old, new in (("1", "1"), ("3", "2"), ("4", "3")):
        assert [after[new, i] for i in range(N)] == [before[old, i] for i in range(N)]
    (line,) = caplog.messages
    assert "3 kept with their samples (2 ('2', '3') under a new id), 1 ('2') dropped, 1 ('4') added" in line
    assert "samples.db keeps the samples of what is dropped" in line
    with SampleStore(tmp_path / "samples.db", read_only=True) as store:
        assert store.tally(setting).samples == 4 * N
    assert {f"2+ draw {i} 3" for i in range(N)} < stored(tmp_path)


def test_what_was_dropped_returns_with_its_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, _ = run(tmp_path, PROBLEMS)
    before = rows(tmp_path, whole)
    run(tmp_path, PROBLEMS[2:])
    setting, drawn = run(tmp_path, PROBLEMS)
    assert drawn == []
    assert rows(tmp_path, setting) == before
    assert "2 ('1', '2') back from before" in caplog.messages[-1]
    assert setting == whole
    caplog.clear()
    assert run(tmp_path, PROBLEMS) == (whole, [])
    assert caplog.messages == []


def test_a_file_that_is_only_written_anew_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path, PROBLEMS)
    setting, drawn = run(tmp_path, PROBLEMS, revision="r2")
    assert drawn == []
    assert setting.record["task_revision"] == "r2"
    assert caplog.messages == []


def test_other_problems_and_other_settings_are_still_refused(tmp_path: Path) -> None:
    setting, _ = run(tmp_path, PROBLEMS)
    before = rows(tmp_path, setting)
    with pytest.raises(ValueError, match=r"holds another evaluation of sums at T=1 .*problems_sha256 is"):
        run(tmp_path, [replace(p, prompt=f"7{p.prompt}") for p in PROBLEMS])
    with pytest.raises(ValueError, match=r"\(seed is 0 there and 1 here\)"):
        run(tmp_path, PROBLEMS[1:], seed=1)
    with SampleStore(tmp_path / "samples.db", read_only=True) as store:
        assert store.settings() == [setting]
    assert rows(tmp_path, setting) == before


def test_one_prompt_with_two_answers_is_two_problems(tmp_path: Path) -> None:
    twins = [Problem("a", "1+", "2"), Problem("b", "1+", "3"), Problem("c", "4+", "5")]
    run(tmp_path, twins)
    setting, drawn = run(tmp_path, [replace(twins[1], id="a"), twins[2]])
    assert drawn == []
    with SampleStore(tmp_path / "samples.db", read_only=True) as store:
        assert store.counts(setting) == {"a": (N, 0), "c": (N, N)}


FILES = st.lists(st.lists(st.integers(1, 6), min_size=1, max_size=5, unique=True), min_size=2, max_size=6)


@settings(max_examples=40, deadline=None)
@given(FILES, st.lists(st.integers(1, 2), min_size=6, max_size=6), st.booleans())
def test_any_edits_draw_what_is_new_alone_and_lose_nothing(
    files: list[list[int]], answers: list[int], ids_of_their_own: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, seen, responses = Path(folder), set[str](), set[str]()
        for places, answer in zip(files, answers, strict=False):
            prompts = ["100+", *(f"{place}+" for place in places)]  # one row stays in every version
            problems = numbered(prompts, answer)
            if ids_of_their_own:
                problems = [replace(p, id=p.prompt) for p in problems]
            setting, drawn = run(path, problems)
            assert drawn == [(p, i) for p in prompts if p not in seen for i in range(N)]
            seen |= set(prompts)
            found = rows(path, setting)
            assert set(found) == {(p.id, i) for p in problems for i in range(N)}
            for p in problems:  # every response is to its problem, and every verdict by the present answer
                assert all(found[p.id, i][0].startswith(f"{p.prompt} draw {i} ") for i in range(N))
                assert {found[p.id, i][1] for i in range(N)} == {"correct" if answer == 1 else "wrong"}
            assert responses <= stored(path)
            responses = stored(path)


def test_a_kill_while_the_problems_change_leaves_them_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting, _ = run(tmp_path, PROBLEMS)
    before = rows(tmp_path, setting)
    insert = SampleStore._insert_problems

    def stopping(self: SampleStore, *args: Any) -> None:
        insert(self, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(SampleStore, "_insert_problems", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, PROBLEMS[1:])
    assert rows(tmp_path, setting) == before
    monkeypatch.undo()
    assert run(tmp_path, PROBLEMS) == (setting, [])
