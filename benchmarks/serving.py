"""What a sample costs the client of a server: CPU of this process, beside a server of its own that answers after 50 ms.

python benchmarks/serving.py --samples 3000 --concurrency 64
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESPONSE = "We multiply step by step and carry the tens. " * 20


def serve(delay: float) -> None:
    """A server on a free port, which it prints. It answers every POST of a completion alike, but for a running number."""
    asked = 0

    class Answering(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport, self.read = transport, b""

        def data_received(self, data: bytes) -> None:
            self.read += data
            head, _, body = self.read.partition(b"\r\n\r\n")
            lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if lengths and len(body) >= int(lengths[0]):
                self.read = b""
                asyncio.get_running_loop().call_later(delay, self.transport.write, answer())

    def answer() -> bytes:
        nonlocal asked
        asked += 1
        choice = {"index": 0, "text": f"{RESPONSE}{asked}", "finish_reason": "stop", "logprobs": None}
        usage = {"prompt_tokens": 50, "completion_tokens": 200, "total_tokens": 250}
        answer = {"id": "x", "object": "text_completion", "created": 0, "model": "m", "choices": [choice]}
        body = json.dumps(answer | {"usage": usage}).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body

    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(forever())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=3000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds an answer takes")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.delay)
        return

    from simko.evaluate import SampleStore
    from simko.evaluate.run import evaluate
    from simko.records import Problem, Verdict
    from simko.sampling import SamplingSettings, open_sampler

    n = args.samples // 20
    problems = [Problem(f"problem/{i}", f"What is {i} times 23? Think step by step. " * 5, str(i)) for i in range(20)]
    command = [sys.executable, __file__, "--serve", "--delay", str(args.delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            url = f"http://127.0.0.1:{int(child.stdout.readline())}/v1"
            sampler = open_sampler("openai", "m", base_url=url, concurrency=args.concurrency)
            assert sampler.identity
            wanted, settings = {p.id: range(n) for p in problems}, SamplingSettings()
            for _ in range(args.rounds):
                with tempfile.TemporaryDirectory(dir=".") as folder, SampleStore(Path(folder) / "samples.db") as store:
                    start, wall = time.process_time(), time.perf_counter()
                    count = sum(map(len, sampler.sample(problems, wanted, settings, seed=0)))
                    alone = time.process_time() - start
                    print(
                        f"sampler: {1000 * alone / count:.3f} ms of CPU a sample, {count / (time.perf_counter() - wall):.0f} a second"
                    )
                    start = time.process_time()
                    judge = lambda response, problem: Verdict("wrong", response[-2:])  # noqa: E731
                    evaluate(store, sampler, problems, judge, n, settings, task="none", progress=False)
                    print(f"evaluate: {1000 * (time.process_time() - start) / count:.3f} ms of CPU a sample")
        finally:
            child.terminate()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
