"""Is it right, and how fast is it, on this NVIDIA GPU? Under eight minutes; without a GPU it says so and stops.

    python benchmarks/gpu_check.py [--peers FOLDER] [--out docs/results]

1. The fast paths against the plain one in float64. 2. The bandwidth of a copy and the speed of a matrix product. 3. The
kernels on logits, against that bandwidth. 4. Fused with the head: ours, the plain ways, other libraries. 5. The whole
training step, where trl imports. Writes token_stats_<gpu>.md and .json. Needs torch, triton and jaxtyping; other libraries are
measured where they import, from FOLDER too (made by pip install --no-deps --target FOLDER). Exit status 1 where a path
disagrees.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from layout import aligned, cells, markdown, number, target_cells, today
from measure import Problem, Row, Target, machine, measure, paired_ratio

START = time.monotonic()
LIMIT = 450
"""Seconds after which nothing new is begun."""
SETTINGS = [(1536, torch.bfloat16), (3584, torch.bfloat16), (1536, torch.float32), (3584, torch.float32)]


def say(text: str) -> None:
    print(f"[{time.monotonic() - START:5.0f} s] {text}", flush=True)


def gpu_seconds(action: Callable[[], Any], prepare: Callable[[], Any] = lambda: None, repeats: int = 10) -> float:
    """Median seconds of `action` on the GPU, `prepare` before each left out, after one warm-up."""
    times = []
    for _ in range(repeats + 1):
        prepare()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        action()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return statistics.median(times[1:])


def copy_bandwidth() -> float:
    """Bytes read and written a second by a copy of 4 GiB."""
    source, target = torch.empty(2, 2**30, device="cuda").unbind()
    return 2 * source.nbytes / gpu_seconds(lambda: target.copy_(source))


def product_speed(N: int, V: int, d: int, dtype: torch.dtype) -> float:
    """FLOP a second of the head's matrix product, [N, d] by [d, V]."""
    hidden, weight = torch.randn(N, d, device="cuda").to(dtype), torch.randn(V, d, device="cuda").to(dtype)
    out = torch.empty(N, V, device="cuda", dtype=dtype)
    return 2 * N * V * d / gpu_seconds(lambda: torch.mm(hidden, weight.t(), out=out), repeats=5)


def kernels_on_logits(N: int, V: int, dtype: torch.dtype, top_k: int) -> dict[str, float]:
    """Seconds of forward and of in-place backward of token_stats on logits, and the bytes each must move."""
    from simko.token_stats import token_stats

    source = (3 * torch.randn(N, V, device="cuda")).to(dtype)
    logits = source.clone()
    tokens = torch.randint(V, (N,), device="cuda")
    upstream = [torch.randn(N, device="cuda"), torch.randn(N, device="cuda"), torch.randn(N, top_k, device="cuda")]
    held: dict[str, Any] = {}

    def forward() -> None:
        held["leaf"] = logits.detach().requires_grad_()
        held["stats"] = token_stats(held["leaf"], tokens, top_k=top_k, impl="triton", overwrite_logits=True)

    def backward() -> None:
        torch.autograd.grad(held["stats"][:3], held["leaf"], upstream)

    def refill() -> None:
        held.clear()
        logits.copy_(source)

    def refill_and_forward() -> None:
        refill()
        forward()

    made = {"forward": gpu_seconds(forward, refill), "backward": gpu_seconds(backward, refill_and_forward)}
    return {**made, "bytes": float(logits.nbytes)}


def logits_part(N: int, V: int, top_k: int, bandwidth: float) -> tuple[list[list[str]], list[Target]]:
    table = [["logits", "pass", "ms", "GB/s", "of the copy's"]]
    aims = []
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        made = {"forward": float("nan"), "backward": float("nan"), "bytes": float("nan")}
        try:
            made = kernels_on_logits(N, V, dtype, top_k)
        except Exception as error:  # recorded as not measured; the other parts go on
            say(f"  {name}: failed: {type(error).__name__}: {str(error)[:200]}")
        torch.cuda.empty_cache()
        share = {}
        for stage, moved in (("forward", made["bytes"]), ("backward", 2 * made["bytes"])):
            speed = moved / made[stage]
            share[stage] = speed / bandwidth
            percent = f"{number(100 * share[stage], 0)} %"
            table.append([name, stage, number(made[stage] * 1000), number(speed / 1e9, 0), percent])
        if dtype == torch.float32:
            aims.append(Target("logits forward, float32, share of the copy's bandwidth", 0.75, share["forward"], False))
        else:
            aims.append(Target("logits forward, bfloat16, time / one read at the copy's", 1.35, 1 / share["forward"]))
        aims.append(Target(f"logits backward, {name}, share of the copy's bandwidth", 0.80, share["backward"], False))
    return table, aims


def head_targets(rows: list[Row], setting: str) -> list[Target]:
    """SimKO by the fastest of our ways, against our fastest GRPO and against the fastest GRPO of others."""
    from peers import GRPO, SIMKO

    def fastest(outputs: str, ours: bool) -> str:
        found = [row for row in rows if row.measured and row.outputs == outputs and (", ours " in row.name) == ours]
        return min(found, key=lambda row: row.seconds).name if found else "none"

    simko, grpo, other = fastest(SIMKO, True), fastest(GRPO, True), fastest(GRPO, False)
    return [
        Target(f"{setting}: {simko} / {grpo}", 1.05, paired_ratio(rows, simko, grpo)),
        Target(f"{setting}: {simko} / {other}", 1.0, paired_ratio(rows, simko, other)),
    ]


