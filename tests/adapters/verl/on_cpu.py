"""Runs verl's trainer on the CPUs of this machine, on Ray nodes that are raylets, each with one device.

    python tests/adapters/verl/on_cpu.py METHOD FOLDER [--nodes N] [--plugins WAY] [verl's options ...]

trains the tiny random model of `toy` on the successor of a digit, with simko's verifier as the reward. METHOD: grpo,
which is verl's own, or simko. In FOLDER: the model, the data, log.txt (all that verl prints) and metrics.jsonl (verl's
own log, a line a step). WAY, how plug-ins are loaded: modules (VERL_USE_EXTERNAL_MODULES, which every process here
inherits) or entry-points (of installed packages, which is what reaches other machines). The exit status is verl's.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import toy

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE.parents[2] / "pyproject.toml").read_text())["project"]
PLUGINS = {"cpu": "verl_on_cpu"} | PROJECT["entry-points"]["verl.plugins"]
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # it would count other processes' memory
    "TOKENIZERS_PARALLELISM": "false",
    "TORCH_COMPILE_DISABLE": "1",
    "VERL_PLATFORM": "cpu",
}
ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
OPTIONS = {
    "algorithm.adv_estimator": "grpo",
    "data.train_batch_size": 32,
    "data.max_prompt_length": 16,
    "data.max_response_length": 2,
    "data.dataloader_num_workers": 0,
    "actor_rollout_ref.model.use_remove_padding": False,
    "+actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
    "actor_rollout_ref.model.enable_gradient_checkpointing": False,
    f"{ACTOR}.strategy": "fsdp2",
    f"{ACTOR}.ppo_mini_batch_size": 8,
    f"{ACTOR}.ppo_micro_batch_size_per_gpu": 32,
    f"{ACTOR}.optim.lr": 3e-3,
    f"{ACTOR}.use_kl_loss": False,
    f"{ACTOR}.use_torch_compile": False,
    f"{ACTOR}.fsdp_config.use_torch_compile": False,
    f"+{ACTOR}.fsdp_config.mixed_precision.param_dtype": "fp32",
    f"+{ACTOR}.fsdp_config.mixed_precision.reduce_dtype": "fp32",
    f"+{ACTOR}.fsdp_config.mixed_precision.buffer_dtype": "fp32",
    f"{ROLLOUT}.name": "transformers",
    f"{ROLLOUT}.n": 8,
    f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": 32,
    f"{ROLLOUT}.free_cache_engine": False,
    f"{ROLLOUT}.agent.num_workers": 1,
    "reward.custom_reward_function.path": "pkg://simko.adapters.verl.reward",
    "reward.num_workers": 1,
    "trainer.device": "cpu",
    "trainer.n_gpus_per_node": 1,
    "trainer.logger": "[console,file]",
    "trainer.total_training_steps": 25,
    "trainer.total_epochs": 1000,
    "trainer.save_freq": -1,
    "trainer.test_freq": -1,
    "trainer.val_before_train": False,
    "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
}

LINES = {
    "grpo": [],
    "simko": [
        "trainer.v1.trainer_mode=simko",
        f"{ACTOR}.policy_loss._target_=simko.adapters.verl.PolicyLoss",
        f"{ACTOR}.policy_loss.loss_mode=simko/simko",
    ],
}
"""The lines that make a GRPO command another method's."""


def environment(folder, plugins="modules"):
    """The variables with which verl finds simko and runs on CPUs; plugins: "modules" or "entry-points"."""
    paths, loading = [str(HERE), *(p for p in sys.path if p and p != str(HERE))], ",".join(PLUGINS.values())
    if plugins == "entry-points":
        info, loading = Path(folder).absolute() / "installed" / "simko_on_cpu-1.dist-info", ""
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: simko-on-cpu\nVersion: 1\n")
        lines = [f"{name} = {module}" for name, module in PLUGINS.items()]
        (info / "entry_points.txt").write_text("\n".join(["[verl.plugins]", *lines, ""]))
        paths.insert(0, str(info.parent))
    return ENVIRONMENT | {"VERL_USE_EXTERNAL_MODULES": loading, "PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def raylets(number, variables):
    """The address of a Ray cluster of its own with that many nodes, whose processes have these variables."""
    from ray.cluster_utils import Cluster

    short = tempfile.mkdtemp(prefix="r", dir="/tmp")  # the paths of Unix sockets are limited
    node = {"num_cpus": 16, "num_gpus": 1, "object_store_memory": 150 << 20, "include_dashboard": False}
    with mock.patch.dict(
        os.environ, variables | {"RAY_TMPDIR": short}
    ):  # or others' ray.init() would join this cluster
        cluster = Cluster()
        try:
            for _ in range(number):
                cluster.add_node(**node)
            yield cluster.address
        finally:
            cluster.shutdown()
            shutil.rmtree(short, ignore_errors=True)


def prepare(folder, verifier="last_integer"):
    """Make the model and the data in a folder, if they are not there."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "train.parquet").exists():
        toy.make_model(folder / "model")
        toy.make_rows(folder / "val.parquet", 16, seed=1, verifier=verifier)
        toy.make_rows(folder / "train.parquet", 1024, verifier=verifier)


def command(folder, options=(), *, nodes=1, address=None):
    """The command of a run; later options win."""
    folder = Path(folder).absolute()
    chosen = OPTIONS | {
        "data.train_files": folder / "train.parquet",
        "data.val_files": folder / "val.parquet",
        "actor_rollout_ref.model.path": folder / "model",
        f"{ROLLOUT}.tensor_model_parallel_size": nodes,  # one server, whose draws do not depend on the order of requests
        "trainer.default_local_dir": folder / "checkpoints",
        "trainer.nnodes": nodes,
        "+ray_kwargs.ray_init.address": address,
    }
    chosen |= dict(option.split("=", 1) for option in options)
    return [sys.executable, "-m", "verl.trainer.main_ppo", *(f"{key}={value}" for key, value in chosen.items())]


@contextmanager
def running(folder, *options, nodes=1, plugins="modules"):
    """A run in a folder: the process of main_ppo, which ends with the context, and Ray with it."""
    folder = Path(folder)
    prepare(folder)
    variables = environment(folder, plugins) | {"VERL_FILE_LOGGER_PATH": str(folder.absolute() / "metrics.jsonl")}
    with raylets(nodes, variables) as address, (folder / "log.txt").open("w") as log:
        arguments = command(folder, options, nodes=nodes, address=address)
        process = subprocess.Popen(
            arguments, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env=os.environ | variables
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def run(folder, *options, nodes=1, plugins="modules", timeout=None):
    """verl's exit status. subprocess.TimeoutExpired after `timeout` seconds."""
    with running(folder, *options, nodes=nodes, plugins=plugins) as process:
        return process.wait(timeout)


def metrics(folder):
    """verl's log of a run: a dict of its metrics for each step."""
    rows = map(json.loads, (Path(folder) / "metrics.jsonl").read_text().splitlines())
    return {row["step"]: row["data"] for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=LINES)
    parser.add_argument("folder")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--plugins", choices=("modules", "entry-points"), default="modules")
    known, options = parser.parse_known_args()
    status = run(known.folder, *LINES[known.method], *options, nodes=known.nodes, plugins=known.plugins)
    rewards = {step: row["critic/rewards/mean"] for step, row in metrics(known.folder).items()}
    print("\n".join(f"step {step:3}  reward {reward:.3f}" for step, reward in rewards.items()))
    return status


if __name__ == "__main__":
    sys.exit(main())
