"""One rank of a run that is killed: torchrun --nproc_per_node 2 killed_ranks.py FOLDER [POINT]; the second rank is killed."""

import os
import sys
from pathlib import Path

import torch
from kills import POINTS, RUN, kill_at, weights_hash
from tiny import make_trainer, tiny_dataset

from simko.adapters.trl import SimKOTrainer


def main(folder: Path, point: str | None = None) -> None:
    torch.set_num_threads(1)
    rank = os.environ["RANK"]
    if point is not None and rank == ("0" if "renaming" in point else "1"):
        kill_at(POINTS[point], POINTS[point].times[1] - 1, folder)
    options = RUN | {"per_device_train_batch_size": 2}
    trainer = make_trainer(folder, SimKOTrainer, dataset=tiny_dataset(4), **options)
    trainer.train(resume_from_checkpoint=True)
    (folder / f"hash-{rank}").write_text(weights_hash(trainer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
