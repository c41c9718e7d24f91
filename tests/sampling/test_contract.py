"""What every back-end keeps to, each on a real model: those that are installed here."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from simko.records import Problem, Sample
from simko.sampling import Sampler, SamplingSettings, Wanted, check_wanted, open_sampler

PROBLEMS = [Problem("b", "12+30="), Problem("a", "1+1="), Problem("c", "7")]


def need(*packages: str) -> None:
    """Skip where a package is missing, or fail where SIMKO_REQUIRE_SYSTEM_PACKAGES is set."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing and os.environ.get("SIMKO_REQUIRE_SYSTEM_PACKAGES"):
        pytest.fail(f"not installed: pip install {' '.join(missing)}")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(scope="module")
def checkpoint(tiny_model: Callable[[str], Any], tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract") / "tiny"
    tiny_model("llama").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def transformers_serve(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `transformers serve` over the checkpoint."""
    need("fastapi", "uvicorn", "openai", "pydantic")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(checkpoint)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as output:
        server = subprocess.Popen([*command, *options], stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        for _ in range(600):
            assert server.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).read()
                break
            except OSError:
                time.sleep(0.2)
        else:
            pytest.fail(f"transformers serve did not start: {log.read_text()}")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(scope="module")
def vllm(checkpoint: Path) -> Sampler:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("needs vllm")
    return open_sampler("vllm", str(checkpoint), dtype="float32")


@pytest.fixture(params=["transformers", "server", pytest.param("transformers_serve", marks=pytest.mark.slow), "vllm"])
def sampler(request: pytest.FixtureRequest, checkpoint: Path) -> Sampler:
    if request.param == "transformers":
        return open_sampler("transformers", str(checkpoint), device="cpu", batch_size=4)
    if request.param == "server":
        return open_sampler("openai", "words", base_url=request.getfixturevalue("serve")().url, concurrency=4)
    if request.param == "transformers_serve":
        url = request.getfixturevalue("transformers_serve")
        return open_sampler("openai", str(checkpoint), base_url=url, concurrency=2)
    made: Sampler = request.getfixturevalue("vllm")
    return made


def draw(sampler: Sampler, wanted: Wanted, seed: int = 0, **settings: Any) -> dict[tuple[str, int], Sample]:
    lists = list(sampler.sample(PROBLEMS, wanted, SamplingSettings(**{"max_new_tokens": 16} | settings), seed=seed))
    assert all(lists), "a list holds something"
    keys = [(s.problem_id, s.index) for samples in lists for s in samples]
    assert sorted(keys) == sorted((p, i) for p, indices in wanted.items() for i in indices), "each once"
    return {(s.problem_id, s.index): s for samples in lists for s in samples}


@pytest.mark.parametrize("chat", [False, True])
def test_all_wanted_samples_come_once(sampler: Sampler, chat: bool) -> None:
    drawn = draw(sampler, {"a": [0, 1, 2], "b": [], "c": [1, 5]}, chat=chat)
    for sample in drawn.values():
        assert 1 <= sample.tokens <= 16
        assert sample.prompt_tokens > 0
        assert sample.finish_reason in ("stop", "length")
        assert "1+1=" not in sample.response, "the prompt is no part of the response"
    assert len({s.response for s in drawn.values()}) > 2


def test_nothing_wanted_is_nothing_drawn(sampler: Sampler) -> None:
    assert draw(sampler, {}) == {}


def test_greedy_samples_are_alike(sampler: Sampler) -> None:
    drawn = draw(sampler, {"a": [0, 1, 2]}, temperature=0.0)
    assert len({s.response for s in drawn.values()}) == 1


def test_the_same_seed_gives_the_same_samples_where_seeds_count(sampler: Sampler) -> None:
    wanted = {"a": range(3)}
    drawn = draw(sampler, wanted, seed=1)
    if sampler.identity.get("seeds") == "not honoured":
        assert {s.seed for s in drawn.values()} == {None}
        return
    assert all(isinstance(s.seed, int) for s in drawn.values())
    assert draw(sampler, wanted, seed=1) == drawn
    assert {s.response for s in draw(sampler, wanted, seed=2).values()} != {s.response for s in drawn.values()}


def test_a_larger_n_repeats_no_draw(sampler: Sampler) -> None:
    drawn = draw(sampler, {"a": [0, 1, 2]}) | draw(sampler, {"a": [3, 4]}) | draw(sampler, {"a": [5, 6, 7]})
    whole = [s.response for s in drawn.values() if s.truncated]
    assert len(set(whole)) == len(whole) > 2, "draws of 16 tokens do not coincide by chance"


def test_stop_strings_cut(sampler: Sampler) -> None:
    plain = draw(sampler, {"a": [0]}, temperature=0.0)["a", 0].response
    cut = draw(sampler, {"a": [0]}, temperature=0.0, stop=(plain[3:6],))["a", 0]
    assert cut.response == plain[: plain.index(plain[3:6])]
    assert cut.finish_reason == "stop"


def test_the_identity_is_json_and_stays(sampler: Sampler) -> None:
    identity = dict(sampler.identity)
    assert {"backend", "model", "weights", "dtype"} <= set(identity)
    assert json.loads(json.dumps(identity)) == identity == dict(sampler.identity)


@pytest.mark.parametrize(
    ("problems", "wanted", "message"),
    [
        ([PROBLEMS[0], PROBLEMS[0]], {}, "share an id"),
        (PROBLEMS, {"z": [0]}, "none of the problems"),
        (PROBLEMS, {"a": [1, 0]}, "ascending order"),
        (PROBLEMS, {"a": [0, 0]}, "each once"),
        (PROBLEMS, {"a": [-1]}, "from 0"),
    ],
)
def test_impossible_wants_are_refused(
    sampler: Sampler, problems: list[Problem], wanted: dict[str, list[int]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_wanted(problems, wanted)
    with pytest.raises(ValueError, match=message):
        next(sampler.sample(problems, wanted, SamplingSettings(), seed=0))


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"max_new_tokens": 0},
        {"stop": "\n"},
        {"stop": ("",)},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        SamplingSettings(**settings)


def test_what_a_back_end_does_not_take_is_refused() -> None:
    with pytest.raises(ValueError, match="no back-end 'sglang': give one of transformers, vllm, openai"):
        open_sampler("sglang", "m")
    with pytest.raises(ValueError, match="the back-end openai takes no dtype: it takes base_url, api_key"):
        open_sampler("openai", "m", dtype="bfloat16")
    assert open_sampler("openai", "m", dtype=None, concurrency=None)


def test_a_back_end_whose_package_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.delitem(sys.modules, "simko.sampling.vllm_sampler", raising=False)
    with pytest.raises(ValueError, match=r"vllm needs the package vllm: pip install 'simko\[vllm\]'"):
        open_sampler("vllm", "m")
