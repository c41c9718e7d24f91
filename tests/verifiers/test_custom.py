"""Verifiers of the user's own: found by name, run within limits, never taken for another."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from simko.records import Problem, Verdict
from simko.verifiers import (
    VerifierError,
    check_problems,
    custom,
    get_verifier,
    grade_many,
    import_function,
    verifier_name,
)
from simko.verifiers.direct import as_verdict
from simko.verifiers.pool.pool import GradingPool

PROBLEM = Problem("p7", "2 + 2", "4")
JUDGE = """
import os, sys
from marks import CORRECT  # beside this file
from simko.records import Verdict

class NumPyLike:
    def __init__(self, value): self.value = value
    def item(self): return self.value

def judge(response, problem):
    if response == "exit": sys.exit(0)
    if response == "_exit": os._exit(0)
    if response == "raise": raise KeyError("a key of mine")
    if response == "log": open(os.path.join(os.path.dirname(__file__), "log"), "w").write("x" * 100)
    given = {
        "half": 0.5, "one": 1, "zero": 0.0, "verdict": Verdict("unparsed", score=0.25), "true": NumPyLike(True),
        "nan": float("nan"), "two": 2, "minus": -1.0, "none": None, "text": "correct", "list": [1.0],
        "right": Verdict("right"), "number": Verdict("wrong", 5), "nan score": Verdict("wrong", score=float("nan")),
        "text score": Verdict("wrong", score="1"), "long": Verdict("wrong", "x" * 200_000),
    }
    return given.get(response, response.strip() == problem.answer)

def burns(response, problem):
    while response: pass
    return False

def never_ends(response, problem):
    return never_ends(response, problem)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "judge.py").write_text(JUDGE)
    (tmp_path / "marks.py").write_text("CORRECT = True\n")
    return tmp_path


@pytest.mark.parametrize(
    ("response", "verdict"),
    [
        ("4 ", Verdict("correct")),
        ("5", Verdict("wrong")),
        ("half", Verdict("wrong", score=0.5)),
        ("one", Verdict("correct", score=1.0)),
        ("zero", Verdict("wrong", score=0.0)),
        ("true", Verdict("correct")),
        ("verdict", Verdict("unparsed", score=0.25)),
        ("log", Verdict("wrong")),
        ("long", Verdict("wrong", "x" * 200_000)),
    ],
)
def test_its_result_is_a_bool_a_share_or_a_verdict(folder: Path, response: str, verdict: Verdict) -> None:
    assert get_verifier("./judge.py:judge", folder=folder)(response, PROBLEM) == verdict


def test_a_share_is_the_reward() -> None:
    assert [as_verdict(r).reward for r in (0.5, 1, True, False)] == [0.5, 1.0, 1.0, 0.0]
    assert Verdict("error", score=1.0).reward is None


@pytest.mark.parametrize(
    "response",
    [
        "nan",
        "two",
        "minus",
        "none",
        "text",
        "list",
        "right",
        "number",
        "nan score",
        "text score",
        "raise",
        "exit",
        "_exit",
    ],
)
def test_what_is_no_verdict_names_function_and_problem(folder: Path, response: str) -> None:
    with pytest.raises(VerifierError, match=r"judge\.py:judge failed on problem 'p7'"):
        grade_many(get_verifier("judge.py:judge", folder=folder), [("4", PROBLEM), (response, PROBLEM)])


@pytest.mark.parametrize("result", [None, "correct", float("nan"), 3])
def test_a_callable_gives_the_same_results_or_a_clear_error(result: object) -> None:
    with pytest.raises(VerifierError, match=r"problem 'p7'.*neither a bool"):
        grade_many(lambda response, problem: result, [("4", PROBLEM)])  # type: ignore[arg-type,return-value]


def test_a_callable_that_exits_ends_nothing() -> None:
    with pytest.raises(VerifierError, match="SystemExit on problem 'p7'"):
        grade_many(lambda response, problem: sys.exit(0), [("4", PROBLEM)])


def test_a_long_list_of_long_answers_does_not_stall(folder: Path) -> None:
    verdicts = grade_many(
        get_verifier("judge.py:judge", folder=folder), [("long", PROBLEM), ("x" * 10**6, PROBLEM)] * 70
    )
    assert [v.outcome for v in verdicts] == ["wrong"] * 140


