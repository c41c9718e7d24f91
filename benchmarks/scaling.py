"""Counts the bytes that the statistics of a split vocabulary hold and send, beside the formulas of docs/scaling.md.

    python benchmarks/scaling.py [--positions N] [--vocabulary V] [--write]

Two processes on this machine (gloo) share the vocabulary. --write keeps the counts in docs/results/scaling_cpu.json and makes
the tables of docs/scaling.md.
"""

import argparse
import json
import platform
import re
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing import spawn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from simko.token_stats import vocab_parallel_token_stats
from simko.token_stats.choice import default_chunk
from simko.training import memory

ROOT = Path(__file__).parents[1]
KEPT, PAGE = ROOT / "docs/results/scaling_cpu.json", ROOT / "docs/scaling.md"
PROCESSES = 2
KINDS = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
MODELS = {  # parameters, those of experts among them, and vocabulary; a test counts the parameters
    "Qwen2.5-Math-7B": (7_615_616_512, 0, 152_064),
    "Qwen2.5-32B": (32_763_876_352, 0, 152_064),
    "Qwen3-235B-A22B": (235_093_634_560, 227_096_395_776, 151_936),
}
LAYOUTS = (  # model, GPUs, words, tensor parallel, (shards of the weights, of the experts, of the optimizer), tokens
    ("Qwen2.5-Math-7B", 8, "FSDP2 over 8", 1, (8, 8, None), 8_192),
    ("Qwen2.5-32B", 16, "FSDP2 over 16", 1, (16, 16, None), 8_192),
    ("Qwen2.5-32B", 16, "Megatron: tensor 8, data 2", 8, (8, 8, 16), 16_384),
    ("Qwen3-235B-A22B", 128, "Megatron: tensor 4, pipeline 4, context 2, data 4, expert 16", 4, (16, 64, 128), 16_384),
)
CANDIDATES = 3


class Bytes(TorchDispatchMode):
    """The most bytes alive at once in tensors that operators made, and those that collectives received."""

    def __init__(self) -> None:
        super().__init__()
        self.peak, self.received, self._live = 0, 0, {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.namespace == "c10d":
            received, own = (sum(x.nbytes for x in tree_iter(a) if isinstance(x, torch.Tensor)) for a in args[:2])
            self.received += received - own
            return out
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self._live.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        self._live = {k: (ref, size) for k, (ref, size) in self._live.items() if not ref.expired()}
        self.peak = max(self.peak, sum(size for _, size in self._live.values()))
        return out


def count(rank: int, rendezvous: str, positions: int, vocabulary: int, out: str) -> None:
    """Count the bytes of one process, for each type of logits and number of candidates."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=PROCESSES)
    width, g = memory.columns(vocabulary, PROCESSES), torch.Generator().manual_seed(rank)
    tokens = torch.randint(vocabulary, (positions,), generator=torch.Generator().manual_seed(0))
    chunk, rows = default_chunk(torch.device("cpu"), width), []
    for kind, name in KINDS.items():
        for candidates in (1, 3, 8):
            logits = torch.randn(positions, width, generator=g).to(kind).requires_grad_()
            with Bytes() as counted:
                stats = vocab_parallel_token_stats(logits, tokens, rank * width, top_k=candidates)
                (stats.logp + stats.topk_logp.sum(-1)).sum().backward()
            sizes = {"positions": positions, "vocabulary": vocabulary, "processes": PROCESSES}
            formula = memory.loss_bytes(positions, vocabulary, PROCESSES, size=kind.itemsize, chunk=chunk)
            sent = memory.gathered_bytes(positions, candidates, PROCESSES)
            beside = counted.peak - logits.nbytes  # whose views the operators made
            counts = {"loss_bytes": beside, "gathered_bytes": counted.received}
            formulas = {"loss_bytes": formula, "gathered_bytes": sent}
            rows.append(sizes | {"logits": name, "top_k": candidates, "counted": counts, "formula": formulas})
    if rank == 0:
        Path(out).write_text(json.dumps(rows))
    dist.destroy_process_group()


def counts(positions: int, vocabulary: int) -> list[dict[str, Any]]:
    """What process 0 counted, one row for each type of logits and number of candidates."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        spawn(count, (f"{folder}/rendezvous", positions, vocabulary, str(out)), nprocs=PROCESSES)
        return json.loads(out.read_text())


def table(header: str, rows: list[list[Any]]) -> str:
    lines = [header, re.sub(r"[^|]+", "---", header)]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in rows])


def counted_table(rows: list[dict[str, Any]]) -> str:
    """The counts beside the formulas."""
    header = "| logits | K | memory beside the logits, counted | formula | gathered, counted | formula |"
    found = []
    for row in rows:
        pairs = [(row["counted"][name], row["formula"][name]) for name in ("loss_bytes", "gathered_bytes")]
        found.append([row["logits"], row["top_k"], *(f"{x:,}" for pair in pairs for x in pair)])
    return table(header, found)


def worked_table() -> str:
    """The formulas for the layouts of the page."""
    header = "| model | layout | weights, gradients, Adam | tokens a micro-batch | logits | the loss adds | gathered |"
    rows = []
    for model, gpus, layout, tensor, (dense, expert, optimizer), tokens in LAYOUTS:
        parameters, experts, vocabulary = MODELS[model]
        state = memory.state_bytes(parameters - experts, dense, optimizer)
        state += memory.state_bytes(experts, expert, optimizer)
        sizes = (state, memory.logit_bytes(tokens, vocabulary, tensor), memory.loss_bytes(tokens, vocabulary, tensor))
        state_gb, logits_gb, loss_gb = (f"{x / 1e9:.1f} GB" for x in sizes)
        gathered = f"{memory.gathered_bytes(tokens, CANDIDATES, tensor) / 1e6:.1f} MB"
        rows.append([f"{model} on {gpus}", layout, state_gb, f"{tokens:,}", logits_gb, loss_gb, gathered])
    return table(header, rows)


def with_tables(page: str, rows: list[dict[str, Any]]) -> str:
    """The page with its tables made anew."""
    for name, made in (("counted", counted_table(rows)), ("worked", worked_table())):
        begin = f"<!-- {name}, made by benchmarks/scaling.py -->\n"
        start = page.index(begin) + len(begin)
        page = page[:start] + made + "\n" + page[page.index("<!-- end -->", start) :]
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--write", action="store_true", help="docs/results/scaling_cpu.json and docs/scaling.md")
    args = parser.parse_args()
    rows = counts(args.positions, args.vocabulary)
    print(counted_table(rows), worked_table(), sep="\n\n")
    if args.write:
        versions = {"python": platform.python_version(), "torch": torch.__version__}
        KEPT.write_text(json.dumps(versions | {"rows": rows}, indent=1) + "\n")
        PAGE.write_text(with_tables(PAGE.read_text("utf-8"), rows), "utf-8")


if __name__ == "__main__":
    main()
