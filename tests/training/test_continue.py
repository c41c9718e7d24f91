"""What becomes of a run directory that is trained in again: continued to the same end, left alone, or refused."""

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_train import RECIPE, lines, operators, recipe
from transformers import TrainerControl, TrainerState

from simko.evaluate.checkpoint_files import damage, latest_checkpoint, seal
from simko.evaluate.files import locked
from simko.training import run as run_module
from simko.training.run import MetricsLog, train
from simko.training.run_directory import rewind_logs


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE.format(reward=f"{operators.__module__}:operators"))
    return path


@contextmanager
def stopped_at(step):
    """Interrupts a run once it has logged this step."""

    def stop(self, args, state, control, **kwargs):
        on_log(self, args, state, control, **kwargs)
        if state.global_step == step:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        on_log = MetricsLog.on_log
        patch.setattr(MetricsLog, "on_log", stop)
        with pytest.raises(KeyboardInterrupt):
            yield


def weights(checkpoint):
    return load_file(checkpoint / "model.safetensors")


def assert_same_weights(checkpoint, other):
    ours, theirs = weights(checkpoint), weights(other)
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(recipe_file, tiny_base, tmp_path):
    """Through three epochs of four updates; what was half-written, and what was damaged since, is passed over."""
    run = ["--train_problems", "16", "--max_steps", "12", "--logging_steps", "3"]
    out = tmp_path / "stopped"
    whole = train(recipe(recipe_file, tiny_base, tmp_path / "whole", *run))
    for step, saved in ((3, 2), (6, 4), (9, 8)):
        with stopped_at(step):
            train(recipe(recipe_file, tiny_base, out, *run))
        half_written = out / f"checkpoint-{step}"
        shutil.copytree(out / f"checkpoint-{saved}", half_written)
        (half_written / "trainer_state.json").write_text('{"global_st')
        assert latest_checkpoint(out).name == f"checkpoint-{saved}"
    (out / "checkpoint-8" / "config.json").write_text("{")

    assert_same_weights(train(recipe(recipe_file, tiny_base, out, *run)), whole)
    for log in ("metrics.jsonl", "diagnostics.jsonl"):
        rows = [[untimed(r) for r in lines(d / log) if "train_runtime" not in r] for d in (out, tmp_path / "whole")]
        assert rows[0] == rows[1]
    assert [row["step"] for row in rows[0]] == [0, 2, 4, 6, 8, 10]


def untimed(row):
    return {k: v for k, v in row.items() if "time" not in k}


@pytest.mark.parametrize(
    "words", [(), ("--save_only_model", "true"), ("--max_steps", "-1", "--num_train_epochs", "0.5")]
)
def test_a_finished_run_is_left_alone(recipe_file, tiny_base, tmp_path, monkeypatch, words):
    last = train(recipe(recipe_file, tiny_base, tmp_path / "run", *words))
    assert last.is_dir()
    assert last.name == ("checkpoint-5" if "--num_train_epochs" in words else "checkpoint-6")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    monkeypatch.setattr(run_module, "_trainer", lambda *_: pytest.fail("trained again"))
    assert train(recipe(recipe_file, tiny_base, tmp_path / "run", *words)) == last
    assert {p: p.read_bytes() for p in before} == before


def test_a_checkpoint_from_elsewhere_is_no_end_of_this_run(recipe_file, tiny_base, tmp_path):
    """Whether its number is that of this run's last checkpoint or a higher one."""
    recipe_file.write_text(recipe_file.read_text().replace("task: operator_puzzle", "train_file: data.jsonl"))
    for name, last in (("elsewhere", "7"), ("run", "8")):
        problems_file(tmp_path / "data.jsonl", last=last)
        with stopped_at(3) if name == "run" else nullcontext():
            train(recipe(recipe_file, tiny_base, tmp_path / name, "--max_steps", "8" if name == "elsewhere" else "4"))
    out = tmp_path / "run"
    for step in (4, 8):
        shutil.copytree(tmp_path / "elsewhere" / f"checkpoint-{step}", out / f"checkpoint-{step}")
        with pytest.raises(
            ValueError,
            match=rf"checkpoint-{step} was written .* another data.*remove this checkpoint if it came from elsewhere",
        ):
            train(recipe(recipe_file, tiny_base, out, "--max_steps", "4"))
        shutil.rmtree(out / f"checkpoint-{step}")
    assert train(recipe(recipe_file, tiny_base, out, "--max_steps", "4")).name == "checkpoint-4"
    problems_file(tmp_path / "data.jsonl", last="7")
    train(recipe(recipe_file, tiny_base, tmp_path / "shorter", "--max_steps", "4"))
    shutil.copytree(tmp_path / "elsewhere" / "checkpoint-8", tmp_path / "shorter" / "checkpoint-8")
    with pytest.raises(ValueError, match="checkpoint-8 has more updates than the 4 of this run"):
        train(recipe(recipe_file, tiny_base, tmp_path / "shorter", "--max_steps", "4"))