def test_a_response_that_takes_all_the_time_is_a_timeout(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custom, "_POOL", GradingPool(1, replace(custom.OWN_LIMITS, cpu_seconds=0.3)))
    assert get_verifier("judge.py:burns", folder=folder)("x", PROBLEM).outcome == "timeout"


def test_one_that_cannot_end_is_refused_before_sampling(folder: Path) -> None:
    with pytest.raises(VerifierError, match=r"used up its .* on an empty response to problem 'p7'"):
        check_problems(get_verifier("judge.py:never_ends", folder=folder), [PROBLEM])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("judge.py", "write package.module:function or ./file.py:function"),
        ("judge:", "write package.module:function"),
        (":judge", "write package.module:function"),
        ("./nope.py:judge", r"cannot load \./nope\.py .*No such file"),
        ("no_such_package.judge:judge", "cannot load no_such_package.judge .*No module named 'no_such_package'"),
        ("judge.py:grade", r"judge\.py has no function grade; its functions: judge, burns, never_ends"),
        (
            "judge.py:CORRECT",
            r"judge\.py has no function CORRECT \(CORRECT is an object of \w+\); its functions: judge",
        ),
        ("wanting.py:judge", r"cannot load wanting\.py \(ModuleNotFoundError: No module named 'sympyy'"),
        ("broken.py:judge", r"cannot load broken\.py \(SyntaxError: .*line 1"),
        ("script.py:judge", r"cannot load script\.py \(SystemExit: 0"),
        ("folder.py:judge", r"cannot load folder\.py \(IsADirectoryError"),
    ],
)
def test_an_error_says_which_part_is_missing(folder: Path, path: str, said: str) -> None:
    (folder / "wanting.py").write_text("import sympyy\n")
    (folder / "broken.py").write_text("def judge(:\n")
    (folder / "script.py").write_text("import sys\nsys.exit(0)\n")
    (folder / "folder.py").mkdir()
    with pytest.raises(ValueError, match=rf"^--judge '{path}': {said}"):
        import_function(path, what="--judge", folder=folder)


def test_a_module_beside_the_recipe_is_found_in_the_pool_too(tmp_path: Path) -> None:
    for name in ("one", "two"):  # the second when the pool has long started
        package = tmp_path / name / f"judges_{name}"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("")
        (package / "of.py").write_text("from .other import judge\n")
        (package / "other.py").write_text(f"def judge(response, problem): return response == {name!r}\n")
        verifier = get_verifier(f"judges_{name}.of:judge", folder=tmp_path / name)
        assert [v.outcome for v in grade_many(verifier, [("one", PROBLEM), ("two", PROBLEM)])].index("correct") == (
            name == "two"
        )


def test_names_of_the_standard_library_hide_none_of_it(tmp_path: Path) -> None:
    for name in ("math", "types", "random", "select", "json"):
        (tmp_path / f"{name}.py").write_text("def judge(response, problem): return True\n")
    code = "from simko.verifiers import *; from simko.records import Problem; ask = ('\\\\boxed{4}', Problem('p', '', '4'))\n"
    code += "print([grade_many(n, [ask])[0].outcome for n in ('./math.py:judge', 'types.py:judge', 'math')])"
    # -P: else Python itself puts the current directory first
    run = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, text=True, capture_output=True)
    assert run.stdout == "['correct', 'correct', 'correct']\n", run.stderr


def test_two_judges_of_one_name_are_told_apart(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "judge.py").write_text("def judge(response, problem): return True\n")
    one, two = (get_verifier("judge.py:judge", folder=where) for where in (folder, other))
    assert [grade_many(v, [("5", PROBLEM)])[0].outcome for v in (one, two)] == ["wrong", "correct"]
    assert verifier_name(one) != verifier_name(two)
    assert verifier_name(one).startswith("judge.py:judge@sha256:")
    assert verifier_name(one) == verifier_name(get_verifier(f"{folder}/judge.py:judge"))
    assert get_verifier(verifier_name(one), folder=folder) == get_verifier("judge.py:judge", folder=folder)


def test_an_edited_judge_is_another_and_never_stands_in_for_the_old_one(folder: Path) -> None:
    old = get_verifier("judge.py:judge", folder=folder)
    (folder / "judge.py").write_text("def judge(response, problem): return response == 'new'\n")
    new = get_verifier("judge.py:judge", folder=folder)
    assert verifier_name(old) != verifier_name(new)
    assert new("new", PROBLEM).outcome == "correct"
    with pytest.raises(RuntimeError, match="its source has changed since"):
        old("4", PROBLEM)  # the pool had not loaded it before
    with pytest.raises(ValueError, match="its source has changed since"):
        get_verifier(verifier_name(old), folder=folder)


