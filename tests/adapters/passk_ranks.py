"""Trains the tiny model with PassAtKCallback as one of several CPU processes, and saves what came of it.

torchrun --nproc_per_node 2 passk_ranks.py FOLDER

SIMKO_TEST_FSDP=1 shards the model (FSDP2). Each process saves its logged rows, and the main one the samples.
"""

import os
import sys
import tempfile
from pathlib import Path

import torch
from ranks import shard_on_cpu, whole
from test_passk_callback import PROBLEMS, begins
from tiny import make_trainer

from simko.adapters.trl import PassAtKCallback, RLVRTrainer


def raising_on_one_process(response, problem):
    if problem.id == "p2":
        raise KeyError("gold")
    return begins(response, problem)


def train(store, *, evaluate=True, broken=False, seed=1):
    """9 rows in batches of 4: with two processes the second has none in the last round."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(
            Path(folder), RLVRTrainer, per_device_train_batch_size=4, max_steps=2,
            steps_per_generation=1, num_generations=4 * processes, seed=seed,
        )  # fmt: skip
        if evaluate:
            verifier = raising_on_one_process if broken else begins
            trainer.add_callback(PassAtKCallback(trainer, PROBLEMS, verifier, 3, 1, store=store))
        said = None
        try:
            trainer.train()
        except ValueError as error:
            said = f"{type(error).__name__}: {error}"
    rows = [
        {k: v for k, v in row.items() if k != "eval_passk_seconds"}
        for row in trainer.state.log_history
        if "eval_pass@1" in row
    ]
    return {
        "type": str(trainer.accelerator.distributed_type),
        "rows": rows,
        "said": said,
        "weights": torch.cat([whole(p).flatten() for p in trainer.model.parameters()]),
    }


def main(folder):
    torch.set_num_threads(1)
    if os.environ.get("SIMKO_TEST_FSDP"):
        shard_on_cpu()
    results = {
        "with": train(folder / "samples.db"),
        "without": train(None, evaluate=False),
        "broken": train(None, broken=True),
        "refused": train(folder / "samples.db", seed=2),
    }
    torch.save(results, folder / f"rank{os.environ.get('RANK', '0')}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
