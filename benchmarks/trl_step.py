"""Time of one SimKO update beside one GRPO update in TRL: same model, same batch, the two in turn.

    python benchmarks/trl_step.py [--vocabulary 32768] [--rows 16] [--tokens 128] [--repeats 7] [--no-gate] [--json FILE]

Prints the median seconds of forward + backward and the median of the pairwise ratios. One thread; a loaded machine moves
single times, the ratio little.
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from simko.adapters.trl import SimKOConfig, SimKOTrainer
from simko.studies.warm_start import puzzle_tokenizer

PROMPT = 16


def trainer(kind: type, config: Any, vocabulary: int, rows: int, tokenizer: PreTrainedTokenizerFast) -> Any:
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary, hidden_size=256, intermediate_size=768, num_hidden_layers=4,
            num_attention_heads=4, num_key_value_heads=2, head_dim=64, eos_token_id=1, pad_token_id=0,
        )
    )  # fmt: skip
    args = config(
        output_dir="runs/benchmark", per_device_train_batch_size=rows, num_generations=rows, report_to="none",
        bf16=False, gradient_checkpointing=False, use_cpu=not torch.cuda.is_available(), disable_tqdm=True,
    )  # fmt: skip
    data = Dataset.from_list([{"prompt": "1 2"}] * rows)
    made = kind(
        model, lambda completions, **_: [0.0] * len(completions), args, train_dataset=data, processing_class=tokenizer
    )
    made.current_gradient_accumulation_steps = 1
    made.model.train()
    return made


def batch(vocabulary: int, rows: int, tokens: int, device: torch.device) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    made = {
        "prompt_ids": torch.randint(2, vocabulary, (rows, PROMPT), generator=generator),
        "prompt_mask": torch.ones(rows, PROMPT, dtype=torch.long),
        "completion_ids": torch.randint(2, vocabulary, (rows, tokens), generator=generator),
        "completion_mask": torch.ones(rows, tokens, dtype=torch.long),
        "advantages": torch.randn(rows, generator=generator),
        "num_items_in_batch": torch.tensor(rows * tokens),
    }
    return {name: tensor.to(device) for name, tensor in made.items()}


def seconds(made: Any, inputs: dict[str, torch.Tensor]) -> float:
    start = time.perf_counter()
    made._compute_loss(made.model, inputs).backward()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    made.model.zero_grad()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=int, default=32768)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-gate", action="store_true", help="SimKO on every token: one pass over the head")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer = puzzle_tokenizer("operator_puzzle")
    simko_config = partial(SimKOConfig, simko_gate_quantile=None) if args.no_gate else SimKOConfig
    pair = [
        trainer(kind, config, args.vocabulary, args.rows, tokenizer)
        for kind, config in ((GRPOTrainer, GRPOConfig), (SimKOTrainer, simko_config))
    ]
    inputs = batch(args.vocabulary, args.rows, args.tokens, pair[0].accelerator.device)
    times = [[seconds(made, inputs) for made in pair] for _ in range(args.repeats + 1)][1:]
    grpo, simko = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(s / g for g, s in times)
    print(
        f"vocabulary {args.vocabulary}, {args.rows} x {args.tokens} tokens, {args.repeats} pairs after one warm-up"
        f"{', no gate' if args.no_gate else ''}"
    )
    print(f"GRPO {grpo:.3f} s   SimKO {simko:.3f} s   SimKO / GRPO {ratio:.3f}")
    if args.json:
        sizes = {name: getattr(args, name) for name in ("vocabulary", "rows", "tokens", "repeats")}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({**sizes, "grpo": grpo, "simko": simko, "ratio": ratio}) + "\n")


if __name__ == "__main__":
    main()
