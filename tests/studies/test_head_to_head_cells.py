"""The protocol, and the cells of the study as they run."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tiny_protocol import TINY

from simko.studies import loop
from simko.studies.head_to_head import cells
from simko.studies.head_to_head import run as runner
from simko.studies.head_to_head.cells import Cell, all_cells, cell_of, problems_of, run_cell
from simko.studies.head_to_head.measure import measure
from simko.studies.head_to_head.protocol import SHIPPED, read_protocol
from simko.studies.head_to_head.rows import parsed_row, read_rows
from simko.studies.head_to_head.run import Kept, run_cells
from simko.studies.loop import update


def rows_of(protocol, cell):
    with tempfile.TemporaryDirectory() as beside:
        return [parsed_row(row) for row in run_cell(protocol, cell, Path(beside))]


def without_seconds(rows):
    return [repr(replace(row, seconds=0.0)) for row in rows]


def test_the_shipped_protocol_is_whole():
    protocol = read_protocol(SHIPPED)
    budget = len(protocol.learning_rates)
    assert len(protocol.final_seeds) >= 5
    for task in protocol.tasks:
        splits = problems_of(protocol, task)
        assert {name: len(problems) for name, problems in splits.items()} == dict(protocol.problems)
        prompts = [{p.prompt for p in problems} for problems in splits.values()]
        assert not set.intersection(*prompts[:2])
        assert len(set.union(*prompts)) == sum(protocol.problems.values())
    tuned = [name for name, m in protocol.methods.items() if m.learning_rate_of is None]
    assert len(tuned) >= 14
    assert budget == 5


@pytest.mark.parametrize("path", sorted(SHIPPED.parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_protocol_can_be_read(path):
    protocol = read_protocol(path)
    assert {"grpo", "simko"} <= set(protocol.methods)
    assert len(protocol.final_seeds) >= 3
    assert max(len(m.settings) for m in protocol.methods.values()) <= len(protocol.learning_rates)


def test_a_task_may_be_files_and_its_base_a_folder(tmp_path, tiny_base, here):
    for split, prompts in (
        ("train", ("6 6 5 4 1 = 10", "1 2 3 4 5 = 15")),
        ("test", ("9 9 9 1 1 = 9", "1 1 1 1 1 = 5")),
    ):
        rows = [json.dumps({"problem": prompt, "answer": "1"}) for prompt in prompts]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows))
    files = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "test")}
    task = {
        "pretrained": {"model": str(tiny_base)},
        "max_new_tokens": 5,
        "precision": "bfloat16",
        "problems": files | {"verifier": "last_integer", "template": "{problem}"},
    }
    changes = {"tasks": {"sums": task}, "problems": {"train": 2, "validation": 1, "test": 1}}
    changes |= {"training": TINY["training"] | {"problems": 2}, "sensitivity": TINY["sensitivity"] | {"tasks": []}}
    (tmp_path / "files.yaml").write_text(yaml.safe_dump(TINY | changes))
    protocol = read_protocol(tmp_path / "files.yaml")
    wanted = {("base", "base"), ("tuning", "nsr")}
    kept = run_cells(protocol, tmp_path / "out", 1, lambda cell: (cell.stage, cell.method) in wanted)
    assert {row.stage for row in kept.rows} == {"base", "tuning"}
    assert not kept.failed
    assert {len(row.correct) for row in kept.rows} == {1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": {"grpo": {"row": "grop"}}}, "no row is called 'grop'"),
        ({"methods": {"p": {"row": "pkpo"}}}, "p needs k"),
        ({"methods": {"p": {"row": "pkpo", "settings": [{"k": 2, "tau": 1}]}}}, "has no option 'tau'"),
        ({"methods": {"g": {"row": "grpo", "learning_rate_of": "x"}}}, "no method is called 'x'"),
        ({"methods": {"g": {"row": "grpo", "stoped": True}}}, "does not read as a protocol.*stoped"),
        ({"methods": {"g": {"row": "grpo", "stopped": "yes"}}}, "g: stopped is 'yes': give true or false"),
        ({"tasks": {"puzzle": {"warm_start": {}}}}, "no task is called 'puzzle'"),
        ({"tasks": {"operator_puzzle": {"warm_start": {"lr": 1}}}}, "does not read as a protocol"),
        ({"tasks": {"operator_puzzle": {}}}, "must have one of warm_start, supervised_start, pretrained"),
        ({"tasks": {"operator_puzzle": {"warm_start": {}, "pretrained": {"model": "x"}}}}, "must have one of"),
        ({"tasks": {"operator_puzzle": {"pretrained": {"model": "x"}}}}, "max_new_tokens"),
        ({"tasks": {"operator_puzzle": {"supervised_start": {"steps": 1}, "max_new_tokens": 9}}}, "does not read as"),
        ({"tasks": {"sums": {"supervised_start": {}, "max_new_tokens": 9}}}, "no task is called 'sums'"),
        ({"tasks": {"sums": {"pretrained": {"model": "x"}, "max_new_tokens": 9}}}, "no task is called 'sums'"),
        ({"tasks": {"operator_puzzle": {"warm_start": {}, "precision": "bf16"}}}, "no precision is called 'bf16'"),
        (
            {"tasks": {"sums": {"pretrained": {"model": "x"}, "max_new_tokens": 9, "problems": {"train": "a"}}}},
            "does not read as",
        ),
        ({"training": {"rollout": 3}}, "does not read as a protocol"),
        ({"final_seeds": [9]}, "tuning_seed must not be one"),
        ({"temperatures": [0.5]}, "must hold 1.0"),
        ({"evaluated_after": [1]}, "must end with"),
        ({"extra": 1}, "unknown: \\['extra'\\]"),
    ],
)
def test_a_wrong_protocol_is_refused(tmp_path, change, message):
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(TINY | change))
    with pytest.raises(ValueError, match=message):
        read_protocol(tmp_path / "p.yaml")


def test_every_method_is_tuned_on_as_many_runs_and_the_best_goes_to_the_finals(protocol):
    rows, ran = [], []
    values = iter(range(1, 100))
    template = rows_of(protocol, Cell("base", "operator_puzzle", "base", "{}", 0))[0]
    while True:  # each cell is better than those before it, but for the last learning rate
        waiting = [c for c in all_cells(protocol, rows) if c.name not in ran and c.stage == "tuning"]
        if not waiting:
            break
        for cell in waiting:
            ran.append(cell.name)
            worst = json.loads(cell.setting)["learning_rate"] == 4e-4
            correct = (0,) * 6 if worst else (4,) * (next(values) % 7)
            correct = (*correct, *(0,) * (6 - len(correct)))
            rows.append(replace(template, **vars(cell), split="validation", correct=correct, step=2))
            if cell.method == "grpo_stopped" and worst:  # it is the best before its end
                rows.append(replace(rows[-1], correct=(4,) * 6, step=1))
    counts = {name: sum(row.method == name and row.step == 2 for row in rows) for name in protocol.methods}
    assert counts == {"grpo": 3, "grpo_stopped": 3, "nsr": 3, "simko": 3, "simko_untuned": 0, "simko_itself": 0}
    simko = [json.loads(row.setting) for row in rows if row.method == "simko"]
    assert [(s["alpha"], s["learning_rate"]) for s in simko[:2]] == [(0.1, 2e-4), (0.3, 2e-4)]
    best_alpha = max(
        (row for row in rows if row.method == "simko" and row.options["learning_rate"] == 2e-4),
        key=lambda row: row.criterion,
    )
    assert simko[2] == best_alpha.options | {"learning_rate": 1e-4}
    finals = [c for c in all_cells(protocol, rows) if c.stage == "final"]
    assert len(finals) == 6 * 2
    assert {json.loads(c.setting)["learning_rate"] for c in finals if c.method == "grpo_stopped"} == {4e-4}
    for name in ("grpo", "nsr", "simko"):
        best = max((row for row in rows if row.method == name), key=lambda row: row.criterion)
        assert {c.setting for c in finals if c.method == name} == {best.setting}
    of_grpo, untuned = (next(json.loads(c.setting) for c in finals if c.method == m) for m in ("grpo", "simko_untuned"))
    assert untuned["learning_rate"] == of_grpo["learning_rate"]
    assert untuned["alpha"] == 0.01
    around = [json.loads(c.setting) for c in all_cells(protocol, rows) if c.stage == "sensitivity"]
    center = max((row for row in rows if row.method == "simko"), key=lambda row: row.criterion).options
    assert [s["alpha"] for s in around] == [center["alpha"], *(a for a in (0.0, 0.1, 0.3) if a != center["alpha"])]
    assert all(s == center | {"alpha": s["alpha"]} for s in around)


def test_a_method_that_is_stopped_is_evaluated_at_every_step_of_its_tuning(protocol):
    rows = {
        method: rows_of(protocol, Cell("tuning", "operator_puzzle", method, protocol.setting(method, 2e-4, {}), 9))
        for method in ("grpo", "grpo_stopped")
    }
    at = {m: [(row.split, row.step, row.temperature) for row in found] for m, found in rows.items()}
    assert at == {"grpo": [("validation", 2, 1.0)], "grpo_stopped": [("validation", 1, 1.0), ("validation", 2, 1.0)]}
    ends = [replace(found[-1], method="", seconds=0) for found in rows.values()]
    assert ends[0] == ends[1]


def test_a_cell_repeats_bit_for_bit(protocol):
    cell = Cell("final", "operator_puzzle", "nsr", protocol.setting("nsr", 2e-4, {}), 1)
    first = rows_of(protocol, cell)
    assert without_seconds(first) == without_seconds(rows_of(protocol, cell))
    assert {cell_of(row) for row in first} == {cell}
    at = [(row.split, row.step, row.temperature, row.samples) for row in first]
    assert at == [
        ("validation", 1, 1.0, 4), ("test", 1, 1.0, 8),
        ("validation", 2, 0.5, 4), ("validation", 2, 1.0, 4), ("test", 2, 0.5, 8), ("test", 2, 1.0, 8),
    ]  # fmt: skip
    assert all(len(row.concentration) == 6 for row in first if row.temperature == 1)
    other = rows_of(protocol, replace(cell, seed=2))
    assert without_seconds(other) != without_seconds(first)


@pytest.mark.parametrize(
    ("stage", "method"), [("final", "simko_itself"), ("final", "nsr"), ("tuning", "nsr"), ("base", "base")]
)
@pytest.mark.few(2)
def test_a_cell_goes_on_bit_for_bit_from_wherever_it_stopped(protocol, tmp_path, stage, method):
    setting = "{}" if stage == "base" else protocol.setting(method, 2e-4, {})
    cell = Cell(stage, "operator_puzzle", method, setting, 1)
    beside = tmp_path / "beside"
    rows, stops = run_cell(protocol, cell, beside, stop_at=0), 1
    while rows is None:
        rows, stops = run_cell(protocol, cell, beside, stop_at=0), stops + 1
    assert stops > len(rows)
    assert without_seconds(map(parsed_row, rows)) == without_seconds(rows_of(protocol, cell))


def test_a_killed_cell_goes_on_from_its_last_evaluation(protocol, tmp_path, monkeypatch):
    cell = Cell("final", "operator_puzzle", "simko_itself", protocol.setting("simko_itself", 2e-4, {}), 1)
    whole, measured, trained = rows_of(protocol, cell), [], []

    def killed(*args, **options):
        if len(measured) == 4:
            raise KeyboardInterrupt
        measured.append(options["temperature"])
        return measure(*args, **options)

    monkeypatch.setattr(cells, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        run_cell(protocol, cell, tmp_path)
    monkeypatch.setattr(cells, "measure", lambda *args, **options: measured.append(0) or measure(*args, **options))
    monkeypatch.setattr(loop, "update", lambda *args: trained.append(0) or update(*args))
    rows = run_cell(protocol, cell, tmp_path)
    assert without_seconds(map(parsed_row, rows)) == without_seconds(whole)
    assert len(measured) == len(rows)
    assert not trained


def test_a_cell_of_another_protocol_is_not_continued(protocol):
    other = replace(protocol, mapping=protocol.mapping | {"evaluated_after": [2]})
    assert protocol.digest("operator_puzzle") != other.digest("operator_puzzle")
    more = replace(protocol, mapping=protocol.mapping | {"methods": {}})
    assert protocol.digest("operator_puzzle") == more.digest("operator_puzzle")


def test_a_study_continues_where_it_stopped_and_takes_rows_from_elsewhere(protocol, tmp_path, here, monkeypatch):
    whole_attempt = runner.attempt

    def stop_after(number):
        left = iter(range(number))

        def attempt(*args):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return whole_attempt(*args)

        monkeypatch.setattr(runner, "attempt", attempt)

    stop_after(100)
    whole = run_cells(protocol, tmp_path / "whole", 1)
    stop_after(6)
    with pytest.raises(KeyboardInterrupt):
        run_cells(protocol, tmp_path / "out", 1)
    assert len(Kept(protocol, tmp_path / "out").done) == 6
    Kept(protocol, tmp_path / "out").collect(tmp_path / "other" / "rows.parquet")
    stop_after(len(whole.done) - 6)
    continued = run_cells(protocol, tmp_path / "other", 1)
    assert continued.done == whole.done
    assert sorted(without_seconds(continued.rows)) == sorted(without_seconds(whole.rows))
    continued.collect(tmp_path / "other" / "rows.parquet")
    assert sorted(map(repr, read_rows(tmp_path / "other" / "rows.parquet"))) == sorted(map(repr, continued.rows))
    stop_after(0)
    assert run_cells(protocol, tmp_path / "other", 1).done == whole.done  # nothing is left


def test_a_cell_that_fails_is_kept_said_and_loses(protocol, tmp_path, here, monkeypatch, caplog):
    def broken(of, cell, *rest):
        rate = json.loads(cell.setting).get("learning_rate")
        if rate == 2e-4 and cell.method == "grpo":
            raise RuntimeError("The total norm is\nnon-finite")
        return run_cell(of, cell, *rest)

    monkeypatch.setattr(runner, "run_cell", broken)
    kept = run_cells(protocol, tmp_path, 1, lambda cell: cell.method == "grpo" and cell.stage in ("tuning", "final"))
    (name,) = kept.failed
    assert name.startswith("tuning/operator_puzzle/grpo/")
    assert "The total norm is non-finite" in caplog.text
    assert json.loads((tmp_path / "cells" / f"{name}.json").read_text()) == {"failed": "The total norm is non-finite"}
    assert all(row.options["learning_rate"] != 2e-4 for row in kept.rows)
    assert sum(row.stage == "final" for row in kept.rows)
    monkeypatch.setattr(runner, "MOST_FAILURES", 1)
    with pytest.raises(RuntimeError, match="1 cells failed"):
        run_cells(protocol, tmp_path / "again", 1, lambda cell: cell.method == "grpo")


def test_more_methods_and_seeds_are_no_other_protocol(protocol, tmp_path, here):
    run_cells(protocol, tmp_path / "out", 1, lambda cell: cell.stage == "base")
    more = TINY | {"final_seeds": [1, 2, 3], "methods": TINY["methods"] | {"maxrl": {"row": "maxrl"}}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(more))
    assert len(Kept(read_protocol(tmp_path / "other.yaml"), tmp_path / "out").done) == 1
