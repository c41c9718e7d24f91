"""Programming tasks from local files: HumanEval, MBPP, or your own with stdin and stdout."""

import ast
from collections.abc import Callable
from pathlib import Path

from simko.records import Problem
from simko.tasks.columns import text_of
from simko.tasks.file_rows import problems_task
from simko.tasks.table_files import Row
from simko.tasks.task import Task

ANSWER_FORMAT = "Answer with the whole program in one block that starts with ```python and ends with ```."


def humaneval_problem(row: Row, chat: bool = True) -> Problem:
    """A problem from HumanEval's columns task_id, prompt, entry_point, test (and canonical_solution).

    chat: the prompt asks for the whole function. Otherwise it is the signature and docstring, which a base model continues.
    """
    signature = text_of(row, "prompt")
    asked = f"Complete this Python function. {ANSWER_FORMAT}\n\n```python\n{signature.rstrip()}\n```\n"
    metadata = {"signature": signature, "entry_point": text_of(row, "entry_point"), "test": text_of(row, "test")}
    return Problem(str(row["task_id"]), asked if chat else signature, str(row.get("canonical_solution", "")), metadata)


def mbpp_problem(row: Row, chat: bool = True) -> Problem:
    """A problem from MBPP's columns task_id, text (or prompt), code, test_list, test_setup_code (or test_imports).

    The prompt shows the tests, as the benchmark's authors do. The reference code says what the program must define. chat: the
    prompt says how to answer. Otherwise it ends with the start of a Python block, which a base model continues.
    """
    text = text_of(row, "prompt" if row.get("text") is None else "text")
    tests, code = row.get("test_list"), text_of(row, "code")
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise ValueError("the column 'test_list' must be a list of assert statements")
    imports = row.get("test_imports") or []
    setup = "\n".join([*imports, row.get("test_setup_code") or ""]).strip()
    asked = f"{text}\nThe program must pass these tests:\n\n```python\n" + "\n".join(tests) + "\n```\n\n"
    metadata = {"test_list": list(tests), "test_setup_code": setup, "names": _defined(code)}
    return Problem(str(row["task_id"]), asked + (f"{ANSWER_FORMAT}\n" if chat else "```python\n"), code, metadata)


def stdin_problem(row: Row, chat: bool = True) -> Problem:
    """A problem from the columns id (or task_id), prompt and tests, a list of {"input": stdin, "output": stdout}."""
    tests = row.get("tests")
    if not isinstance(tests, list) or not tests:
        raise ValueError("the column 'tests' must be a list of objects with input and output")
    for test in tests:
        if not isinstance(test, dict) or not all(isinstance(test.get(column), str) for column in ("input", "output")):
            raise ValueError("each of the column 'tests' must be an object with input and output, texts")
    asked = f"{text_of(row, 'prompt').rstrip()}\n\nThe program reads stdin and prints the answer. "
    ending = f"{ANSWER_FORMAT}\n" if chat else "\n\n```python\n"
    id = row["task_id"] if row.get("id") is None else row["id"]
    return Problem(str(id), asked + ending, "", {"tests": tests})


def code_task(path: Path | str, chat: bool = True) -> Task:
    """A task over a JSONL, CSV or Parquet file with the columns of HumanEval, MBPP or `stdin_problem`.

    CSV has no lists, so it only fits HumanEval. chat: write the prompts for a chat model, not for a base model. Loading raises
    ValueError, naming the file and row, for a row that does not fit.
    """
    return problems_task(
        path,
        lambda row, _: _problem(row, chat),
        description=f"the programs asked for in {path}",
        verifier="code",
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=2048,
        stop=(),
        chat=chat,
    )


_FORMS: dict[str, Callable[[Row, bool], Problem]] = {
    "entry_point": humaneval_problem,
    "test_list": mbpp_problem,
    "tests": stdin_problem,
}
"""{a column that only this form has: the function that reads its rows}."""


def _problem(row: Row, chat: bool) -> Problem:
    read = next((read for column, read in _FORMS.items() if row.get(column) is not None), None)
    if read is None:
        raise ValueError(f"expected one of the columns {', '.join(_FORMS)}: see code_task for the formats")
    return read(row, chat)


def _defined(code: str) -> list[str]:
    """The top-level functions and classes of a reference program, in order."""
    try:
        body = ast.parse(code).body
    except SyntaxError as error:
        raise ValueError(f"the column 'code' is not Python ({error})") from error
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return list(dict.fromkeys(node.name for node in body if isinstance(node, kinds)))
