"""The loop beside TRL on the quickstart's task: how fast each is, and where the loop ends.

    python benchmarks/loop.py --rollouts 10                  # seconds a rollout of both, one thread, the two in turn
    python benchmarks/loop.py --agree --seeds 1,2,3          # pass@K of the loop; TRL's are in docs/results/quickstart.md

TRL's seconds are those of `simko train quickstart.yaml` between the rollouts, without its start. A loaded machine moves single
times, the ratio little.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from simko.evaluate import pass_at_k
from simko.objectives import METHODS
from simko.studies.head_to_head.measure import measure
from simko.studies.loop import Run, Training, train
from simko.studies.warm_start import WarmStart, warm_started_model
from simko.tasks import get_task
from simko.training.recipe import find_recipe

KS = (1, 4, 16, 64, 128)
ROWS = {
    "grpo": METHODS["grpo"],
    "simko": METHODS["simko"].with_options(alpha=0.1, top_penalty=1.5),
}


def loop(base: Path, method: str, seed: int, rollouts: int) -> tuple[float, tuple]:
    """Seconds a rollout, and the trained model with its tokenizer."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    task = get_task("operator_puzzle")
    start = time.perf_counter()
    run = Run(model, ROWS[method], Training(rollouts=rollouts), seed)
    for _ in train(run, tokenizer, task.load("train"), task.verifier):
        pass
    return (time.perf_counter() - start) / rollouts, (model, tokenizer)


def trl(base: Path, method: str, seed: int, rollouts: int) -> float:
    """Seconds a rollout."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "simko.cli", "train", str(find_recipe("quickstart.yaml")), "--method", method]
        words += ["--seed", str(seed), "--output_dir", folder, "--model_name_or_path", str(base)]
        words += ["--max_steps", str(2 * rollouts), "--probe_every", "0", "--save_steps", str(2 * rollouts)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        subprocess.run(words, check=True, capture_output=True, env=environment)
        lines = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return statistics.median(2 * row["step_time"] for row in map(json.loads, lines) if "step_time" in row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--agree", action="store_true", help="train 120 rollouts and evaluate, instead of timing")
    parser.add_argument("--seeds", default="1,2,3")
    args = parser.parse_args()
    torch.set_num_threads(1)
    base = warm_started_model(WarmStart())  # the quickstart's
    if args.agree:
        problems = get_task("operator_puzzle").load("test")
        for method in ROWS:
            for seed in map(int, args.seeds.split(",")):
                seconds, (model, tokenizer) = loop(base, method, seed, 120)
                found = measure(
                    model,
                    tokenizer,
                    problems,
                    "operator_puzzle",
                    samples=128,
                    max_new_tokens=9,
                    temperature=1.0,
                    seed=seed,
                )
                passes = [statistics.mean(pass_at_k(128, c, k) for c in found["correct"]) for k in KS]
                shown = "  ".join(f"{k}: {100 * p:.1f}" for k, p in zip(KS, passes, strict=True))
                print(f"{method} seed {seed}  {shown}  ({seconds:.2f} s a rollout)", flush=True)
        return
    for method in ROWS:
        pairs = [
            (loop(base, method, 1, args.rollouts)[0], trl(base, method, 1, args.rollouts)) for _ in range(args.repeats)
        ]
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"{method}: loop {ours:.2f} s a rollout, TRL {theirs:.2f} s, TRL / loop {ratio:.1f}", flush=True)


if __name__ == "__main__":
    main()
