"""DeepCoder's problems, the paper's training set for code, as problems for the verifier "code".

The data set has four configurations with their own forms of tests, all in JSON text:

    primeintellect      a list of {type: stdin_stdout or function_call, fn_name, input, output}
    taco                {inputs: [...], outputs: [...]}, with fn_name where a function is called
    lcbv5, codeforces   a list of {input, output, testtype: stdin or functional}; the function's name in row metadata

Arguments and results of a function are JSON values, in lcbv5 as text with one argument a line.
"""

import json
import keyword
import logging
import math
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from simko.records import Problem
from simko.tasks.code_file import ANSWER_FORMAT
from simko.tasks.hub import HubSource, Part, Rows, hub_task
from simko.tasks.task import Task

logger = logging.getLogger("simko")

MAX_TESTS = 15
"""Tests kept of a problem, those with the longest input. Some problems have hundreds."""

_HUB_ID, _COMMIT = "agentica-org/DeepCoder-Preview-Dataset", "177913a7bd43791646ef6a43645caa3c871ab3db"
_LISTS = """def _lists(value):
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value"""
"""JSON has no tuples: a result of tuples is as good as one of lists."""


def deepcoder_problems(config: str, rows: Rows) -> Iterator[Problem]:
    """Rows of a configuration (problem, tests, starter_code, metadata) -> problems, with ids deepcoder/<config>/<row number>.

    Rows whose tests cannot be read are left out. A warning counts them.
    """
    left_out = 0
    for number, row in enumerate(rows):
        try:
            yield deepcoder_problem(row, f"deepcoder/{config}/{number:05d}")
        except ValueError:
            left_out += 1
    if left_out:
        text = "deepcoder (%s): %d of %d problems are left out, since their tests cannot be read"
        logger.warning(text, config, left_out, len(rows))


def deepcoder_problem(row: Mapping[str, Any], id: str) -> Problem:
    """A row of the hub set -> a problem. ValueError, naming it, for a row without a statement or readable tests."""
    text, starter = row.get("problem"), str(row.get("starter_code") or "")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"problem {id!r} has no statement")
    try:
        how, metadata = _judged_by(*_tests(row), starter)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"problem {id!r}: its tests cannot be read ({error!r})") from error
    return Problem(id, f"{text.rstrip()}\n\n{how}{ANSWER_FORMAT}\n", "", metadata)


def _judged_by(function: str | None, pairs: list[tuple[Any, Any]], starter: str) -> tuple[str, dict[str, Any]]:
    """What the prompt says of the program, and the metadata that the verifier reads."""
    if not pairs:
        raise ValueError("there are none")
    longest = sorted(range(len(pairs)), key=lambda i: len(str(pairs[i][0])), reverse=True)
    kept = [pairs[i] for i in sorted(longest[:MAX_TESTS])]
    if function is None:
        tests = [{"input": _text(given), "output": _text(out)} for given, out in kept]
        return "The program reads stdin and prints the answer. ", {"tests": tests}
    if not function.isidentifier() or keyword.iskeyword(function):
        raise ValueError(f"{function!r} is no function's name")
    if other := next((given for given, _ in kept if not isinstance(given, list)), None):
        raise ValueError(f"the arguments {other!r:.80} are no list")
    in_class = re.search(r"^class Solution\b", starter, re.MULTILINE) is not None
    call = f"Solution().{function}" if in_class else function
    asserts = [f"assert _lists({call}(*{_literal(given)})) == _lists({_literal(out)})" for given, out in kept]
    how = f"The program defines the function {function}. "
    if starter:
        how = f"The program completes this code.\n\n```python\n{starter.rstrip()}\n```\n\n"
    return how, {"test_list": [_LISTS, *asserts], "names": ["Solution" if in_class else function]}


def _tests(row: Mapping[str, Any]) -> tuple[str | None, list[tuple[Any, Any]]]:
    """The function that is called, or None for a program that reads stdin, and pairs of input and output."""
    tests = json.loads(row["tests"]) if isinstance(row["tests"], str) else row["tests"]
    metadata = row.get("metadata") or {}
    metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
    if isinstance(tests, dict):  # taco
        pairs = list(zip(tests["inputs"], tests["outputs"], strict=True))
        name = tests.get("fn_name")
        return name, [(given, _unwrapped(out)) for given, out in pairs] if name else pairs
    kinds = {test.get("type") or test.get("testtype") or "stdin" for test in tests}
    pairs = [(test["input"], test["output"]) for test in tests]
    if kinds <= {"stdin", "stdin_stdout"}:
        return None, pairs
    if kinds == {"function_call"}:  # primeintellect
        (name,) = {test["fn_name"] for test in tests}
        return name, [(given, _unwrapped(out)) for given, out in pairs]
    if kinds == {"functional"}:  # lcbv5
        name = metadata["func_name"]
        return name, [([json.loads(line) for line in given.splitlines()], json.loads(out)) for given, out in pairs]
    raise ValueError(f"tests of the kinds {', '.join(sorted(kinds))}")


def _unwrapped(out: Any) -> Any:
    """The one value of a list, in which these configurations hold a function's result."""
    return out[0] if isinstance(out, list) and len(out) == 1 else out


def _text(text: Any) -> str:
    """Text of stdin or stdout, which some rows hold as a list of lines."""
    if isinstance(text, list):
        text = "\n".join(map(_text, text))
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no text")
    return text


def _literal(value: Any) -> str:
    """A JSON value as Python source."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} has no literal")
    if isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            _literal(item)
    return repr(value)


def _part(config: str, split: str, rows: int | None = None) -> Part:
    source = HubSource(_HUB_ID, split, _COMMIT, rows, files=(f"{config}/{split}-*.parquet",))
    return Part(source, partial(deepcoder_problems, config))


DEEPCODER: Task = hub_task(
    "deepcoder",
    {
        "train": [_part("primeintellect", "train", 16252), _part("taco", "train", 7436), _part("lcbv5", "train")],
        "test": [_part("codeforces", "test"), _part("lcbv5", "test")],
    },
    description=f"Competitive programming: the paper's training set for code. At most {MAX_TESTS} tests a problem.",
    verifier="code",
    temperature=0.7,
    top_p=0.95,
    max_new_tokens=8192,
    stop=(),
    chat=True,
    samples=16,
    sizes={"train": None, "test": None},
    licence="MIT",
    known_defects=(
        "The hub's rows have not been read here; the forms of their tests are those that public loaders read.",
        "Problems with several correct outputs are judged by the one in the data.",
        "Rows whose tests cannot be read are left out, with a warning that counts them.",
    ),
)
