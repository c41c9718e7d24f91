"""Which box of a response holds its answer: spellings, boxes in boxes, denials, lists, cut-off ones."""

import itertools

import pytest
from spans import checked, of

from simko.verifiers.extract import Span, find_answer, last_box
from simko.verifiers.parts import CUES

BOXES = [
    "So $\\boxed{<V>}$.", "So $\\boxed {<V>}$", "So $$\\boxed{<V>}.$$", "\\fbox{<V>}", "\\framebox{<V>}", "\\bbox[5px,border:2px solid]{<V>}", "$\\boxed{\\boxed{<V>}}$",
    "So \x08oxed{<V>}.", "\\\\boxed{<V>}", "First $\\boxed{13}$, corrected $\\boxed{<V>}$", "$\\boxed{<V>}$ and again $\\boxed{<V>}$",
    "$\\boxed{<V>}$. Note that the answer is 3 times larger than before.", "$\\boxed{<V>}$. The answer cannot be 13.",
    "$\\boxed{<V>}$\n\nAnswer the next question.",
]  # fmt: skip


@pytest.mark.parametrize("form", BOXES)
def test_the_last_box_is_found_however_it_is_spelled(form: str) -> None:
    checked(form.replace("$", ""), "box")


@pytest.mark.parametrize(
    "value", ["5", "42", "-3", "0.5", "1/2", "(42)", "(2,4)", "[0,1]", "\\frac{3}{4}", "\\frac34", "\\pi"]
)
@pytest.mark.parametrize(
    "form", ["So $\\boxed <V>$.", "So $\\boxed<V>$", "\\boxed <V>", "\\(\\boxed<V>\\)", "Thus \\boxed <V>."]
)
def test_a_box_needs_no_braces(form: str, value: str) -> None:
    assert of(form.replace("<V>", value)) == (value, "box")


@pytest.mark.parametrize(
    "form",
    ["41 \\boxed{<V>}", "\\boxed{<V>}+1", "\\text{not }\\boxed{<V>}", "x\\ne\\boxed{<V>}", "\\frac{83}{\\boxed{<V>}}", "\\boxed{17}\\phantom{\\boxed{<V>}}",
     "\\boxed{1} \\boxed{<V>}", "\\boxed <V>\\boxed 7"],
)  # fmt: skip
def test_a_box_in_a_box_is_a_part_of_it(form: str) -> None:
    for value in ("42", "-7", "\\frac{1}{2}", "\\{1,2\\}"):
        inside = form.replace("<V>", value)
        assert of(f"First $\\boxed{{13}}$. So $\\boxed{{{inside}}}$.") == (inside, "box")
        assert last_box(f"So $\\fbox{{{inside}}}$.") == inside
    assert of("\\boxed{ $\\fbox{\\boxed{42}}$ }") == ("42", "box")
    assert of("\\boxed{3 and \\boxed{42}") == ("42", "box"), "the outer one never closes"


DENIED_BOXES = [
    "Not <B>.", "It is not <B>.", "It isn't <B>", "The answer is not <B>.", "The answer is certainly not equal to <B>.", "So it cannot be <B>.", "It can't be <B>",
    "We get anything but <B>.", "Here $x$ is never <B>", "a number other than <B>", "It is not: <B>", "It is not\n<B>", "neither 3 nor <B>",
    "<B> is incorrect.", "<B> is not the answer.", "<B> is wrong.", "The value <B> is impossible.", "<B>, which is not correct.", "<B>. That is wrong.",
    "<B> is clearly false", "<B> isn't right.", "<B> cannot be the answer.", "<B> is not a solution.", "Is it <B>?", "If the answer is <B>, we stop.",
    "Suppose that the final answer is <B>.", "I doubt that the answer is <B>.", "I do not think the answer is <B>.", "It is not true that the answer is <B>",
    "答案不是 <B>", "Die Antwort ist nicht <B>.", "La réponse n'est pas <B>.", "Ответ не <B>", "Svaret er ikke <B>",
]  # fmt: skip


