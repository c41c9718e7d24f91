"""What each value of SimKO's options costs in the head-to-head's loop: seconds a rollout and the process's peak memory.

    python benchmarks/sensitivity_cost.py --rollouts 10

Around the row's usual setting, one option at a time, each in a process of its own on one thread, the values in turn. A loaded
machine moves the seconds, not the memory.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import torch

from simko.studies.head_to_head.protocol import SHIPPED, read_protocol
from simko.studies.loop import Run, train

CENTRE = {"alpha": 0.1, "top_penalty": 1.5, "top_k": 3, "gate_quantile": 0.8}


def cost(task: str, options: dict[str, object], rollouts: int) -> tuple[float, float]:
    """CPU-seconds a rollout after the first, and MiB."""
    protocol = read_protocol(SHIPPED)
    arena = protocol.tasks[task]
    model, tokenizer = arena.load()
    run = Run(model, protocol.method("simko", options), protocol.training_of(task, 1e-4), 1)
    steps = train(run, tokenizer, arena.task("train").load("train", 2000), arena.task("train").verifier)
    next(steps)
    start = time.process_time()
    for _ in range(rollouts):
        next(steps)
    seconds = (time.process_time() - start) / rollouts
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return seconds, int(peak[1]) / 1024 if peak else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=10)
    parser.add_argument("--task", default="operator_puzzle")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        torch.set_num_threads(1)
        print(json.dumps(cost(args.task, json.loads(args.one), args.rollouts)))
        return
    print("| option | value | s a rollout | peak memory, MiB |\n|---|---|---|---|")
    for option, values in read_protocol(SHIPPED).sensitivity["options"].items():
        for value in values:
            words = [
                "--rollouts",
                str(args.rollouts),
                "--task",
                args.task,
                "--one",
                json.dumps(CENTRE | {option: value}),
            ]
            done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
            seconds, memory = json.loads(done.stdout.splitlines()[-1])
            print(f"| {option} | {value} | {seconds:.2f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
