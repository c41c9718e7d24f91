"""One rank of a run whose second rank has a reward function that fails: torchrun --nproc_per_node 2 reward_ranks.py FOLDER FAULT POLICY"""

import math
import os
import sys
import time
from pathlib import Path

import torch
from kills import RUN, weights_hash
from tiny import digit_share, make_trainer, tiny_dataset

from simko.adapters.trl import RLVRTrainer

CALLS = 0


def moody(completions, **_):
    global CALLS
    CALLS += 1
    found = digit_share(completions)
    if CALLS == 2 and os.environ["RANK"] == "1":
        match sys.argv[2]:
            case "nan":
                found[2] = math.nan
            case "large":
                found[2] = 1e20
            case "hangs":
                time.sleep(600)
    return found


def main(folder: Path, fault: str, policy: str) -> None:
    torch.set_num_threads(1)
    rank = os.environ["RANK"]
    options = RUN | {"reward_failures": policy, "reward_timeout": 2.0, "max_steps": 6}
    if fault == "waits longer than torch":
        options |= {"ddp_timeout": 2}
    try:
        trainer = make_trainer(folder, RLVRTrainer, reward=moody, dataset=tiny_dataset(8), **options)
        trainer.train()
    except (ValueError, TimeoutError) as error:
        (folder / f"error-{rank}").write_text(str(error))
        raise
    (folder / f"hash-{rank}").write_text(weights_hash(trainer))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
