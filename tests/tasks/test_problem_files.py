"""Files of problems as people have them: each is read rightly, or refused in one line that says where and what to do."""

import csv
import datetime as dt
import gzip
import json
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simko.records import Problem
from simko.tasks import file_task, parse_columns, read_file
from simko.tasks.golds import eaten_latex, is_prose, read_gold
from simko.verifiers import check_problems, get_verifier

Rows = list[dict[str, Any]]
STRICT = ("math", "last_box", "last_integer")


def write(path: Path, rows: Rows) -> Path:
    if ".jsonl" in path.name or ".csv" in path.name:
        opener: Any = gzip.open if path.suffix == ".gz" else open
        with opener(path, "wt", encoding="utf-8", newline="") as file:
            if ".jsonl" in path.name:
                file.write("".join(json.dumps(row) + "\n" for row in rows))
            else:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    else:
        table = pytest.importorskip("pyarrow").Table.from_pylist(rows)
        pytest.importorskip("pyarrow.parquet").write_table(table, path)
    return path


def load(path: Path, verifier: str | None = "math", columns: str | None = None) -> list[Problem]:
    return read_file(path, verifier, columns=parse_columns(columns)).load("test")


def refusal(path: Path, verifier: str = "math", columns: str | None = None) -> str:
    with pytest.raises(ValueError, match=re.escape(str(path))) as refused:
        load(path, verifier, columns)
    message = str(refused.value)
    assert "\n" not in message
    return message


def gold(folder: Path, answer: Any, verifier: str = "math") -> Problem:
    return load(write(folder / "gold.jsonl", [{"problem": "q", "answer": answer}]), verifier)[0]


# -- golds --------------------------------------------------------------------------------------------------------------

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


# -- formats, types and names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".csv.gz", ".JSONL.GZ"])
def test_compressed_files_are_read(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"my.set{suffix.lower()}", [{"problem": "q", "answer": "4"}])
    path = path.rename(tmp_path / f"my.set{suffix}")
    task = file_task(path, "math")
    assert (task.name, task.load("test")) == ("my.set", [Problem("1", "q", "4")])


def test_a_file_that_is_not_gzip_or_cut_is_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.jsonl.gz", [{"problem": f"q{i}", "answer": "4"} for i in range(500)]).read_bytes()
    for content in (b'{"problem": "q"}', whole[:40], whole[:-5], whole[:30] + b"\0" * 9 + whole[39:], b""):
        (tmp_path / "b.jsonl.gz").write_bytes(content)
        assert refusal(tmp_path / "b.jsonl.gz")


def test_parquet_columns_of_every_type_load_and_can_be_stored(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    columns = {
        "problem": pa.array([b"2+2="], pa.binary()),
        "answer": pa.array([Decimal("3.50")], pa.decimal128(10, 2)),
        "id": pa.array([Decimal(7)], pa.decimal128(10, 0)),
        "day": pa.array([moment.date()], pa.date32()),
        "time": pa.array([moment.time()], pa.time64("us")),
        "zoned": pa.array([moment], pa.timestamp("us", tz="UTC")),
        "millis": pa.array([moment.replace(tzinfo=None)], pa.timestamp("ms")),
        "nanos": pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")),
        "took": pa.array([dt.timedelta(seconds=1.5)], pa.duration("us")),
        "cost": pa.array([Decimal("0.10")], pa.decimal256(50, 2)),
        "raw": pa.array([b"\xff\x00"], pa.large_binary()),
        "tags": pa.array([["a", "b"]], pa.list_(pa.string())),
        "nested": pa.array([{"a": [{"b": Decimal("1.5"), "c": b"x"}]}]),
        "pairs": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())),
        "level": pa.array(["hard"]).dictionary_encode(),
        "none": pa.nulls(1),
        "half": pa.array([0.5], pa.float32()),
        "flag": pa.array([True]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    (problem,) = load(tmp_path / "a.parquet")
    assert (problem.id, problem.prompt, problem.answer) == ("7", "2+2=", "3.50")
    assert json.loads(json.dumps(dict(problem.metadata))) == dict(problem.metadata)
    expected = {"day": "2026-01-02", "zoned": "2026-01-02T03:04:05+00:00", "took": 1.5, "cost": 0.1, "raw": "/wA="}
    expected |= {
        "tags": ["a", "b"],
        "nested": {"a": [{"b": 1.5, "c": "x"}]},
        "level": "hard",
        "flag": True,
        "none": None,
    }
    assert expected.items() <= problem.metadata.items()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), "datetime"),
        (dt.date(2026, 1, 2), "date"),
        (b"\xff\xfe", "bytes"),
        ({"value": 4}, "dict; read a part of it, --columns answer=answer.value"),
        (["6"], "list of 1; read a part of it, --columns answer=answer.0"),
        (["6", "7"], "a list of 2: write what a response has to give as one text, such as '3, 4'"),
        ([], "list of 0"),
        (None, "NoneType"),
    ],
)
def test_an_answer_of_another_type_is_refused_with_its_row_and_column(tmp_path: Path, value: Any, kind: str) -> None:
    path = write(tmp_path / "a.parquet", [{"problem": "q", "Answer": value}])
    said = refusal(path)
    assert "a.parquet, row 1: the column 'Answer' must be a text or a number, not " in said
    assert kind.replace("answer.", "Answer.") in said


