"""OpenAISampler against real sockets: what it sends, what it survives, and which servers it refuses."""

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from simko.records import Problem, Sample
from simko.sampling import SamplingSettings
from simko.sampling.openai_sampler import OpenAISampler, request_seed

PROBLEMS = [Problem("a", "1+1="), Problem("b", "12+30="), Problem("c", "7")]
SETTINGS = SamplingSettings(max_new_tokens=8)


def open_sampler(server: Any, **options: Any) -> OpenAISampler:
    return OpenAISampler(server.url, options.pop("model", "words"), **options)


def draw(sampler: OpenAISampler, n: int, settings: SamplingSettings = SETTINGS, seed: int = 0) -> Any:
    lists = list(sampler.sample(PROBLEMS, {p.id: range(n) for p in PROBLEMS}, settings, seed=seed))
    samples: list[Sample] = [sample for samples in lists for sample in samples]
    assert len({(s.problem_id, s.index) for s in samples}) == len(samples) == n * len(PROBLEMS)
    return {(s.problem_id, s.index): s for s in samples}


def asked(server: Any) -> list[dict[str, Any]]:
    """The requests for samples, without those of the probe."""
    return [body for body in server.bodies if body["max_tokens"] == SETTINGS.max_new_tokens]


@pytest.mark.parametrize("chat", [False, True])
def test_every_setting_is_sent(serve: Callable[..., Any], chat: bool) -> None:
    server = serve()
    settings = SamplingSettings(temperature=0.7, top_p=0.9, top_k=5, max_new_tokens=8, stop=("three",), chat=chat)
    drawn = draw(open_sampler(server), 4, settings, seed=3)
    bodies = asked(server)
    assert len(bodies) == 12
    for body in bodies:
        sent = {key: body[key] for key in ("temperature", "top_p", "top_k", "repetition_penalty", "min_p", "stop")}
        assert sent == {
            "temperature": 0.7,
            "top_p": 0.9,
            "top_k": 5,
            "repetition_penalty": 1.0,
            "min_p": 0.0,
            "stop": ["three"],
        }
        assert ("messages" in body) is chat
    assert sorted(body["seed"] for body in bodies) == sorted(
        request_seed(3, p.id, i) for p in PROBLEMS for i in range(4)
    )
    prompts = {p.id: p.prompt for p in PROBLEMS}
    for (problem_id, index), sample in drawn.items():
        body = {"seed": request_seed(3, problem_id, index), "temperature": 0.7, "max_tokens": 8}
        full = server.text(body, prompts[problem_id])
        assert sample.response == full.split("three")[0]
        assert sample.finish_reason == ("stop" if "three" in full else "length")
        assert (sample.seed, sample.tokens) == (body["seed"], 8)
        assert sample.prompt_tokens == len(prompts[problem_id])


def test_no_top_k_is_sent_as_minus_one(serve: Callable[..., Any]) -> None:
    server = serve()
    draw(open_sampler(server), 1)
    assert {body["top_k"] for body in server.bodies} == {-1}


def test_a_server_that_takes_a_generation_config_gets_one(serve: Callable[..., Any]) -> None:
    server = serve(refuses=("top_k", "repetition_penalty", "min_p"))
    draw(open_sampler(server), 1, SamplingSettings(temperature=0.5, top_k=7, max_new_tokens=8))
    config = json.loads(asked(server)[0]["generation_config"])
    assert config == {
        "do_sample": True,
        "repetition_penalty": 1.0,
        "temperature": 0.5,
        "top_p": 1.0,
        "top_k": 7,
        "min_p": 0.0,
    }
    server.bodies.clear()
    draw(open_sampler(server), 1, SamplingSettings(temperature=0, max_new_tokens=8))
    assert json.loads(asked(server)[0]["generation_config"])["do_sample"] is False


def test_a_server_of_openais_fields_alone_takes_no_top_k(serve: Callable[..., Any]) -> None:
    server = serve(refuses=("top_k", "repetition_penalty", "min_p", "generation_config"))
    sampler = open_sampler(server)
    draw(sampler, 1)
    assert not {"top_k", "generation_config"} & set(asked(server)[0])
    with pytest.raises(ValueError, match="takes no top_k: ask for top_k 0"):
        draw(sampler, 1, SamplingSettings(top_k=5, max_new_tokens=8))


