"""What is wrong in a protocol, in a study's directory or in the command's words is said, and never computed with."""

import copy
import math
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml
from head_to_head_rows import finals
from tiny_protocol import TINY

from simko.cli.main import main
from simko.report.document import as_markdown
from simko.studies.head_to_head import run as runner
from simko.studies.head_to_head.cells import Cell, all_cells
from simko.studies.head_to_head.page import document
from simko.studies.head_to_head.protocol import read_protocol
from simko.studies.head_to_head.run import Kept, attempt, run_cells

SMALL = TINY | {
    "title": "Small",
    "tasks": {"operator_puzzle": {"warm_start": {"layers": 1, "hidden": 16, "heads": 2, "steps": 5, "batch": 8}}},
    "learning_rates": [2.0e-4, 1.0e-4],
    "methods": {"mine": {"row": "grpo"}},
    "sensitivity": TINY["sensitivity"] | {"methods": ["mine"], "options": {"clip_low": [0.1, 0.2]}},
}
NAMES = [("sensitivity", "tasks", 0), ("sensitivity", "methods", 0)]
COUNTS = [(a, b) for a in ("training", "problems", "evaluation") for b in SMALL[a]] + [("evaluated_after", 0)]
SEEDS = [("tuning_seed",), ("final_seeds", 0), ("sensitivity", "seeds", 0)]
RATES = [("temperatures", 0), ("learning_rates", 0)]


def written(tmp_path, content):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def changed(place, value):
    content = copy.deepcopy(SMALL)
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return content


def test_the_small_protocol_is_right(tmp_path):
    assert list(all_cells(read_protocol(written(tmp_path, SMALL)), []))


@pytest.mark.parametrize("place", NAMES + COUNTS + SEEDS + RATES, ids=str)
def test_a_value_of_another_kind_is_refused_before_anything_runs(tmp_path, place):
    values = [None, "x", "1e-4", -1, True, [], {}, [1, 1], float("nan"), float("inf")]
    values += [] if place in RATES else [1.5]
    values += [] if place in SEEDS else [0]
    for value in values:
        with pytest.raises(ValueError, match=r"small\.yaml"):
            read_protocol(written(tmp_path, changed(place, value)))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("final_seeds",), [1, 1]),
        (("learning_rates",), [1.0e-4, 1.0e-4]),
        (("learning_rates",), []),
        (("temperatures",), [1.0, 1]),
        (("evaluated_after",), []),
        (("evaluated_after",), [2, 1, 2]),
        (("evaluated_after",), [3, 2]),
        (("problems", "train"), 3),
        (("problems",), {"train": 50, "test": 6}),
        (("evaluation",), {"validation_samples": 4}),
        (("sensitivity",), {}),
        (("sensitivity",), None),
        (("sensitivity", "seeds"), [1, 1]),
        (("sensitivity", "options"), {"clip_low": [0.1, 0.1]}),
        (("sensitivity", "options"), {"alpha": [0.1]}),
        (("sensitivity", "options"), {"clip_low": ["x"]}),
        (("methods", "mine", "settings"), [{}, {"clip_low": 0.2}]),
    ],
)
def test_what_would_run_twice_or_never_is_refused(tmp_path, place, value):
    with pytest.raises(ValueError, match=r"small\.yaml"):
        read_protocol(written(tmp_path, changed(place, value)))


@pytest.mark.parametrize(
    "words", [["--minutes", "nan"], *([f"--{x}", ""] for x in ("stage", "task", "method", "seed"))]
)
def test_words_that_choose_nothing_are_refused(tmp_path, capsys, words):
    path = written(tmp_path, SMALL | {"tasks": {}, "sensitivity": SMALL["sensitivity"] | {"tasks": []}})
    assert main(["study", "run", str(path), "--out", str(tmp_path / "o"), *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "o").exists()


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return read_protocol(written(tmp_path, SMALL))


def test_a_method_that_trains_another_row_takes_no_runs_of_the_first(small, tmp_path):
    """maxrl has grpo's options, so that the names of its cells are the same."""
    out = tmp_path / "out"
    kept = Kept(small, out)
    kept.name_rows(small)
    for cell in all_cells(small, []):
        kept.keep(cell.name, attempt(small, cell, out, math.inf))
    other = read_protocol(written(tmp_path, changed(("methods", "mine", "row"), "maxrl")))
    assert {c.name for c in all_cells(small, [])} == {c.name for c in all_cells(other, [])}
    with pytest.raises(ValueError, match="runs of mine as grpo, not as maxrl"):
        Kept(other, out)
    Kept(small, out).collect(out / "rows.parquet")
    with pytest.raises(ValueError, match="runs of mine as grpo, not as maxrl"):
        run_cells(other, out, 1)
    more = read_protocol(written(tmp_path, changed(("methods", "other"), {"row": "maxrl"})))
    assert Kept(more, out).done == Kept(small, out).done


@pytest.mark.parametrize("text", ["{}", '{"row": []}'])
def test_a_file_that_holds_no_cell_is_named(small, tmp_path, capsys, text):
    path = tmp_path / "out" / "cells" / "base" / "x.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert main(["study", "status", str(tmp_path / "small.yaml"), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line


@pytest.mark.parametrize(
    "said",
    ["[enforce fail at alloc_cpu.cpp:118] can't allocate memory", "CUDA out of memory", "PytorchStreamWriter failed"],
)
def test_a_machine_that_fails_is_no_failure_of_the_method(small, tmp_path, monkeypatch, said):
    def broken(*_):
        raise RuntimeError(said)

    monkeypatch.setattr(runner, "run_cell", broken)
    with pytest.raises(RuntimeError, match=re.escape(said)):
        attempt(small, Cell("base", "operator_puzzle", "base", "{}", 0), tmp_path, 1.0)


def test_the_page_names_the_cells_that_failed():
    protocol = {"title": "T", "tasks": {"sums": {}}, "methods": {"grpo": {}, "simko": {}}}
    page = document(
        finals(methods=("grpo", "simko"), problems=24), protocol, {"final/sums/simko/1/seed4": "non-finite <"}
    )
    assert "Failed, and in no table: final/sums/simko/1/seed4: non-finite &lt;" in as_markdown(page.blocks)


@pytest.mark.slow
def test_a_killed_study_leaves_no_worker(small, tmp_path):
    words = [
        sys.executable,
        "-m",
        "simko.cli",
        "study",
        "run",
        str(tmp_path / "small.yaml"),
        "--out",
        str(tmp_path / "o"),
    ]
    with subprocess.Popen([*words, "--workers", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as study:
        workers, until = [], time.monotonic() + 60
        while not workers and time.monotonic() < until:
            time.sleep(0.05)
            children = psutil.Process(study.pid).children()
            workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        os.kill(study.pid, signal.SIGKILL)
    assert workers
    _, alive = psutil.wait_procs(workers, timeout=60)  # it imports first
    for worker in alive:
        worker.kill()
    assert not alive


def test_what_is_no_protocol_is_refused(tmp_path):
    for text in ("", "[1, 2]", "a: [", "\x00"):
        (tmp_path / "p.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"p\.yaml"):
            read_protocol(tmp_path / "p.yaml")