CONSTANT = ("--lr_scheduler_type", "constant")


def test_a_finished_run_is_extended_where_its_past_stays_what_it_is(recipe_file, tiny_base, tmp_path):
    """From the last checkpoint that lies between two rollouts: after update 4, for a run of 5."""
    whole = train(recipe(recipe_file, tiny_base, tmp_path / "whole", *CONSTANT, "--max_steps", "8"))
    out = tmp_path / "run"
    assert train(recipe(recipe_file, tiny_base, out, *CONSTANT, "--max_steps", "5")).name == "checkpoint-5"
    longer = train(recipe(recipe_file, tiny_base, out, *CONSTANT, "--max_steps", "8"))
    assert longer.name == "checkpoint-8"
    assert_same_weights(longer, whole)
    assert json.loads((out / "config.json").read_text())["max_steps"] == 8
    assert [r["step"] for r in lines(out / "metrics.jsonl") if "loss" in r] == [1, 2, 3, 4, 5, 6, 7, 8]
    often = ("--max_steps", "10", "--save_steps", "4", "--logging_steps", "5", "--save_total_limit", "3")
    assert train(recipe(recipe_file, tiny_base, out, *CONSTANT, *often)).name == "checkpoint-10"
    with pytest.raises(ValueError, match="a run of 10 updates: 6 are fewer than it has: give 10 or more"):
        train(recipe(recipe_file, tiny_base, out, *CONSTANT, "--max_steps", "6"))


