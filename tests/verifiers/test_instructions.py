"""What the case file cannot say of instructions: malformed problems, and the language check."""

import json
from pathlib import Path
from typing import Any

import pytest

from simko.records import Problem
from simko.verifiers.instructions import CONSTRAINTS, count_sentences, verify_instructions

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
        ({"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": 3}]}, "wrong kind"),
        (
            {
                "instruction_id_list": ["length_constraints:number_words"],
                "kwargs": [{"relation": "about", "num_words": 3}],
            },
            "lacks the argument 'about' or a known value",
        ),
    ],
)
def test_a_malformed_problem_is_named(metadata: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"problem 'p7'.*{message}"):
        verify_instructions("text", Problem("p7", "", "", metadata))


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
