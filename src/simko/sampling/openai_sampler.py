"""Sampling from any server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, `transformers serve`, hosted ones."""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
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
from simko.sampling.digest import checkpoint_at
from simko.sampling.protocol import SamplingSettings, Wanted, block_seed, check_wanted


def _top_k_fields(settings: SamplingSettings) -> dict[str, Any]:
    """vLLM, SGLang and llama.cpp; vLLM else takes penalty and min_p from the model's generation_config.json."""
    return {"top_k": settings.top_k or -1, "repetition_penalty": 1.0, "min_p": 0.0}


def _generation_config_field(settings: SamplingSettings) -> dict[str, Any]:
    """`transformers serve`, which decodes greedily unless this says do_sample, and refuses fields it does not know."""
    config: dict[str, Any] = {"do_sample": settings.do_sample, "repetition_penalty": 1.0}
    if settings.do_sample:
        config |= {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": settings.top_k, "min_p": 0.0}
    return {"generation_config": json.dumps(config)}


def _no_fields(settings: SamplingSettings) -> dict[str, Any]:
    """Servers that take OpenAI's own fields alone."""
    if settings.top_k:
        raise ValueError(f"the server takes no top_k: ask for top_k 0 in place of {settings.top_k}")
    return {}


_DIALECTS: dict[str, Callable[[SamplingSettings], dict[str, Any]]] = {
    "top_k": _top_k_fields,
    "generation_config": _generation_config_field,
    "none": _no_fields,
}
"""Fields beyond OpenAI's own, by name of the dialect; the first one that the server does not refuse is spoken."""

_FIELD_NAMES = ("top_k", "repetition_penalty", "min_p", "generation_config")

# What is asked before a run. At temperature 2 any model that is sampled from gives many different answers, also one
# that is all but certain at 1; a server that gives one answer does not sample.
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
    """What the probe found: the dialect spoken, and whether the same seed gives the same text."""

    dialect: str
    seeds_honoured: bool


class OpenAISampler:
    """Draws samples from a server, one request a sample, at most `concurrency` of them at a time.

    base_url: ends in /v1 as a rule; api_key: None for OPENAI_API_KEY's; timeout: seconds for one response; retries:
    how often a request is sent again (after 429, 5xx, a timeout or a lost connection), with growing pauses.

    A server that answers several seeds with one text at temperature > 0, or with no choice, is refused. Whether it
    honours seeds is tried and stands in `identity`; where it does not, Sample.seed is None and a run can be resumed but
    not repeated.
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
        """See `Sampler`; weights are known where the model's name is a folder here. Asks the server at first use."""
        try:
            server = self._server(chat=False)
        except _NoEndpointError:  # many hosted servers speak chat alone
            server = self._server(chat=True)
        local = Path(self.model).is_dir()
        name, weights, tokenizer_and_config = checkpoint_at(self.model) if local else (self.model, None, None)
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
        """See `Sampler.sample`: lists of what has just come; closing the iterator cancels what is under way."""
        check_wanted(problems, wanted)
        if not any(wanted.values()):
            return
        server = self._server(settings.chat)
        by_id = {problem.id: problem for problem in problems}
        # Sixteen samples of a problem follow each other, so that a server with a prefix cache computes its prompt once.
        batches = lay_out(list(by_id), wanted, 16)
        jobs = ((by_id[i], index, request_seed(seed, i, index)) for b in batches for i, index in b.keys)
        yield from self._run(jobs, settings, server)

    def _client(self, retries: int) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=self.base_url, api_key=self._api_key, timeout=self.timeout, max_retries=retries)

    def _run(
        self, jobs: Iterable[tuple[Problem, int, int]], settings: SamplingSettings, server: _Server
    ) -> Iterator[list[Sample]]:
        with _running_loop() as loop:
            stream = self._stream(iter(jobs), settings, server)
            try:
                while (samples := asyncio.run_coroutine_threadsafe(anext(stream, None), loop).result()) is not None:
                    yield samples
            finally:
                asyncio.run_coroutine_threadsafe(stream.aclose(), loop).result()

    async def _stream(
        self, jobs: Iterator[tuple[Problem, int, int]], settings: SamplingSettings, server: _Server
    ) -> AsyncGenerator[list[Sample], None]:
        """The samples as they come, the next request going out for each; what came well is yielded before an error."""
        async with self._client(self.retries) as client:

            def start(count: int) -> set[asyncio.Task[Sample]]:
                return {
                    asyncio.create_task(self._request(client, problem, index, seed, settings, server))
                    for problem, index, seed in islice(jobs, count)
                }

            pending = start(self.concurrency)
            try:
                while pending:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    failed = [task for task in done if task.exception()]
                    if not failed:
                        pending |= start(len(done))
                    good = [task.result() for task in done if not task.exception()]
                    if good:
                        yield good
                    if failed:
                        raise self._explain(failed[0].exception())
            finally:
                for task in pending:
                    task.cancel()
                await asyncio.gather(*pending, return_exceptions=True)

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
        cuts = [at for s in settings.stop if (at := text.find(s)) >= 0]  # some servers leave the stop string in
        finish: FinishReason = "stop" if cuts else _finish_reason(choice.finish_reason, tokens, settings.max_new_tokens)
        recorded = seed if server.seeds_honoured else None
        return Sample(problem.id, index, text[: min(cuts, default=None)], tokens, finish, prompt_tokens, recorded)

    def _server(self, chat: bool) -> _Server:
        """What the server does with our fields and seeds; asked once an endpoint."""
        if chat not in self._servers:
            with _running_loop() as loop:
                self._servers[chat] = asyncio.run_coroutine_threadsafe(self._probe(chat), loop).result()
        return self._servers[chat]

    async def _probe(self, chat: bool) -> _Server:
        settings = replace(_PROBE_SETTINGS, chat=chat)
        async with self._client(min(self.retries, 2)) as client:  # a server that is not there is said soon
            server = _Server(await self._dialect(client, settings), seeds_honoured=False)
            # All at once: a server that seeds one generator for all requests honours seeds only one at a time.
            texts = await self._answers(client, [*_PROBE_SEEDS, *_PROBE_SEEDS], settings, server)
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

    async def _dialect(self, client: AsyncOpenAI, settings: SamplingSettings) -> str:
        """The first dialect whose fields the server does not refuse."""
        for dialect in _DIALECTS:
            try:
                await self._request(client, _PROBE, 0, _PROBE_SEEDS[0], settings, _Server(dialect, False))
                return dialect
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if dialect == "none" or not any(name in _said(error) for name in _FIELD_NAMES):
                    raise self._explain(error) from error
            except (openai.OpenAIError, _RefusedError) as error:
                raise self._explain(error) from error
        raise AssertionError

    async def _answers(
        self, client: AsyncOpenAI, seeds: Sequence[int], settings: SamplingSettings, server: _Server
    ) -> list[str]:
        requests = [self._request(client, _PROBE, i, seed, settings, server) for i, seed in enumerate(seeds)]
        try:
            return [sample.response for sample in await asyncio.gather(*requests)]
        except (openai.OpenAIError, _RefusedError) as error:
            raise self._explain(error) from error

    @property
    def _server_name(self) -> str:
        return f"the server at {self.base_url}"

    def _explain(self, error: BaseException | None) -> BaseException:
        """One line for a user from what went wrong."""
        where = self._server_name
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return ValueError(f"{where} refused the key ({_said(error)}): give another api_key or set OPENAI_API_KEY")
        if isinstance(error, openai.NotFoundError):
            return _NoEndpointError(
                f"{where} does not know model {self.model!r} or this address ({_said(error)}): name a model that it serves, "
                "and an address that ends in /v1"
            )
        if isinstance(error, openai.APITimeoutError):
            return RuntimeError(f"{where} did not answer within {self.timeout} s: is it overloaded?")
        if isinstance(error, openai.APIConnectionError):
            return RuntimeError(f"{where} cannot be reached ({error.__cause__ or error}): is it running?")
        if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
            return ValueError(f"{where} refused the request: {_said(error)}")
        if isinstance(error, openai.OpenAIError | _RefusedError):
            return RuntimeError(f"{where} failed: {_said(error)}")
        assert error is not None
        return error


class _RefusedError(Exception):
    """An answer that is not one."""


class _NoEndpointError(ValueError):
    """Neither the model nor the address may exist."""


def request_seed(seed: int, problem_id: str, index: int) -> int:
    """The seed of one sample's request: 31 bits, which all servers take, and never twice for a problem."""
    return (block_seed(seed, problem_id, 0) + index) % 2**31


def _said(error: BaseException) -> str:
    """What the server itself said of an error, in at most a few hundred characters."""
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


@contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own, so that it works in a notebook too, whose thread already runs one."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True, name="openai-sampler")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
