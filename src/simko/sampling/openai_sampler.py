"""Sampling from any server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, `transformers serve`, hosted ones."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Any

import openai
from openai import AsyncOpenAI

from simko.records import FinishReason, Problem, Sample
from simko.sampling.batches import lay_out
from simko.sampling.digest import model_identity
from simko.sampling.protocol import SamplingSettings, Wanted, block_seed, check_wanted


def _top_k_fields(settings: SamplingSettings) -> dict[str, Any]:
    """vLLM, SGLang and llama.cpp. vLLM would take penalty and min_p from the model's generation_config.json."""
    return {"top_k": settings.top_k or -1, "repetition_penalty": 1.0, "min_p": 0.0}


def _generation_config_field(settings: SamplingSettings) -> dict[str, Any]:
    """`transformers serve`, which decodes greedily unless this sets do_sample, and refuses unknown fields."""
    config: dict[str, Any] = {"do_sample": settings.do_sample, "repetition_penalty": 1.0}
    if settings.do_sample:
        config |= {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k, "min_p": 0.0}
    return {"generation_config": json.dumps(config)}


def _no_fields(settings: SamplingSettings) -> dict[str, Any]:
    """Servers that accept only OpenAI's own fields."""
    if settings.top_k:
        raise ValueError(f"the server takes no top_k: ask for top_k 0 in place of {settings.top_k}")
    return {}


_DIALECTS: dict[str, Callable[[SamplingSettings], dict[str, Any]]] = {
    "top_k": _top_k_fields,
    "generation_config": _generation_config_field,
    "none": _no_fields,
}
"""Fields beyond OpenAI's own, by dialect. The first dialect that the server does not refuse is used."""

_FIELD_NAMES = ("top_k", "repetition_penalty", "min_p", "generation_config")

# The probe before a run. At temperature 2 even a model that is nearly certain at 1 gives many different answers, so a
# server that gives one answer does not sample.
_PROBE = Problem("probe", "Write a sentence about anything you like:")
_PROBE_SETTINGS = SamplingSettings(temperature=2.0, max_new_tokens=12)
_PROBE_SEEDS = (11, 22, 33, 44)

_FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "tool_calls": "stop",
    "content_filter": "stop",
    "length": "length",
}


@dataclass(frozen=True)
class _Server:
    """What the probe found."""

    dialect: str
    """A key of _DIALECTS."""
    seeds_honoured: bool
    """Whether the same seed gives the same text."""


