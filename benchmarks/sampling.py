"""Tokens a second of the Transformers sampler beside plain `generate`, continuous batching and `transformers serve`.

    python benchmarks/sampling.py MODEL_FOLDER --tokens 32 256 1024 [--before SRC] [--threads 2]

Every response has exactly so many tokens (no token ends it), float32, temperature 1. Each peer draws --samples responses to each
of four prompts, in a process of its own, the peers in turn. `before` is this sampler in another checkout's src. `generate` is
given all rows at once, as `num_return_sequences` does. The server is asked through simko's own client, and its start is not
counted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PROMPTS = [f"Question: What is {a} times {b}?\nAnswer:" for a, b in ((27, 6), (13, 11), (8, 29), (30, 12))]
PEERS = ("ours", "before", "generate", "generate_batch", "serve")


def draw(peer: str, folder: str, tokens: int, samples: int, threads: int) -> tuple[int, float]:
    """(tokens drawn, seconds)."""
    import torch

    from simko.records import Problem
    from simko.sampling import SamplingSettings, open_sampler

    torch.set_num_threads(threads)
    rows = [Problem(str(i), prompt, "0") for i, prompt in enumerate(PROMPTS)]
    settings = SamplingSettings(max_new_tokens=tokens)
    if peer in ("ours", "before", "serve"):
        if peer == "serve":
            sampler = open_sampler("openai", folder, base_url=os.environ["SERVER"], concurrency=len(PROMPTS) * samples)
        else:
            sampler = open_sampler("transformers", folder, batch_size=len(PROMPTS) * samples, dtype="float32")
        start = time.perf_counter()
        wanted = {row.id: range(samples) for row in rows}
        drawn = sum(s.tokens for part in sampler.sample(rows, wanted, settings, seed=0) for s in part)
        return drawn, time.perf_counter() - start
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token_id = 0
    drawing = {"do_sample": True, "temperature": 1.0, "top_k": 0, "max_new_tokens": tokens, "pad_token_id": 0}
    start = time.perf_counter()
    if peer == "generate":
        batch = tokenizer(PROMPTS, padding=True, padding_side="left", return_tensors="pt")
        found = model.generate(**batch, **drawing, num_return_sequences=samples)
        drawn = len(found) * (found.shape[1] - batch["input_ids"].shape[1])
    else:
        ids = [ids for ids in tokenizer(PROMPTS)["input_ids"] for _ in range(samples)]
        found = model.generate_batch(ids, generation_config=GenerationConfig(**drawing, eos_token_id=-1))
        drawn = sum(len(output.generated_tokens) for output in found.values())
    return drawn, time.perf_counter() - start


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
    parser.add_argument("--samples", type=int, default=8, help="responses to each of the four prompts")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--before", type=Path, help="the src folder of another checkout")
    parser.add_argument("--peers", nargs="+", default=PEERS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(draw(args.one, args.folder, args.tokens[0], args.samples, args.threads)))
        return
    with tempfile.TemporaryDirectory() as folder:
        endless(Path(args.folder), Path(folder))
        compare(args, folder)


def compare(args: argparse.Namespace, folder: str) -> None:
    print("| new tokens | peer | tokens/s |\n|---|---|---|")
    for tokens in args.tokens:
        for peer in args.peers:
            if peer == "before" and not args.before:
                continue
            words = [sys.executable, __file__, folder, "--one", peer, "--tokens", str(tokens)]
            words += ["--samples", str(args.samples), "--threads", str(args.threads)]
            environment = dict(os.environ) | ({"PYTHONPATH": str(args.before)} if peer == "before" else {})
            server = _served(folder, args.threads) if peer == "serve" else None
            try:
                done = subprocess.run(
                    words, capture_output=True, text=True, env=environment | {"SERVER": "http://127.0.0.1:8123/v1"}
                )
            finally:
                if server:
                    server.terminate()
                    server.wait()
            if done.returncode:
                print(f"| {tokens} | {peer} | failed: {done.stderr.strip().splitlines()[-1][:120]} |", flush=True)
            else:
                drawn, seconds = json.loads(done.stdout.splitlines()[-1])
                print(f"| {tokens} | {peer} | {drawn / seconds:.0f} |", flush=True)


def _served(folder: str, threads: int) -> "subprocess.Popen[bytes]":
    """`transformers serve` on port 8123, once it answers."""
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", folder, "--port", "8123"]
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
