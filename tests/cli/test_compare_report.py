"""`simko compare` at several temperatures and against a reference, from evaluations that `simko evaluate` made."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kinds import SUMS, write_rows
from test_evaluate import refusal, words

from simko.cli.main import main
from simko.evaluate import SampleStore, paired_difference
from simko.evaluate.intervals import holm


@pytest.fixture(scope="module")
def swept(speaker: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models a, b and c on the same sums, each at temperatures 0.3 and 1."""
    root = tmp_path_factory.mktemp("swept")
    task = [write_rows(root / "sums.jsonl", SUMS), "--verifier", "last_integer"]
    for seed, name in enumerate("abc"):
        assert main(words(speaker(seed), task, root / name, "--temperature", "0.3,1")) == 0
    return root


def counts(run: Path, name: str) -> dict[str, tuple[int, int]]:
    with SampleStore(run / "samples.db", read_only=True) as store:
        return store.counts(next(s for s in store.settings() if s.name == name))


def compared(tmp_path: Path, *given: str) -> list[dict]:
    numbers = tmp_path / "numbers.json"
    assert main(["compare", *given, "--json", str(numbers), "--html", str(tmp_path / "page.html")]) == 0
    return json.loads(numbers.read_text())


@pytest.mark.parametrize("mark", ["@0.3", "@T=0.3", "@0.30"])
def test_different_temperatures_stand_side_by_side(swept: Path, tmp_path: Path, mark: str) -> None:
    (section,) = compared(tmp_path, f"cold={swept}/a{mark}", f"warm={swept}/b@1")
    assert section["setting"] == "cold: T=0.3; warm: T=1"
    expected = paired_difference(counts(swept / "b", "T=1"), counts(swept / "a", "T=0.3"), [1]).points[0]
    assert section["pairs"][0]["difference"]["1"] == [expected.difference, expected.low, expected.high]
    assert "cold: T=0.3; warm: T=1" in (tmp_path / "page.html").read_text()


def test_one_run_is_compared_with_itself_at_another_temperature(swept: Path, tmp_path: Path) -> None:
    (section,) = compared(tmp_path, f"{swept}/a@0.3", f"{swept}/a@1")
    assert list(section["sides"]) == ["a@0.3", "a@1"]


def test_one_temperature_of_all_is_compared_alone(swept: Path, tmp_path: Path) -> None:
    assert [s["setting"] for s in compared(tmp_path, f"a={swept}/a", f"b={swept}/b")] == ["T=0.3", "T=1"]
    assert [s["setting"] for s in compared(tmp_path, f"a={swept}/a@1", f"b={swept}/b@1")] == ["T=1"]


@pytest.mark.parametrize("reference", ["a", "b", "c"])
def test_holm_covers_the_pairs_with_the_reference_alone(swept: Path, tmp_path: Path, reference: str) -> None:
    given = [f"{name}={swept}/{name}@1" for name in "abc"]
    (section,) = compared(tmp_path, *given, "--reference", reference)
    ours = [name for name in "abc" if name != reference]
    assert [(pair["ours"], pair["other"]) for pair in section["pairs"]] == [(name, reference) for name in ours]
    theirs = counts(swept / reference, "T=1")
    raw = [paired_difference(counts(swept / name, "T=1"), theirs, [2]).points[0].p for name in ours]
    assert [pair["p_holm"] for pair in section["pairs"]] == pytest.approx(list(holm(np.array(raw))))
    assert len(compared(tmp_path, *given)[0]["pairs"]) == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["x={}/a@0.4", "y={}/b@1"], "has nothing at @0.4: it holds sums at T=0.3, sums at T=1"),
        (["x={}/a@hot", "y={}/b@1"], "'hot' is no temperature and no step; write RUN@0.6"),
        (["x={}/a@step=2", "y={}/b"], "has nothing at @step=2: it holds sums at T=0.3, sums at T=1"),
        (["x={}/a@0.3", "y={}/b"], "holds sums at T=0.3, T=1: write RUN@0.6 for a temperature"),
        (["x={}/a@0.3,{}/b@1", "y={}/c@1"], "x mixes T=0.3 and T=1"),
        (["x={}/a@1", "y={}/a@1.0"], "given twice"),
        (["x={}/none@1", "y={}/a@1"], "there is no file or folder"),
        (["x={}/a", "y={}/b", "--reference", "z"], "--reference z is none of the names compared: x, y"),
        (["{}/a@", "y={}/b"], "'' is no temperature and no step"),
    ],
)
def test_what_is_not_there_is_one_line(
    swept: Path, capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    assert said in refusal(["compare", *(word.replace("{}", str(swept)) for word in given)], capsys)


def test_a_directory_whose_name_holds_the_signs_is_itself(swept: Path, tmp_path: Path) -> None:
    for name in ("a@0.3", "lr=1e-6", "x=y@step=2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "samples.db").write_bytes((swept / "a" / "samples.db").read_bytes())
        sections = compared(tmp_path, str(tmp_path / name), f"other={swept}/b")
        assert list(sections[0]["sides"]) == [name, "other"]


def test_one_temperature_of_a_run_is_reported(swept: Path, tmp_path: Path) -> None:
    assert main(["report", f"{swept}/a@0.3", "--to", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "sums at T=0.3" in page
    assert "sums at T=1" not in page
