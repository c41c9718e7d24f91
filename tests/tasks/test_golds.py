"""Gold answers in files: solutions that mark theirs, text answers, and what is refused because no answer could equal it."""

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problem_files import load, refusal, write

from simko.records import Problem
from simko.tasks.golds import eaten_latex, is_prose, read_gold
from simko.verifiers import get_verifier

STRICT = ("math", "last_box", "last_integer")


def gold(folder: Path, answer: Any, verifier: str = "math") -> Problem:
    return load(write(folder / "gold.jsonl", [{"problem": "q", "answer": answer}]), verifier)[0]


STEPS = st.lists(
    st.sampled_from(
        [
            "Each bag has 3 nuts.",
            "Two bags have 2*3=<<2*3=6>>6 nuts.",
            "So it costs $5.",
            "The answer is 12.",
            "x = 3",
            r"\boxed{1}",
        ]
    ),
    max_size=4,
)
NUMBERS = st.integers(-(10**7), 10**7)


@settings(max_examples=60, deadline=None)
@given(STEPS, NUMBERS, st.booleans(), st.sampled_from(["\n#### ", "\n####", " #### "]), st.sampled_from(STRICT))
def test_what_follows_four_hashes_is_the_answer(
    steps: list[str], number: int, commas: bool, mark: str, verifier: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        raw = "\n".join(steps) + mark + (f"{number:,}" if commas else str(number)) + "\n"
        problem = gold(Path(folder), raw, verifier)
    assert (problem.answer, problem.metadata["answer_raw"]) == (str(number), raw)
    verify = get_verifier(verifier)
    right, other = (str(n) if verifier == "last_integer" else rf"\boxed{{{n}}}" for n in (number, number + 1))
    assert verify(right, problem).outcome == "correct"
    assert verify(other, problem).outcome == "wrong"


def test_a_solution_that_ends_in_a_box_is_its_box(tmp_path: Path) -> None:
    for verifier in ("math", "last_box"):
        problem = gold(tmp_path, r"We add, so it is $\boxed{\frac{1}{2}}$.", verifier)
        assert problem.answer == r"\frac{1}{2}"
        assert get_verifier(verifier)(r"\boxed{\frac{1}{2}}", problem).outcome == "correct"


@pytest.mark.parametrize("answer", ["Add them.\n####", "#### \n", "####\nMore text\nand 6", "#### Solution\nWe add."])
def test_hashes_without_an_answer_are_refused(tmp_path: Path, answer: str) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": "q", "answer": "1"}, {"problem": "q", "answer": answer}])
    assert "line 2: the column 'answer': " in (said := refusal(path))
    assert "has no answer alone after its ####" in said
    assert "--columns answer=NAME" in said


SUBJECTS = [
    "The answer",
    "The total",
    "Her age",
    "The number of ways",
    "The value of x",
    "The area of the circle",
    "Tom's share",
]
SENTENCES = [
    "So she has {} apples left.",
    "It takes {} hours.",
    "Therefore x equals {}",
    "{} because 2 + 2 = 4",
    "We get x = {}.",
    "There are {} ways.",
    "Thus, {}",
    "Janet sells {} eggs every day",
    "The train travels {} miles.",
    "Answer: {}",
    "Result: {}",
    "2+2=4, so {}",
    "{} is the solution.",
    "Each child receives {} candies.",
    "That leaves {} students.",
    "Final answer: {}",
    "La respuesta es {}",
    "答案是{}",
    "<answer>{}</answer>",
    "Step 1: add.\nStep 2: get {}.",
    "First we add the apples of both bags\nand then we count them, which is {} in all",
]
PROSE = [
    f"{subject} {verb} {{}}{end}" for subject in SUBJECTS for verb in ("is", "was") for end in ("", ".")
] + SENTENCES


@pytest.mark.parametrize("verifier", ["math", "last_box"])
@settings(max_examples=80, deadline=None)
@given(st.sampled_from(PROSE), st.integers(0, 999), st.sampled_from(["{}", "${}$", "{}.5"]))
def test_prose_is_refused_with_its_row(verifier: str, sentence: str, number: int, form: str) -> None:
    answer = sentence.format(form.format(number))
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.jsonl", [{"problem": "q", "Answer": "1"}, {"problem": "q", "Answer": answer}])
        said = refusal(path, verifier)
    assert "a.jsonl, line 2: the column 'Answer': " in said
    assert f"the verifier {verifier} needs the answer alone, or a solution that ends in ####" in said


ANSWERS = r"""
yes | No | Yes. | Tuesday | \text{Evelyn} | \text{(C)} | (B) | no solution | No real solutions exist. | There is no solution
It is impossible. | infinitely many | Does not exist | \text{all real numbers} | the empty set | San Francisco | Alice and Bob
5 apples per day | 12 dollars and 50 cents | 2 hours and 30 minutes | 10 meters per second | 9.8 \text{ m/s}^2 | $18.50 | 50%
3:45 PM | June 5 | Monday, June 5 | 5\text{ units left} | 4 apples and 3 oranges | 3 more than twice x | between 3 and 4
[1, 2) | (-\infty, 3] \cup \{5\} | \{1, 2, 3\} | x \in [1,2) | x=3 or x=4 | x = 4, y = 5 | 3 and 4 | 2 \pm \sqrt3 | y = 2x + 3
\begin{pmatrix}1\\2\end{pmatrix} | \frac{1}{2} | 1,234,567 | 4.5e33 | H_2O | n! | p \land q | he^{2} | we^{-t/RC} | I(0) e^{-t}
n is odd or n = 2 | x is even | n is an odd integer greater than 3 | all positive integers $n$ with $n \equiv 1 \pmod 4$
f(x)=ax+b, where b is an arbitrary integer | if n is even, n/2; if n is odd, 0 | a circle of radius 2 centered at the origin
increasing on (0, 1) and decreasing on (1, 2) | circle with center (0,0) and radius 2 | The first player wins | Quadrant II
n even, Alice wins; n odd, Bob wins | All integers $n \ge 2$ which are not powers of two | x is equal to 4 | 1 in 6
$x$ is any real number, $y=0$ | n is divisible by 3 but not by 9 | a parabola with vertex (1, 2) | profit of $30 | SO(3) | it increases
All primes p such that p is 1 mod 4 | I_{\max}=\frac{q_0}{\sqrt{2LC}} | N_{needed}=4 | None of the above | two thirds | 3 to 5
1 < x | x<y>z | a<b | 0 < x < 1 and y > 2 | \begin{pmatrix}1&2\\3&4\end{pmatrix} | None of them | \begin{matrix}a&b;c\end{matrix}
"""
LEGITIMATE = [answer.strip() for line in ANSWERS.strip().splitlines() for answer in line.split(" | ")]


@pytest.mark.parametrize("answer", LEGITIMATE)
def test_answers_that_are_words_or_formulas_are_read(tmp_path: Path, answer: str) -> None:
    problem = gold(tmp_path, answer)
    assert problem.answer == answer
    assert get_verifier("math")(rf"\boxed{{{answer}}}", problem).outcome == "correct"
    assert gold(tmp_path, answer, "last_box").answer == answer


@pytest.mark.parametrize("name", ["aime24", "aime25", "amc23", "gsm8k", "math500", "minerva", "olympiadbench"])
def test_no_gold_of_a_benchmark_is_refused(bench_data: Path, name: str) -> None:
    path = bench_data / f"{name}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for verifier in ("math", "last_box"):
        assert [p.answer for p in load(path, verifier)] == [row["answer"] for row in rows]


def test_no_gold_of_the_graders_cases_is_prose() -> None:
    cases = Path(__file__).parents[1] / "verifiers" / "cases_math.jsonl"
    golds = {json.loads(line)["gold"] for line in cases.read_text(encoding="utf-8").splitlines()}
    assert [answer for answer in golds if is_prose(answer)] == []
    bbh = Path(__file__).parents[1] / "data" / "bbh.jsonl"
    answers = {json.loads(line)["answer"] for line in bbh.read_text(encoding="utf-8").splitlines()}
    assert [answer for answer in answers if is_prose(answer)] == []


@pytest.mark.parametrize("answer", ["['6']", '["6", "7"]', "('a', 'b')"])
def test_a_list_that_was_written_as_text_is_no_gold(tmp_path: Path, answer: str) -> None:
    said = refusal(write(tmp_path / "a.csv", [{"problem": "q", "answer": answer}]))
    assert "row 1: the column 'answer'" in said
    assert "is a list of quoted texts" in said


HTML = ["<b>6</b>", "6<br/>", "<math>6</math>", '<span class="a">6</span>', "6&nbsp;", "&lt; 6", "6 &#215; 7"]
MISSING = ["nan", "NaN", "None", "null", " N/A ", "<NA>", "NaT"]


@pytest.mark.parametrize("verifier", ["math", "last_box"])
@pytest.mark.parametrize(
    "answer",
    [
        "6<|im_end|>",
        "6</s>",
        "<think>3 + 3</think>6",
        "<think>6",
        "6<|eot_id|>\n",
        "## 6",
        "### $6$",
        "1" * 1001,
        *HTML,
        *MISSING,
    ],
)
def test_what_no_answer_can_equal_is_no_gold(tmp_path: Path, verifier: str, answer: str) -> None:
    """A response's own answer is judged without thoughts and tokens, and a long one not at all."""
    with pytest.raises(ValueError, match=r"(?s)line 1: .*where the verifier"):
        gold(tmp_path, answer, verifier)


def test_a_verifier_of_ones_own_gets_the_column_as_it_is(tmp_path: Path) -> None:
    for answer in ("Two bags.\n#### 6", "The answer is 4.", r"\boxed{4}"):
        (problem,) = load(write(tmp_path / "a.jsonl", [{"problem": "q", "answer": answer}]), None)
        assert (problem.answer, problem.metadata) == (answer, {})


COMMANDS = r"\frac \forall \beta \binom \bar \boxed \theta \times \text \tfrac \neq \nabla \notin \rho \right \tilde \alpha \vec \varphi"
ESCAPES = {"f": "\f", "b": "\b", "t": "\t", "n": "\n", "r": "\r", "a": "\a", "v": "\v"}


@pytest.mark.parametrize("command", COMMANDS.split())
@pytest.mark.parametrize("around", ["{}{{1}}{{2}}", "2{} x", "({}"])
def test_latex_that_an_escape_has_eaten_is_refused(tmp_path: Path, command: str, around: str) -> None:
    assert eaten_latex(around.format(command)) is None
    eaten = around.format(ESCAPES[command[1]] + command[2:])
    for row in ({"problem": "q", "answer": eaten}, {"problem": eaten, "answer": "1"}):
        said = refusal(write(tmp_path / "a.jsonl", [{"problem": "q", "answer": "1"}, row]), "last_box")
        assert f"line 2: the column '{'answer' if row['problem'] == 'q' else 'problem'}'" in said
        assert f"{command} was read as an escape; write \\{command} in JSON" in said


@pytest.mark.parametrize(
    "text", ["a\nnot b", "1\tan apple", "one\r\ntwo", "x\n\n\ty", "1\tto 5", "line\nno", "a\r\nright"]
)
def test_lines_and_tabs_of_prompts_are_no_eaten_latex(tmp_path: Path, text: str) -> None:
    (problem,) = load(write(tmp_path / "a.jsonl", [{"problem": text, "answer": "1"}]))
    assert problem.prompt == text


def test_other_control_characters_are_no_gold(tmp_path: Path) -> None:
    for answer in ("4\x00", "\x1b[1m4", "4\x7f", "4\x0c"):
        said = refusal(write(tmp_path / "a.jsonl", [{"problem": "q", "answer": answer}]))
        assert "line 1: the column 'answer': " in said
        assert "holds the control character" in said


@pytest.mark.parametrize("verifier", ["math", "last_box", "last_integer", "choice", "exact"])
def test_a_gold_that_a_verifier_cannot_use_is_told_with_its_row(tmp_path: Path, verifier: str) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": "q", "answer": " "}])
    assert "a.jsonl, line 1: problem '1'" in refusal(path, verifier)


def test_golds_of_other_verifiers_are_texts() -> None:
    assert read_gold("The answer is no.", "exact") == "The answer is no."
