"""The cells of the study, each one training run, and which of them come next.

Tuning of a method on a task: its settings at the first learning rate, then the best of them at the next learning rates, until
as many runs are done as there are learning rates. Every method thus has the same number of runs. The best has the largest
mean of pass@1, pass@16 and pass@64 on the validation problems, after the last rollout, or at any evaluation for a method that is
stopped. Finals follow at the best setting.
"""

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from simko.evaluate.files import read_json, write_whole
from simko.records import Problem
from simko.studies.head_to_head.measure import measure
from simko.studies.head_to_head.protocol import Protocol
from simko.studies.head_to_head.rows import BASE, Row
from simko.studies.loop import Run, train
from simko.studies.saved_run import load_run, save_run


@dataclass(frozen=True)
class Cell:
    """One training run, or the base of a task."""

    stage: str
    """base, tuning, final or sensitivity."""
    task: str
    """The task's name."""
    method: str
    """The method's name in the protocol."""
    setting: str
    """The learning rate and the row's options, as JSON."""
    seed: int
    """The training seed."""

    @property
    def name(self) -> str:
        """As in tuning/operator_puzzle/simko/1f3870be/seed1001."""
        digest = hashlib.sha256(self.setting.encode()).hexdigest()[:8]
        return f"{self.stage}/{self.task}/{self.method}/{digest}/seed{self.seed}"


def all_cells(protocol: Protocol, rows: Iterable[Row], failed: Iterable[str] = ()) -> Iterator[Cell]:
    """The cells that can be named now, in the order to run them. More can be named as tuning ends.

    Args:
        protocol: the study's.
        rows: those of the cells that have run.
        failed: names of cells whose training failed.
    """
    scores = dict.fromkeys(failed, -1.0)
    for row in rows:
        if row.stage == "tuning":
            name = cell_of(row).name
            scores[name] = max(row.criterion, scores.get(name, 0.0))
    for task in protocol.tasks:
        yield Cell("base", task, BASE, "{}", 0)
    chosen: dict[tuple[str, str], str] = {}
    for task in protocol.tasks:
        for name in protocol.methods:
            tuning, best = _tuning(protocol, task, name, scores, chosen)
            yield from tuning
            if best is not None:
                chosen[task, name] = best
    for seed in protocol.final_seeds:
        for (task, name), setting in chosen.items():
            yield Cell("final", task, name, setting, seed)
    yield from _sensitivity(protocol, chosen)


def cell_of(row: Row) -> Cell:
    """The cell that the row is of."""
    return Cell(row.stage, row.task, row.method, row.setting, row.seed)


def _tuning(
    protocol: Protocol, task: str, name: str, scores: Mapping[str, float], chosen: Mapping[tuple[str, str], str]
) -> tuple[list[Cell], str | None]:
    """The tuning cells that can be named, and the best setting once all have run."""
    contestant, rates = protocol.methods[name], protocol.learning_rates
    if contestant.learning_rate_of is not None:
        other = chosen.get((task, contestant.learning_rate_of))
        if other is None:
            return [], None
        return [], protocol.setting(name, json.loads(other)["learning_rate"], contestant.settings[0])

    def cell(rate: float, options: Mapping[str, Any]) -> Cell:
        return Cell("tuning", task, name, protocol.setting(name, rate, options), protocol.tuning_seed)

    first = [cell(rates[0], options) for options in contestant.settings]
    if not all(c.name in scores for c in first):
        return first, None
    best = max(range(len(first)), key=lambda i: scores[first[i].name])
    rest = len(rates) - len(first)
    cells = [*first, *(cell(rate, contestant.settings[best]) for rate in rates[1 : 1 + rest])]
    if not all(c.name in scores for c in cells):
        return cells, None
    return cells, max(cells, key=lambda c: scores[c.name]).setting


def _sensitivity(protocol: Protocol, chosen: Mapping[tuple[str, str], str]) -> Iterator[Cell]:
    """One option at a time around the settings of the finals, and those settings again: all from one type of machine."""
    for task in protocol.sensitivity["tasks"]:
        for name in protocol.sensitivity["methods"]:
            if (task, name) not in chosen:
                continue
            settings = [chosen[task, name]]
            center = json.loads(chosen[task, name])
            for option, values in protocol.sensitivity["options"].items():
                for value in values:
                    options = {k: v for k, v in center.items() if k != "learning_rate"} | {option: value}
                    settings.append(protocol.setting(name, center["learning_rate"], options))
            for setting in dict.fromkeys(settings):
                for seed in protocol.sensitivity["seeds"]:
                    yield Cell("sensitivity", task, name, setting, seed)


