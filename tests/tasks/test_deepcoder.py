"""DeepCoder's rows: every form of tests becomes a problem that the code verifier judges, and no other."""

import copy
import json

import pytest
from hub_copies import DEEPCODER_FORMS, deepcoder_row, deepcoder_rows

from simko.tasks import TASKS
from simko.tasks.deepcoder import MAX_TESTS, deepcoder_problem, deepcoder_problems
from simko.verifiers import get_verifier

ADD = "def add(a, b):\n    return a + b\n"
PROGRAMS = {
    "stdin_stdout": "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
    "function_call": ADD,
    "taco": "print(sum(map(int, open(0).read().split())))",
    "taco_function": ADD,
    "stdin": "print(sum(map(int, input().split())))",
    "functional": "class Solution:\n    def swap(self, a, b):\n        return b, a",  # a tuple, as good as a list
}
WRONG = {
    name: program.replace("sum", "max").replace("a + b", "a").replace("b, a", "[b]")
    for name, program in PROGRAMS.items()
}


def changed(name, change):
    form = copy.deepcopy(DEEPCODER_FORMS[name])
    change(form)
    return deepcoder_row(form)


@pytest.mark.usefixtures("bwrap")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_correct_program_passes_and_another_does_not(name):
    problem = deepcoder_problem(deepcoder_row(DEEPCODER_FORMS[name]), name)
    verify = get_verifier(TASKS["deepcoder"].verifier)
    verify.check(problem)
    answers = [f"<think>no</think>\n```python\n{program}\n```" for program in (PROGRAMS[name], WRONG[name], "", "1 +")]
    verdicts = verify.grade([(answer, problem) for answer in answers])
    assert [v.outcome for v in verdicts] == ["correct", "wrong", "unparsed", "wrong"]


def test_the_prompt_says_what_is_called():
    asked = {name: deepcoder_problem(deepcoder_row(form), name).prompt for name, form in DEEPCODER_FORMS.items()}
    assert all("reads stdin" in asked[name] for name in ("stdin_stdout", "taco", "stdin"))
    assert all("defines the function add" in asked[name] for name in ("function_call", "taco_function"))
    assert "```python\nclass Solution:\n    def swap(self" in asked["functional"]
    assert all("Add.\n\n" in text and "  " not in text.replace("    ", "") for text in asked.values())


@pytest.mark.parametrize("size", [1, MAX_TESTS, MAX_TESTS + 1, 300])
def test_the_tests_of_longest_input_are_kept_in_order(size):
    tests = [{"input": "x" * (i * 7 % size), "output": str(i)} for i in range(size)]
    kept = deepcoder_problem(deepcoder_row({"tests": tests}), "a").metadata["tests"]
    assert len(kept) == min(size, MAX_TESTS)
    assert [t for t in tests if t in kept] == kept
    shortest = min(len(t["input"]) for t in kept)
    assert sum(len(t["input"]) > shortest for t in tests) <= MAX_TESTS


UNREADABLE = {
    "no tests": deepcoder_row({"tests": []}),
    "null": deepcoder_row({"tests": None}),
    "a number": deepcoder_row({"tests": 3}),
    "not JSON": {"problem": "?", "tests": "[{"},
    "no column": {"problem": "?"},
    "deep": {"problem": "?", "tests": "[" * 100_000},
    "an empty statement": deepcoder_row(DEEPCODER_FORMS["stdin"]) | {"problem": " \n"},
    "no statement": deepcoder_row(DEEPCODER_FORMS["stdin"]) | {"problem": None},
    "numbers for stdin": changed("stdin", lambda f: f["tests"][0].update(input=3)),
    "no output": changed("stdin_stdout", lambda f: f["tests"][0].pop("output")),
    "another kind": changed("stdin", lambda f: f["tests"][0].update(testtype="interactive")),
    "two kinds": changed("stdin", lambda f: f["tests"].append(DEEPCODER_FORMS["functional"]["tests"][0])),
    "fewer outputs": changed("taco", lambda f: f["tests"]["outputs"].pop()),
    "two functions": changed("function_call", lambda f: f["tests"].append(f["tests"][0] | {"fn_name": "sub"})),
    "a function without a name": changed("functional", lambda f: f.update(metadata={})),
    "no identifier": changed("taco_function", lambda f: f["tests"].update(fn_name="add(1)\nimport os\nadd")),
    "not a number": changed("function_call", lambda f: f["tests"][0].update(output=[float("nan")])),
    "arguments that are no JSON": changed("functional", lambda f: f["tests"][0].update(input="one")),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_rows_that_cannot_be_judged_are_counted_and_left_out(name, caplog):
    rows = [UNREADABLE[name], deepcoder_row(DEEPCODER_FORMS["stdin"])]
    assert [p.id for p in deepcoder_problems("taco", rows)] == ["deepcoder/taco/00001"]
    assert "deepcoder (taco): 1 of 2 problems are left out" in caplog.text
    with pytest.raises(ValueError, match="problem 'a'"):
        deepcoder_problem(UNREADABLE[name], "a")


def test_the_task_reads_every_configuration_of_its_split(hub_cache):
    """A few of each; test_hub_tasks counts them all."""
    task = TASKS["deepcoder"]
    first = task.load("train", 2)
    assert [p.id for p in first] == ["deepcoder/primeintellect/00000", "deepcoder/primeintellect/00001"]
    ids = [p.id for p in task.load("test")]
    assert [i.split("/")[1] for i in ids] == [config for config, _ in deepcoder_rows("test")]
    for problem in first:
        assert json.loads(json.dumps(problem.metadata)) == problem.metadata


@pytest.mark.parametrize(
    "change",
    [
        lambda form: form["tests"][0].update(input=5),
        lambda form: form["tests"][0].update(input="ab"),
        lambda form: [test.update(fn_name="class") for test in form["tests"]],
    ],
)
def test_a_call_that_no_program_can_answer_is_refused(change):
    with pytest.raises(ValueError, match=r"no list|no function's name"):
        deepcoder_problem(changed("function_call", change), "a")