def test_seeds_are_tried_and_recorded(serve: Callable[..., Any]) -> None:
    sampler = open_sampler(serve())
    assert sampler.identity["seeds"] == "honoured"
    assert json.loads(json.dumps(sampler.identity)) == sampler.identity
    one = draw(sampler, 3, seed=1)
    assert one == draw(sampler, 3, seed=1)
    assert one != draw(sampler, 3, seed=2)
    deaf = open_sampler(serve(seeded=False))
    assert deaf.identity["seeds"] == "not honoured"
    assert {s.seed for s in draw(deaf, 3).values()} == {None}


def test_seeds_are_never_the_same_twice_for_a_problem() -> None:
    seeds = [request_seed(0, "a", i) for i in range(5000)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert request_seed(0, "b", 0) != seeds[0] != request_seed(1, "a", 0)


@pytest.mark.parametrize("chat", [False, True])
def test_a_server_that_does_not_sample_is_refused(serve: Callable[..., Any], chat: bool) -> None:
    sampler = open_sampler(serve(samples=False))
    with pytest.raises(RuntimeError, match=r"the same answer to 4 seeds at temperature 2\.0"):
        draw(sampler, 2, SamplingSettings(max_new_tokens=8, chat=chat))


def test_a_server_that_returns_the_prompt_is_refused(serve: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError, match="returns the prompt with the response"):
        draw(open_sampler(serve(echoes=True)), 2)


def test_a_model_that_is_sure_is_no_server_that_does_not_sample(serve: Callable[..., Any]) -> None:
    drawn = draw(open_sampler(serve()), 3, SamplingSettings(temperature=0, max_new_tokens=8))
    assert {s.response for s in drawn.values()} == {"always the same words"}


def test_an_answer_without_a_choice_is_asked_for_again(serve: Callable[..., Any]) -> None:
    server = serve()
    sampler = open_sampler(server, concurrency=1)
    expected = draw(sampler, 2)
    server.faults = ["", "empty", "empty"]
    assert draw(sampler, 2) == expected
    server.faults = ["empty"] * 3
    drawn = draw(sampler, 2)
    assert [key for key, sample in drawn.items() if sample.failure] == [("a", 0)]
    assert {key: s for key, s in drawn.items() if not s.failure} == {k: expected[k] for k in expected if k != ("a", 0)}
    with pytest.raises(RuntimeError, match="200 without a response"):
        draw(open_sampler(serve(faults=["empty"] * 99), retries=0), 1)


@pytest.mark.parametrize("fault", [429, 500, 503, "drop"])
def test_passing_failures_are_retried(serve: Callable[..., Any], fault: int | str) -> None:
    server = serve()
    sampler = open_sampler(server, concurrency=2)
    expected = draw(sampler, 2)
    server.faults = [fault, fault] if fault != "drop" else [fault]
    assert draw(sampler, 2) == expected
    assert not server.faults


def test_lasting_failures_end_with_one_line(serve: Callable[..., Any]) -> None:
    server = serve()
    sampler = open_sampler(server, retries=1)
    assert sampler.identity
    server.faults = [500] * 100
    with pytest.raises(RuntimeError, match=r"^the server at http://\S+ failed: 500 made to fail with 500$"):
        draw(sampler, 2)


def test_a_slow_answer_times_out(serve: Callable[..., Any]) -> None:
    server = serve()
    sampler = open_sampler(server, retries=0)
    assert sampler.identity
    sampler.timeout, server.delay = 0.2, 1.0
    with pytest.raises(RuntimeError, match=r"did not answer within 0.2 s"):
        draw(sampler, 1)


def test_a_server_that_is_not_there(serve: Callable[..., Any]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sampler = OpenAISampler(f"http://127.0.0.1:{port}/v1", "words", retries=0)
    with pytest.raises(RuntimeError, match=r"cannot be reached .*: is it running"):
        draw(sampler, 1)


def test_a_wrong_key_and_a_wrong_model(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(key="right")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match=r"refused the key \(401 wrong key\): give another api_key"):
        draw(open_sampler(server), 1)
    assert "right" not in json.dumps(open_sampler(server, api_key="right").identity)
    monkeypatch.setenv("OPENAI_API_KEY", "right")
    draw(open_sampler(server), 1)
    with pytest.raises(ValueError, match=r"does not know model 'other' or this address .*does not exist"):
        assert open_sampler(server, model="other").identity
    with pytest.raises(ValueError, match=r"refused the request: 422 Unexpected fields.*temperature"):
        draw(open_sampler(serve(refuses=("temperature",))), 1, SamplingSettings(temperature=0.5, max_new_tokens=8))


def test_a_server_that_speaks_chat_alone(serve: Callable[..., Any]) -> None:
    sampler = open_sampler(serve(endpoints=("/v1/chat/completions",)))
    assert sampler.identity["seeds"] == "honoured"
    draw(sampler, 1, SamplingSettings(max_new_tokens=8, chat=True))
    with pytest.raises(ValueError, match="an address that ends in /v1"):
        draw(sampler, 1)


def test_requests_under_way_are_bounded(serve: Callable[..., Any]) -> None:
    server = serve(delay=0.02)
    sampler = open_sampler(server, concurrency=3)
    assert sampler.identity
    server.most_under_way = 0
    draw(sampler, 6)
    assert server.most_under_way == 3


def test_the_first_samples_do_not_wait_for_the_last(serve: Callable[..., Any]) -> None:
    server = serve()
    lists = open_sampler(server, concurrency=2).sample(PROBLEMS, {"a": range(1000)}, SETTINGS, seed=0)
    assert len([sample for samples in islice(lists, 2) for sample in samples]) >= 2
    assert len(asked(server)) < 20


def test_closing_the_iterator_cancels_what_is_under_way(serve: Callable[..., Any]) -> None:
    server = serve()
    sampler = open_sampler(server, concurrency=4)
    assert sampler.identity
    server.faults = ["", *["hang"] * 99]
    lists: Any = sampler.sample(PROBLEMS, {"a": range(100)}, SETTINGS, seed=0)
    next(lists)
    started = time.monotonic()
    lists.close()
    assert time.monotonic() - started < 5
    server.released.set()
    assert not [thread for thread in threading.enumerate() if thread.name == "openai-sampler"]


def test_an_interrupt_ends_the_wait_for_the_server(serve: Callable[..., Any]) -> None:
    server = serve()
    sampler = open_sampler(server, concurrency=4)
    assert sampler.identity
    server.faults = ["hang"] * 99
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            draw(sampler, 4)
    finally:
        signal.signal(signal.SIGINT, previous)
        server.released.set()
    assert not [thread for thread in threading.enumerate() if thread.name == "openai-sampler"]


def test_it_works_where_a_loop_already_runs(serve: Callable[..., Any]) -> None:
    sampler = open_sampler(serve())

    async def notebook() -> Any:
        return draw(sampler, 2)

    assert asyncio.run(notebook()) == draw(sampler, 2)


@pytest.mark.parametrize(("said", "recorded"), [("stop", "stop"), ("length", "length"), (None, "length")])
def test_finish_reasons(serve: Callable[..., Any], said: str | None, recorded: str) -> None:
    drawn = draw(open_sampler(serve(finish_reason=said)), 1)
    assert {s.finish_reason for s in drawn.values()} == {recorded}


def test_an_unknown_finish_reason_is_refused(serve: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError, match="ended for the reason 'abort'"):
        draw(open_sampler(serve(finish_reason="abort")), 1)


def test_a_server_that_counts_no_tokens(serve: Callable[..., Any]) -> None:
    drawn = draw(open_sampler(serve(usage=False)), 1)
    assert {(s.tokens, s.prompt_tokens) for s in drawn.values()} == {(0, 0)}


@pytest.mark.parametrize(
    "options", [{"base_url": "localhost:8000"}, {"concurrency": 0}, {"retries": -1}, {"timeout": 0.0}]
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        OpenAISampler(**({"base_url": "http://localhost:1/v1", "model": "m"} | options))