@pytest.mark.parametrize(
    "words",
    [("--lr_scheduler_type", "linear"), (*CONSTANT, "--warmup_steps", "0.5"), (*CONSTANT, "--save_steps", "0.5")],
)
def test_a_run_whose_past_depends_on_its_length_is_not_extended(recipe_file, tiny_base, tmp_path, words):
    train(recipe(recipe_file, tiny_base, tmp_path / "run", "--max_steps", "4", *words))
    with pytest.raises(ValueError, match=r"\(max_steps\), on which.*lr_scheduler_type constant"):
        train(recipe(recipe_file, tiny_base, tmp_path / "run", "--max_steps", "8", *words))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--save_steps", "3"], "multiple of 2"),
        (["--save_steps", "4", "--steps_per_generation", "3", "--gradient_accumulation_steps", "2"], "multiple of 5"),
        (["--save_strategy", "no"], "set save_strategy to steps or epoch"),
        (["--ignore_data_skip", "true"], "ignore_data_skip"),
        (["--enable_jit_checkpoint", "true"], "enable_jit_checkpoint"),
        (["--dataloader_persistent_workers", "true", "--dataloader_num_workers", "1"], "dataloader_persistent_workers"),
    ],
)
def test_runs_that_could_not_be_continued_are_refused(recipe_file, tiny_base, tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        train(recipe(recipe_file, tiny_base, tmp_path / "run", "--max_steps", "8", *words))
    assert not (tmp_path / "run").exists()


def test_weights_without_an_optimizer_are_not_trained_over(recipe_file, tiny_base, tmp_path):
    out, words = tmp_path / "run", ("--save_only_model", "true")
    with stopped_at(5):
        train(recipe(recipe_file, tiny_base, out, *words))
    before = (out / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint-2 cannot be continued|checkpoint-4 cannot be continued"):
        train(recipe(recipe_file, tiny_base, out, *words))
    assert (out / "metrics.jsonl").read_bytes() == before


def problems_file(path, last="7"):
    rows = [{"prompt": f"{a} {a + 1} 5 =", "answer": str(a)} for a in range(7)] + [
        {"prompt": "1 2 3 =", "answer": last}
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_changed_training_data_are_named_and_moved_ones_continue(recipe_file, tiny_base, tmp_path, monkeypatch, caplog):
    recipe_file.write_text(recipe_file.read_text().replace("task: operator_puzzle", "train_file: data.jsonl"))
    out, words = tmp_path / "run", ("--max_steps", "4", *CONSTANT)
    monkeypatch.chdir(tmp_path)
    file = problems_file(tmp_path / "data.jsonl")
    with stopped_at(3):
        train(recipe(recipe_file, tiny_base, out, *words))
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    problems_file(file, last="8")
    with pytest.raises(ValueError, match=r"on other problems: data\.jsonl has changed"):
        train(recipe(recipe_file, tiny_base, out, *words))
    assert {p: p.read_bytes() for p in before} == before

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    file.unlink()  # else it is found beside the recipe
    with pytest.raises(ValueError, match=r"data\.jsonl: no such file"):
        train(recipe(recipe_file, tiny_base, out, *words))
    moved = problems_file(tmp_path / "elsewhere" / "mine.jsonl")
    assert train(recipe(recipe_file, tiny_base, out, *words, "--train_file", str(moved))).name == "checkpoint-4"

    config = json.loads((out / "config.json").read_text())  # as an earlier version left it
    (out / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "train_problems_sha256"}))
    with pytest.raises(ValueError, match=r"train_file="):
        train(recipe(recipe_file, tiny_base, out, *words, "--train_file", str(problems_file(file))))
    train(recipe(recipe_file, tiny_base, out, *words, "--train_file", str(moved)))
    assert "did not record its problems" in caplog.text
    assert json.loads((out / "config.json").read_text()) == config


def whole_checkpoint(folder: Path) -> Path:
    checkpoint = folder / "checkpoint-3"
    checkpoint.mkdir()
    save_file({"weight": torch.ones(3)}, checkpoint / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.save({"state": torch.ones(3)}, checkpoint / name)
    states = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.random.get_rng_state()}
    torch.save(states, checkpoint / "rng_state.pth")
    (checkpoint / "config.json").write_text('{"model_type": "qwen3"}')
    (checkpoint / "trainer_state.json").write_text('{"global_step": 3}')
    seal(checkpoint, 3, {})
    return checkpoint


PARTS = ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "config.json", "trainer_state.json"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def emptied(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("harm", [Path.unlink, cut, emptied])
def test_a_checkpoint_that_lacks_a_part_is_not_complete(tmp_path, part, harm):
    checkpoint = whole_checkpoint(tmp_path)
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-²").mkdir()
    (tmp_path / "checkpoint-9").touch()
    assert latest_checkpoint(tmp_path) == checkpoint
    harm(checkpoint / part)
    assert damage(checkpoint)
    assert latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("config.json", b"[]"),
        ("config.json", b"\xff\xfe"),
        ("generation_config.json", b"{"),
        ("model.safetensors.index.json", b'{"weight_map": {"a": "model-00002-of-00002.safetensors"}}'),
    ],
)
def test_a_checkpoint_with_a_broken_part_is_not_complete(tmp_path, part, content):
    checkpoint = whole_checkpoint(tmp_path)
    (checkpoint / "manifest.json").unlink()
    assert damage(checkpoint, weights_only=True) is None
    (checkpoint / part).write_bytes(content)
    assert damage(checkpoint, weights_only=True)


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def zeroed(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))