def head_part(N: int, V: int, d: int, dtype: torch.dtype, top_k: int, rounds: int) -> tuple[str, list[Row], float]:
    """A heading, the rows, and the speed of the matrix product at this shape."""
    from peers import EAGER_GRPO, exact_gradients, ways

    setting = f"d {d}, {str(dtype).removeprefix('torch.')}"
    say(f"fused with the head: N {N}, V {V}, {setting}")
    product = product_speed(N, V, d, dtype)
    torch.cuda.empty_cache()
    problem = Problem.random(N, V, d, top_k, dtype, "cuda")
    exact = exact_gradients(problem)
    torch.cuda.empty_cache()
    rows = measure(
        ways("cuda"), problem, rounds=rounds, baseline=EAGER_GRPO, exact=exact, say=say, deadline=START + LIMIT
    )  # fmt: skip
    return setting, rows, product


def whole_step() -> tuple[str, float]:
    """What trl_step.py prints, or why it did not run; SimKO / GRPO."""
    out = Path("runs/trl_step.json")
    out.unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__).with_name("trl_step.py")), "--json", str(out)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        made = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    except subprocess.TimeoutExpired:
        return "not measured: no answer in 120 seconds", float("nan")
    if made.returncode:
        said = made.stderr.strip().splitlines() or [f"exit status {made.returncode}"]
        return f"not measured: {said[-1]}", float("nan")
    return made.stdout.strip(), json.loads(out.read_text())["ratio"]


def page(parts: list[str], aims: list[Target], head: dict[str, str]) -> str:
    missed = [target.text for target in aims if target.verdict == "missed"]
    return "\n\n".join(
        [
            f"# Token statistics on one {head['gpu']}",
            f"{head['date']}. {head['machine']}, Triton {head['triton']}. Other libraries: {head['peers']}.",
            "    python benchmarks/gpu_check.py",
            *parts,
            "## Targets",
            markdown(target_cells(aims)),
            f"Missed: {'; '.join(missed)}." if missed else "None of the measured ones was missed.",
        ]
    ) + "\n"  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=8192, help="N")
    parser.add_argument("--vocabulary", type=int, default=151936, help="V")
    parser.add_argument("--top-k", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, help="a folder of packages to import beside the installed ones")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the page")
    return parser.parse_args()


def check_and_measure(args: argparse.Namespace) -> bool:
    """All parts in turn, and the page; whether the paths agree."""
    import triton
    from agreement import check
    from peers import versions

    N, V = args.tokens, args.vocabulary
    gpu = torch.cuda.get_device_name()
    head = {"gpu": gpu, "date": today(), "machine": machine("cuda"), "triton": triton.__version__}
    head["peers"] = versions() or "none"
    say(f"{head['machine']}, Triton {head['triton']}; agreement with the plain path in float64")
    cases, wrong = check("cuda", ["triton"], ["chunked", "triton"])
    torch.cuda.empty_cache()
    right = f"{cases} cases compared, {len(wrong)} disagreements."
    say("\n".join([right, *wrong[:20]]))
    listed = "\n".join(f"- {line}" for line in wrong[:20])
    parts = ["## Agreement with the plain path, in float64", right, *([listed] if wrong else [])]

    bandwidth = copy_bandwidth()
    torch.cuda.empty_cache()
    say(f"copy of 4 GiB: {bandwidth / 1e9:.0f} GB/s, read and written; kernels on logits [{N}, {V}]")
    table, aims = logits_part(N, V, args.top_k, bandwidth)
    say(f"\n{aligned(table)}")
    measured = f"N {N}, V {V}, K {args.top_k}. A copy moves {bandwidth / 1e9:.0f} GB/s, read and written."
    parts += ["## On logits", measured, markdown(table)]
    record: dict[str, Any] = {**head, "copy": bandwidth, "logits": table, "cases": cases, "wrong": wrong, "heads": {}}

    for d, dtype in SETTINGS:
        if time.monotonic() - START > LIMIT - 60:
            say(f"no time left for d {d}, {dtype}")
            continue
        try:
            setting, rows, product = head_part(N, V, d, dtype, args.top_k, args.rounds)
        except Exception as error:  # out of memory, or a card that a kernel left in error: what was measured is kept
            say(f"failed: {type(error).__name__}: {str(error)[:300]}")
            parts.append(f"d {d}, {dtype}: failed, {type(error).__name__}.")
            continue
        needed = 6.0 * N * V * d
        say(f"matrix product: {product / 1e12:.0f} TFLOP/s\n{aligned(cells(rows, needed))}")
        text = (
            f"A matrix product of this shape runs at {product / 1e12:.0f} TFLOP/s; TFLOP/s below count the three that "
        )
        text += "forward and backward need. Extra memory is in units of full float32 logits."
        parts += [f"## Fused with the head: {setting}", text, markdown(cells(rows, needed))]
        aims += head_targets(rows, setting)
        record["heads"][setting] = {"product": product, "rows": [row.record() for row in rows]}
        torch.cuda.empty_cache()

    if time.monotonic() - START < LIMIT - 60:
        say("the whole training step in TRL")
        text, ratio = whole_step()
        say(text)
        parts += ["## The whole training step", text]
        aims.append(Target("whole training step, SimKO / GRPO", 1.02, ratio))
    say(f"\n{aligned(target_cells(aims))}")
    stem = args.out / f"token_stats_{re.sub('[^a-z0-9]+', '_', gpu.lower()).strip('_')}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".md").write_text(page(parts, aims, head), encoding="utf-8")
    record["targets"] = [target.record() for target in aims]
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    say(f"wrote {stem}.md and .json")
    return not wrong


def main() -> None:
    args = arguments()
    if not torch.cuda.is_available() or torch.version.cuda is None:
        print("no NVIDIA GPU: nothing was checked")
        return
    if args.peers:
        sys.path.append(str(args.peers))
    if not check_and_measure(args):
        sys.exit(1)


if __name__ == "__main__":
    main()
