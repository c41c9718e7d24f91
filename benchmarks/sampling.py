"""Tokens a CPU-second of the Transformers sampler beside `generate`, continuous batching, `transformers serve` and lighteval.

    python benchmarks/sampling.py MODEL_FOLDER --tokens 32 256 1024 [--before SRC] [--lighteval PYTHON] [--threads 1]

Every response has exactly so many tokens (no token ends it), float32, temperature 1. Each peer draws a response to each of
--rows prompts, all at once, in a process of its own, the peers in turn. `before` is this sampler in another checkout's src.
The server is asked through simko's own client, and its start is not counted; its CPU time is its own and the client's.
`lighteval` runs under the Python of an environment that has it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROMPTS = [f"Question: What is {a} times {100 - a}?\nAnswer:" for a in range(10, 74)]
RARE = 5  # the token that ends a response to lighteval, which has no run without one
PEERS = ("ours", "before", "generate", "generate_batch", "serve", "lighteval")


def draw(peer: str, folder: str, tokens: int, rows: int, threads: int) -> tuple[int, float, float]:
    """(tokens drawn, seconds, CPU-seconds of this process)."""
    import torch

    torch.set_num_threads(threads)
    run = {"generate": with_generate, "generate_batch": with_generate_batch, "lighteval": with_lighteval}
    call = run[peer](folder, tokens, rows) if peer in run else with_sampler(folder, tokens, rows, peer == "serve")
    start, cpu = time.perf_counter(), time.process_time()
    drawn = call()
    return drawn, time.perf_counter() - start, time.process_time() - cpu


def with_sampler(folder: str, tokens: int, rows: int, served: bool) -> Callable[[], int]:
    from simko.records import Problem
    from simko.sampling import SamplingSettings, open_sampler

    problems = [Problem(str(i), prompt, "0") for i, prompt in enumerate(PROMPTS[:rows])]
    if served:
        sampler = open_sampler("openai", folder, base_url=os.environ["SERVER"], concurrency=rows)
    else:
        sampler = open_sampler("transformers", folder, batch_size=rows, dtype="float32")
    wanted, settings = {p.id: range(1) for p in problems}, SamplingSettings(max_new_tokens=tokens)
    list(
        sampler.sample(problems, wanted, SamplingSettings(max_new_tokens=2), seed=1)
    )  # loads the model, or finds the dialect
    return lambda: sum(s.tokens for part in sampler.sample(problems, wanted, settings, seed=0) for s in part)


def with_generate(folder: str, tokens: int, rows: int) -> Callable[[], int]:
    model, tokenizer, drawing = loaded(folder, tokens)

    def call() -> int:
        batch = tokenizer(PROMPTS[:rows], padding=True, padding_side="left", return_tensors="pt")
        found = model.generate(**batch, **drawing)
        return len(found) * (found.shape[1] - batch["input_ids"].shape[1])

    return call


def with_generate_batch(folder: str, tokens: int, rows: int) -> Callable[[], int]:
    from transformers import GenerationConfig

    model, tokenizer, drawing = loaded(folder, tokens)
    ids = tokenizer(PROMPTS[:rows])["input_ids"]
    config = GenerationConfig(**drawing, eos_token_id=-1)
    return lambda: sum(len(o.generated_tokens) for o in model.generate_batch(ids, generation_config=config).values())


def loaded(folder: str, tokens: int) -> tuple[Any, Any, dict[str, Any]]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token_id = 0
    drawing = {"do_sample": True, "temperature": 1.0, "top_k": 0, "max_new_tokens": tokens, "pad_token_id": 0}
    return model, tokenizer, drawing


def with_lighteval(folder: str, tokens: int, rows: int) -> Callable[[], int]:
    from lighteval.models.model_input import GenerationParameters
    from lighteval.models.transformers.transformers_model import TransformersModel, TransformersModelConfig
    from lighteval.tasks.requests import Doc, SamplingMethod

    config = TransformersModelConfig(
        model_name=folder,
        dtype="float32",
        device="cpu",
        batch_size=rows,
        generation_parameters=GenerationParameters(temperature=1.0, top_k=0, max_new_tokens=tokens),
    )
    model = TransformersModel(config)
    model.tokenizer.eos_token = model.tokenizer.pad_token = model.tokenizer.convert_ids_to_tokens(RARE)
    docs = [
        Doc(prompt, ["0"], 0, id=str(i), task_name="t", generation_size=tokens, stop_sequences=[])
        for i, prompt in enumerate(PROMPTS[:rows])
    ]
    for doc in docs:
        doc.sampling_methods = [SamplingMethod.GENERATIVE]
    return lambda: sum(len(ids) for found in model._padded_greedy_until(docs) for ids in found.output_tokens)


def endless(folder: Path, to: Path) -> None:
    """The checkpoint without an end token."""
    for path in folder.iterdir():
        if path.name not in (
            "config.json",
            "generation_config.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
        ):
            (to / path.name).symlink_to(path.resolve())
            continue
        content = json.loads(path.read_text())
        if path.name == "config.json":
            content["pad_token_id"] = 0
        for name in ("eos_token_id", "eos_token"):
            content[name] = None
        (to / path.name).write_text(json.dumps(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="a checkpoint")
    parser.add_argument("--tokens", type=int, nargs="+", default=[32, 256, 1024])
    parser.add_argument("--rows", type=int, default=32, help=f"prompts, up to {len(PROMPTS)}")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--before", type=Path, help="the src folder of another checkout")
    parser.add_argument("--lighteval", type=Path, help="the Python of an environment that has lighteval")
    parser.add_argument("--peers", nargs="+", default=PEERS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(draw(args.one, args.folder, args.tokens[0], args.rows, args.threads)))
        return
    with tempfile.TemporaryDirectory() as folder:
        endless(Path(args.folder), Path(folder))
        compare(args, folder)


def compare(args: argparse.Namespace, folder: str) -> None:
    print("| new tokens | peer | tokens/s | tokens/CPU-s |\n|---|---|---|---|")
    for tokens in args.tokens:
        for peer in args.peers:
            if peer in ("before", "lighteval") and not getattr(args, peer):
                continue
            python = args.lighteval if peer == "lighteval" else sys.executable
            words = [python, __file__, folder, "--one", peer, "--tokens", str(tokens)]
            words += ["--rows", str(args.rows), "--threads", str(args.threads)]
            environment = dict(os.environ) | ({"PYTHONPATH": str(args.before)} if peer == "before" else {})
            environment |= {"SERVER": "http://127.0.0.1:8123/v1", "OMP_NUM_THREADS": str(args.threads)}
            server = _served(folder, args.threads) if peer == "serve" else None
            before = _cpu(server.pid) if server else 0.0
            try:
                done = subprocess.run(words, capture_output=True, text=True, env=environment)
                served = _cpu(server.pid) - before if server else 0.0
            finally:
                if server:
                    server.terminate()
                    server.wait()
            if done.returncode:
                print(f"| {tokens} | {peer} | failed: {done.stderr.strip().splitlines()[-1][:120]} | |", flush=True)
            else:
                drawn, seconds, cpu = json.loads(done.stdout.splitlines()[-1])
                print(f"| {tokens} | {peer} | {drawn / seconds:.0f} | {drawn / (cpu + served):.0f} |", flush=True)


def _cpu(pid: int) -> float:
    """CPU-seconds of a process so far, on Linux."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


def _served(folder: str, threads: int) -> "subprocess.Popen[bytes]":
    """`transformers serve` on port 8123, once it answers."""
    command = [
        sys.executable,
        "-m",
        "transformers.cli.transformers",
        "serve",
        folder,
        "--port",
        "8123",
        "--dtype",
        "float32",
    ]
    server = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )
    for _ in range(120):
        try:
            urllib.request.urlopen("http://127.0.0.1:8123/health", timeout=2).close()
            return server
        except OSError:
            time.sleep(1)
    server.terminate()
    raise RuntimeError("transformers serve did not start")


if __name__ == "__main__":
    main()
