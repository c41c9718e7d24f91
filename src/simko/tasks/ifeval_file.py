"""Instruction following from a local file in IFEval's published format, as JSONL."""

from pathlib import Path
from typing import Any

from simko.records import Problem
from simko.tasks.code_file import add_problem, json_rows
from simko.tasks.task import Split, Task, check_request
from simko.verifiers.instructions import instruction_checks, require_langdetect


def ifeval_problem(row: dict[str, Any]) -> Problem:
    """A problem from the columns key, prompt, instruction_id_list and kwargs; ValueError for unknown ones."""
    prompt = row["prompt"]
    if not isinstance(prompt, str):
        raise ValueError(f"the column 'prompt' must be a text, not {type(prompt).__name__}")
    metadata = {"instruction_id_list": row["instruction_id_list"], "kwargs": row["kwargs"]}
    problem = Problem(str(row["key"]), prompt, "", metadata)
    if any(name == "language:response_language" for name, _ in instruction_checks(problem)):
        require_langdetect()
    return problem


def ifeval_task(path: Path | str) -> Task:
    """A task over a UTF-8 JSONL file of IFEval's rows; the prompts go out as they stand, as a user's messages.

    Loading raises ValueError naming the file and line where a row does not fit, or asks for a language and langdetect
    is not installed.
    """
    path = Path(path)

    def load(split: Split, limit: int | None = None) -> list[Problem]:
        check_request(str(path), split, limit)
        problems: dict[str, Problem] = {}
        for place, row in json_rows(path):
            add_problem(problems, place, row, ifeval_problem)
        return list(problems.values())[:limit]

    return Task(
        name=path.stem,
        description=f"the instructions of {path}",
        verifier="instructions",
        load=load,
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=1280,
        stop=(),
        source=str(path),
        licence="the file's own",
        chat=True,
    )
