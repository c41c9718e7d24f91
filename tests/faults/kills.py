"""Runs of the tiny model that are really killed: each is a process of its own, which sends itself SIGKILL at a named point.

`PYTHONPATH=src:tests/adapters python tests/faults/kills.py` prints the outcomes of docs/results/faults.md, of TRL's own trainer beside simko's.
"""

import hashlib
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from methods import right
from tiny import make_trainer, tiny_dataset
from transformers import PreTrainedModel, Trainer, TrainerState
from transformers.trainer_utils import get_last_checkpoint
from trl import GRPOTrainer

from simko.adapters.trl import MethodTrainer, PassAtKCallback, SimKOTrainer
from simko.adapters.trl import checkpoints as checkpoints_module
from simko.adapters.trl.checkpoints import Checkpoints
from simko.adapters.trl.guards import Guards
from simko.records import Problem


class MixedIn(Checkpoints, Guards, GRPOTrainer):
    """What survives of TRL's own trainer with simko's mix-ins."""


KINDS: dict[str, tuple[type, dict[str, Any]]] = {
    "TRL": (GRPOTrainer, {}),
    "TRL with the mix-ins": (MixedIn, {}),
    "simko": (SimKOTrainer, {}),
    "simko_adaptive": (MethodTrainer, {"method": "simko_adaptive"}),
    "pkpo": (MethodTrainer, {"method": "pkpo", "method_options": {"k": 2}, "reward": right}),
}
# three epochs of two rollouts of two updates
RUN = {
    "per_device_train_batch_size": 4, "steps_per_generation": 2, "max_completion_length": 4, "max_steps": 12,
    "save_strategy": "steps", "save_steps": 2, "save_total_limit": 2, "logging_steps": 2,
}  # fmt: skip


class Point(NamedTuple):
    """Where a run is killed: as a function is entered or left, the n-th time that happens."""

    owner: Any
    function: str
    leaving: bool = False
    cut: bool = False
    """Whether the file that was written last is cut to half."""
    times: tuple[int, int] = (2, 5)
    """In the first epoch, and in a later one."""


POINTS = {
    "before a rollout": Point(GRPOTrainer, "_generate_and_score_completions"),
    "while tokens are drawn": Point(torch, "multinomial", times=(14, 34)),
    "after the generation": Point(GRPOTrainer, "_generate", leaving=True, times=(3, 7)),
    "while rewards are computed": Point(GRPOTrainer, "_calculate_rewards"),
    "after a rollout": Point(GRPOTrainer, "_generate_and_score_completions", leaving=True),
    "between the updates of a rollout": Point(GRPOTrainer, "_prepare_inputs", times=(4, 10)),
    "before the backward pass": Point(Accelerator, "backward", times=(3, 10)),
    "after the backward pass": Point(Accelerator, "backward", leaving=True, times=(3, 10)),
    "before the optimizer's step": Point(Trainer, "_get_grad_norm", leaving=True, times=(3, 10)),
    "after the optimizer's step": Point(Trainer, "_get_learning_rate", times=(3, 10)),
    "while it logs": Point(Trainer, "log", times=(3, 8)),
    "in a held-out evaluation": Point(PassAtKCallback, "_graded", times=(2, 3)),
    "before a save": Point(Trainer, "_save_checkpoint"),
    "weights half written": Point(PreTrainedModel, "save_pretrained", leaving=True, cut=True),
    "after the weights": Point(Trainer, "save_model", leaving=True),
    "optimizer half written": Point(Trainer, "_save_optimizer_and_scheduler", leaving=True, cut=True),
    "before the random states": Point(Trainer, "_save_rng_state"),
    "random states half written": Point(Trainer, "_save_rng_state", leaving=True, cut=True),
    "trainer_state.json half written": Point(TrainerState, "save_to_json", leaving=True, cut=True),
    "after a save": Point(Trainer, "_save_checkpoint", leaving=True),
    "before a folder is removed": Point(shutil, "rmtree", times=(4, 8)),
    "before the manifest": Point(checkpoints_module, "seal"),
    "manifest half written": Point(checkpoints_module, "seal", leaving=True, cut=True),
    "before the renaming": Point(checkpoints_module, "put_in_place"),
    "after the renaming": Point(checkpoints_module, "put_in_place", leaving=True),
}
OF_SIMKO_ALONE = [name for name, point in POINTS.items() if point.owner is checkpoints_module]


