"""Trains the tiny model to the end, and again from checkpoints of that run; as one process, or as several:

torchrun --nproc_per_node 2 resume_ranks.py FOLDER OPTIONS.json STEP...    writes FOLDER/same-RANK.json: {step: bool}

SIMKO_TEST_FSDP=1 shards the model (FSDP2).
"""

import json
import os
import sys
from pathlib import Path

import torch
from shards import shard_on_cpu, weights
from tiny import make_trainer, tiny_dataset

from simko.adapters.trl import RLVRTrainer

QUICK = {"per_device_train_batch_size": 4, "max_completion_length": 4, "save_strategy": "steps", "save_steps": 1}


def weights_after(folder, cls=RLVRTrainer, *, dataset=12, step=None, **options):
    """All weights at the end of a run that starts from its checkpoint `step`, or from none. dataset: one, or its rows."""
    dataset = tiny_dataset(dataset) if isinstance(dataset, int) else dataset
    kept = {} if step is None else {"save_strategy": "no"}  # so that the first run's checkpoints stay
    trainer = make_trainer(folder, cls, dataset=dataset, **QUICK | options | kept)
    checkpoint = None if step is None else str(folder / "out" / f"checkpoint-{step}")
    trainer.train(resume_from_checkpoint=checkpoint)
    return weights(trainer.model)


def main(folder, options, *steps):
    torch.set_num_threads(1)
    if os.environ.get("SIMKO_TEST_FSDP"):
        shard_on_cpu()
    run = {"dataset": 3, **json.loads(Path(options).read_text())}
    whole = weights_after(Path(folder), **run)
    same = {step: torch.equal(weights_after(Path(folder), step=step, **run), whole) for step in steps}
    (Path(folder) / f"same-{os.environ['RANK']}.json").write_text(json.dumps(same))


if __name__ == "__main__":
    main(*sys.argv[1:])