@pytest.mark.parametrize("part", [*PARTS, "manifest.json"])
@pytest.mark.parametrize("harm", [flipped, zeroed])
def test_a_checkpoint_whose_bytes_changed_is_not_whole(tmp_path, part, harm):
    checkpoint = whole_checkpoint(tmp_path)
    harm(checkpoint / part)
    assert damage(checkpoint)


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/../../x"])
def test_a_manifest_names_files_of_its_own_checkpoint_alone(tmp_path, name):
    checkpoint = whole_checkpoint(tmp_path)
    manifest = json.loads((checkpoint / "manifest.json").read_text())["body"]
    manifest["files"][name] = [0, ""]
    sealed = {"body": manifest, "sha256": hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()}
    (checkpoint / "manifest.json").write_text(json.dumps(sealed))
    assert damage(checkpoint) == "manifest.json is broken: it is not what was written"


@pytest.mark.parametrize("part", ["config.json", "rng_state.pth"])
def test_a_run_with_no_other_checkpoint_than_a_damaged_one_says_so(recipe_file, tiny_base, tmp_path, part):
    out = tmp_path / "run"
    with stopped_at(3):
        train(recipe(recipe_file, tiny_base, out))
    cut(out / "checkpoint-2" / part)
    before = (out / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=rf"checkpoint-2 cannot be continued \(.*{part}"):
        train(recipe(recipe_file, tiny_base, out))
    assert (out / "metrics.jsonl").read_bytes() == before


def test_a_broken_line_of_a_log_is_named(tmp_path):
    for name, number in (("metrics.jsonl", 2), ("samples.jsonl", 1)):
        text = '{"step": 1}\n' * (number - 1) + '{"step": 2\n{"step": 3}\n{"st'
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=rf"{name}, line {number} is no JSON row"):
            rewind_logs(tmp_path, 5)
        assert (tmp_path / name).read_text() == text
        (tmp_path / name).write_text('{"step": 1}\n{"step": 9}\n{"st')
        rewind_logs(tmp_path, 5)
        assert (tmp_path / name).read_text() == '{"step": 1}\n'
    (tmp_path / "metrics.jsonl").write_text("7\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1"):
        rewind_logs(tmp_path, 5)


def test_a_full_disk_is_named_by_the_log(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    log = MetricsLog(tmp_path / "metrics.jsonl")
    with pytest.raises(OSError, match=r"metrics\.jsonl cannot be written \(No space left"):
        log.on_log(None, TrainerState(is_world_process_zero=True), TrainerControl(), logs={"loss": 1.0})


@pytest.mark.parametrize("name", ["samples.jsonl", "diagnostics.jsonl"])
def test_a_full_disk_is_named_by_what_the_trainer_writes(recipe_file, tiny_base, tmp_path, name):
    recipe_file.write_text(recipe_file.read_text().replace("reward_function:", "#"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to("/dev/full")
    with pytest.raises(OSError, match=rf"{name} cannot be written \(No space left"):
        train(recipe(recipe_file, tiny_base, tmp_path / "run"))


@pytest.mark.parametrize("size", [15_000, 30_000])
def test_a_full_disk_is_named_by_the_checkpoint_and_the_run_goes_on_later(recipe_file, tiny_base, tmp_path, size):
    """A limit on the size of files stands in for the disk, under that of the weights or of the optimizer's state."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        with pytest.raises(OSError, match=r"checkpoint-2 cannot be written"):
            train(recipe(recipe_file, tiny_base, tmp_path / "run"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert train(recipe(recipe_file, tiny_base, tmp_path / "run")).name == "checkpoint-6"


HOLD = """
import multiprocessing, sys, time
from pathlib import Path
from simko.evaluate.checkpoint_files import damage, latest_checkpoint, seal
from simko.evaluate.files import locked
with locked(Path(sys.argv[1])):
    worker = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    worker.start()
    print(worker.pid, flush=True)
    time.sleep(60)
"""


def test_a_killed_run_leaves_its_directory_free_though_its_workers_live(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    worker = int(holder.stdout.readline())
    try:
        time.sleep(0.2)
        with pytest.raises(ValueError, match="another process"), locked(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with locked(tmp_path), pytest.raises(ValueError, match="another process"), locked(tmp_path):
            pass
    finally:
        holder.kill()
        os.kill(worker, signal.SIGKILL)


def test_a_model_that_is_neither_a_folder_nor_reached_on_the_hub_is_told_so(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="there is no folder misspelt-model here, and the hub"):
        train(recipe(recipe_file, "misspelt-model", tmp_path / "run"))
