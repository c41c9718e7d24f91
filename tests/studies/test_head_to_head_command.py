"""`simko study`: what it refuses, from a run to its page, and stopping in time."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_protocol import TINY

from simko.cli.main import main
from simko.studies.head_to_head import run as runner
from simko.studies.head_to_head.cells import run_cell
from simko.studies.head_to_head.protocol import read_protocol
from simko.studies.head_to_head.rows import read_rows
from simko.studies.head_to_head.run import Kept, run_cells

WRONG_WORDS = [
    ["--task", "x"], ["--method", "y"], ["--stage", "tune"], ["--seed", "7"], ["--workers", "0"], ["--minutes", "0"],
]  # fmt: skip


@pytest.mark.parametrize("words", WRONG_WORDS)
def test_the_command_refuses_in_one_line(protocol, tmp_path, capsys, words):
    assert main(["study", "run", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "o"), *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"training": TINY["training"] | {"responses": 8}},
        {"evaluated_after": [2]},
        {"tasks": {"countdown": {"warm_start": {}}}, "sensitivity": TINY["sensitivity"] | {"tasks": ["countdown"]}},
    ],
)
def test_rows_of_another_protocol_are_never_mixed(protocol, tmp_path, here, capsys, change):
    kept = run_cells(protocol, tmp_path / "out", 1, lambda cell: cell.stage == "base")
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(TINY | change))
    words = [str(tmp_path / "other.yaml"), "--out", str(tmp_path / "out")]
    for action in ("run", "status", "report"):
        assert main(["study", action, *words]) == 2
        assert "base/operator_puzzle" in capsys.readouterr().err
    kept.collect(tmp_path / "elsewhere" / "rows.parquet")
    with pytest.raises(ValueError, match="of another protocol"):
        Kept(read_protocol(tmp_path / "other.yaml"), tmp_path / "elsewhere")


@pytest.mark.slow
def test_the_command_from_run_to_page(protocol, tmp_path, capsys):
    words = [str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "out"), "--method", "grpo", "--seed", "9,1"]
    command = [sys.executable, "-m", "simko.cli", "study", "run", *words, "--workers", "2"]
    subprocess.run(command, check=True, capture_output=True)
    assert main(["study", "status", *words]) == 0
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert not [path for path in (tmp_path / "out" / "unfinished").rglob("*") if path.is_file()]
    assert said == [f"{stage} operator_puzzle {n} of {n}" for stage, n in (("base", 1), ("tuning", 3), ("final", 1))]
    assert main(["study", "report", *words[:3], "--markdown", str(tmp_path / "page.md"), "--figures", "svg"]) == 0
    *printed, last = capsys.readouterr().out.splitlines()
    printed = [Path(line) for line in printed]
    drawn = list((tmp_path / "out" / "report-figures").glob("*.svg"))
    assert drawn
    assert last == f"{len(drawn)} figures in {tmp_path / 'out' / 'report-figures'}"
    assert printed == [tmp_path / "out" / "rows.parquet", tmp_path / "out" / "report.html", tmp_path / "page.md"]
    assert {row.method for row in read_rows(printed[0])} == {"base", "grpo"}
    assert "<svg" in printed[1].read_text(encoding="utf-8")


def test_the_command_stops_in_time_and_goes_on(protocol, tmp_path, here, monkeypatch):
    words = ["study", "run", str(tmp_path / "tiny.yaml"), "--out", str(tmp_path / "out"), "--stage", "base"]
    assert main([*words, "--minutes", "1e-9"]) == 0  # too little to begin
    assert not Kept(protocol, tmp_path / "out").done

    def stopped(*args):
        return run_cell(*args[:3], stop_at=0)

    monkeypatch.setattr(runner, "run_cell", stopped)  # after every evaluation
    assert main([*words, "--minutes", "10", "--workers", "1"]) == 0
    assert len(Kept(protocol, tmp_path / "out").rows) == 4
    assert not list((tmp_path / "out" / "unfinished").rglob("*.json"))
