"""Countdown's verifier against traces, their corruptions, and prompts that are none. Single cases: cases_countdown.json."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.records import Problem
from simko.tasks import countdown_traces
from simko.verifiers import verify_countdown

TRACES = countdown_traces(2_000, seed=0, shuffled_targets=0.0)
WORDS = [*map(str, range(100)), "+", "-", "*", "/", "=", ";", "<pad>"]


def _outcome(words: list[str], prompt: str) -> str:
    return verify_countdown(" ".join(words), Problem("p", prompt)).outcome


def _value(a: str, sign: str, b: str) -> Fraction:
    x, y = Fraction(a), Fraction(b)
    return {"+": x + y, "-": x - y, "*": x * y, "/": x / y}[sign]


@given(trace=st.sampled_from(TRACES), at=st.integers(0, 16), word=st.sampled_from(WORDS))
@settings(max_examples=1_000, deadline=None)
def test_a_trace_passes_and_a_single_other_word_fails(trace: tuple[str, str], at: int, word: str) -> None:
    prompt, response = trace
    words = response.split()
    assert _outcome(words, prompt) == "correct"
    corrupt = [*words[:at], word, *words[at + 1 :]]
    if corrupt == words:
        return
    if at % 6 == 1 and word in "+-*/" and _value(words[at - 1], word, words[at + 1]) == int(words[at + 3]):
        assert _outcome(corrupt, prompt) == "correct"  # 2 + 2 = 4 and 2 * 2 = 4 mean the same
    else:
        assert _outcome(corrupt, prompt) != "correct", corrupt


@given(trace=st.sampled_from(TRACES), start=st.integers(0, 16), length=st.integers(1, 17))
@settings(max_examples=300, deadline=None)
def test_a_trace_with_words_left_out_or_repeated_fails(trace: tuple[str, str], start: int, length: int) -> None:
    prompt, response = trace
    words = response.split()
    part = words[start : start + length]
    assert _outcome(words[:start] + words[start + length :], prompt) != "correct"
    assert _outcome(words[: start + length] + part + words[start + length :], prompt) != "correct"


@given(trace=st.sampled_from(TRACES), target=st.integers(1, 99))
@settings(deadline=None)
def test_a_trace_passes_for_its_own_target_alone(trace: tuple[str, str], target: int) -> None:
    prompt, response = trace
    left, reached = prompt.split(" = ")
    assert (_outcome(response.split(), f"{left} = {target}") == "correct") == (target == int(reached))


@given(trace=st.sampled_from(TRACES), data=st.data())
@settings(deadline=None)
def test_the_order_of_the_numbers_is_free(trace: tuple[str, str], data: st.DataObject) -> None:
    prompt, response = trace
    left, target = prompt.split(" = ")
    numbers = data.draw(st.permutations(left.split()))
    assert _outcome(response.split(), f"{' '.join(numbers)} = {target}") == "correct"


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "3 7",
        "3 = 3",
        "3 7 = x",
        "0 7 = 7",
        "3 7 = 0",
        "100 7 = 93",
        "3  7 = 10",
        "3 7 = 010",
        "3 7 = 10\n",
        "\u0663 7 = 10",
    ],
)
def test_a_malformed_prompt_is_named(prompt: str) -> None:
    with pytest.raises(ValueError, match="problem 'p'"):
        verify_countdown("3 + 7 = 10", Problem("p", prompt))
