"""The kinds of servers, and of their faults, against real sockets: each found out, told and recorded, or kept as a failure."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import pytest
from servers import Server, limit, usual

from simko.records import Problem, Sample
from simko.sampling import SamplingSettings
from simko.sampling.openai_sampler import OpenAISampler

PROBLEMS = [Problem(name, f"{name}: 1+1=") for name in "abcd"]
Serve = Callable[..., Server]
EXTRA = ("top_k", "repetition_penalty", "min_p")


def draw(
    server: Server, n: int = 2, chat: bool = False, problems: Sequence[Problem] = PROBLEMS, **options: Any
) -> dict[tuple[str, int], Sample]:
    settings = SamplingSettings(max_new_tokens=8, chat=chat, temperature=options.pop("temperature", 1.0))
    sampler = OpenAISampler(server.url, "words", **options)
    assert sampler.identity_with(settings)
    return {(s.problem_id, s.index): s for s in drawn(sampler, settings, n, problems)}


def drawn(
    sampler: OpenAISampler, settings: SamplingSettings, n: int, problems: Sequence[Problem] = PROBLEMS
) -> list[Sample]:
    lists = list(sampler.sample(problems, {p.id: range(n) for p in problems}, settings, seed=0))
    return [sample for samples in lists for sample in samples]


REFUSED = {  # the fields that a server refuses -> the dialect that is left
    EXTRA: "max_tokens, generation_config, seed",
    ("generation_config",): "max_tokens, top_k, seed",
    (*EXTRA, "generation_config"): "max_tokens, no further fields, seed",
    ("max_tokens",): "max_completion_tokens, top_k, seed",
    ("max_tokens", *EXTRA): "max_completion_tokens, generation_config, seed",
    ("max_tokens", "min_p", "generation_config"): "max_completion_tokens, no further fields, seed",
    ("seed",): "max_tokens, top_k, no seed",
    ("temperature", "top_p", "max_tokens", *EXTRA, "generation_config"): (
        "max_completion_tokens, no further fields, seed, no temperature or top_p of 1"
    ),
    ("seed", "max_tokens", *EXTRA): "max_completion_tokens, generation_config, no seed",
}
WORDS: dict[str, Callable[[list[str]], tuple[int, Any]]] = {
    "openai": lambda f: (400, {"error": {"message": f"Unsupported parameter: '{f[0]}' is not supported."}}),
    "pydantic": lambda f: (422, {"detail": [{"loc": ["body", f[0]], "msg": "Extra inputs are not permitted"}]}),
    "vllm": lambda f: (400, {"object": "error", "message": f"[{{'type': 'extra_forbidden', 'loc': ('{f[0]}',)}}]"}),
    "nameless": lambda f: (400, {"error": "Extra inputs are not permitted"}),
    "another language": lambda f: (422, {"message": "Ung\u00fcltige Anfrage"}),
    "html": lambda f: (400, b"<html><title>400</title><h1>Bad Request</h1></html>"),
    "nothing": lambda f: (400, b""),
    "a 200": lambda f: (200, {"error": {"message": f"unknown field {f[0]}"}, "choices": None}),
    "a crash": lambda f: (500, b"Internal Server Error"),
}


@pytest.mark.parametrize(
    ("refused", "words"), [*product(REFUSED, ["nameless"]), *product([("max_tokens", *EXTRA)], WORDS)]
)
@pytest.mark.few(6)
def test_the_dialect_is_found_in_any_words_told_once_and_recorded(
    serve: Serve, caplog: pytest.LogCaptureFixture, refused: tuple[str, ...], words: str
) -> None:
    def respond(path: str, body: dict[str, Any]) -> Any:
        unknown = [name for name in body if name in refused]
        return (*WORDS[words](unknown), {}) if unknown else None

    server = serve(respond=respond)
    settings = SamplingSettings(max_new_tokens=8)
    if words == "a crash":  # says nothing of the request, so it is the server's failure
        with pytest.raises(RuntimeError, match="failed: 500 Internal Server Error"):
            OpenAISampler(server.url, "words", retries=0).identity_with(settings)
        return
    sampler = OpenAISampler(server.url, "words")
    with caplog.at_level(logging.INFO, "simko"):
        identity = sampler.identity_with(settings)
        assert len(drawn(sampler, settings, 2)) == 8
    assert identity["dialect"] == REFUSED[refused]
    assert identity["seeds"] == ("not honoured" if "seed" in refused else "honoured")
    said = [record.getMessage() for record in caplog.records]
    (line,) = [line for line in said if "has not answered" not in line]  # a busy machine's
    assert REFUSED[refused] in line
    assert server.url in line


def test_the_words_of_a_server_that_refuses_everything_are_given(serve: Serve) -> None:
    server = serve(respond=lambda path, body: (400, {"error": {"message": "out of credit"}}, {}))
    with pytest.raises(ValueError, match="refused the request: 400 out of credit"):
        draw(server)


ABSENT: list[Any] = [(status, {"error": "no"}, {}) for status in (400, 404, 405, 410, 422, 500, 501)]
ABSENT += [(200, b"<html>", {}), (200, {"choices": []}, {}), (301, b"", {})]


@pytest.mark.parametrize("answer", ABSENT)
def test_a_run_asks_only_the_endpoint_that_it_uses(serve: Serve, answer: Any) -> None:
    asked = []

    def chat_alone(path: str, body: dict[str, Any]) -> Any:
        asked.append(path)
        return answer if "chat" not in path else None

    assert len(draw(serve(respond=chat_alone), chat=True)) == 8
    assert set(asked) == {"/v1/chat/completions"}
    assert len(draw(serve(respond=lambda path, body: answer if "chat" in path else None))) == 8


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_a_run_without_chat_is_told_of_it_where_that_is_all_there_is(serve: Serve, status: int) -> None:
    server = serve(respond=lambda path, body: None if "chat" in path else (status, {"error": "no"}, {}))
    with pytest.raises(ValueError, match=f"{status} no.*--chat"):
        draw(server)
    assert OpenAISampler(server.url, "words").identity["seeds"] == "honoured"


@pytest.mark.parametrize(("most", "used"), [(1.99, 1.0), (1.5, 1.0), (1.0, 1.0), (0.7, 0.6)])
@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.few(4)
def test_a_server_that_caps_the_temperature(serve: Serve, most: float, used: float, status: int) -> None:
    def capped(path: str, body: dict[str, Any]) -> Any:
        words = {"error": {"message": f"temperature: must be at most {most}"}}
        return (status, words, {"retry-after-ms": "1"}) if body["temperature"] > most else None

    assert not any(sample.failure for sample in draw(serve(respond=capped), temperature=used).values())
    kind, said = (RuntimeError, "failed") if status == 500 else (ValueError, "refused the request")
    with pytest.raises(kind, match=f"{said}: {status} temperature: must be at most"):
        draw(serve(respond=capped), temperature=most + 0.01)


def thinking(server: Server, field: str, tokens: int) -> Any:
    """Thinks for so many tokens, in a field of its own, in parts, or where nobody sees it."""

    def respond(path: str, body: dict[str, Any]) -> Any:
        answer = usual(server, path, body)
        words = answer["choices"][0]["message"]["content"].split(" ")
        thought, said = " ".join(words[:tokens]), " ".join(words[tokens:]) or None
        if field == "parts":
            content = [{"type": "thinking", "thinking": [{"type": "text", "text": thought}]}]
            message: dict[str, Any] = {"content": content + ([{"type": "text", "text": said}] if said else [])}
        elif field == "typed parts":
            message = {"content": [{"type": "reasoning", "text": thought}, *([said] if said else [])]}
        elif field == "twice":
            message = {"content": said, "reasoning": thought, "reasoning_content": thought}
        else:
            message = {"content": said, field: thought}
        answer["choices"][0]["message"] = message
        return 200, answer, {}

    return respond


@pytest.mark.parametrize(
    "field", ["reasoning_content", "reasoning", "thinking", "parts", "typed parts", "twice", "hidden"]
)
@pytest.mark.parametrize("tokens", [4, 40, 200])
def test_thinking_and_answer_are_kept_apart(serve: Serve, field: str, tokens: int) -> None:
    if field == "hidden" and tokens == 200:
        tokens = 1000
    server = serve()
    server.respond = thinking(server, field, tokens)
    for (problem, _), sample in draw(server, chat=True).items():
        prompt = next(p.prompt for p in PROBLEMS if p.id == problem)
        words = server.text({"seed": sample.seed, "temperature": 1.0, "max_tokens": 8}, prompt).split(" ")
        assert sample.response == " ".join(words[tokens:])
        assert sample.thinking == (None if field == "hidden" else " ".join(words[:tokens]))
        assert sample.failure is None


def test_a_model_that_begins_alike_samples_all_the_same(serve: Serve) -> None:
    server = serve()

    def respond(path: str, body: dict[str, Any]) -> Any:
        answer = usual(server, path, body)
        words = answer["choices"][0]["text"].split(" ")
        answer["choices"][0]["text"] = " ".join(["Okay,"] * min(20, len(words)) + words[20:])
        return 200, answer, {}

    server.respond = respond
    assert len(draw(server)) == 8


@pytest.mark.parametrize("chat", [False, True])
def test_a_server_that_says_nothing_is_refused(serve: Serve, chat: bool) -> None:
    choice = {"message": {"content": None}} if chat else {"text": ""}
    server = serve(respond=lambda path, body: (200, {"choices": [choice]}, {}))
    with pytest.raises(RuntimeError, match="neither text nor thinking within 2048 tokens"):
        draw(server, chat=chat)


def odd(**changes: Any) -> Any:
    return {"choices": [{"index": 0, "message": {"content": "so"}, "text": "so", "finish_reason": "stop"} | changes]}


ODD: dict[str, Any] = {
    "no choices": {},
    "empty choices": {"choices": []},
    "null choices": {"choices": None, "error": {"message": "provider overloaded", "code": 502}},
    "choices as a map": {"choices": {"0": {"text": "so"}}},
    "a null choice": {"choices": [None]},
    "a text choice": {"choices": ["so"]},
    "null message and text": odd(message=None, text=None),
    "neither": {"choices": [{"index": 0}]},
    "a number for text": odd(message={"content": 7}, text=7),
    "a message that is text": odd(message="so", text=None),
    "unknown reason": odd(finish_reason="abort"),
    "error for a reason": odd(finish_reason="error"),
    "a map for a reason": odd(finish_reason={"type": "x"}),
    "HTML": b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    "cut JSON": b'{"choices": [{"text": "so", "mess',
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"7",
    "not UTF-8": b'{"choices": [{"text": "\xff\xfe"',
    "deep": b"[" * 100_000,
    "endless": b"{" + b" " * (33 << 20),
    "events": b'data: {"choices": [{"delta": {"content": "so"}}]}\n\ndata: [DONE]\n\n',
}


@pytest.mark.parametrize("chat", [False, True])
def test_an_odd_answer_is_asked_for_again_and_then_kept_as_failed(serve: Serve, chat: bool) -> None:
    """Each kind lasts for one problem, and passes for another."""
    problems = [Problem(f"{kind}, {lasts}", f"{kind}, {lasts}: ") for kind, lasts in product(ODD, ["lasts", "passes"])]
    asked = dict.fromkeys((p.prompt for p in problems), 0)

    def respond(path: str, body: dict[str, Any]) -> Any:
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        if prompt not in asked:
            return None
        asked[prompt] += 1
        kind, _, lasts = prompt[:-2].rpartition(", ")
        return (200, ODD[kind], {}) if lasts == "lasts" or asked[prompt] == 1 else None

    samples = draw(serve(respond=respond), n=1, chat=chat, problems=problems)
    for problem in problems:
        sample, lasts = samples[problem.id, 0], problem.id.endswith("lasts")
        assert asked[problem.prompt] == (3 if lasts else 2), problem.id
        assert (sample.failure is not None) is lasts, problem.id
        if sample.failure is not None:
            assert (sample.response, sample.tokens, sample.finish_reason) == ("", 0, "failed")
            assert sample.failure.startswith("200")
            assert "\n" not in sample.failure
            assert len(sample.failure) <= 400


@pytest.mark.parametrize(
    ("message", "response"),
    [
        ({"content": [{"type": "text", "text": "so "}, {"type": "text", "text": "4"}]}, "so 4"),
        ({"content": ["so ", {"text": "4"}]}, "so 4"),
        ({"content": [{"type": "output_text", "text": "4"}, {"type": "image_url", "image_url": {"url": "x"}}]}, "4"),
        ({"content": []}, ""),
        ({"content": None}, ""),
        ({"content": None, "tool_calls": [{"function": {"name": "f"}}]}, ""),
        ({"role": "assistant"}, ""),
        ({"content": None, "refusal": "I cannot"}, "I cannot"),
        ({"content": "4", "reasoning_content": None, "reasoning": ""}, "4"),
    ],
)
def test_content_is_read_in_all_its_forms(serve: Serve, message: dict[str, Any], response: str) -> None:
    answer = {"choices": [{"message": message, "finish_reason": "stop"}], "usage": None}
    server = serve(respond=lambda path, body: (200, answer, {}) if limit(body) == 8 else None)
    assert {(s.response, s.thinking, s.failure) for s in draw(server, chat=True).values()} == {(response, None, None)}


@pytest.mark.parametrize("said", ["EOS", "end_turn", "MAX_TOKENS", "max_length", "", "content_filter"])
def test_reasons_in_other_words(serve: Serve, said: str) -> None:
    server = serve(respond=lambda path, body: (200, odd(finish_reason=said), {}) if limit(body) == 8 else None)
    expected = "length" if said.lower().startswith("max") else "failed" if said == "content_filter" else "stop"
    assert {s.finish_reason for s in draw(server).values()} == {expected}


REFUSALS: list[Any] = [
    (400, {"error": {"message": "This model's maximum context length is 4096 tokens, however you requested 5000"}}),
    (400, {"error": {"message": "The response was filtered", "code": "content_filter"}}),
    (400, b"<html>request blocked</html>"),
    (403, {"detail": "blocked by the firewall"}),
    (413, b""),
    (422, {"detail": [{"loc": ["body"], "msg": "too long"}]}),
    (451, {"message": "Unavailable For Legal Reasons"}),
    (500, {"error": "this prompt breaks the engine"}),
    (503, b"upstream"),
]


@pytest.mark.parametrize("concurrency", [1, 64])
def test_a_prompt_that_fails_does_not_end_the_others(serve: Serve, concurrency: int) -> None:
    problems = [Problem(f"{i} {kind}", f"{i} {kind}") for i in range(len(REFUSALS)) for kind in ("good", "bad", "fine")]

    def respond(path: str, body: dict[str, Any]) -> Any:
        number, _, kind = body["prompt"].partition(" ")
        return (*REFUSALS[int(number)], {}) if kind == "bad" else None

    samples = draw(serve(respond=respond), n=2, concurrency=concurrency, retries=1, problems=problems)
    for (problem, _), sample in samples.items():
        number, _, kind = problem.partition(" ")
        assert (sample.failure is not None) is (kind == "bad"), problem
        assert sample.failure is None or sample.failure.startswith(str(REFUSALS[int(number)][0]))


@pytest.mark.parametrize("fault", ["drop", "hang"])
def test_a_prompt_without_an_answer_does_not_end_the_others(serve: Serve, fault: str) -> None:
    server = serve()

    def respond(path: str, body: dict[str, Any]) -> Any:
        if body["prompt"][0] == "b":
            if fault == "hang":
                time.sleep(0.5)
            raise ConnectionAbortedError
        return None

    server.respond = respond
    samples = draw(server, n=1, timeout=0.3, retries=1)
    assert {key for key, sample in samples.items() if sample.failure} == {("b", 0)}
    expected = "no answer within 0.3 s" if fault == "hang" else "the connection was lost"
    assert expected in str(samples["b", 0].failure)


def test_the_identity_is_json(serve: Serve) -> None:
    identity = OpenAISampler(serve().url, "words").identity
    assert json.loads(json.dumps(identity)) == identity
