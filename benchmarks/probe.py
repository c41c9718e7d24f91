"""What the probe costs at its defaults, as a share of the training that it runs in: RLVRTrainer's own, or the callback in a
GRPOTrainer of TRL's.

    python benchmarks/probe.py [--rows 64] [--tokens 32] [--rollouts 20] [--updates 1] [--threads 1] [--trainer trl]

Trains a small model and times the probe inside the run: both numbers come from one process, so a loaded machine moves
their ratio little. The worst case is a run of few steps, since the first probe comes before the first update; --rollouts
counts up to the next probe, whose cost is not in it.
"""

import argparse
import tempfile
import time
from typing import Any

import torch
from datasets import Dataset
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from simko.adapters.trl import ConcentrationCallback, RLVRConfig, RLVRTrainer
from simko.studies.warm_start import puzzle_tokenizer


def timed(probe: Any) -> list[float]:
    """Seconds of each probe, a list that fills while the trainer trains."""
    spent: list[float] = []
    measure = probe.measure

    def measured(*rollout: Any) -> None:
        start = time.perf_counter()
        measure(*rollout)
        spent.append(time.perf_counter() - start)

    probe.measure = measured
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64, help="responses a rollout")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--updates", type=int, default=1, help="updates a rollout")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trainer", choices=("simko", "trl"), default="simko")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=2048, hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
            num_key_value_heads=2, head_dim=32, eos_token_id=1, pad_token_id=0,
        )
    )  # fmt: skip
    ours = options.trainer == "simko"
    args = (RLVRConfig if ours else GRPOConfig)(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=options.rows // options.updates,
        steps_per_generation=options.updates, num_generations=8, max_completion_length=options.tokens,
        max_steps=options.rollouts * options.updates, report_to="none", gradient_checkpointing=False,
        disable_tqdm=True, save_strategy="no", loss_type="dapo", use_cpu=True, bf16=False,
    )  # fmt: skip
    trainer = (RLVRTrainer if ours else GRPOTrainer)(
        model,
        lambda completions, **_: [float(len(c) % 2) for c in completions],
        args,
        train_dataset=Dataset.from_list([{"prompt": f"{a} {b}"} for a in range(10) for b in range(100)]),
        processing_class=puzzle_tokenizer("operator_puzzle"),
    )
    callback = None if ours else ConcentrationCallback(trainer)
    if callback:
        trainer.add_callback(callback)
    spent = timed(callback.probe if callback else trainer.probe)
    start = time.perf_counter()
    trainer.train()
    whole = time.perf_counter() - start
    print(
        f"{len(spent)} probes in {trainer.state.global_step} updates, {sum(spent):.2f} of {whole:.1f} s: "
        f"{100 * sum(spent) / whole:.2f} %"
    )


if __name__ == "__main__":
    main()