def run_cell(protocol: Protocol, cell: Cell, beside: Path, stop_at: float = math.inf) -> list[dict[str, Any]] | None:
    """Train and evaluate; the rows, as JSON values.

    It goes on from what an interrupted call left in `beside`, with the same numbers bit for bit on a type of machine: one
    thread computes.

    Args:
        protocol: the study's.
        cell: what to run.
        beside: a folder of this cell and protocol alone. The run is kept there at each evaluation, and every row.
        stop_at: when to keep all and return None, in seconds of time.monotonic, looked at after each rollout and evaluation.
    """
    torch.set_num_threads(1)
    arena = protocol.tasks[cell.task]
    model, tokenizer = arena.load()
    measured = partial(
        measure, model, tokenizer, verifier=arena.task("test").verifier, max_new_tokens=arena.max_new_tokens
    )
    clock = time.process_time if model.device.type == "cpu" else time.perf_counter
    problems = problems_of(protocol, cell.task)
    last, step, seconds, rewards = 0, 0, 0.0, list[float]()
    if cell.stage != "base":
        run, seconds, rewards = _begun(protocol, cell, model, beside / "run.pt")
        training = train(run, tokenizer, problems["train"], arena.task("test").verifier)
        step, last = run.rollouts, run.settings.rollouts
    found = read_json(beside / "rows.json")["rows"] if (beside / "rows.json").is_file() else []
    while True:
        reward = sum(rewards) / len(rewards) if rewards else None
        at = {"step": step, "reward": reward, "seconds": seconds, "protocol": protocol.digest(cell.task)}
        for place in _evaluations(protocol, cell, step):
            if any(place.items() <= row.items() and row["step"] == step for row in found):
                continue
            numbers = measured(
                problems[place["split"]], samples=place["samples"], temperature=place["temperature"], seed=cell.seed
            )
            found.append(asdict(cell) | at | place | numbers)
            write_whole(beside / "rows.json", json.dumps({"rows": found}))
            if time.monotonic() >= stop_at:
                return None
        if step == last:
            return found
        if _evaluations(protocol, cell, step):
            rewards = []
        started = clock()
        rewards.append(next(training)["reward"])
        seconds += clock() - started
        step += 1
        stop = time.monotonic() >= stop_at
        if stop or _evaluations(protocol, cell, step):
            save_run(beside / "run.pt", run, seconds=seconds, rewards=rewards)
        if stop:
            return None


def _begun(protocol: Protocol, cell: Cell, model: PreTrainedModel, kept: Path) -> tuple[Run, float, list[float]]:
    """The run, from where it was kept if it was; the seconds so far, and the rewards since the last evaluation."""
    setting = json.loads(cell.setting)
    settings = protocol.training_of(cell.task, setting.pop("learning_rate"))
    run = Run(model, protocol.method(cell.method, setting), settings, cell.seed)
    if not kept.is_file():
        return run, 0.0, []
    beside = load_run(kept, run)
    return run, beside["seconds"], beside["rewards"]


def _evaluations(protocol: Protocol, cell: Cell, step: int) -> list[dict[str, Any]]:
    """The split, samples and temperature of each evaluation after this rollout."""
    last = step == protocol.training["rollouts"]
    followed = cell.stage == "final" or (cell.stage == "tuning" and protocol.methods[cell.method].stopped)
    if not (last or cell.stage == "base" or (followed and step in protocol.evaluated_after)):
        return []
    splits = ("validation",) if cell.stage == "tuning" else ("validation", "test")
    everywhere = cell.stage == "base" or (cell.stage == "final" and last)
    return [
        {"split": split, "samples": protocol.evaluation[f"{split}_samples"], "temperature": temperature}
        for split in splits
        for temperature in (protocol.temperatures if everywhere else (1.0,))
    ]


def problems_of(protocol: Protocol, task: str) -> dict[str, list[Problem]]:
    """{split: its problems}. The validation problems follow the test problems in the task's test split."""
    sizes, arena = protocol.problems, protocol.tasks[task]
    held_out = arena.task("test").load("test", sizes["test"] + sizes["validation"])
    return {
        "train": arena.task("train").load("train", sizes["train"]),
        "test": held_out[: sizes["test"]],
        "validation": held_out[sizes["test"] :],
    }
