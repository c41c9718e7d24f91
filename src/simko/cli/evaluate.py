"""Sample n responses to every problem of some tasks, grade them, and print pass@k. The same command continues an
interrupted evaluation; with a larger n it draws the missing samples only.

example:
  simko evaluate --model Qwen/Qwen2.5-Math-7B --task aime24,math500 -n 256 --out runs/qwen
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simko.sampling import Sampler
    from simko.tasks import Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="a checkpoint folder, a hub id, or a server's name of its model")
    parser.add_argument("--task", required=True, help="tasks (see simko tasks) or .jsonl, .parquet, .csv files; a,b,c")
    parser.add_argument("--verifier", help="how responses are judged (default: the task's own; a file needs one)")
    parser.add_argument("--template", help="for files: the prompt around the problem, e.g. '{problem}\\nAnswer:'")
    parser.add_argument("-n", "--samples", type=int, help="responses a problem (default: the task's)")
    parser.add_argument("--out", type=Path, required=True, help="the directory of this evaluation")
    parser.add_argument(
        "--temperature", type=_numbers, help="one, or several for a sweep: 0.2,0.6,1.0 (default: the task's)"
    )
    parser.add_argument("--top-p", type=float, help="default: the task's")
    parser.add_argument("--top-k", type=int, default=0, help="0: every token (default)")
    parser.add_argument("--max-new-tokens", type=int, help="default: the task's")
    parser.add_argument(
        "--chat",
        action=argparse.BooleanOptionalAction,
        help="prompts in the chat template, or not (default: the task's)",
    )
    parser.add_argument("--split", default="test", choices=("test", "train"))
    parser.add_argument("--limit", type=int, help="the first so many problems only")
    parser.add_argument("--backend", default="transformers", help="transformers (default), vllm or openai (any server)")
    parser.add_argument("--base-url", help="for openai: the server's address, e.g. http://localhost:8000/v1")
    parser.add_argument("--concurrency", type=int, default=16, help="for openai: requests at once (default 16)")
    parser.add_argument("--batch-size", type=int, default=256, help="for transformers: rows at once (default 256)")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 (default auto: the checkpoint's)")
    parser.add_argument("--revision", help="the model's revision on the hub")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> None:
    from simko.cli.tables import print_run
    from simko.evaluate import SampleStore
    from simko.evaluate.files import claimed
    from simko.evaluate.run import evaluate
    from simko.verifiers import get_verifier

    tasks = [_task(name, args) for name in args.task.split(",")]
    loaded = [(task, task.load(args.split, args.limit)) for task in tasks]
    if args.verifier:
        get_verifier(args.verifier)
    with claimed(args.out), SampleStore(args.out / "samples.db") as store:
        sampler = _sampler(args)
        for task, problems in loaded:
            for temperature in args.temperature or [task.temperature]:
                evaluate(
                    store,
                    sampler,
                    problems,
                    args.verifier or task.verifier,
                    args.samples or task.samples,
                    _settings(task, temperature, args),
                    task=task.name,
                    revision=task.revision,
                    seed=args.seed,
                    progress=not args.quiet,
                )
    print_run(args.out)


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _task(name: str, args: argparse.Namespace) -> "Task":
    from simko.tasks import FILE_SUFFIXES, get_task, read_file

    if not name.endswith(FILE_SUFFIXES):
        if args.template:
            raise ValueError(f"--template is for files: {name} has a prompt of its own")
        return get_task(name)
    if not args.verifier:
        raise ValueError(f"{name} needs --verifier, e.g. --verifier math")
    return read_file(name, args.verifier, args.template)


def _settings(task: "Task", temperature: float, args: argparse.Namespace) -> Any:
    from simko.sampling import SamplingSettings

    return SamplingSettings(
        temperature=temperature,
        top_p=task.top_p if args.top_p is None else args.top_p,
        top_k=args.top_k,
        max_new_tokens=task.max_new_tokens if args.max_new_tokens is None else args.max_new_tokens,
        stop=task.stop,
        chat=task.chat if args.chat is None else args.chat,
    )


def _sampler(args: argparse.Namespace) -> "Sampler":
    from simko.sampling import open_sampler

    options: dict[str, dict[str, Any]] = {
        "transformers": {"batch_size": args.batch_size, "dtype": args.dtype, "revision": args.revision},
        "vllm": {"dtype": args.dtype, "revision": args.revision},
        "openai": {"base_url": args.base_url, "concurrency": args.concurrency},
    }
    return open_sampler(args.backend, args.model, **options.get(args.backend, {}))