@pytest.mark.parametrize("form", DENIED_BOXES)
def test_a_box_that_is_denied_is_no_answer(form: str) -> None:
    for value, box in itertools.product(
        ("42", "-7", "\\frac{1}{2}"), ("$\\boxed{<V>}$", "**$\\boxed{<V>}$**", "\\(\\fbox{<V>}\\)")
    ):
        text = form.replace("<B>", box.replace("<V>", value))
        assert of(text) is None, text
        assert of(f"We have $\\boxed{{99}}$.\n\n{text}") == ("99", "box"), text
        assert of(f"{text}\n\nSo it is $\\boxed{{99}}$.") == ("99", "box"), text


STANDING_BOXES = [
    "It is not 4. So it is <B>.", "It is not $\\boxed{4}$. It is <B>.", "It is not less than 4, so the answer is <B>.", "There is no larger one, so we get <B>.",
    "Since $x \\neq 4$, we get <B>.", "The answer is not $\\boxed{4}$ but <B>.", "<B>, not $\\boxed{4}$", "The number of integers that are not squares is <B>.",
    "The number of sets that do not hold 3 is <B>.", "If we add them we get <B>.", "If $x$ is odd the answer is <B>.", "It holds if <B>.", "True or false: <B>",
    "It is not hard to see that the answer is <B>.", "<B>. The value 91 is not possible.", "<B> is right. Is it 3?", "<B>. It is not possible to do better.", "<B>. It is not true that 3 works.", "The value that is not a solution is <B>.", "The statement that is not correct is <B>.",
    "There is no doubt the answer is <B>.", "<B> is the only value that is not impossible.",
]  # fmt: skip


@pytest.mark.parametrize("form", STANDING_BOXES)
def test_a_denial_of_something_else_leaves_the_box(form: str) -> None:
    for value in ("42", "-7", "\\frac{1}{2}"):
        assert of(form.replace("<B>", f"$\\boxed{{{value}}}$")) == (value, "box")


@pytest.mark.parametrize(
    "formula",
    ["-<B>", "2<B>", "\\frac{1}{<B>}", "\\sqrt{<B>}", "<B>+1", "<B> - x", "<B>^2", "<B>\\%", "<B>!", "<B>\\times 10^3", "3\\cdot<B>", "x > <B>", "x \\geq <B>",
     "x >= <B>", "x \\ne <B>", "x \\not= <B>", "\\phantom{<B>}", "<B> < 7", "\\textbf{<B>}", "1/<B>", "<B>^\\circ"],
)  # fmt: skip
def test_what_touches_a_box_is_judged_with_it(formula: str) -> None:
    formula = formula.replace("<B>", "\\boxed{5}")
    for form in (
        "So $<F>$.",
        "$$y = <F>$$",
        "\\[\n<F>\n\\]",
        "\\(a \\implies <F>\\)",
        "$\\begin{aligned} y &= <F> \\end{aligned}$",
    ):
        assert of(form.replace("<F>", formula)) == (formula, "box"), form


@pytest.mark.parametrize(
    "form",
    ["- <B>", "> <B>", "1. <B>", "**<B>**", "*<B>*", "_<B>_", "Answer - <B>", "Answer — <B>", "It is <B>!", "<B> - done", "So <B>/done", "$m+n = 1+4 = <B>$", "$(<B>)$",
     "$\\therefore <B>$", "$x \\approx <B> \\approx 3$", "$x \\in <B>$", "<b><B></b>", "$<B>\\text{ cm}$", "$2 + 3 = <B>$", "\\$<B>", "Step 2: <B>", "$a = -3, b = <B>$"],
)  # fmt: skip
def test_a_box_that_nothing_touches_is_the_answer(form: str) -> None:
    assert of(form.replace("<B>", "\\boxed{5}")) in [("5", "box"), ("b = 5", "box")]