def test_a_cell_that_parquet_cannot_give_names_its_row_and_column(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    far = pa.array([0, 10**14], pa.timestamp("s"))
    pq.write_table(pa.table({"problem": ["a", "b"], "answer": ["1", "2"], "when": far}), tmp_path / "a.parquet")
    assert "a.parquet, row 2: the column 'when' (timestamp[ms]) cannot be read" in refusal(tmp_path / "a.parquet")


MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".jsonl.gz"])
def test_chat_messages_and_nested_golds_are_read_by_their_paths(tmp_path: Path, suffix: str) -> None:
    row = {"prompt": MESSAGES, "reward_model": {"ground_truth": "4", "style": "rule"}, "extra_info": {"index": 3}}
    path = write(tmp_path / f"a{suffix}", [row])
    said = refusal(path, columns="answer=reward_model.ground_truth")
    assert " 1: the column 'prompt' must be a text, not list of chat messages (system, user); read a part of it" in said
    assert "--columns prompt=prompt.0.content or prompt.1.content" in said
    columns = "prompt=prompt.1.content,answer=reward_model.ground_truth,id=extra_info.index"
    (problem,) = load(path, columns=columns)
    assert (problem.id, problem.prompt, problem.answer) == ("3", "2+2?", "4")
    assert problem.metadata["reward_model"]["style"] == "rule"


def test_what_a_refusal_names_reads_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"Question": MESSAGES[1:], "Answer": {"value": "4"}}])
    named = None
    for _ in range(2):
        option = re.search(r"--columns (\S+=\S+)", refusal(path, columns=named))
        assert option is not None
        named = option[1] if named is None else f"{named},{option[1]}"
    assert load(path, columns=named)[0].answer == "4"
    path = write(tmp_path / "b.jsonl", [{"statement": "2+2", "final.answer": 4}])
    assert "name another, --columns prompt=NAME: there are statement, final.answer" in refusal(path)
    assert load(path, columns="prompt=statement,answer=final.answer")[0].answer == "4"


def test_messages_that_were_written_as_text_are_no_prompt(tmp_path: Path) -> None:
    for text in (json.dumps(MESSAGES), repr(MESSAGES), "[{'content': 'q', 'role': 'user'}]"):
        said = refusal(write(tmp_path / "a.csv", [{"prompt": text, "answer": "4"}]))
        assert "row 1: the column 'prompt' holds chat messages that were written as text" in said


def test_one_of_several_golds_is_never_taken_in_silence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": "p", "golds": ["6"]}, {"problem": "q", "golds": ["6", "7"]}])
    said = refusal(path, columns="answer=golds.0")
    assert "line 2: the column 'golds.0' must be a text or a number, not one entry in a list of 2" in said
    assert load(write(path, [{"problem": "p", "golds": ["6"]}]), columns="answer=golds.0")[0].answer == "6"


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["prompt", "problem", "question"]),
    st.sampled_from([str.title, str.upper, str.lower, lambda name: f" {name.title()} "]),
    st.sampled_from([".jsonl", ".csv", ".jsonl.gz"]),
)
def test_names_are_recognised_whatever_their_case(prompt: str, written: Any, suffix: str) -> None:
    row = {written(prompt): "q", written("answer"): "4", written("id"): "a", "Level": "5", written("tolerance"): "0.1"}
    with tempfile.TemporaryDirectory() as folder:
        (problem,) = load(write(Path(folder) / f"a{suffix}", [row]))
    assert problem == Problem("a", "q", "4", {"Level": "5", "tolerance": "0.1"})


