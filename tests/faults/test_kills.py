"""A run that is killed with SIGKILL, and started again with nothing changed, ends on the weights of the run that was not."""

import inspect
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kills import KINDS, OF_SIMKO_ALONE, POINTS, in_process, kill_at, outcome, quiet_hash, train
from trl import GRPOTrainer

from simko.adapters.trl import Checkpoints, Guards

QUICK = [("simko", "while tokens are drawn", 1), ("TRL with the mix-ins", "before the renaming", 1)]
EVERY = [("simko", name, time) for name in POINTS for time in (0, 1)]


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The weights' hash of a kind's run that nothing stops; made once a kind."""
    kept = {}

    def of(kind, **options):
        key = kind, json.dumps(options, sort_keys=True)
        if key not in kept:
            kept[key] = quiet_hash(tmp_path_factory.mktemp("whole"), kind, **options)
        return kept[key]

    return of


@pytest.mark.parametrize(("kind", "name", "epoch"), QUICK)
def test_killed_once(tmp_path, whole, kind, name, epoch):
    assert outcome(tmp_path, kind, name, epoch, whole(kind)) == "exact"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name", "epoch"), [case for case in EVERY if case not in QUICK])
def test_killed_at_every_point(tmp_path, whole, kind, name, epoch):
    assert outcome(tmp_path, kind, name, epoch, whole(kind)) == "exact"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["simko", "TRL with the mix-ins"])
def test_killed_after_the_last_save(tmp_path, whole, kind):
    deadly = lambda: kill_at(POINTS["after the renaming"], 6, tmp_path)  # noqa: E731
    assert in_process(train, tmp_path, kind, deadly, log=tmp_path / "log") == -signal.SIGKILL
    assert (tmp_path / "out" / "checkpoint-12").is_dir()
    assert in_process(train, tmp_path, kind, log=tmp_path / "log") == 0, (tmp_path / "log").read_text()[-2000:]
    assert (tmp_path / "hash").read_text() == whole(kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pkpo", "simko_adaptive", "TRL with the mix-ins"])
def test_killed_again_and_again(tmp_path, whole, kind):
    """At six points chosen by a seed, one after the other, in one run."""
    draw = random.Random(kind)
    for name in draw.sample(list(POINTS), 6):
        status = in_process(
            train, tmp_path, kind, lambda name=name: kill_at(POINTS[name], 2, tmp_path), log=tmp_path / "log"
        )
        if status == 0:  # it was done before it came there a second time
            break
        assert status == -signal.SIGKILL, (tmp_path / "log").read_text()[-2000:]
    else:
        assert in_process(train, tmp_path, kind, log=tmp_path / "log") == 0, (tmp_path / "log").read_text()[-2000:]
    assert (tmp_path / "hash").read_text() == whole(kind)


def test_the_points_are_where_they_are_said_to_be():
    """Each names a function that exists, so that an upgrade of a library cannot turn a kill into none."""
    assert all(callable(getattr(point.owner, point.function, None)) for point in POINTS.values())
    assert len(POINTS) >= 12
    assert set(OF_SIMKO_ALONE) < set(POINTS)


@pytest.mark.parametrize("mixed_in", [Checkpoints, Guards])
def test_what_the_mix_ins_wrap_is_there(mixed_in):
    """A method of TRL's or transformers' that went away would leave its wrapper without an effect."""
    private = ("_inner_training_loop", "_load_optimizer_and_scheduler", "_get_train_sampler", "_get_output_dir",
               "_push_from_checkpoint", "_save_checkpoint", "_calculate_rewards", "_get_grad_norm", "_run_epoch",
               "_determine_best_metric")  # fmt: skip
    wrapped = [name for name in (*private, "train", "compute_loss") if name in vars(mixed_in)]
    assert len(wrapped) >= 3
    for name in wrapped:
        theirs, ours = (inspect.signature(getattr(cls, name)).parameters for cls in (GRPOTrainer, mixed_in))
        takes_all = any(p.kind is p.VAR_KEYWORD for p in ours.values())
        assert takes_all or list(ours) == list(theirs), name


HARM = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "removed": lambda path: path.unlink(),
    "flipped": lambda path: path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:]),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}
FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "manifest.json")


@pytest.fixture(scope="session")
def stopped(tmp_path_factory):
    """A run that was killed with two checkpoints."""
    folder = tmp_path_factory.mktemp("stopped")
    point = POINTS["before a rollout"]
    assert (
        in_process(train, folder, "simko", lambda: kill_at(point, 5, folder), log=folder / "log", passk_every=0)
        == -signal.SIGKILL
    )
    assert sorted(p.name for p in (folder / "out").glob("checkpoint-*")) == ["checkpoint-6", "checkpoint-8"]
    return folder


DAMAGES = [(file, harm) for file in FILES for harm in HARM]
QUICK_DAMAGES = [("optimizer.pt", "flipped")]


def continues_from_the_one_before(tmp_path, stopped, whole, file, harm):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    HARM[harm](folder / "out" / "checkpoint-8" / file)
    assert in_process(train, folder, "simko", log=folder / "continued", passk_every=0) == 0, (
        folder / "continued"
    ).read_text()[-2000:]
    said = (folder / "continued").read_text()
    assert "checkpoint-8 is skipped: " in said
    assert file in said.partition("checkpoint-8 is skipped: ")[2].splitlines()[0]
    assert (folder / "hash").read_text() == whole("simko")


@pytest.mark.parametrize(("file", "harm"), QUICK_DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(tmp_path, stopped, whole, file, harm):
    continues_from_the_one_before(tmp_path, stopped, whole, file, harm)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "harm"), [case for case in DAMAGES if case not in QUICK_DAMAGES])
def test_every_damaged_file_is_passed_over(tmp_path, stopped, whole, file, harm):
    continues_from_the_one_before(tmp_path, stopped, whole, file, harm)


CHANGES = {
    "model": {"model": "another"},
    "data": {"dataset": "another"},
    "objective": {"simko_alpha": 0.2},
    "reward functions": {"reward": "another"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_another_run_is_refused_by_name(tmp_path, stopped, name):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    assert in_process(changed, folder, name, log=folder / "continued") == 1
    last = (folder / "continued").read_text().strip().splitlines()[-1]
    assert f"checkpoint-8 was written by a run with another {name}" in last
    assert last.startswith("ValueError")


def changed(folder, name):
    from datasets import Dataset
    from kills import RUN
    from tiny import make_trainer, tiny_dataset, tiny_model

    from simko.adapters.trl import SimKOTrainer

    options = dict(RUN) | {"dataset": tiny_dataset(4)}
    if name == "model":
        options["model"] = tiny_model(tie=False)
    elif name == "data":
        options["dataset"] = Dataset.from_list([row | {"answer": "7"} for row in options["dataset"]])
    elif name == "objective":
        options["simko_alpha"] = 0.2
    else:

        def another(completions, **_):
            return [1.0] * len(completions)

        options["reward"] = another
    make_trainer(folder, SimKOTrainer, **options).train(resume_from_checkpoint=True)


@pytest.mark.slow
def test_other_options_and_versions_are_named(tmp_path, stopped):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    assert (
        in_process(train, folder, "simko", older_torch, log=folder / "continued", passk_every=0, learning_rate=5e-3)
        == 0
    )
    said = (folder / "continued").read_text()
    assert "continued with other options: learning_rate (was 0.01, is 0.005)" in said
    assert "continued with other versions: torch (was " in said


def older_torch():
    from simko.adapters.trl import identity

    versions = identity.versions()
    identity.versions = lambda: versions | {"torch": "2.0"}


def test_a_second_process_is_refused(tmp_path):
    log = tmp_path / "log"
    pid = os.fork()
    if pid == 0:
        try:
            in_process(train, tmp_path, "simko", wait_in_a_reward, log=log)
        finally:
            os._exit(0)
    try:
        while not (tmp_path / "out" / ".lock").exists():
            time.sleep(0.05)
        assert in_process(train, tmp_path, "simko", log=tmp_path / "second") == 1
        assert "another process is writing to" in (tmp_path / "second").read_text().splitlines()[-1]
    finally:
        (tmp_path / "go on").touch()
        os.waitpid(pid, 0)
    assert (tmp_path / "hash").exists()


def wait_in_a_reward():
    import kills

    original = kills.GRPOTrainer._calculate_rewards

    def waiting(self, *args):
        while not (Path(self.args.output_dir).parent / "go on").exists():
            time.sleep(0.05)
        return original(self, *args)

    kills.GRPOTrainer._calculate_rewards = waiting


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["between the updates of a rollout", "random states half written", "before the renaming"]
)
def test_two_processes(tmp_path, name):
    """Under torchrun with gloo: both are gone when one is killed."""
    found = []
    for folder, kill in ((tmp_path / "whole", None), (tmp_path / "run", name), (tmp_path / "run", None)):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        command += [str(Path(__file__).with_name("killed_ranks.py")), str(folder), *([kill] if kill else [])]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
        assert (done.returncode != 0) == bool(kill), done.stderr[-3000:]
        if not kill:
            found.append([(folder / f"hash-{rank}").read_text() for rank in (0, 1)])
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_thousand_updates_with_random_kills(tmp_path):
    """The same weights as without, and no memory that grows."""
    options = {"max_steps": 1000, "save_steps": 50, "passk_every": 0, "logging_steps": 25, "probe_every": 0}
    quiet = tmp_path / "whole"
    whole = quiet_hash(quiet, "simko", before=lambda: note_memory(quiet), **options)
    memory = [int(line) for line in (quiet / "memory").read_text().split()]
    assert max(memory[-5:]) < 1.03 * max(memory[8:13])  # from update 200 on
    draw, folder, kills = random.Random(0), tmp_path / "run", 0
    while True:
        wait = draw.uniform(0.1, 0.35) * options["max_steps"]
        status = in_process(train, folder, "simko", lambda w=wait: kill_after(int(w)), log=folder / "log", **options)
        if status == 0:
            break
        assert status == -signal.SIGKILL, (folder / "log").read_text()[-2000:]
        kills += 1
    assert kills >= 3
    assert (folder / "hash").read_text() == whole


def kill_after(updates):
    kill_at(POINTS["after the optimizer's step"], updates, Path())


def note_memory(folder):
    from transformers import Trainer

    original = Trainer.log

    def noting(self, *args, **kwargs):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        with (folder / "memory").open("a") as file:
            file.write(f"{pages * os.sysconf('SC_PAGE_SIZE')}\n")
        return original(self, *args, **kwargs)

    Trainer.log = noting


def test_the_kinds():
    assert set(KINDS) == {"TRL", "TRL with the mix-ins", "simko", "simko_adaptive", "pkpo"}
