"""Where the answer of a response stands: each rule on generated variants, with its name, and what is no answer."""

import itertools
import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spans import checked, of

from simko.verifiers.extract import MAX_ANSWER, find_answer
from simko.verifiers.parts import CUES, final_part

PHRASES = [
    "The answer is <V>", "The answer is: <V>.", "the answer would be <V>.", "So the final answer equals <V>", "Answer: <V>", "ANSWER = <V>",
    "FINAL ANSWER: <V>", "My answer → <V>", "Our answer -> <V>.", "Answer => <V>", "Answer — <V>", "The answer comes out to be <V>.",
    "The correct answer must be <V>.", "Therefore, the answer is: `<V>`", "The answer is **<V>**.", "The correct option is <V>.", "The answer's <V>", "The answer is\n\n$$<V>$$",
    "Final Answer: The final answer is <V>. I hope it is correct.", "The answer is <V>\n\nLet me know if you want more detail!",
    "The answer is therefore <V>.", "The answer to the second part is simply <V>.", "It is not hard to see that the answer is <V>.",
    "If x is odd, the answer is <V>.", "Since it is not even, the answer is <V>.", "We do not need more, so the answer is <V>.",
    "The answer is not 13. The answer is <V>.", "Is the answer 13? No, the answer is <V>.", "The answer is <V>. If the answer were 13, we would stop.",
    "The answer is <V>, not 13.", "The answer is <V> (since x is even).", "The answer is <V>, because we said so.", "The answer is <V> by symmetry.",
    "The answer is <V> as shown above.",
    "Ответ: <V>", "Правильный ответ: <V>.", "答案：<V>", "所以答案是 <V>。", "最终答案为 <V>。", "答えは <V> です。", "答え：<V>", "정답: <V>", "정답은 <V>입니다.", "답은 <V>",
    "La réponse est <V>.", "Réponse finale : <V>", "La respuesta es <V>.", "Respuesta: <V>", "La respuesta correcta es <V>", "A resposta é <V>.",
    "La risposta è <V>.", "Die Antwort ist <V>.", "Die Antwort lautet: <V>", "Het antwoord is <V>.", "Odpowiedź: <V>", "Cevap: <V>", "Đáp án là <V>.",
    "Jawabannya adalah <V>.", "الإجابة هي <V>", "उत्तर: <V>", "Svar: <V>", "Svaret er <V>.", "Svaret är <V>.", "Vastaus on <V>", "Válasz: <V>",
    "Răspunsul este <V>.", "Η απάντηση είναι <V>.", "Odgovor je <V>.", "Отговор: <V>", "התשובה היא <V>", "คำตอบคือ <V>", "Jawapan: <V>",
    "The answer is '<V>'.", "The answer is \"<V>\".", "The answer is <b><V></b>.", "The answer is <strong class=\"x\"><V></strong>", "Answer: **<b><V></b>**",
    "The answer is __<V>__.", "The answer is <V>, since 13 is impossible.",
]  # fmt: skip


@pytest.mark.parametrize("form", PHRASES)
def test_an_announced_answer_is_found_in_many_languages(form: str) -> None:
    single = form.replace("$$<V>$$", "<V>")
    checked(single, "phrase")
    checked(single, "phrase", before="First $x=5$ gives 9.\n")


def test_an_answer_may_stand_before_its_announcement() -> None:
    for form in ("<V> is the answer.", "So <V> is our final answer", "Hence, $<V>$ is the correct answer."):
        for value in ("42", "x=11", "\\frac{1}{2}", ".5"):
            assert of(form.replace("<V>", value)) == (value, "phrase")
    for denied in (
        "I doubt that 42 is the answer.",
        "42 is not the answer.",
        "If 42 is the answer",
        "Is 42 the answer?",
        "Perhaps 42 is the answer.",
        "42 is the answer to another question.",
        "Any number but 42 is the answer.",
        "41 and 42 is the answer.",
    ):
        assert of(denied) is None


@pytest.mark.parametrize("heading", ["**Final Answer**", "## Answer", "Final answer", "### Final Answer:", "**Answer:**", "Answer", "**Ответ**", "# 答案", "Réponse"])  # fmt: skip
@pytest.mark.parametrize("gap", ["\n", "\n\n", " \n \n**"])
def test_an_answer_stands_on_the_line_after_its_heading(heading: str, gap: str) -> None:
    checked(f"{heading}{gap}<V>", "heading", before="We add.\n\n")


def test_a_heading_over_prose_announces_nothing() -> None:
    assert of("## Answer\n\nWe begin by looking at the sum of the first nine odd numbers and compare 3 with 4") is None


