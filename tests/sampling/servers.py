"""A small OpenAI-compatible server of random words, which misbehaves on request."""

import json
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Server:
    """A small OpenAI-compatible server of random words, and how it misbehaves.

    faults: what the next requests meet in place of an answer, one each: an HTTP status, "drop", "empty" or "hang" (till
    released), or "" for none; refuses:
    fields that it answers with 422, as `transformers serve` does; respond: what it answers instead, (status, body, headers), to
    a path and a body, None for its usual answer; seeded, samples, echoes: whether it honours seeds,
    samples at all, returns the prompt; delay: seconds an answer takes; bodies: what was asked.
    """

    faults: list[int | str] = field(default_factory=list)
    refuses: tuple[str, ...] = ()
    respond: Callable[[str, dict[str, Any]], "tuple[int, Any, dict[str, str]] | None"] = lambda path, body: None
    seeded: bool = True
    samples: bool = True
    echoes: bool = False
    endpoints: tuple[str, ...] = ("/v1/completions", "/v1/chat/completions")
    key: str | None = None
    model: str = "words"
    finish_reason: str | None = "length"
    usage: bool = True
    delay: float = 0.0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    released: Any = field(default_factory=threading.Event)
    lock: Any = field(default_factory=threading.Lock)
    url: str = ""

    def text(self, body: dict[str, Any], prompt: str) -> str:
        temperature = body.get("temperature", 1.0)
        if not self.samples or temperature == 0:
            return "always the same words"
        seeded = self.seeded and "seed" in body
        draw = random.Random(f"{body['seed']}|{prompt}|{temperature}") if seeded else random.Random()
        return " ".join(draw.choice(["one", "two", "three", "four", "\n"]) for _ in range(limit(body)))


def limit(body: dict[str, Any]) -> int:
    """The most new tokens of a request, by either name."""
    most: int = body.get("max_tokens", body.get("max_completion_tokens"))
    return most


def usual(server: Server, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A right answer."""
    chat = "chat" in path
    prompt = body["messages"][0]["content"] if chat else body["prompt"]
    text = (prompt if server.echoes else "") + server.text(body, prompt)
    choice = {"index": 0, "finish_reason": server.finish_reason}
    choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    usage = {"prompt_tokens": len(prompt), "completion_tokens": limit(body), "total_tokens": 0}
    answer = {"id": "x", "object": "x", "created": 0, "model": server.model, "choices": [choice]}
    return answer | ({"usage": usage} if server.usage else {})


def handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            for name, value in ({"retry-after-ms": "5"} if headers is None else headers).items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(data)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with server.lock:
                server.bodies.append(body)
                server.under_way += 1
                server.most_under_way = max(server.most_under_way, server.under_way)
                fault = server.faults.pop(0) if server.faults else None
            time.sleep(server.delay)
            if fault == "hang":
                server.released.wait(10)
            with server.lock:
                server.under_way -= 1
            self.answer(body, fault)

        def answer(self, body: dict[str, Any], fault: int | str | None) -> None:
            refused = [name for name in server.refuses if name in body]
            instead = server.respond(self.path, body)
            if instead is not None:
                self.reply(*instead)
            elif fault == "drop":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            elif isinstance(fault, int):
                self.reply(fault, {"error": {"message": f"made to fail with {fault}"}})
            elif server.key and self.headers.get("authorization") != f"Bearer {server.key}":
                self.reply(401, {"error": {"message": "wrong key"}})
            elif self.path not in server.endpoints:
                self.reply(404, {"detail": "Not Found"})
            elif body["model"] != server.model:
                self.reply(404, {"error": {"message": f"The model `{body['model']}` does not exist."}})
            elif refused:
                self.reply(422, {"detail": f"Unexpected fields in the request: {refused}"})
            else:
                answer = usual(server, self.path, body)
                self.reply(200, answer | {"choices": []} if fault == "empty" else answer)

    return Handler


class Listening(ThreadingHTTPServer):
    request_queue_size = 128
