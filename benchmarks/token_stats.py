"""Time and memory of the statistics a token needs, from the last hidden state to its gradients, ours beside others'.

    python benchmarks/token_stats.py [--device cuda] [--tokens 2048] [--vocabulary 32768] [--width 512] [--rounds 9]

Each way computes, from hidden states [N, d] and the head [V, d], what its column says, then the gradients of one fixed
random combination of it to both. The ways run in turn, each once a round; ratios are taken within a round. Writes
STEM.md, STEM.json and, where matplotlib imports, STEM.svg.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from layout import aligned, cells, markdown, target_cells, today
from measure import Problem, Row, Target, figure, machine, measure, paired_ratio
from peers import EAGER_GRPO, EAGER_SIMKO, K_FOLD, exact_gradients, ours, stored, versions, ways

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

RECOMPUTED = (
    "Ours make the logits anew in the backward pass: four matrix products where full logits take three, and on a CPU these "
    "are most of the time. `store_bytes` buys the fourth back, at the price of what it stores."
)


def targets(rows: list[Row], impl: str) -> list[Target]:
    """Of SimKO as it comes, and with a part of its logits stored."""
    aims = []
    for way in (ours("SimKO", impl), stored(impl)):
        extra = figure(rows, way, "extra")
        aims += [
            Target(f"{way}: extra memory / SimKO eager's", 1 / 8, extra / figure(rows, EAGER_SIMKO, "extra")),
            Target(f"{way}: extra memory / K-fold repetition's", 1 / 14, extra / figure(rows, K_FOLD, "extra")),
            Target(f"{way}: seconds / GRPO eager's", 1.10, figure(rows, way, "ratio")),
        ]
    aims.append(
        Target("seconds of SimKO / of GRPO, ours", 1.05, paired_ratio(rows, ours("SimKO", impl), ours("GRPO", impl)))
    )
    return aims


def plot(rows: list[Row], path: Path) -> bool:
    """Two bars a way: time and memory; False where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "simko"
    from matplotlib import pyplot

    rows = [row for row in reversed(rows) if row.measured]
    mine = ["#1f6f8b" if "our" in row.name else "#b0b0b0" for row in rows]
    shown, axes = pyplot.subplots(1, 2, figsize=(10, 0.4 * len(rows) + 1), sharey=True, layout="constrained")
    for axis, quantity, title in (
        (axes[0], "ratio", "time, GRPO eager = 1"),
        (axes[1], "extra", "extra memory, full float32 logits = 1"),
    ):
        values = [getattr(row, quantity) for row in rows]
        axis.bar_label(axis.barh([row.name for row in rows], values, color=mine), fmt="%.2f", padding=3)
        axis.set_title(title, fontsize=10)
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    shown.savefig(path, metadata={"Date": None})
    pyplot.close(shown)
    return True


def page(rows: list[Row], aims: list[Target], head: dict[str, str], drawn: str | None, whole_step: str) -> str:
    missed = [target.text for target in aims if target.verdict == "missed"]
    parts = [
        f"# The cost of a token's statistics: {head['shape']}",
        f"{head['date']}. {head['machine']}. Other libraries: {head['peers']}.",
        f"    {head['command']}",
        "Forward and backward, from the last hidden states to the gradients of hidden states and head. Time is the median "
        "of the rounds, its ratio the median (and quartiles) of the ratios within a round. Extra memory is the peak of all "
        "that is allocated beside the inputs, the gradients included, in units of full float32 logits. The last column is "
        "the error of the hidden states' gradient against float64.",
        markdown(cells(rows)),
    ]
    if drawn:
        parts.append(f"![time and memory of each way]({drawn})")
    parts += ["## Targets", markdown(target_cells(aims))]
    if missed:
        parts.append(f"Missed: {'; '.join(missed)}. {RECOMPUTED if any('seconds' in text for text in missed) else ''}")
    elif all_measured(aims):
        parts.append("None was missed.")
    if whole_step:
        parts += ["## The whole training step", whole_step]
    return "\n\n".join(part for part in parts if part) + "\n"


def all_measured(aims: list[Target]) -> bool:
    return all(target.verdict == "met" for target in aims)


def whole_step_text(path: Path | None) -> str:
    """What trl_step.py --json left at `path`, in a sentence."""
    if path is None:
        return ""
    made = json.loads(path.read_text())
    return (
        f"In TRL, one update of {made['rows']} x {made['tokens']} tokens over a vocabulary of {made['vocabulary']}: GRPO "
        f"{made['grpo']:.3f} s, SimKO {made['simko']:.3f} s, SimKO / GRPO {made['ratio']:.3f} (median of "
        f"{made['repeats']} pairs; `python benchmarks/trl_step.py`)."
    )


def command(parser: argparse.ArgumentParser, args: argparse.Namespace) -> str:
    """The command that repeats the measurement: the options that are not at their defaults, where files go left out."""
    given = {name: value for name, value in vars(args).items() if value != parser.get_default(name)}
    options = [f"--{name.replace('_', '-')} {value}" for name, value in given.items() if not isinstance(value, Path)]
    if args.peers:
        options.append("--peers FOLDER")
    return " ".join(["python benchmarks/token_stats.py", *options])


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2048, help="N")
    parser.add_argument("--vocabulary", type=int, default=32768, help="V")
    parser.add_argument("--width", type=int, default=512, help="d")
    parser.add_argument("--top-k", type=int, default=3)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peers", type=Path, help="a folder of packages to import beside the installed ones")
    parser.add_argument("--trl-step", type=Path, help="what trl_step.py --json wrote, for the page")
    parser.add_argument("--out", type=Path, help="stem of the files; docs/results/token_stats_DEVICE unless told")
    return parser


def main() -> None:
    parser = arguments()
    args = parser.parse_args()
    if args.peers:
        sys.path.append(str(args.peers))
    torch.set_num_threads(args.threads)
    stem = args.out or Path("docs/results") / f"token_stats_{args.device}"
    head = {
        "date": today(),
        "machine": machine(args.device),
        "peers": versions() or "none",
        "command": command(parser, args),
        "shape": f"N {args.tokens}, V {args.vocabulary}, d {args.width}, K {args.top_k}, {args.dtype}, {args.device}",
    }
    print(f"{head['shape']}; {head['machine']}", flush=True)
    problem = Problem.random(
        args.tokens, args.vocabulary, args.width, args.top_k, DTYPES[args.dtype], args.device
    )  # fmt: skip
    rows = measure(
        ways(args.device), problem, rounds=args.rounds, baseline=EAGER_GRPO, exact=exact_gradients(problem),
        say=lambda text: print(text, flush=True),
    )  # fmt: skip
    aims = targets(rows, "chunked" if args.device == "cpu" else "triton")
    print(f"\n{aligned(cells(rows))}\n\n{aligned(target_cells(aims))}")
    stem.parent.mkdir(parents=True, exist_ok=True)
    drawn = stem.with_suffix(".svg") if plot(rows, stem.with_suffix(".svg")) else None
    text = page(rows, aims, head, drawn and drawn.name, whole_step_text(args.trl_step))
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    record = {**head, "rows": [row.record() for row in rows], "targets": [target.record() for target in aims]}
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"\nwrote {stem}.md, .json{', .svg' if drawn else ''}")


if __name__ == "__main__":
    main()
