"""Two launchers on this machine, posing as two nodes, train one run by the commands of docs/training.md."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

RECIPE = """
task: operator_puzzle
train_problems: 40
method: simko
num_generations: 4
per_device_train_batch_size: 8
max_completion_length: 9
save_steps: 1
logging_steps: 1
report_to: none
disable_tqdm: true
seed: 3
lr_scheduler_type: constant
learning_rate: 1.0e-3
"""


def on_two_nodes(recipe, *options):
    """`simko train` by one torchrun on each of two nodes of one process, to the end: what the two printed."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    words = [
        "--nnodes=2",
        "--nproc_per_node=1",
        "--rdzv_backend=c10d",
        f"--rdzv_endpoint=127.0.0.1:{port}",
        "--rdzv_id=7",
    ]
    command = [sys.executable, "-m", "torch.distributed.run", *words, "-m", "simko.cli", "train", str(recipe), *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    nodes = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
    try:
        printed = [node.communicate(timeout=240) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0, 0], printed[0][1][-2000:] + printed[1][1][-2000:]
    return printed


def test_a_run_of_two_nodes_is_one_run_and_continues(tmp_path, tiny_base):
    recipe = tmp_path / "recipe.yaml"
    runs = [tmp_path / name for name in ("whole", "continued")]
    for run, steps in ((runs[0], (3,)), (runs[1], (1, 3))):
        recipe.write_text(RECIPE + f"model_name_or_path: {tiny_base}\noutput_dir: {run}\n")
        for n in steps:
            printed = on_two_nodes(recipe, "--max_steps", str(n))
            assert any(f"checkpoint-{n}" in out for out, _ in printed)
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3]
        assert {path.name for path in (run / "checkpoint-3").glob("rng_state*")} == {
            "rng_state_0.pth",
            "rng_state_1.pth",
        }
    whole, continued = (load_file(run / "checkpoint-3" / "model.safetensors") for run in runs)
    assert all(torch.equal(continued[name], x) for name, x in whole.items())
