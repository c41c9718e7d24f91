"""What the case file cannot say of instructions: malformed problems, and the language check."""

import json
from pathlib import Path
from typing import Any

import pytest

from simko.records import Problem
from simko.verifiers.instructions import ARGUMENTS, CONSTRAINTS, count_sentences, verify_instructions

HERE = Path(__file__).parent


def problem(name: str, **arguments: Any) -> Problem:
    return Problem("p7", "", "", {"instruction_id_list": [name], "kwargs": [arguments]})


def test_every_instruction_has_kept_and_broken_cases() -> None:
    rows = json.loads((HERE / "cases_instructions.json").read_text(encoding="utf-8"))
    for outcome in ("correct", "wrong"):
        alone = {row["metadata"]["instruction_id_list"][0] for row in rows if row["outcome"] == outcome}
        assert alone == set(CONSTRAINTS) - {"language:response_language"}


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "needs instruction_id_list and kwargs"),
        ({"instruction_id_list": [], "kwargs": []}, "of one length above 0"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}, "of one length"),
        ({"instruction_id_list": ["no:such"], "kwargs": [{}]}, "no instruction is called 'no:such'"),
        ({"instruction_id_list": ["punctuation:no_comma"], "kwargs": ["x"]}, "must be an object"),
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{}]}, "lacks the argument 'keywords'"),
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": 3}]}, "must be a list of texts"),
        (
            {
                "instruction_id_list": ["length_constraints:number_words"],
                "kwargs": [{"relation": "about", "num_words": 3}],
            },
            "'relation' of length_constraints:number_words must be \"less than\" or \"at least\", not 'about'",
        ),
    ],
)
def test_a_malformed_problem_is_named(metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"problem 'p7'.*{message}"):
        verify_instructions("text", Problem("p7", "", "", metadata))


EVERY = json.loads((HERE / "every_instruction.json").read_text(encoding="utf-8"))
EVERY |= {"language:response_language": {"language": "de"}}
EACH_ARGUMENT = [(name, argument) for name, arguments in EVERY.items() for argument in arguments]


def test_every_argument_of_every_instruction_is_in_the_table() -> None:
    assert {name: set(arguments) for name, arguments in EVERY.items() if arguments} == {
        name: set(arguments) for name, arguments in ARGUMENTS.items()
    }


@pytest.mark.parametrize(("name", "argument"), EACH_ARGUMENT)
def test_an_argument_that_lacks_or_is_useless_is_told_before_a_response(name: str, argument: str) -> None:
    pytest.importorskip("langdetect")
    verify_instructions.check(problem(name, **EVERY[name]))
    rest = {key: value for key, value in EVERY[name].items() if key != argument}
    useless: list[Any] = [None, True, {}, [], "", " ", float("nan"), -1, 1.5, [""], [3]]
    for arguments in (rest, *(rest | {argument: value} for value in useless)):
        with pytest.raises(ValueError, match=f"problem 'p7': .*{argument}"):
            verify_instructions.check(problem(name, **arguments))


def test_a_whole_float_out_of_parquet_is_a_number() -> None:
    words = problem("length_constraints:number_words", relation="at least", num_words=2.0)
    assert verify_instructions("two words", words).outcome == "correct"


def test_an_unknown_language_is_told() -> None:
    pytest.importorskip("langdetect")
    with pytest.raises(ValueError, match="a language's code that langdetect knows, such as de or zh-cn, not 'german'"):
        verify_instructions.check(problem("language:response_language", language="german"))


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", 0),
        ("One", 1),
        ("One. Two.", 2),
        ("Is it? Yes!", 2),
        ("e.g. this one, i.e. one.", 1),
        ("At 3.5 m. Next.", 2),
        ("Wait... what?!", 2),
    ],
)
def test_sentences(text: str, sentences: int) -> None:
    assert count_sentences(text) == sentences


LATIN = [
    "C++",
    ".NET",
    "C#",
    "F#",
    "node.js",
    "a.b",
    "word",
    "naïve",
    "über",
    "don't",
    "e-mail",
    "$100",
    "हिन्दी",
    "слово",
]
UNSPACED = ["苹果", "りんご", "ไทย", "사과", "蘋果"]


@pytest.mark.parametrize("word", [*LATIN, *UNSPACED])
def test_a_forbidden_word_is_found_wherever_it_stands_alone(word: str) -> None:
    forbidden = problem("keywords:forbidden_words", forbidden_words=["zzz", word])
    for text in ("{}", "{} is it", "it is {}.", "({})", "so, {}, then", '"{}"', "one\n{}\ntwo", "**{}**"):
        for spelled in (word, word.upper(), word.capitalize()):
            assert verify_instructions(text.format(spelled), forbidden).outcome == "wrong", text.format(spelled)
    assert verify_instructions("it is another text", forbidden).outcome == "correct"


@pytest.mark.parametrize("word", UNSPACED)
def test_a_word_of_a_script_without_spaces_is_found_in_its_sentence(word: str) -> None:
    forbidden = problem("keywords:forbidden_words", forbidden_words=[word])
    assert verify_instructions(f"我们{word}喜欢", forbidden).outcome == "wrong"


@pytest.mark.parametrize(
    ("word", "text"),
    [("bad", "badly"), ("ber", "über"), ("नमक", "नमकीन"), ("NET", "NETs"), ("a-b", "xa-b"), ("slow", "slow_down")],
)
def test_a_part_of_a_longer_word_is_not_forbidden(word: str, text: str) -> None:
    assert verify_instructions(text, problem("keywords:forbidden_words", forbidden_words=[word])).outcome == "correct"


def test_what_a_thought_says_breaks_nothing() -> None:
    for thought in ("<think>First, second, third: C++</think>\n", "First, second</think>\n\n"):
        for name, arguments in (
            ("punctuation:no_comma", {}),
            ("keywords:forbidden_words", {"forbidden_words": ["C++"]}),
        ):
            assert verify_instructions(f"{thought}one two", problem(name, **arguments)).outcome == "correct"
    assert verify_instructions("<think>one two", problem("punctuation:no_comma")).outcome == "unparsed"
    first = problem("length_constraints:nth_paragraph_first_word", num_paragraphs=1, nth_paragraph=1, first_word="one")
    assert verify_instructions("<think>a</think>\n\none two", first).outcome == "correct"


def test_language_needs_langdetect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'simko\[instructions\]'"):
        verify_instructions("text", problem("language:response_language", language="de"))


def test_language() -> None:
    pytest.importorskip("langdetect")
    german = "Das ist ein ganz gewöhnlicher Satz, wie man ihn überall lesen kann."
    assert verify_instructions(german, problem("language:response_language", language="de")).outcome == "correct"
    assert verify_instructions(german, problem("language:response_language", language="en")).outcome == "wrong"
    assert verify_instructions("123 456", problem("language:response_language", language="en")).outcome == "correct"