def test_names_that_could_be_two_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": "q", "Answer": "4", "ANSWER": "5"}])
    assert "line 1: 'Answer' and 'ANSWER' may be the answer: name one, --columns answer=NAME" in refusal(path)
    assert load(path, columns="answer=ANSWER")[0].answer == "5"
    (tmp_path / "b.csv").write_text("problem,answer,answer\nq,4,5\n")
    assert "two columns are called 'answer': rename one" in refusal(tmp_path / "b.csv")


@pytest.mark.parametrize("id", [{"a": 1}, [1], True])
def test_an_id_is_a_text_or_a_number(tmp_path: Path, id: Any) -> None:
    said = refusal(write(tmp_path / "a.jsonl", [{"problem": "q", "answer": "4", "id": id}]))
    assert "line 1: the column 'id' must be a text or a number, not " in said


def test_a_blank_prompt_is_refused_whatever_the_template(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": " \n", "answer": "4"}])
    with pytest.raises(ValueError, match="line 1: the prompt is empty"):
        file_task(path, "math", template="Solve: {problem}").load("test")


@pytest.mark.parametrize("text", ["prompt", "prompt=", "=x", "gold=x", "prompt=a,prompt=b", ""])
def test_a_bad_option_says_how_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match="write prompt=NAME,answer=NAME,id=NAME"):
        parse_columns(text)


def test_a_named_column_that_is_missing_is_told_with_those_there_are(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": "q", "gold": {"text": "4"}}])
    said = refusal(path, columns="answer=gold.value")
    assert "line 1: the column 'gold.value', named for the answer, is missing; there are problem, gold.text" in said


# -- columns with a meaning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["0.01", "1/3", "1e-3", 0.5, 0, "", None])
def test_a_tolerance_is_a_number_or_empty(tmp_path: Path, cell: Any) -> None:
    (problem,) = load(write(tmp_path / "a.jsonl", [{"problem": "q", "answer": "4", "tolerance": cell}]))
    check_problems("math", [problem])
    near = get_verifier("math")(r"\boxed{4.3}", problem).outcome
    assert near == ("correct" if cell in ("1/3", 0.5) else "wrong")


@pytest.mark.parametrize("cell", ["abc", "5%", -0.1, "-1", True, "nan", "inf", [0.1], {"abs": 1}])
def test_a_cell_that_is_no_tolerance_is_refused(tmp_path: Path, cell: Any) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": "q", "answer": "4", "tolerance": cell}])
    said = refusal(path)
    assert re.search(r"line 1: problem '1': its tolerance .* is not a number of at least 0", said)
    assert load(path, "last_box")  # which has no use for it


def test_run_on_and_choices_are_checked_and_read(tmp_path: Path) -> None:
    for cell, value in (("False", False), ("TRUE", True), ("", False), ("1", True)):
        (problem,) = load(write(tmp_path / "a.csv", [{"problem": "q", "answer": "4", "run_on": cell, "choices": "5"}]))
        assert problem.metadata == {"run_on": value, "choices": 5}
    said = refusal(write(tmp_path / "a.csv", [{"problem": "q", "answer": "4", "run_on": "maybe"}]))
    assert "row 1: the column 'run_on' must be true, false or empty" in said


@pytest.mark.parametrize("verifier", ["math", "last_box", "last_integer", "choice", "exact"])
def test_a_gold_that_a_verifier_cannot_use_is_told_with_its_row(tmp_path: Path, verifier: str) -> None:
    path = write(tmp_path / "a.jsonl", [{"problem": "q", "answer": " "}])
    assert "a.jsonl, line 1: problem '1'" in refusal(path, verifier)


def test_golds_of_other_verifiers_are_texts() -> None:
    assert read_gold("The answer is no.", "exact") == "The answer is no."
