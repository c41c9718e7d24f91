"""Sampling from any server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, `transformers serve`, hosted ones."""

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from simko.records import FinishReason, Problem, Sample
from simko.sampling.batches import lay_out
from simko.sampling.digest import model_identity
from simko.sampling.protocol import SamplingSettings, Wanted, block_seed, check_wanted
from simko.sampling.server_client import Reply, ServerClient, ServerFailure
from simko.sampling.server_dialect import PROBE_PROMPT, Dialect, Server, find_server

logger = logging.getLogger("simko")

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], "Future[T]"]

_SILENT_PROBLEMS = 3  # this many in a row without an answer: it is the server, not a prompt
_SIGN_SECONDS = 2.0


class OpenAISampler:
    """Samples from a server, one request per sample, at most `concurrency` requests at a time.

    The sampler finds out which fields the server takes, and whether it honours seeds, and says so in `identity`. If it does not,
    Sample.seed is None and a run can be resumed but not repeated. It raises RuntimeError for a server that answers several seeds
    with one text at temperature > 0.

    A request that brings no response, even when it is repeated, is a failed sample (`Sample.failure`). RuntimeError only if the
    server is gone: it cannot be reached, or answers nothing for three problems in a row.

    Args:
        base_url: the server's address, which usually ends in /v1.
        model: the server's name of the model.
        api_key: the key; None reads OPENAI_API_KEY.
        concurrency: the most requests under way at a time.
        timeout: seconds that one response may take.
        retries: how often a request is repeated; see `ServerClient`.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        concurrency: int = 64,
        timeout: float = 1800.0,
        retries: int = 10,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url is {base_url!r}: give the server's address, such as http://localhost:8000/v1")
        if concurrency < 1 or retries < 0 or timeout <= 0:
            raise ValueError(
                f"concurrency is {concurrency}, retries {retries}, timeout {timeout}: give at least 1, 0 and above 0"
            )
        self.base_url = base_url
        self.model = model
        self.concurrency = concurrency
        self.timeout = timeout
        self.retries = retries
        self._api_key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self._servers: dict[bool, Server] = {}

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """See `Sampler`. The first use asks the server for a completion, or for a chat if it has none."""
        try:
            return self.identity_with(SamplingSettings())
        except _RefusedError:
            return self.identity_with(SamplingSettings(chat=True))

    def identity_with(self, settings: SamplingSettings) -> Mapping[str, Any]:
        """The identity for a run with these settings, which only uses the endpoint of that run.

        Weights are known only if the model's name is a local folder.
        """
        server = self._server(settings)
        local = Path(self.model).is_dir()
        name, weights, tokenizer_and_config = model_identity(self.model) if local else (self.model, None, None)
        return {
            "backend": "openai",
            "model": name,
            "weights": weights,
            "tokenizer_and_config": tokenizer_and_config,
            "dtype": None,
            "dialect": str(server.dialect),
            "seeds": "honoured" if server.seeds_honoured else "not honoured",
        }

    def sample(
        self, problems: Sequence[Problem], wanted: Wanted, settings: SamplingSettings, *, seed: int
    ) -> Iterator[list[Sample]]:
        """See `Sampler.sample`: lists of the samples that just arrived. Closing the iterator cancels pending requests.

        What has arrived when an exception is thrown into the iterator comes as a last list, with the list before it.
        """
        check_wanted(problems, wanted)
        if not any(wanted.values()):
            return
        draw = _Draw(self, problems, wanted, settings, self._server(settings), seed)
        with self._client(retries=self.retries) as (client, run, loop):
            drawing = run(draw.all(client))
            drawing.add_done_callback(lambda _: draw.arrived.put(None))
            samples: list[Sample] = []
            try:
                while samples := draw.next_list():
                    yield samples
                    loop.call_soon_threadsafe(draw.make_room, len(samples))
                    samples = []
            except GeneratorExit:
                raise
            except BaseException:  # an interrupt, or what the caller throws, who may not have kept the last list
                if rest := samples + draw.next_list(wait=False):
                    yield rest
                raise
            if error := drawing.exception():
                failure = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
                raise self._explain(failure, settings.chat) if isinstance(failure, ServerFailure) else failure

    @contextmanager
    def _client(self, **retries: int) -> Iterator[tuple[ServerClient, Run[Any], asyncio.AbstractEventLoop]]:
        """A client, and a function that starts coroutines in its event loop. Leaving the context cancels what is under way.

        The event loop has a thread of its own, because a notebook's thread already runs one. A pool of threads with blocking
        requests could not be cancelled: each would wait for its response.
        """
        client = ServerClient(
            self.base_url, self._api_key, concurrency=self.concurrency, timeout=self.timeout, **retries
        )
        loop, stop = asyncio.new_event_loop(), asyncio.Event()

        async def until_stopped() -> None:
            async with client:
                await stop.wait()

        def work() -> None:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(until_stopped())

        thread = Thread(target=work, daemon=True, name="openai-sampler")
        thread.start()
        try:
            yield client, lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop), loop
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()

    def body(self, dialect: Dialect, settings: SamplingSettings) -> tuple[str, dict[str, Any]]:
        """(path, body) of a request without its prompt and seed."""
        path = "/chat/completions" if settings.chat else "/completions"
        return path, {"model": self.model, **dialect.fields(settings)}

    def _server(self, settings: SamplingSettings) -> Server:
        """What the server is; asked once per endpoint, and told in one line."""
        if settings.chat not in self._servers:
            few = {"retries": min(self.retries, 2), "odd_retries": 0}  # report a missing server soon
            with self._client(**few) as (client, run, _):

                async def all_replies(dialect: Dialect, probe: SamplingSettings, seeds: Sequence[int]) -> list[Reply]:
                    path, body = self.body(dialect, probe)
                    bodies = [body | request_fields(PROBE_PROMPT, s, dialect, probe.chat) for s in seeds]
                    return await asyncio.gather(*(client.ask(path, body) for body in bodies))

                def ask(*request: Any) -> list[Reply]:
                    return self._told(run(all_replies(*request)))

                try:
                    server = find_server(ask, settings, self._server_name)
                except ServerFailure as failure:
                    raise self._explain(failure, settings.chat) from failure
            self._servers[settings.chat] = server
            endpoint = "chat" if settings.chat else "completions"
            seeds = "honoured" if server.seeds_honoured else "not honoured"
            logger.info("%s: %s, %s; seeds %s", self._server_name, endpoint, server.dialect, seeds)
        return self._servers[settings.chat]

    def _told(self, future: "Future[T]") -> T:
        """The future's result, with a line if it takes long."""
        try:
            return future.result(_SIGN_SECONDS)
        except TimeoutError:
            if not future.done():
                logger.info(
                    "%s has not answered for %g s; waiting up to %g s", self._server_name, _SIGN_SECONDS, self.timeout
                )
            return future.result()

    @property
    def _server_name(self) -> str:
        return f"the server at {self.base_url}"

    def _explain(self, failure: ServerFailure, chat: bool) -> Exception:
        """The failure as an error whose message of one line says what to do."""
        where = self._server_name
        if failure.status in (401, 403):
            return ValueError(f"{where} refused the key ({failure}): give another api_key or set OPENAI_API_KEY")
        other = "" if chat else " (a server that offers chat alone needs --chat)"
        if failure.status == 404:
            return _RefusedError(
                f"{where} does not know model {self.model!r} or this address ({failure}): name a model that it serves, "
                f"and an address that ends in /v1{other}"
            )
        if failure.kind == "refused":
            return _RefusedError(f"{where} refused the request: {failure}{other}")
        if failure.kind == "slow":
            return RuntimeError(
                f"{where} did not answer within {self.timeout:g} s: is it overloaded, or --timeout short?"
            )
        if failure.kind in ("lost", "unreachable"):
            return RuntimeError(f"{where} cannot be reached ({failure}): is it running?")
        return RuntimeError(f"{where} failed: {failure}")


