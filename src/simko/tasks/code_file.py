"""Programming tasks from local files: HumanEval, MBPP, or one's own with stdin and stdout, as JSONL."""

import ast
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from simko.records import Problem
from simko.tasks.task import Split, Task, check_request

Row = Mapping[str, Any]

_ANSWER_SO = "Answer with the whole program in one block that starts with ```python and ends with ```."


def humaneval_problem(row: Row, chat: bool = True) -> Problem:
    """A problem from the columns task_id, prompt, entry_point, test (and canonical_solution) of HumanEval.

    chat: the prompt asks for the whole function; else it is the bare signature and docstring, which a base model
    continues.
    """
    signature = _text(row, "prompt")
    asked = f"Complete this Python function. {_ANSWER_SO}\n\n```python\n{signature.rstrip()}\n```\n"
    metadata = {"signature": signature, "entry_point": _text(row, "entry_point"), "test": _text(row, "test")}
    return Problem(str(row["task_id"]), asked if chat else signature, str(row.get("canonical_solution", "")), metadata)


def mbpp_problem(row: Row, chat: bool = True) -> Problem:
    """A problem from the columns task_id, text (or prompt), code, test_list, test_setup_code (or test_imports) of MBPP.

    The prompt shows the tests, as the benchmark's authors do; what the program must define is read from the reference
    code. chat: the prompt says how to answer; else it ends where a base model goes on with a Python block.
    """
    text = _text(row, "text" if "text" in row else "prompt")
    tests, code = row.get("test_list"), _text(row, "code")
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise ValueError("the column 'test_list' must be a list of assert statements")
    imports = row.get("test_imports") or []
    setup = "\n".join([*imports, row.get("test_setup_code") or ""]).strip()
    asked = f"{text}\nThe program must pass these tests:\n\n```python\n" + "\n".join(tests) + "\n```\n\n"
    metadata = {"test_list": list(tests), "test_setup_code": setup, "names": _defined(code)}
    return Problem(str(row["task_id"]), asked + (f"{_ANSWER_SO}\n" if chat else "```python\n"), code, metadata)


def stdin_problem(row: Row, chat: bool = True) -> Problem:
    """A problem from the columns id (or task_id), prompt and tests, a list of {"input": stdin, "output": stdout}."""
    tests = row.get("tests")
    if not isinstance(tests, list) or not tests:
        raise ValueError("the column 'tests' must be a list of objects with input and output")
    for test in tests:
        if not isinstance(test, dict) or not all(isinstance(test.get(column), str) for column in ("input", "output")):
            raise ValueError("each of the column 'tests' must be an object with input and output, texts")
    asked = f"{_text(row, 'prompt').rstrip()}\n\nThe program reads stdin and prints the answer. "
    ending = f"{_ANSWER_SO}\n" if chat else "\n\n```python\n"
    return Problem(str(row.get("id", row.get("task_id"))), asked + ending, "", {"tests": tests})


def code_task(path: Path | str, chat: bool = True) -> Task:
    """A task over a UTF-8 JSONL file whose rows are HumanEval's, MBPP's or `stdin_problem`'s, told by their columns.

    chat: prompts for a model that is asked, else for a base model that continues them. Loading raises ValueError naming
    the file and line where a row does not fit.
    """
    path = Path(path)

    def load(split: Split, limit: int | None = None) -> list[Problem]:
        check_request(str(path), split, limit)
        return _read(path, chat)[:limit]

    return Task(
        name=path.stem,
        description=f"the programs asked for in {path}",
        verifier="code",
        load=load,
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=2048,
        stop=(),
        source=str(path),
        licence="the file's own",
        chat=chat,
    )


_FORMS: dict[str, Callable[[Row, bool], Problem]] = {
    "entry_point": humaneval_problem,
    "test_list": mbpp_problem,
    "tests": stdin_problem,
}
"""{the column by which a form is known: how its rows are read}."""


def _read(path: Path, chat: bool) -> list[Problem]:
    problems: dict[str, Problem] = {}
    for place, row in json_rows(path):
        form = next((read for column, read in _FORMS.items() if column in row), None)
        if form is None:
            raise ValueError(f"{place}: expected one of the columns {', '.join(_FORMS)}: see code_task for the formats")
        add_problem(problems, place, row, lambda row, form=form: form(row, chat))
    return list(problems.values())


def json_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(place, object) of each line of a JSONL file that is not blank; ValueError naming the place of what is none."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    rows: list[tuple[str, dict[str, Any]]] = []
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the file is not UTF-8 ({error})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{place}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{place}: expected an object")
        rows.append((place, row))
    if not rows:
        raise ValueError(f"{path}: the file holds no problems")
    return rows


def add_problem(
    problems: dict[str, Problem], place: str, row: dict[str, Any], read: Callable[[dict[str, Any]], Problem]
) -> None:
    """Put read(row) under its id; ValueError naming the place where the row does not fit or the id is taken."""
    try:
        problem = read(row)
    except KeyError as error:
        raise ValueError(f"{place}: the column {error} is missing") from error
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    if problem.id in problems:
        raise ValueError(f"{place}: the id {problem.id!r} occurs twice")
    problems[problem.id] = problem


def _text(row: Row, column: str) -> str:
    value = row[column]
    if not isinstance(value, str):
        raise ValueError(f"the column {column!r} must be a text, not {type(value).__name__}")
    return value


def _defined(code: str) -> list[str]:
    """The functions and classes at the top level of a reference program, in order."""
    try:
        body = ast.parse(code).body
    except SyntaxError as error:
        raise ValueError(f"the column 'code' is not Python ({error})") from error
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return list(dict.fromkeys(node.name for node in body if isinstance(node, kinds)))