def kill_at(point: Point, nth: int, directory: Path) -> None:
    """Patch the function of a point, so that it kills this process."""
    original, count = getattr(point.owner, point.function), 0

    @wraps(original)
    def deadly(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        now = count
        if now == nth and not point.leaving:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if now == nth:
            if point.cut:
                last = max((p for p in directory.rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime_ns)
                last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(point.owner, point.function, deadly)


def train(folder: Path, kind: str, before: Callable[[], None] | None = None, **options: Any) -> None:
    """Train to the end, from what there is. Writes the weights' hash, and the resident memory at each log, in `folder`."""
    torch.set_num_threads(1)
    if before is not None:
        before()
    cls, own = KINDS[kind]
    passk = options.pop("passk_every", 4)
    trainer = make_trainer(folder, cls, dataset=tiny_dataset(4), **RUN | own | options)
    if passk:
        problems = [Problem(str(i), f"{i}+{i}=", "3") for i in range(2)]
        store = folder / "held-out.db"
        judge = lambda response, problem: "3" in response  # noqa: E731
        trainer.add_callback(PassAtKCallback(trainer, problems, judge, 2, passk, store=store))
    there = (folder / "out").is_dir() and get_last_checkpoint(folder / "out")
    trainer.train(resume_from_checkpoint=True if kind != "TRL" or there else None)
    (folder / "hash").write_text(weights_hash(trainer))


def weights_hash(trainer: Any) -> str:
    digest = hashlib.sha256()
    for weight in trainer.accelerator.unwrap_model(trainer.model).parameters():
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def in_process(function: Callable[..., None], *args: Any, log: Path, **kwargs: Any) -> int:
    """The exit code of a forked process that calls the function, minus the signal that killed it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1) for n in (1, 2))  # not pytest's
            logging.getLogger("simko").addHandler(logging.StreamHandler(sys.stderr))
            function(*args, **kwargs)
            code = 0
        except BaseException:  # the process ends here, whatever it is
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def outcome(folder: Path, kind: str, name: str, time: int, whole: str) -> str:
    """What becomes of a run that is killed at a point and started again: "exact", "other weights" or "an error"."""
    point = POINTS[name]
    deadly = lambda: kill_at(point, point.times[time], folder)  # noqa: E731
    status = in_process(train, folder, kind, deadly, log=folder / "killed.log")
    assert status == -signal.SIGKILL, (name, status, (folder / "killed.log").read_text()[-2000:])
    assert not (folder / "hash").exists()
    if in_process(train, folder, kind, log=folder / "continued.log"):
        return "an error"
    return "exact" if (folder / "hash").read_text() == whole else "other weights"


def quiet_hash(folder: Path, kind: str, **options: Any) -> str:
    """The weights' hash of a run that nothing stops."""
    assert in_process(train, folder, kind, log=folder / "log", **options) == 0, (folder / "log").read_text()[-2000:]
    return (folder / "hash").read_text()


def main(*kinds: str) -> None:
    columns, table = kinds or ("TRL", "simko"), {}
    with tempfile.TemporaryDirectory() as top:
        whole = {kind: quiet_hash(Path(top) / kind, kind) for kind in columns}
        for name in POINTS:
            for kind in columns:
                if kind == "TRL" and name in (*OF_SIMKO_ALONE, "before a folder is removed"):  # TRL removes fewer
                    continue
                found = [outcome(Path(top) / f"{kind}-{name}-{t}", kind, name, t, whole[kind]) for t in (0, 1)]
                table[f"{name}|{kind}"] = found
                print(json.dumps({"point": name, "trainer": kind, "epoch 1": found[0], "later": found[1]}), flush=True)
    for kind in columns:
        cells = [o for key, found in table.items() if key.endswith(f"|{kind}") for o in found]
        print(kind, {o: cells.count(o) for o in sorted(set(cells))}, "of", len(cells))


if __name__ == "__main__":
    main(*sys.argv[1:])
