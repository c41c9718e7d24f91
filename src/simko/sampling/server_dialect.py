"""How a server differs from others: which fields it takes, and whether it samples and honours seeds. Found by asking it."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from simko.sampling.protocol import SamplingSettings
from simko.sampling.server_client import Reply, ServerFailure

# At temperature 2 even a model that is nearly certain at 1 gives many different answers, so a server that gives one
# answer does not sample. Some servers take no temperature that high.
PROBE_PROMPT = "Write a sentence about anything you like:"
_TEMPERATURES = (2.0, 1.0)
_SEEDS = (11, 22, 33, 44)
_FIRST_TOKENS, _MORE_TOKENS, _MOST_TOKENS = 16, 256, 2048


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


_EXTRAS: dict[str, Callable[[SamplingSettings], dict[str, Any]]] = {
    "top_k": _top_k_fields,
    "generation_config": _generation_config_field,
    "no further fields": _no_fields,
}
"""Fields beyond OpenAI's own."""


@dataclass(frozen=True)
class Dialect:
    """The fields that a server takes."""

    seeded: bool
    """Whether it takes a seed."""
    ones: bool
    """Whether it takes a temperature and a top_p of 1, which are OpenAI's defaults; some reasoning models take none."""
    limit: str
    """The name of the limit of new tokens."""
    extras: str
    """A key of _EXTRAS."""

    def __str__(self) -> str:
        left_out = () if self.ones else ("no temperature or top_p of 1",)
        return ", ".join((self.limit, self.extras, "seed" if self.seeded else "no seed", *left_out))

    def fields(self, settings: SamplingSettings) -> dict[str, Any]:
        """The fields of a request, beside the model, the prompt and the seed. ValueError for a setting that has none."""
        drawing = {"temperature": settings.temperature, "top_p": settings.top_p}
        return {
            **{name: value for name, value in drawing.items() if self.ones or value != 1},
            self.limit: settings.max_new_tokens,
            **({"stop": list(settings.stop)} if settings.stop else {}),
            **_EXTRAS[self.extras](settings),
        }


def dialects() -> Iterator[Dialect]:
    """All dialects. What a run can least do without is given up last."""
    limits = ("max_tokens", "max_completion_tokens")
    return (Dialect(*fields) for fields in product((True, False), (True, False), limits, _EXTRAS))


@dataclass(frozen=True)
class Server:
    """What was found."""

    dialect: Dialect
    """The fields that it takes."""
    seeds_honoured: bool
    """Whether the same seed gives the same text."""


Ask = Callable[[Dialect, SamplingSettings, Sequence[int]], list[Reply]]
"""Sends the probe's prompt once per seed, all at once, and returns the replies. ServerFailure if any fails."""


def find_server(ask: Ask, settings: SamplingSettings, name: str) -> Server:
    """Ask a server until it is known.

    Args:
        ask: sends the requests.
        settings: those of the run, which the server has to take.
        name: of the server, for errors.

    ServerFailure with its words if it refuses every dialect. ValueError as in `Dialect.fields`. RuntimeError if it does not
    sample, or returns the prompt.
    """
    dialect = _dialect(ask, replace(settings, max_new_tokens=_FIRST_TOKENS))
    replies, temperature = _replies(ask, dialect, settings)
    texts = [(reply.thinking, reply.text) for reply in replies]
    if not any(any(text) for text in texts):
        raise RuntimeError(f"{name} gave neither text nor thinking within {_MOST_TOKENS} tokens: it cannot be tested")
    if len(set(texts)) == 1:
        raise RuntimeError(
            f"{name} gave the same answer to {len(_SEEDS)} seeds at temperature {temperature}: it does not sample (or "
            "answers from a cache), so pass@k would mean nothing"
        )
    if all(PROBE_PROMPT in reply.text for reply in replies):
        raise RuntimeError(f"{name} returns the prompt with the response: turn that off there")
    half = len(_SEEDS)
    same = sum(a == b for a, b in zip(texts[:half], texts[half:], strict=True))
    return Server(dialect, dialect.seeded and same >= half - 1)  # one may differ by rounding in a changing batch


def _dialect(ask: Ask, settings: SamplingSettings) -> Dialect:
    """The first dialect that the server does not refuse. Which field it refuses, and in which words, does not matter."""
    refusal: ServerFailure | None = None
    for dialect in dialects():
        try:
            ask(dialect, settings, _SEEDS[:1])
            return dialect
        except ServerFailure as failure:
            first = refusal is None
            if (failure.of_server and first) or failure.status in (401, 403, 404, 405, 501):
                raise
            if not failure.of_server:  # some servers break over a field that they do not know
                refusal = failure
        except ValueError as error:
            raise ValueError(f"{error} ({refusal})") from refusal
    assert refusal is not None
    raise refusal


def _replies(ask: Ask, dialect: Dialect, settings: SamplingSettings) -> tuple[list[Reply], float]:
    """Two replies for each seed, and their temperature: the highest that the server takes.

    They are all asked for at once, because a server that seeds one generator for all requests honours seeds only one at a time.
    Short replies may begin alike, or be empty while a model thinks where nobody sees it: then longer ones are asked for.
    """
    own = (settings.temperature,) if settings.do_sample else ()
    refusal: ServerFailure | None = None
    for temperature in (*_TEMPERATURES, *own):
        probe = replace(settings, temperature=temperature, top_p=1.0, top_k=0, stop=())
        try:
            replies: list[Reply] = []
            for tokens in (_FIRST_TOKENS, _MORE_TOKENS, _MOST_TOKENS):
                replies = ask(dialect, replace(probe, max_new_tokens=tokens), [*_SEEDS, *_SEEDS])
                texts = {(reply.thinking, reply.text) for reply in replies}
                if len(texts) > 1 or (tokens == _MORE_TOKENS and any(texts.pop())):
                    break
            return replies, temperature
        except ServerFailure as failure:
            if failure.kind in ("busy", "slow", "unreachable"):
                raise
            refusal = failure  # some servers break over a temperature that they do not take
    assert refusal is not None
    raise refusal