DENIED = [
    "The answer cannot be: <V>", "The answer can't be <V>", "The answer is not <V>", "The answer isn't <V>.", "The answer is definitely not <V>.",
    "The answer is never <V>", "The answer is neither <V> nor 13.", "I doubt the answer is <V>.", "I don't think the answer is <V>.",
    "It is not true that the answer is <V>.", "It is false that the answer is <V>", "It would be wrong to say the answer is <V>.",
    "Nobody says that the answer is <V>", "The wrong answer is <V>", "An incorrect answer: <V>", "The answer is anything but <V>.",
    "The answer is other than <V>", "The answer is <V> is wrong", "No answer is <V>", "There is no way the answer is <V>.", "Some would say the answer is <V>",
    "if the answer were <V>", "If the answer is <V>, we are done.", "Suppose that the answer is <V>.", "Suppose, for contradiction, that the answer is <V>.",
    "Assume the answer is <V>", "Whether the answer is <V> we cannot say.", "unless the answer is <V>", "Were the answer equal to <V>, it would fail",
    "The answer might be <V>", "The answer could be: <V>",
    "The answer would be <V> if 13 were prime, but it is 13.", "The answer would be <V> unless 13 is odd.", "If 13 were even, the answer would be <V>.",
    "The answer would have been <V>, had we begun at 0.", "Die Antwort wäre <V>, wenn 13 gerade wäre.", "The answer is <V>, which is incorrect.",
    "Svaret er ikke <V>.",
    "Is the answer <V>?", "Could it be that the answer is <V>?", "The answer is <V>?", "Answer: <V>?",
    "答案不是 <V>", "如果答案是 <V>，那么", "答えは <V> ではありません。", "もし答えが <V> なら", "정답은 <V>이 아닙니다.", "La réponse n'est pas <V>.", "Si la réponse est <V>",
    "La respuesta no es <V>.", "Die Antwort ist nicht <V>.", "Wenn die Antwort <V> ist", "Ответ не <V>", "Если ответ: <V>", "La risposta non è <V>.",
]  # fmt: skip


@pytest.mark.parametrize("form", DENIED)
def test_what_is_denied_doubted_supposed_or_asked_is_no_answer(form: str) -> None:
    checked(form, None)
    assert of(f"The answer is 99.\n{form.replace('<V>', '42')}") == ("99", "phrase")


@pytest.mark.parametrize(
    "mark", ["**<V>**", "***<V>***", "__<V>__", "`<V>`", "'<V>'", '"<V>"', "‘<V>’", "<b><V></b>", "**<em><V></em>**"]
)
@pytest.mark.parametrize("lead", ["The answer is", "Answer:", "Svar:"])
def test_marks_around_an_answer_are_dropped_before_its_unit_and_kept_within_it(lead: str, mark: str) -> None:
    for value, unit in itertools.product(("289", "1.5", "2**3", "f'(2)"), ("days", "cm")):
        assert of(f"{lead} {mark.replace('<V>', value)} {unit}.") == (f"{value} {unit}", "phrase")
    hedged = of(f"{lead} {mark.replace('<V>', '5')} or {mark.replace('<V>', '6')}.")
    assert hedged is None or " or " in hedged[0]


@pytest.mark.parametrize("word", ["False", "No", "None", "Never", "Maria", "impossible"])
def test_a_word_of_doubt_may_be_the_answer(word: str) -> None:
    for form in ("Answer: **<V>**", "The answer is <V>.", "The final answer is: `<V>`", "**Answer:** <V>"):
        assert of(form.replace("<V>", word)) == (word, "phrase")
    assert find_answer(f"**{word}**") is None


def test_answer_tags() -> None:
    for name in ("answer", "ANSWER", "final_answer"):
        checked(f"<{name}><V></{name}>", "answer tag")
        checked(
            f"Let us see.\n<{name}>\n <V> \n</{name}>\nDone.", "answer tag", before="\\boxed{13} The answer is 12.\n"
        )
    checked("<answer>The answer is \\boxed{<V>}.</answer>", "answer tag")
    checked("<answer>We find that the final answer is <V>.</answer>", "answer tag")
    checked("<answer>13</answer> no: <answer><V></answer>", "answer tag")
    for cue in ("\\text{The answer is } 29", "\\textbf{Answer: } 29", "\\mbox{So the final answer is: }29"):
        assert of(f"<answer>${cue}$</answer>") == (cue, "answer tag")
    assert of("<answer> </answer> \\boxed{5}") == ("5", "box")
    assert of("<answer>5") is None


@pytest.mark.parametrize("tag", ["<answer>4</answer>", "[ANSWER]$4$[/ANSWER]"])
def test_a_later_final_statement_takes_the_place_of_an_answer_tag(tag: str) -> None:
    for value, (later, rule) in itertools.product(
        ("17", "-2", "\\frac{1}{2}"),
        [
            ("The final answer is $\\boxed{<V>}$.", "box"),
            ("So $\\boxed{<V>}$", "box"),
            ("Final answer: <V> cm", "phrase"),
            ("#### <V>", "####"),
        ],
    ):
        found = of(f"{tag}\n\n{later.replace('<V>', value)}")
        assert (found[0].removesuffix(" cm"), found[1]) == (value, rule)  # type: ignore[index]
    for other in (
        "Done.",
        "17",
        "The answer is not $\\boxed{17}$.",
        "The answer is 3 times larger.",
        "Question: 8+9?\nThe final answer is \\boxed{17}.",
    ):
        assert of(f"{tag}\n\n{other}") == ("4", "answer tag")


