"""Requests to a server that speaks OpenAI's protocol: sent, repeated where that can help, and their answers read."""

import json
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import aiohttp
import tenacity

from simko.records import FinishReason
from simko.sampling.replies import FINISH_REASONS, THINKING

logger = logging.getLogger("simko")

_CONNECT_SECONDS = 20.0
_PATIENCE = 3600.0  # seconds for which a request is told to wait (429) before it fails
_MOST_BYTES = 32 << 20  # of one answer; a million tokens are about 4 MiB
_WORDS = 400  # the most characters that are kept of a server's message

Kind = Literal["refused", "odd", "busy", "failing", "slow", "lost", "unreachable"]


class ServerFailure(Exception):
    """A request that brought no response. The text is the server's own words, on one line."""

    def __init__(self, kind: Kind, words: str, *, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(" ".join(words.split())[:_WORDS])
        self.kind = kind
        """"refused" (repeating cannot help), "odd" (200 without a response), "busy" (429), "failing" (5xx), "slow" (no answer in
        time), "lost" (the connection broke), or "unreachable" (there was none)."""
        self.status = status
        """The HTTP status; None without one."""
        self.wait = wait
        """The seconds for which the server asked to wait; None if it did not."""

    @property
    def of_server(self) -> bool:
        """Whether the server answered nothing, to which another prompt may make no difference."""
        return self.kind not in ("refused", "odd")


@dataclass(frozen=True)
class Reply:
    """One response as the server gave it."""

    text: str
    """The answer, without the thinking that the server keeps apart."""
    thinking: str | None
    """The thinking that the server keeps apart; None without it."""
    finish_reason: FinishReason | None
    """None if the server gives none."""
    tokens: int
    """Generated tokens, with those of thinking; 0 if the server does not say."""
    prompt_tokens: int
    """Prompt tokens; 0 if the server does not say."""


class ServerClient:
    """Asks a server for one response at a time. Used as an async context manager.

    Args:
        base_url: the server's address.
        api_key: sent as a bearer token.
        concurrency: the most connections.
        timeout: seconds that one response may take.
        retries: how often a request is repeated after 5xx or a lost connection, with growing pauses or those that the server asks
            for. One that brings nothing in time is repeated once. With retries, a request that is told to wait (429) waits as often
            as it is told, for an hour.
        odd_retries: how often a request is repeated after a 200 without a response.
    """

    def __init__(
        self, base_url: str, api_key: str, *, concurrency: int, timeout: float, retries: int, odd_retries: int = 2
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._headers = {"authorization": f"Bearer {api_key}"}
        self._concurrency = concurrency
        self._timeout = timeout
        self._most: dict[Kind, float] = {"refused": 0, "odd": min(retries, odd_retries), "slow": min(retries, 1)}
        self._most |= dict.fromkeys(("failing", "lost", "unreachable"), retries)  # type: ignore[arg-type]
        self._most["busy"] = float("inf") if retries else 0
        self._pauses = tenacity.wait_exponential_jitter(initial=0.2, max=30, jitter=0.2)
        self._retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(ServerFailure),
            stop=self._no_more,
            wait=self._pause,
            before_sleep=self._tell,
            reraise=True,
        )
        self._told: set[int | None] = set()

    async def __aenter__(self) -> "ServerClient":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._concurrency),
            timeout=aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(_CONNECT_SECONDS, self._timeout)),
            headers=self._headers,
            trust_env=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def ask(self, path: str, body: Mapping[str, Any]) -> Reply:
        """The reply to one request, which is repeated where that can help. ServerFailure if none came."""
        return await self._retrying(self._once, path, body)

    async def _once(self, path: str, body: Mapping[str, Any]) -> Reply:
        try:
            async with self._session.post(self._base_url + path, json=body) as response:
                data = await _body(response)
                status, headers = response.status, response.headers
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ServerFailure("unreachable", str(error)) from error
        except TimeoutError as error:
            raise ServerFailure("slow", f"no answer within {self._timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ServerFailure("lost", f"the connection was lost ({error or type(error).__name__})") from error
        if 200 <= status < 300:
            return read_reply(data, chat="chat" in path)
        raise ServerFailure(_kind(status), f"{status} {server_words(data)}", status=status, wait=_asked_wait(headers))

    def _no_more(self, state: tenacity.RetryCallState) -> bool:
        failure = _failure(state)
        patient = (state.seconds_since_start or 0.0) + (failure.wait or 0.0) < _PATIENCE
        return state.attempt_number > self._most[failure.kind] or not patient

    def _pause(self, state: tenacity.RetryCallState) -> float:
        return _failure(state).wait or self._pauses(state)

    def _tell(self, state: tenacity.RetryCallState) -> None:
        """One line for the first answer of each status that is waited out."""
        failure, pause = _failure(state), state.next_action.sleep if state.next_action else 0.0
        if failure.status not in self._told and pause >= 1:
            self._told.add(failure.status)
            logger.info("%s: %s; asking again in %.0f s, and so on", self._base_url, failure, pause)


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The body of an answer. ServerFailure of the kind "odd" for one that never ends, which would fill the memory."""
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > _MOST_BYTES:
            raise ServerFailure("odd", f"{response.status} with more than {_MOST_BYTES >> 20} MiB")
    return bytes(data)


def _kind(status: int) -> Kind:
    if status == 429:
        return "busy"
    return "failing" if status in (408, 409, 425) or (status >= 500 and status not in (501, 505)) else "refused"


def read_reply(data: bytes, *, chat: bool) -> Reply:
    """The reply in the body of a 200. ServerFailure of the kind "odd" if it holds none, "refused" if a filter removed it."""
    try:
        answer = json.loads(data)
        choice = answer["choices"][0]
        text, thinking = _message(choice["message"]) if chat else (choice["text"], None)
        reason, usage = choice.get("finish_reason"), answer.get("usage")
        if not isinstance(text, str):
            raise TypeError
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ServerFailure("odd", f"200 without a response: {server_words(data)}") from error
    name = str(reason or "").lower()
    if name == "content_filter":
        raise ServerFailure("refused", "200, but the response was filtered (finish_reason 'content_filter')")
    if name and name not in FINISH_REASONS:
        raise ServerFailure("odd", f"200, but the response ended for the reason {reason!r}")
    counts = usage if isinstance(usage, Mapping) else {}
    tokens, prompt_tokens = (_count(counts.get(name)) for name in ("completion_tokens", "prompt_tokens"))
    return Reply(text, thinking, FINISH_REASONS.get(name), tokens, prompt_tokens)


def _message(message: Mapping[str, Any]) -> tuple[str, str | None]:
    """(answer, thinking) of a chat message, whose content may be null, a text, or parts. Some servers name thinking twice."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    thoughts = [part for part in parts if isinstance(part, Mapping) and part.get("type") in THINKING]
    answer = "".join(_text(part) for part in parts if part not in thoughts) or _text(message.get("refusal"))
    thinking = dict.fromkeys(map(_text, [*thoughts, *(message.get(name) for name in THINKING)]))
    return answer, "".join(thinking) or None


def _text(value: Any) -> str:
    """The text of a part of a message. TypeError for what is neither null, a text, nor made of parts."""
    if isinstance(value, Mapping):
        return _text(next((value[name] for name in ("text", *THINKING, "refusal") if value.get(name)), None))
    return value or "" if isinstance(value, str | None) else "".join(map(_text, value))


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 <= value < 2**62 else 0


def _failure(state: tenacity.RetryCallState) -> ServerFailure:
    raised = state.outcome.exception() if state.outcome else None
    assert isinstance(raised, ServerFailure)
    return raised


def server_words(data: bytes) -> str:
    """The message in a body: the one that its JSON names, or its text without markup."""
    text = data[:20_000].decode("utf-8", "replace")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL).strip() or "an empty body"
    for name in ("error", "message", "detail"):
        said = (isinstance(said, Mapping) and said.get(name)) or said
    return said if isinstance(said, str) else json.dumps(said)


def _asked_wait(headers: Mapping[str, str]) -> float | None:
    """The seconds that a Retry-After header asks for, as a number or a date."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        with suppress(KeyError, ValueError):
            return max(0.0, float(headers[name]) * unit)
    with suppress(KeyError, ValueError, TypeError):  # TypeError: a date without a zone
        return max(0.0, (parsedate_to_datetime(headers["retry-after"]) - datetime.now(UTC)).total_seconds())
    return None
