"""Two processes, replicated (DDP) or sharded (FSDP2, DeepSpeed's ZeRO-3), train what one process trains."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from paper import relative_error
from ranks import train
from tiny import tiny_model

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
INSTALL = "DS_BUILD_OPS=0 pip install --no-deps --no-build-isolation deepspeed einops hjson msgpack ninja py-cpuinfo"
RUNS = {
    "dapo, off-policy": {"num_iterations": 2},
    "lambda on the advantage": {"simko_penalty": "advantage", "loss_type": "grpo"},
    "accumulated": {
        "gradient_accumulation_steps": 2,
        "num_generations": 2,
        "simko_weights": "softmax",
        "simko_gate_quantile": None,
    },
    "skipping": {"skip_zero_advantage": True},
    "untied": {"tie": False},
    "looked up": {"looked_up": True, "num_iterations": 2},
    "looked up, untied": {"looked_up": True, "tie": False},
    "by advantage": {"method": "ucpo", "num_iterations": 2},
    "by advantage, binary": {"method": "pkpo", "method_options": {"k": 2}, "num_iterations": 2, "learning_rate": 0.05},
    "with its own loss": {"method": "psr", "num_iterations": 2, "learning_rate": 0.05},
    "with a selection": {"method": "forking_tokens", "num_iterations": 2},
    "by a link": {"method": "entropy_advantage", "num_iterations": 2, "loss_type": "grpo"},
    "with a controller": {"method": "changing", "max_steps": 4},
}


def launch(folder, runs, **environment):
    (folder / "options.json").write_text(json.dumps(list(runs)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, str(HERE / "ranks.py"), str(folder / "out.pt"), str(folder / "options.json")],
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "out.pt")


@pytest.fixture(scope="module")
def alone():
    return {name: train(dict(options)) for name, options in RUNS.items()}


@pytest.fixture(scope="module")
def replicated(tmp_path_factory):
    return dict(zip(RUNS, launch(tmp_path_factory.mktemp("ddp"), RUNS.values()), strict=True))


@pytest.fixture(scope="module")
def sharded(tmp_path_factory):
    results = launch(tmp_path_factory.mktemp("fsdp"), RUNS.values(), SIMKO_TEST_FSDP="1")
    return dict(zip(RUNS, results, strict=True))


@pytest.fixture(scope="module")
def zero3(tmp_path_factory):
    folder = tmp_path_factory.mktemp("zero3")
    for tie in (True, False):
        tiny_model(tie=tie).save_pretrained(folder / str(tie))
    results = launch(folder, RUNS.values(), SIMKO_TEST_ZERO3=str(folder), DS_ACCELERATOR="cpu")
    return dict(zip(RUNS, results, strict=True))


def assert_same(a, b, name, steps="gradients"):
    assert len(a[steps]) == len(b[steps]) == RUNS[name].get("max_steps", 2)
    for x, y in zip(a[steps], b[steps], strict=True):
        assert relative_error(x, y) < 1e-5
    assert relative_error(a["weights"], b["weights"]) < 1e-5
    logged = {
        "with its own loss": "psr/kept",
        "with a selection": "forking_tokens/kept",
        "by a link": "entropy_advantage/bonus",
    }
    shared = None if name.startswith("by advantage") else logged.get(name, "simko/penalised")
    assert shared is None or max(row[shared] for row in a["metrics"]) > 0
    if name != "skipping":  # its metrics cover the responses that are left, not the same ones on any split
        for x, y in zip(a["metrics"], b["metrics"], strict=True):
            assert x == pytest.approx(y, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", RUNS)
def test_two_replicas_train_what_one_process_trains(alone, replicated, name):
    assert replicated[name]["type"].endswith("MULTI_CPU")
    assert replicated[name]["processes"] == 2
    assert_same(replicated[name], alone[name], name)


@pytest.mark.parametrize("name", RUNS)
def test_two_shards_train_what_two_replicas_train(replicated, sharded, name):
    assert sharded[name]["type"].endswith("FSDP")
    assert sharded[name]["processes"] == 2
    assert_same(sharded[name], replicated[name], name)


@pytest.mark.parametrize("name", RUNS)
def test_two_shards_have_the_losses_of_one_process(alone, sharded, name):
    assert any(loss != 0 for loss in alone[name]["losses"])
    assert sharded[name]["losses"] == pytest.approx(alone[name]["losses"], rel=0, abs=1e-5)


@pytest.mark.skipif(find_spec("deepspeed") is None, reason=f"needs deepspeed: {INSTALL}")
@pytest.mark.parametrize("name", RUNS)
def test_two_shards_of_zero3_train_what_two_replicas_train(replicated, zero3, name):
    assert zero3[name]["type"].endswith("DEEPSPEED")
    assert zero3[name]["processes"] == 2
    assert_same(zero3[name], replicated[name], name, steps="moves")