def test_json() -> None:
    for form in (
        '{"answer": "42"}',
        '{"reasoning": "six times {seven}", "answer": 42}',
        'Sure:\n```json\n{"answer": 42}\n```',
        '```\n{"Final Answer": "$42$"}\n```',
    ):
        assert of(form) == ("42", "JSON")
    assert of('{"answer": [2, 4]}') == ("[2, 4]", "JSON")
    assert of('{"answer": 0.10}') == ("0.10", "JSON")
    for form in ('{"result": 42}', '{"answer": null}', '{"answer": {"x": 1}}', "{" * 5000):
        assert find_answer(form) is None


@pytest.mark.parametrize(
    "form", ["<V>", "$<V>$", "$$<V>$$", "$$\n<V>\n$$", "\\[\n<V>\n\\]", "\\(<V>\\)", "**<V>**", "`<V>`", " \n<V>.\n"]
)
def test_a_response_that_is_nothing_but_the_answer(form: str) -> None:
    for value in (
        "42",
        "x = 11",
        "(2,4)",
        ".5",
        "\\frac{1}{2}",
        "-3",
        "2x+1",
        "\\sin x",
        "x=2, y=3",
        "1,234",
        "\\{1,2\\}",
        "3:45",
    ):
        assert of(form.replace("<V>", value)) == (value, "whole response")


LISTS = ["42, 43", "42 or 43", "42 and 43", "42; 43", "42 43", "42\n43", "$42$ or $43$", "$42$, $43$", "x=1, x=2", "$x=1 \\text{ or } x=2$", "42 \\quad 43", "42、43"]  # fmt: skip
PROSE = ["Paris", "yes", "x", "I think 42", "42 apples are left", "It is 42", "there are 3 of them", "1. 42", "- 42", "2 + 2 =", "42?", "so 5", "", "...", "Step 1"]  # fmt: skip


@pytest.mark.parametrize("text", [*LISTS, *PROSE])
def test_prose_and_lists_of_candidates_are_no_answer(text: str) -> None:
    assert find_answer(text) is None
    assert find_answer(f"**{text}**") is None


def test_a_number_in_a_sentence_is_no_answer() -> None:
    for text in ("We get x = 5 and are done.", "The value is 42.", "so the sum equals $42$", "Hence 42."):
        assert find_answer(text) is None


# -- any text ------------------------------------------------------------------------------------------------------------

PIECES = ["\\boxed{", "\\boxed ", "\\boxed(", "\\bbox[", "{", "}", "$", "$$", "\\[", "####", "<think>", "</think>", "<answer>", "</answer>", "<s>", "</s>", "<|im_end|>",
          "the answer is ", "answer: ", "Answer\n\n", "final ", "if ", "not ", "is ", "$\\boxed{5}$", "not \\boxed{5}", "-\\boxed{5}+", "x=\\boxed{5}, ", "would be ", "**", "答案", "是", "。", "42", ",", ".", "?", "(since ", "\n", "\nQ: ", '{"answer": ', "```", "*", " or "]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.few(15)
def test_every_piece_costs_linear_time(piece: str) -> None:
    text = piece * (400_000 // len(piece))
    began = time.process_time()
    for response in (text, f"x{text}", f"{text}\nthe answer is {text}"):
        find_answer(response, run_on=True)
    assert time.process_time() - began < 3.0


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.booleans())
def test_any_text_gets_a_span_or_none(response: str, run_on: bool) -> None:
    found = find_answer(response, run_on=run_on)
    assert found is None or (0 < len(found.text) <= MAX_ANSWER and found.text == found.text.strip() and found.rule)
    assert final_part(final_part(response)) == final_part(final_part(final_part(response)))


def test_an_answer_longer_than_the_bound_is_none() -> None:
    for form in ("\\boxed{%s}", "The answer is %s", "<answer>%s</answer>", "%s", '{"answer": "%s"}'):
        assert find_answer(form % ("9" * MAX_ANSWER)) is not None
        assert find_answer(form % ("9" * (MAX_ANSWER + 1))) is None


def test_every_word_of_a_language_announces_and_every_doubt_stops_it() -> None:
    """So that no entry of cues.toml is dead."""
    choose = random.Random(0)
    for language in CUES["language"]:
        for noun, verb in itertools.product(language["answer"], [*language["is"], ":"]):
            said = f"{_sample(noun)} {_sample(verb)} {choose.randrange(10, 99)}"
            found = find_answer(said)
            assert found is not None, said
            assert found.text == said[-2:], said


def _sample(pattern: str) -> str:
    """The shortest text of a simple pattern: its first alternatives."""
    pattern = re.sub(r"\(\?!(?:[^()]|\([^()]*\))*\)", "", pattern)
    pattern = re.sub(r"\(\?:([^()]*)\)\??", lambda group: group[1].split("|")[0], pattern)
    return re.sub(r"\w\?", "", pattern)