def name_in_a_new_process(name: str, folder: Path) -> str:
    code = "import sys; from simko.verifiers import verifier_name; print(verifier_name(sys.argv[1]))"
    return subprocess.run(
        [sys.executable, "-c", code, name], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def test_a_function_from_another_file_counts_with_it(folder: Path) -> None:
    (folder / "face.py").write_text("from behind_the_face import judge\n")
    names = set()
    for code in ("def judge(response, problem): return True\n", "def judge(response, problem): return False\n"):
        (folder / "behind_the_face.py").write_text(code)
        names.add(name_in_a_new_process("face.py:judge", folder))
    assert len(names) == 2


def test_a_module_that_was_edited_after_its_import_keeps_the_name_of_what_runs(folder: Path) -> None:
    (folder / "edited.py").write_text("def judge(response, problem): return True\n")
    before = get_verifier("edited:judge", folder=folder)
    assert before("5", PROBLEM).outcome == "correct"
    (folder / "edited.py").write_text("def judge(response, problem): return False\n")
    again = get_verifier("edited:judge", folder=folder)
    assert (again, again("5", PROBLEM).outcome) == (before, "correct")
    assert name_in_a_new_process("edited:judge", folder).strip() != verifier_name(before)


FORKS = """
import asyncio, os, time

def forks(response, problem):
    if response == "forks" and os.fork() == 0:
        time.sleep(0.3)
        return True  # in the copy, while the next response is judged
    time.sleep(0.6)
    return False

def leaves_one_behind(response, problem):
    if os.fork() == 0:
        time.sleep(30)
        os._exit(0)
    os._exit(1)

def cancels(response, problem):
    raise asyncio.CancelledError("by the judge")
"""


@pytest.fixture
def forking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "forking.py").write_text(FORKS)
    monkeypatch.setattr(custom, "_POOL", GradingPool(1, custom.OWN_LIMITS))
    return tmp_path / "forking.py"


def test_a_copy_that_it_forks_answers_for_no_other_response(forking: Path) -> None:
    verdicts = grade_many(get_verifier(f"{forking}:forks"), [("forks", PROBLEM), ("next", PROBLEM)])
    assert [v.outcome for v in verdicts] == ["wrong", "wrong"]


def test_a_process_that_it_leaves_behind_stops_nothing(forking: Path) -> None:
    began = time.monotonic()
    with pytest.raises(VerifierError, match="ended with status 1"):
        get_verifier(f"{forking}:leaves_one_behind")("4", PROBLEM)
    assert time.monotonic() - began < 20


def test_what_it_raises_is_named_whatever_its_kind(forking: Path) -> None:
    with pytest.raises(VerifierError, match=r"CancelledError: by the judge \(forking\.py, line 1\d"):
        get_verifier(f"{forking}:cancels")("4", PROBLEM)


@pytest.mark.parametrize(
    ("name", "path", "lazily"),
    [
        ("beside_it", "judge.py:judge", False),
        ("beside_it", "judge.py:judge", True),
        ("numpy", "judge.py:judge", True),
        ("beside_it", "judge:judge", False),
    ],
)
def test_a_module_of_another_place_never_stands_in_for_the_one_beside_it(
    name: str, path: str, lazily: bool, tmp_path: Path
) -> None:
    """A module is imported once a process: the second file of a name would be judged by the first."""
    for folder, right in (("a", True), ("b", False)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(f"RIGHT = {right}\n")
        (tmp_path / folder / "judge.py").write_text(
            f"def judge(response, problem):\n    from {name} import RIGHT\n    return RIGHT\n"
            if lazily
            else f"from {name} import RIGHT\ndef judge(response, problem):\n    return RIGHT\n"
        )
    code = (
        "import sys, numpy\nfrom pathlib import Path\nfrom simko.records import Problem\n"
        "from simko.verifiers import get_verifier\n"
        "for folder in 'ab':\n"
        "    try: print(get_verifier(sys.argv[1], folder=Path(folder))('', Problem('p', '', '')).outcome)\n"
        "    except (ValueError, RuntimeError) as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code, path], cwd=tmp_path, text=True, capture_output=True)
    one, two = run.stdout.splitlines()
    assert "in this process, not" in two or two == "wrong"
    assert "in this process, not" in one if name == "numpy" else one == "correct"
