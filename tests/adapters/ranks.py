"""Trains the tiny model on fixed responses as one of several CPU processes, and saves what came of it.

    torchrun --nproc_per_node 2 ranks.py OUT.pt OPTIONS.json       one dict of options a run

SIMKO_TEST_FSDP=1 shards the model (FSDP2); SIMKO_TEST_ZERO3=FOLDER has DeepSpeed load it in shards, of FOLDER/True where it
is tied and FOLDER/False. Saved by the main process, a list with one entry a run: distributed type, number of processes, each
optimizer step's gradient (unseen with DeepSpeed) and what it adds to the weights, the final weights, gathered whole, and the
logged losses.
"""

import json
import os
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import torch
from methods import right
from shards import shard_on_cpu, weights, whole, zero3_on_cpu
from test_controller import FOLLOWING
from tiny import LORA, fixed_rollout, make_trainer, tiny_model
from transformers import TrainerCallback

from simko.adapters.trl import MethodTrainer
from simko.objectives import METHODS

GLOBAL_BATCH = 8
ZERO3 = os.environ.get("SIMKO_TEST_ZERO3")
ZERO3_OPTIONS = {
    "use_cpu": False,  # accelerate has DeepSpeed on accelerators only: zero3_on_cpu
    "deepspeed": {
        "zero_optimization": {
            "stage": 3,
            # of so small a model nothing would ever be released
            "stage3_param_persistence_threshold": 0,
            "stage3_max_live_parameters": 0,
            "stage3_max_reuse_distance": 0,
            "stage3_prefetch_bucket_size": 0,
        },
        "zero_allow_untested_optimizer": True,
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
    },
}


class Steps(TrainerCallback):
    def __init__(self):
        self.gradients, self.moves = [], []

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.weights = weights(model)

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if not ZERO3:
            self.gradients.append(torch.cat([whole(p.grad).flatten() for p in model.parameters() if p.requires_grad]))

    def on_step_end(self, args, state, control, model=None, **kwargs):
        before, self.weights = self.weights, weights(model)
        self.moves.append(self.weights - before)


def digit_share_of_some(completions, prompts, **_):
    """Groups of equal rewards for prompts with an x, so that whole responses can be skipped."""
    return [
        0.5 if "x" in p else sum(ch.isdigit() for ch in c) / len(c) for p, c in zip(prompts, completions, strict=True)
    ]


def train(options):
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    accumulation = options.get("gradient_accumulation_steps", 1)
    lora = options.pop("lora", False)
    method = options.get("method")
    looked_up = options.pop("looked_up", False)  # a GPU's way to the candidates
    tie, steps = options.pop("tie", True), Steps()
    way = mock.patch("simko.adapters.trl.loss.one_pass_candidates", return_value=None)
    changing = mock.patch.dict(METHODS, changing=FOLLOWING["token links"])
    with way if looked_up else nullcontext(), changing, tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(
            Path(folder),
            MethodTrainer if method else None,
            model=f"{ZERO3}/{tie}" if ZERO3 else tiny_model(tie=tie),
            reward=right if method else digit_share_of_some,
            trainer={
                "rollout_func": fixed_rollout(),
                "callbacks": [steps],
                "peft_config": LORA() if lora else None,
            },
            **{
                "per_device_train_batch_size": GLOBAL_BATCH // processes // accumulation,
                "max_steps": 2,
                "optim": "sgd",
                "learning_rate": 0.5,
            }
            | ({} if method else {"simko_gate_quantile": 0.5})
            | (ZERO3_OPTIONS if ZERO3 else {})
            | options,
        )
        trainer.train()
    return {
        "type": str(trainer.accelerator.distributed_type),
        "processes": trainer.accelerator.num_processes,
        "gradients": steps.gradients,
        "moves": steps.moves,
        "weights": weights(trainer.model),
        "losses": [row["loss"] for row in trainer.state.log_history if "loss" in row],
        "metrics": [
            {k: v for k, v in row.items() if k.startswith((f"{method}/", "simko/")) and "seconds" not in k}
            for row in trainer.state.log_history
            if "loss" in row
        ],
    }


def main(out, options):
    torch.set_num_threads(1)
    if os.environ.get("SIMKO_TEST_FSDP"):
        shard_on_cpu()
    if ZERO3:
        zero3_on_cpu()
    results = [train(dict(run)) for run in json.loads(Path(options).read_text())]
    if os.environ.get("RANK", "0") == "0":
        torch.save(results, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
