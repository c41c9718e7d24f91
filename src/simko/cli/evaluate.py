"""Sample n responses to every problem of some tasks, grade them, and print pass@k. The same command continues an
interrupted evaluation. With a larger n it draws only the missing samples. simko report, compare, audit and export can
read the directory at any time.

example:
  simko evaluate --model Qwen/Qwen2.5-Math-7B --task aime24,math500 -n 256 --out runs/qwen
  simko evaluate --model runs/grpo/checkpoint-500 --task mine.jsonl --verifier math --temperature 0.6,1.0 --out runs/mine
  simko evaluate --model runs/grpo/checkpoint-500 --task mine.jsonl --verifier ./judge.py:judge --out runs/judged
  simko evaluate --model qwen --backend openai --base-url http://localhost:8000/v1 --task gsm8k --out runs/served
"""

import argparse
from pathlib import Path

_OPTIONS = (
    *(
        "model",
        "task",
        "out",
        "samples",
        "seed",
        "verifier",
        "columns",
        "template",
        "split",
        "limit",
        "temperature",
        "top_p",
    ),
    *("top_k", "max_new_tokens", "chat", "backend", "max_failed", "quiet"),
    *("base_url", "concurrency", "timeout", "batch_size", "dtype", "revision"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "simko evaluate --model MODEL --task TASKS --out DIRECTORY [-n N] [options]"
    parser.add_argument("--model", required=True, help="a checkpoint folder, a hub id, or a server's name of its model")
    parser.add_argument(
        "--task", required=True, help="tasks (see simko tasks) or .jsonl[.gz], .csv[.gz], .parquet files: a,b,c"
    )
    parser.add_argument("--out", type=Path, required=True, help="the directory of this evaluation")
    parser.add_argument("-n", "--samples", type=_count, metavar="N", help="responses per problem (default: the task's)")
    parser.add_argument("--seed", type=int, default=0, help="of all random draws (default 0)")
    parser.add_argument(
        "--max-failed",
        type=_share,
        default=0.1,
        metavar="SHARE",
        help="end the run when more than this share of all samples fail, which one problem may always do (default 0.1)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    _add_problems(parser.add_argument_group("problems"))
    _add_sampling(parser.add_argument_group("sampling", "What is not given is the task's own."))
    _add_backend(parser.add_argument_group("back-end"))


def _add_problems(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--verifier",
        help="how responses are judged: a name of simko tasks, or your own, package.module:function or "
        "./file.py:function (default: the task's own; a file needs one)",
    )
    group.add_argument(
        "--columns",
        metavar="ROLE=NAME,...",
        help="for files: where the parts of a problem stand, e.g. prompt=Question,answer=reward_model.ground_truth,id=uid",
    )
    group.add_argument("--template", help="for files: the prompt around the problem, e.g. 'Q: {problem} A:'")
    group.add_argument("--split", default="test", choices=("test", "train"), help="default: test")
    group.add_argument("--limit", type=_count, metavar="N", help="only the first N problems")


def _add_sampling(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--temperature", type=_numbers, metavar="T", help="one, or several for a sweep: 0.2,0.6,1.0")
    group.add_argument(
        "--top-p", type=float, metavar="P", help="keep the most likely tokens with this total probability"
    )
    group.add_argument(
        "--top-k", type=int, default=0, metavar="K", help="keep the K most likely tokens (default 0: all)"
    )
    group.add_argument("--max-new-tokens", type=_count, metavar="N", help="the length at which a response is truncated")
    group.add_argument(
        "--chat",
        action=argparse.BooleanOptionalAction,
        help="send prompts in the model's chat template, or as they are",
    )


def _add_backend(group: "argparse._ArgumentGroup") -> None:
    from simko.sampling.backends import BACKENDS

    group.add_argument("--backend", default="transformers", choices=BACKENDS, help="default: transformers")
    group.add_argument("--dtype", help="transformers, vllm: float32, bfloat16, ... (default: the checkpoint's)")
    group.add_argument("--revision", help="transformers, vllm: the model's revision on the hub")
    group.add_argument("--batch-size", type=_count, metavar="N", help="transformers, vllm: rows drawn together")
    group.add_argument("--base-url", metavar="URL", help="openai: any compatible server, e.g. http://localhost:8000/v1")
    group.add_argument("--concurrency", type=_count, metavar="N", help="openai: requests at once (default 64)")
    group.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="openai: the time that one response may take (default 1800)"
    )


def run(args: argparse.Namespace) -> None:
    from simko.cli.tables import print_sections
    from simko.evaluate import evaluate

    options = {name: value for name, value in vars(args).items() if name in _OPTIONS}
    print_sections(evaluate(**options | {"task": args.task.split(",")}).sections)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def _seconds(text: str) -> float:
    (seconds, *more) = _numbers(text)
    if more or not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _share(text: str) -> float:
    (share, *more) = _numbers(text)
    if more or not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 to 1")
    return share


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor several, as in 0.2,0.6,1.0") from error