@pytest.mark.parametrize("word", CUES["boxes"]["scales"])
def test_a_scale_word_after_a_box_is_judged_with_it(word: str) -> None:
    for form in ("$\\boxed{5}$ <W>.", "\\(\\boxed{5}\\) <W>", "$\\boxed{5}\\,\\text{ <W>}$", "\\boxed{5} <W>"):
        assert of(form.replace("<W>", word)) == (f"5\\text{{ {word}}}", "box")
    assert of(f"$\\boxed{{5}}$ {word}xyz") == ("5", "box")


@pytest.mark.parametrize(("one", "other"), [("m", "n"), ("x_1", "x_2"), ("\\alpha", "\\beta"), ("x", "x")])
@pytest.mark.parametrize("between", ["$ and $", "$, $", "$ or $", ", ", "\\quad ", "\\text{ and } "])
def test_boxes_in_one_list_keep_their_names(one: str, other: str, between: str) -> None:
    assert of(f"So ${one}=\\boxed{{4}}{between}{other}=\\boxed{{-6}}$.") == (f"{one}=4, {other}=-6", "box")
    assert of(f"So ${one}=-\\boxed{{4}}{between}{other}=\\boxed{{6}}$.") == (f"{one}=-\\boxed{{4}}, {other}=6", "box")
    assert of(f"So ${one}=\\boxed{{4}}$. Then $\\boxed{{6}}$.") == ("6", "box")


@pytest.mark.parametrize(
    "text", ["put it in \\boxed please", "use \\boxed at the end", "boxed{5}", "\\boxed 5x", "\\boxedfoo5", "\\boxed{}"]
)
def test_what_is_no_box(text: str) -> None:
    assert find_answer(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "First $\\boxed{3}$, but the corrected value is $\\boxed{\\frac{7}{",
        "\\boxed{3} and \\boxed{4",
        "The answer is 3. $\\boxed{4",
        "\\boxed{4\n\nThe final answer is 4.",
    ],
)
def test_a_last_box_that_is_cut_off_is_no_answer(text: str) -> None:
    assert find_answer(text) is None


@pytest.mark.parametrize(
    ("later", "rule"),
    [
        ("Final answer: <V>", "phrase"), ("The final answer is <V>.", "phrase"), ("**Final Answer**\n\n<V>", "heading"), ("The answer is <V>.", "phrase"),
        ("#### <V>", "####"), ("Hence the answer is $<V>$.", "phrase"), ("最终答案是 <V>。", "phrase"), ("Final answer: <V> cm", "phrase"),
    ],
)  # fmt: skip
def test_a_later_final_statement_takes_the_place_of_the_box(later: str, rule: str) -> None:
    for value in ("17", "-2", "\\frac{1}{2}"):
        found = find_answer(f"The intermediate bound is $\\boxed{{4}}$.\n\n{later.replace('<V>', value)}")
        assert found is not None
        assert (found.text.strip("$").removesuffix(" cm"), found.rule) == (value, rule)
    run = "$\\boxed{4}$.\n\nQuestion: What is 3 + 4?\nThe final answer is 7."
    assert of(run) == of(run, run_on=True) == ("4", "box")


@pytest.mark.parametrize(
    "response",
    [
        r"\boxed{42}. The answer is not 42.", "\\boxed{42}\n\nWait, that is wrong. It should be 43.", r"So $\boxed{7}$. The answer is not $\boxed{7}$",
        r"\boxed{4} but no, this is incorrect.", r"We get $\boxed{x+1}$. Let me check: this is not $x+1$.", r"$\boxed{5}$. Oops, it is wrong.",
    ],
)  # fmt: skip
def test_a_box_that_is_taken_back_is_none(response: str) -> None:
    assert find_answer(response) is None


@pytest.mark.parametrize(
    "response",
    [r"\boxed{42}. It is not 4.", r"\boxed{42}. The answer is not 421.", r"\boxed{42}. Hence it is not hard."],
)
def test_a_box_stands_where_something_else_is_denied(response: str) -> None:
    assert find_answer(response) == Span("42", "box")
