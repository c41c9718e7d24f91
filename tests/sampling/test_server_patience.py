"""How long a run waits for a server, against real sockets: as long as it is told, and not for ever."""

import logging
import time
from email.utils import formatdate
from typing import Any

import pytest
from servers import limit
from test_server_kinds import Serve, draw, drawn

from simko.sampling import SamplingSettings
from simko.sampling.openai_sampler import OpenAISampler


def seconds_header(seconds: float) -> dict[str, dict[str, str]]:
    return {
        "seconds": {"retry-after": str(seconds)},
        "milliseconds": {"retry-after-ms": str(1000 * seconds)},
        "date": {"retry-after": formatdate(time.time() + seconds + 1, usegmt=True)},
    }


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "milliseconds", "date"])
@pytest.mark.few(2)
def test_retry_after_is_honoured(serve: Serve, status: int, form: str) -> None:
    times: list[float] = []

    def respond(path: str, body: dict[str, Any]) -> Any:
        if body["prompt"][0] == "b" and limit(body) == 8:
            times.append(time.monotonic())
            if len(times) == 1:
                return status, {"error": "wait"}, seconds_header(0.6)[form]
        return None

    samples = draw(serve(respond=respond), n=1)
    assert not any(sample.failure for sample in samples.values())
    first, second = times
    assert 0.6 <= second - first < 3


def test_a_request_waits_as_often_as_it_is_told(serve: Serve) -> None:
    server = serve()
    sampler, settings = OpenAISampler(server.url, "words", retries=2), SamplingSettings(max_new_tokens=8)
    assert sampler.identity
    server.faults = [429] * 60
    assert not any(sample.failure for sample in drawn(sampler, settings, 2))


@pytest.mark.parametrize("asked", ["86400", "inf", "1e400"])
def test_a_request_does_not_wait_for_ever(serve: Serve, asked: str) -> None:
    server = serve(
        respond=lambda path, body: (
            (429, {"error": "quota"}, {"retry-after": asked}) if body["prompt"][0] == "b" else None
        )
    )
    samples = draw(server, n=1)
    assert str(samples["b", 0].failure) == "429 quota"


def test_a_server_that_is_gone_ends_the_run(serve: Serve) -> None:
    server = serve()
    sampler, settings = OpenAISampler(server.url, "words", retries=1), SamplingSettings(max_new_tokens=8)
    assert sampler.identity
    server.respond = lambda path, body: (502, b"<h1>Bad Gateway</h1>", {})
    with pytest.raises(RuntimeError, match="failed: 502 Bad Gateway"):
        drawn(sampler, settings, 100)
    assert len(server.bodies) < 400


def test_a_slow_server_is_told_of_within_seconds(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simko.sampling.openai_sampler._SIGN_SECONDS", 0.2)
    with caplog.at_level(logging.INFO, "simko"):
        assert OpenAISampler(serve(delay=0.5).url, "words").identity
    assert "has not answered for 0.2 s; waiting up to 1800 s" in caplog.text


def test_sixty_four_requests_are_under_way_at_once(serve: Serve) -> None:
    server = serve(delay=0.3)
    sampler, settings = OpenAISampler(server.url, "words"), SamplingSettings(max_new_tokens=8)
    assert sampler.identity
    assert len(drawn(sampler, settings, 32)) == 128
    assert server.most_under_way == 64
