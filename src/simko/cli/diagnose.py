"""Read stored responses through models, and show where each model's probability gathers: the log-probability of every rank,
entropies, how often each rank has how much, token by token and candidate by candidate. Nothing is sampled.

--samples is a run of simko evaluate, grade or train, or a file that simko grade reads; give one for all models, or one for each
--model in their order. The records stay in --records: the same command continues there, and without --model the page is made
again from them.

example:
  simko diagnose --model base=Qwen/Qwen2.5-Math-7B --model simko=runs/simko/checkpoint-500 --samples runs/eval --out page.html
  simko diagnose --model runs/lora/checkpoint-100 --samples vllm.jsonl --verifier math --no-chat --out page.html
  simko diagnose --records page.records --out page.html
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simko.scoring.scored import ModelChoice


_SCORING = ("candidates", "temperature", "gate_quantile", "chat", "batch_size", "dtype", "device")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "simko diagnose --model [NAME=]MODEL ... --samples SAMPLES --out PAGE.html [options]"
    parser.add_argument(
        "--model",
        action="append",
        metavar="[NAME=]MODEL",
        help="a checkpoint or LoRA adapter folder, or a hub id, with @REVISION behind it if wanted; several to compare",
    )
    parser.add_argument("--samples", action="append", metavar="SAMPLES", help="a run, RUN@0.6, RUN@step=40, or a file")
    parser.add_argument("--out", type=Path, required=True, help="where the page goes")
    parser.add_argument(
        "--records", type=Path, metavar="DIR", help="the records (default: PAGE.records beside the page)"
    )
    parser.add_argument("--verifier", help="judge the responses with this one, in the place of stored verdicts")
    parser.add_argument("--per-problem", type=_count, metavar="N", help="only the first N responses to each problem")
    parser.add_argument(
        "--show",
        action="append",
        metavar="PROBLEM:INDEX",
        help="a response to show token by token (default: a correct and an incorrect one)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    group = parser.add_argument_group("scoring")
    group.add_argument("--candidates", type=_count, metavar="N", help="kept of each token (default 20)")
    group.add_argument(
        "--temperature", type=float, metavar="T", help="of the distributions (default 1, the model's own)"
    )
    group.add_argument("--gate-quantile", type=float, metavar="Q", help="of SimKO's gate (default 0.8)")
    group.add_argument(
        "--chat",
        action=argparse.BooleanOptionalAction,
        help="whether prompts were in the chat template, for samples that do not say",
    )
    group.add_argument("--batch-size", type=_count, metavar="N", help="responses at a time (default 16)")
    group.add_argument("--dtype", help="float32, bfloat16, ... (default: the checkpoint's)")
    group.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")


def run(args: argparse.Namespace) -> None:
    from simko.cli.places import PAGE, named_as
    from simko.report.diagnosis import diagnosis_text, write_diagnosis
    from simko.report.text import visible
    from simko.scoring import summarise_records

    named_as("--out", args.out, PAGE, "a page")
    directory = args.records or args.out.with_suffix(".records")
    given = [
        name for name in ("samples", "verifier", "per_problem", "show", *_SCORING) if getattr(args, name) is not None
    ]
    if given and not args.model:
        raise ValueError(
            f"--{given[0].replace('_', '-')} says how responses are read, and no --model reads any: give the models, or leave it "
            "out to make the page again from --records"
        )
    summary = _scored(args, directory) if args.model else summarise_records(directory)
    page = write_diagnosis(summary, args.out)
    print(diagnosis_text(summary))
    print(visible(f"{page}\n{directory}"))


def _scored(args: argparse.Namespace, directory: Path) -> dict[str, object]:
    import shlex
    import sys

    from simko.scoring import diagnose, read_responses
    from simko.scoring.scored import Scoring

    if not args.samples:
        raise ValueError("say which responses the models read: --samples RUN_OR_FILE")
    if len(args.samples) not in (1, len(args.model)):
        raise ValueError(
            f"--samples is given {len(args.samples)} times for {len(args.model)} models: once for all, or once for each"
        )
    if args.temperature is not None and not 0 < args.temperature < float("inf"):
        raise ValueError(f"--temperature is {args.temperature}: give a number above 0")
    if args.gate_quantile is not None and not 0 <= args.gate_quantile <= 1:
        raise ValueError(f"--gate-quantile is {args.gate_quantile}: give a number from 0 to 1")
    read = {
        s: read_responses(s, verifier=args.verifier, per_problem=args.per_problem) for s in dict.fromkeys(args.samples)
    }
    return diagnose(
        [_model(text) for text in args.model],
        [read[s] for s in args.samples],
        directory,
        Scoring(**{name: value for name in _SCORING if (value := getattr(args, name)) is not None}),
        command=shlex.join(["simko", *sys.argv[1:]]),
        show=[_key(text) for text in args.show or ()],
        progress=not args.quiet,
    )


def _model(text: str) -> "ModelChoice":
    from simko.scoring.scored import ModelChoice

    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        name, path = "", text
    revision = None
    if "@" in path and not Path(path).exists():
        path, _, revision = path.rpartition("@")
    return ModelChoice(name or _name(path), path, revision)


def _name(path: str) -> str:
    """The folder's name, with the run's for a checkpoint."""
    place = Path(path).resolve() if Path(path).is_dir() else Path(path)
    return f"{place.parent.name}-{place.name.partition('-')[2]}" if place.name.startswith("checkpoint-") else place.name


def _key(text: str) -> tuple[str, int]:
    problem, colon, index = text.rpartition(":")
    if not colon or not index.isdecimal():
        raise ValueError(f"--show {text}: write PROBLEM:INDEX, such as {text.partition(':')[0]}:0")
    return problem, int(index)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)
