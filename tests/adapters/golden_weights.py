"""Weights that short runs of every row end with, kept in golden_weights.json.

    python tests/adapters/golden_weights.py           bit for bit against the file, on the machine type that wrote it
    python tests/adapters/golden_weights.py --write   write the file anew

Arithmetic differs between processors in the last bits, so the test compares projections of the weights instead.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import torch
from methods import OPTIONS, update_options, weights
from tiny import digit_share, make_trainer

from simko.adapters.trl import MethodTrainer, RLVRTrainer, SimKOTrainer
from simko.objectives import METHODS

FILE = Path(__file__).with_name("golden_weights.json")

SETTINGS = {
    "on-policy": {"accumulate": 1},
    "off-policy, accumulated": {"accumulate": 2, "num_iterations": 2, "learning_rate": 0.1},
    "two updates a rollout": {"per_device_train_batch_size": 8, "steps_per_generation": 2, "learning_rate": 0.1},
}
FACES = {
    "SimKOTrainer": (SimKOTrainer, {"reward": digit_share}),
    "SimKOTrainer on grpo, softmax weights": (SimKOTrainer, {"loss_type": "grpo", "simko_weights": "softmax"}),
    "SimKOTrainer on dr_grpo, penalty on the advantage": (
        SimKOTrainer, {"loss_type": "dr_grpo", "simko_penalty": "advantage"},
    ),
    "SimKOTrainer without a gate": (SimKOTrainer, {"simko_gate_quantile": None}),
    "RLVRTrainer": (RLVRTrainer, {}),
    "RLVRTrainer on cispo": (RLVRTrainer, {"loss_type": "cispo", "epsilon_high": 3.0, "reward": digit_share}),
}  # fmt: skip
RUNS = [(name, setting) for name in [*METHODS, *FACES] for setting in SETTINGS]


def trained(folder, name, setting):
    """The trainer after three updates."""
    cls, options = FACES.get(name, (MethodTrainer, {}))
    if name in METHODS:
        options = {"method": name, "method_options": {"alpha": 0.3} if name == "simko" else OPTIONS.get(name)}
    if name == "best_of_k":  # `right` ties at the top of most groups
        options["reward"] = digit_share
    trainer = make_trainer(folder, cls, **update_options(**SETTINGS[setting]) | options)
    trainer.train()
    return trainer


def summary(trainer):
    """A digest of the weights, and projections of them that a machine of another type gives to some digits."""
    flat = weights(trainer).contiguous()
    wide, place = flat.double(), torch.arange(len(flat), dtype=torch.float64)
    projections = [float((wide * (place * step).cos()).sum()) for step in (0.0, 0.1, 0.37, 1.3, 2.9)]
    return {"sha256": hashlib.sha256(flat.numpy().tobytes()).hexdigest(), "projections": projections}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, setting in RUNS:
            found[f"{name}: {setting}"] = summary(trained(Path(folder) / str(len(found)), name, setting))
    if args.write:
        FILE.write_text(json.dumps(found, indent=1) + "\n")
        return
    kept = json.loads(FILE.read_text())
    changed = [run for run in found if run in kept and kept[run]["sha256"] != found[run]["sha256"]]
    for run in changed:
        errors = [abs(a - b) for a, b in zip(kept[run]["projections"], found[run]["projections"], strict=True)]
        print(f"{run}: other weights, by {max(errors):.2g} in projections")
    print(f"{len(kept) - len(changed)} of {len(kept)} runs are the same bit for bit")
    sys.exit(bool(changed))


if __name__ == "__main__":
    main()