class OpenAISampler:
    """Samples from a server, one request per sample, at most `concurrency` requests at a time.

    The sampler raises RuntimeError for a server that answers several seeds with one text at temperature > 0, or returns no
    choice. It tests whether the server honours seeds and says so in `identity`. If not, Sample.seed is None and a run can be
    resumed but not repeated.

    Args:
        base_url: the server's address, which usually ends in /v1.
        model: the server's name of the model.
        api_key: the key; None reads OPENAI_API_KEY.
        concurrency: the most requests under way at a time.
        timeout: seconds that one response may take.
        retries: how often a request is repeated after 429, 5xx, a timeout or a lost connection, with growing pauses.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str | None = None,
        concurrency: int = 16,
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
        self._servers: dict[bool, _Server] = {}

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """See `Sampler`. The first use asks the server; weights are known only if the model's name is a local folder."""
        try:
            server = self._server(chat=False)
        except _NoEndpointError:  # many hosted servers only offer chat
            server = self._server(chat=True)
        local = Path(self.model).is_dir()
        name, weights, tokenizer_and_config = model_identity(self.model) if local else (self.model, None, None)
        return {
            "backend": "openai",
            "model": name,
            "weights": weights,
            "tokenizer_and_config": tokenizer_and_config,
            "dtype": None,
            "seeds": "honoured" if server.seeds_honoured else "not honoured",
        }

    def sample(
        self, problems: Sequence[Problem], wanted: Wanted, settings: SamplingSettings, *, seed: int
    ) -> Iterator[list[Sample]]:
        """See `Sampler.sample`: lists of the samples that just arrived. Closing the iterator cancels pending requests."""
        check_wanted(problems, wanted)
        if not any(wanted.values()):
            return
        server = self._server(settings.chat)
        by_id = {problem.id: problem for problem in problems}
        # Sixteen samples of a problem follow each other, so that a server with a prefix cache computes its prompt once.
        batches = lay_out(list(by_id), wanted, 16)
        keys = (key for batch in batches for key in batch.keys)
        with self._requests(self.retries) as request:

            def start(count: int) -> set[Future[Sample]]:
                return {
                    request(by_id[i], index, request_seed(seed, i, index), settings, server)
                    for i, index in islice(keys, count)
                }

            pending = start(self.concurrency)
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                errors = [error for future in done if (error := future.exception())]
                if not errors:
                    pending |= start(len(done))
                if samples := [future.result() for future in done if not future.exception()]:
                    yield samples
                if errors:
                    raise self._explain(errors[0])

    @contextmanager
    def _requests(self, retries: int) -> Iterator[Callable[..., Future[Sample]]]:
        """A function that starts `_request`. Leaving the context cancels what is under way.

        The event loop has a thread of its own, because a notebook's thread already runs one. A pool of threads with blocking
        requests could not be cancelled: each would wait for its response.
        """
        client = AsyncOpenAI(base_url=self.base_url, api_key=self._api_key, timeout=self.timeout, max_retries=retries)
        loop, stop = asyncio.new_event_loop(), asyncio.Event()

        async def until_stopped() -> None:
            async with client:
                await stop.wait()

        def run() -> None:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(until_stopped())

        thread = Thread(target=run, daemon=True, name="openai-sampler")
        thread.start()
        try:
            yield lambda *request: asyncio.run_coroutine_threadsafe(self._request(client, *request), loop)
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()

    async def _request(
        self,
        client: AsyncOpenAI,
        problem: Problem,
        index: int,
        seed: int,
        settings: SamplingSettings,
        server: _Server,
    ) -> Sample:
        fields: dict[str, Any] = {
            "model": self.model,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_new_tokens,
            "seed": seed,
            "extra_body": _DIALECTS[server.dialect](settings),
        }
        if settings.stop:
            fields["stop"] = list(settings.stop)
        answer: Any
        if settings.chat:
            message = {"role": "user", "content": problem.prompt}
            answer = await client.chat.completions.create(messages=[message], **fields)  # type: ignore[list-item]
        else:
            answer = await client.completions.create(prompt=problem.prompt, **fields)
        if not getattr(answer, "choices", None):
            raise _RefusedError("it returned no choice where one was asked for")
        choice = answer.choices[0]
        text = (choice.message.content if settings.chat else choice.text) or ""
        tokens, prompt_tokens = (
            getattr(answer.usage, name, None) or 0 for name in ("completion_tokens", "prompt_tokens")
        )
        cuts = [at for s in settings.stop if (at := text.find(s)) >= 0]  # some servers keep the stop string
        finish: FinishReason = "stop" if cuts else _finish_reason(choice.finish_reason, tokens, settings.max_new_tokens)
        recorded = seed if server.seeds_honoured else None
        return Sample(problem.id, index, text[: min(cuts, default=None)], tokens, finish, prompt_tokens, recorded)

    def _server(self, chat: bool) -> _Server:
        """How the server treats our fields and seeds; asked once per endpoint."""
        if chat not in self._servers:
            settings = replace(_PROBE_SETTINGS, chat=chat)
            with self._requests(min(self.retries, 2)) as request:  # report a missing server soon
                try:
                    self._servers[chat] = self._probe(request, settings)
                except (openai.OpenAIError, _RefusedError) as error:
                    raise self._explain(error) from error
        return self._servers[chat]

    def _probe(self, request: Callable[..., Future[Sample]], settings: SamplingSettings) -> _Server:
        server = _Server(self._dialect(request, settings), seeds_honoured=False)
        # All at once: a server that seeds one generator for all requests honours seeds only one at a time.
        futures = [request(_PROBE, i, seed, settings, server) for i, seed in enumerate([*_PROBE_SEEDS, *_PROBE_SEEDS])]
        texts = [future.result().response for future in futures]
        if len(set(texts)) == 1:
            raise RuntimeError(
                f"{self._server_name} gave the same answer to {len(_PROBE_SEEDS)} seeds at temperature "
                f"{settings.temperature}: it does not sample (or answers from a cache), so pass@k would mean nothing"
            )
        if all(_PROBE.prompt in text for text in texts):
            raise RuntimeError(f"{self._server_name} returns the prompt with the response: turn that off there")
        half = len(_PROBE_SEEDS)
        same = sum(a == b for a, b in zip(texts[:half], texts[half:], strict=True))
        return replace(server, seeds_honoured=same >= half - 1)  # one may differ by rounding in a changing batch

    def _dialect(self, request: Callable[..., Future[Sample]], settings: SamplingSettings) -> str:
        """The first dialect whose fields the server does not refuse."""
        for dialect in _DIALECTS:
            try:
                request(_PROBE, 0, _PROBE_SEEDS[0], settings, _Server(dialect, False)).result()
                return dialect
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if dialect == "none" or not any(name in _server_message(error) for name in _FIELD_NAMES):
                    raise
        raise AssertionError

    @property
    def _server_name(self) -> str:
        return f"the server at {self.base_url}"

    def _explain(self, error: BaseException) -> BaseException:
        """The error with a message of one line for the user."""
        where = self._server_name
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return ValueError(
                f"{where} refused the key ({_server_message(error)}): give another api_key or set OPENAI_API_KEY"
            )
        if isinstance(error, openai.NotFoundError):
            return _NoEndpointError(
                f"{where} does not know model {self.model!r} or this address ({_server_message(error)}): name a model that it serves, "
                "and an address that ends in /v1"
            )
        if isinstance(error, openai.APITimeoutError):
            return RuntimeError(f"{where} did not answer within {self.timeout} s: is it overloaded?")
        if isinstance(error, openai.APIConnectionError):
            return RuntimeError(f"{where} cannot be reached ({error.__cause__ or error}): is it running?")
        if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
            return ValueError(f"{where} refused the request: {_server_message(error)}")
        if isinstance(error, openai.OpenAIError | _RefusedError):
            return RuntimeError(f"{where} failed: {_server_message(error)}")
        return error


class _RefusedError(Exception):
    """The server's answer holds no response."""


class _NoEndpointError(ValueError):
    """The model or the address does not exist."""


def request_seed(seed: int, problem_id: str, index: int) -> int:
    """The seed of one sample's request: 31 bits, which all servers accept, and unique within a problem."""
    return (block_seed(seed, problem_id, 0) + index) % 2**31


def _server_message(error: BaseException) -> str:
    """The server's own message of an error, at most 400 characters."""
    if not isinstance(error, openai.APIStatusError):
        return str(error)
    body = error.body
    if isinstance(body, Mapping):
        body = body.get("message") or body.get("detail") or body
    return f"{error.status_code} {body or error.message}"[:400]


def _finish_reason(reason: str | None, tokens: int, limit: int) -> FinishReason:
    if reason is None:
        return "length" if tokens >= limit else "stop"
    if reason not in _FINISH_REASONS:
        raise _RefusedError(f"a response ended for the reason {reason!r}")
    return _FINISH_REASONS[reason]
