"""Forms of the same rows for `simko grade`: other cases and names of columns, and numbers as pandas writes them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kinds import write_rows
from test_grade import C_OF_FLAT, FLAT, counts, grade, kept, refusal

from simko.cli.main import main
from simko.evaluate import SampleStore

DRAW = {"model": "m", "temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": 3, "tokens": 7, "finish_reason": "length"}


@pytest.mark.parametrize("named", [str.upper, str.title, "sampling.{}".format])
def test_what_is_said_of_the_draw_is_read_under_any_name(named: Callable[[str], str], tmp_path: Path) -> None:
    draw = {named(key): value for key, value in DRAW.items()}
    names = ",".join(f"{key}={named(key)}" for key in DRAW)
    if "sampling.model" in draw:
        draw = {"sampling": DRAW}
    rows = write_rows(tmp_path / "mine.jsonl", [row | draw for row in FLAT])
    assert grade(rows, "--out", tmp_path / "run", *(["--columns", names] if "sampling" in draw else [])) == 0
    ((setting, _, samples),) = kept(tmp_path / "run")
    assert setting.name == "T=0.5"
    assert {key: setting.record[key] for key in ("model", "top_p", "top_k")} == {"model": "m", "top_p": 0.9, "top_k": 5}
    assert {(s.seed, s.tokens, s.finish_reason) for s, _ in samples} == {(3, 7, "length")}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_whole_numbers_as_pandas_writes_them_beside_an_empty_cell(suffix: str, tmp_path: Path) -> None:
    import pandas

    frame = pandas.DataFrame([row | {"seed": i, "tokens": 3} if i else row for i, row in enumerate(FLAT)])
    path = tmp_path / f"mine{suffix}"
    write: dict[str, Callable[[], object]] = {
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        ".csv": lambda: frame.to_csv(path, index=False),
        ".parquet": lambda: frame.to_parquet(path),
    }
    write[suffix]()
    assert grade(path, "--out", tmp_path / "run") == 0
    ((_, _, samples),) = kept(tmp_path / "run")
    assert sorted((-1 if s.seed is None else s.seed, s.tokens) for s, _ in samples) == [
        (-1, 0),
        *((i, 3) for i in range(1, len(FLAT))),
    ]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"ID": "a", "C": 3, "N": 8}, None),
        ({"problem_id": "a", "c": 3.0, "n": 8.0}, None),
        ({"uid": "a", "right": {"count": 3}, "drawn": 8}, "id=uid,c=right.count,n=drawn"),
    ],
)
def test_counts_under_any_name(row: dict[str, Any], names: str | None, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "counts.jsonl", [row])
    assert grade(path, "--out", tmp_path / "run", *(["--columns", names] if names else []), verifier=None) == 0
    with SampleStore(tmp_path / "run" / "samples.db", read_only=True) as store:
        assert store.counts(store.settings()[0]) == {"a": (8, 3)}
