"""A disk that is full: the run ends in one line, what it had acknowledged is whole, and it goes on once there is room."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from kills import in_process
from safetensors.torch import load_file

from simko.evaluate import SampleStore
from simko.evaluate.checkpoint_files import checkpoints, damage

RECIPE = """
model_name_or_path: {base}
task: operator_puzzle
train_problems: 40
output_dir: {out}
num_generations: 4
per_device_train_batch_size: 16
max_completion_length: 9
learning_rate: 1e-2
max_steps: 6
save_steps: 1
logging_steps: 1
report_to: none
disable_tqdm: true
"""
HELD_OUT = "passk_every: 2\npassk_samples: 2\npassk_problems: 4\n"
SIZE = 4 << 20


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("a file system can be mounted by root alone")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def trained(recipe: Path) -> None:
    from simko.cli.main import main

    os._exit(main(["train", str(recipe)]))


@pytest.fixture(scope="session")
def whole(tiny_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(base=tiny_base, out=folder / "run"))
    assert in_process(trained, recipe, log=folder / "log") == 0, (folder / "log").read_text()[-2000:]
    return load_file(folder / "run" / "checkpoint-6" / "model.safetensors")


SLOW = [*((room, 0) for room in (4, 12, 24, 60, 100, 150, 300)), *((room, 1) for room in (4, 40, 90, 200, 450))]
ROOM = [(40, 0), *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)]


@pytest.mark.parametrize(("kilobytes", "passk"), ROOM)
def test_a_full_disk_ends_a_run_that_goes_on_later(small_disk, whole, tiny_base, tmp_path, kilobytes, passk):
    recipe, out, ballast = tmp_path / "recipe.yaml", small_disk / "run", small_disk / "ballast"
    recipe.write_text(RECIPE.format(base=tiny_base, out=out) + HELD_OUT * passk)
    ballast.write_bytes(bytes(SIZE - (kilobytes << 10)))
    assert in_process(trained, recipe, log=tmp_path / "full") == 2, (tmp_path / "full").read_text()[-2000:]
    said = (tmp_path / "full").read_text().splitlines()[-1]
    assert said.startswith("simko: error: ")
    assert "cannot be written" in said or "could not be written" in said
    assert str(small_disk) in said
    assert all(damage(checkpoint) is None for checkpoint in checkpoints(out))
    for log in out.glob("*.jsonl"):
        assert all(json.loads(line) for line in log.read_bytes().split(b"\n")[:-1])

    ballast.unlink()
    assert in_process(trained, recipe, log=tmp_path / "log") == 0, (tmp_path / "log").read_text()[-2000:]
    found = load_file(out / "checkpoint-6" / "model.safetensors")
    assert all(found[name].equal(weight) for name, weight in whole.items())
    rows = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert [sum(row["step"] == step for row in rows) for step in range(6)] == [16] * 6
    if passk:
        with SampleStore(out / "held-out" / "samples.db") as store:
            assert len(store.settings()) == 4
