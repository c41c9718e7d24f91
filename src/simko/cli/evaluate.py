"""Sample n responses to every problem of a task, grade them, and print pass@k. An interrupted evaluation continues.

example:
  simko evaluate --model runs/qwen/checkpoint-140 --task math500 -n 128 --out runs/qwen-math500
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="a checkpoint folder or hub id")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--task", help="a task of simko's (see simko tasks)")
    source.add_argument("--file", help="a JSONL file with prompt, answer[, id]; needs --verifier")
    parser.add_argument("--verifier", help="how responses are judged (default: the task's own)")
    parser.add_argument("-n", "--samples", type=int, default=128, help="responses a problem (default 128)")
    parser.add_argument("--out", type=Path, required=True, help="the directory of this evaluation")
    parser.add_argument("--temperature", type=float, help="default: the task's")
    parser.add_argument("--max-new-tokens", type=int, help="default: the task's")
    parser.add_argument("--limit", type=int, help="the first so many problems only")
    parser.add_argument("--batch-size", type=int, default=256, help="responses generated together (default 256)")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 (default auto: the checkpoint's)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> None:
    from simko.evaluate import pass_at_k_curve
    from simko.evaluate.files import claimed
    from simko.evaluate.run import evaluate
    from simko.sampling.transformers_sampler import TransformersSampler
    from simko.tasks import file_task, get_task
    from simko.verifiers import get_verifier

    if args.file and not args.verifier:
        raise ValueError("--file needs --verifier, e.g. --verifier last_integer")
    task = get_task(args.task) if args.task else file_task(args.file, args.verifier)
    verifier = args.verifier or task.verifier
    settings = {
        "temperature": task.temperature if args.temperature is None else args.temperature,
        "top_p": task.top_p,
        "max_new_tokens": task.max_new_tokens if args.max_new_tokens is None else args.max_new_tokens,
        "stop": list(task.stop),
        "batch_size": args.batch_size,
    }
    sampler = TransformersSampler.from_pretrained(args.model, dtype=args.dtype, **settings)
    with claimed(args.out):
        counts = evaluate(
            sampler,
            task.load("test", args.limit),
            get_verifier(verifier),
            args.samples,
            args.out,
            config={"model": args.model, "task": task.name, "verifier": verifier, "dtype": args.dtype, **settings},
            seed=args.seed,
            progress=not args.quiet,
        )
    ks = [k for k in (2**i for i in range(12)) if k <= args.samples]
    for point in pass_at_k_curve(counts, ks).points:
        print(f"pass@{point.k:<5} {point.estimate:.3f}  [{point.low:.3f}, {point.high:.3f}]")