class _Draw:
    """The requests of one call of `OpenAISampler.sample`, whose samples arrive in a queue."""

    def __init__(
        self,
        sampler: OpenAISampler,
        problems: Sequence[Problem],
        wanted: Wanted,
        settings: SamplingSettings,
        server: Server,
        seed: int,
    ) -> None:
        self._problems = {problem.id: problem for problem in problems}
        # Sixteen samples of a problem follow each other, so that a server with a prefix cache computes its prompt once.
        self._keys = (key for batch in lay_out(list(self._problems), wanted, 16) for key in batch.keys)
        self._path, self._body = sampler.body(server.dialect, settings)
        self._settings, self._server, self._seed = settings, server, seed
        self._concurrency = sampler.concurrency
        self._room = asyncio.Semaphore(2 * sampler.concurrency)
        self._silent: set[str] = set()
        self.arrived: SimpleQueue[Sample | None] = SimpleQueue()

    async def all(self, client: ServerClient) -> None:
        """Draw all samples. ServerFailure if the server is gone."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                group.create_task(self._work(client))

    def next_list(self, *, wait: bool = True) -> list[Sample]:
        """The samples that have arrived, at least one; empty after the last."""
        samples: list[Sample] = []
        try:
            while (sample := self.arrived.get(block=wait and not samples)) is not None:
                samples.append(sample)
            if samples:
                self.arrived.put(None)
        except Empty:
            pass
        return samples

    def make_room(self, count: int) -> None:
        """Let as many more requests start: what has arrived and waits for the caller stays bounded."""
        for _ in range(count):
            self._room.release()

    async def _work(self, client: ServerClient) -> None:
        for problem_id, index in self._keys:
            await self._room.acquire()
            self.arrived.put(await self._sample(client, self._problems[problem_id], index))

    async def _sample(self, client: ServerClient, problem: Problem, index: int) -> Sample:
        settings, dialect = self._settings, self._server.dialect
        seed = request_seed(self._seed, problem.id, index)
        recorded = seed if self._server.seeds_honoured else None
        fields = request_fields(problem.prompt, seed, dialect, settings.chat)
        try:
            reply = await client.ask(self._path, self._body | fields)
        except ServerFailure as failure:
            self._check_alive(failure, problem)
            return Sample(problem.id, index, "", 0, "failed", 0, recorded, failure=str(failure))
        self._silent.clear()
        cuts = [at for s in settings.stop if (at := reply.text.find(s)) >= 0]  # some servers keep the stop string
        guess: FinishReason = "length" if reply.tokens >= settings.max_new_tokens else "stop"
        finish = "stop" if cuts else reply.finish_reason or guess
        text = reply.text[: min(cuts, default=None)]
        return Sample(problem.id, index, text, reply.tokens, finish, reply.prompt_tokens, recorded, reply.thinking)

    def _check_alive(self, failure: ServerFailure, problem: Problem) -> None:
        """Raise the failure if it is the server's, whatever the prompt."""
        if failure.status == 401:  # the key has expired
            raise failure
        if not failure.of_server:
            self._silent.clear()
            return
        self._silent.add(problem.id)
        if failure.kind == "unreachable" or len(self._silent) >= _SILENT_PROBLEMS:
            raise failure


class _RefusedError(ValueError):
    """The endpoint, the model or the request is refused."""


def request_fields(prompt: str, seed: int, dialect: Dialect, chat: bool) -> dict[str, Any]:
    """The prompt and the seed as fields of a request."""
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
    return asked | ({"seed": seed} if dialect.seeded else {})


def request_seed(seed: int, problem_id: str, index: int) -> int:
    """The seed of one sample's request: 31 bits, which all servers accept, and unique within a problem."""
    return (block_seed(seed, problem_id, 0) + index) % 2**31
