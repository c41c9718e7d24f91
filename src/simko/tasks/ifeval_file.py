"""Instruction-following tasks from local files with IFEval's columns."""

from pathlib import Path

from simko.records import Problem
from simko.tasks.columns import text_of
from simko.tasks.file_rows import problems_task
from simko.tasks.table_files import Row
from simko.tasks.task import Task
from simko.verifiers import verify_instructions


def ifeval_problem(row: Row) -> Problem:
    """A problem from the columns key, prompt, instruction_id_list and kwargs. ValueError for unknown instructions."""
    metadata = {"instruction_id_list": row["instruction_id_list"], "kwargs": row["kwargs"]}
    problem = Problem(str(row["key"]), text_of(row, "prompt"), "", metadata)
    verify_instructions.check(problem)
    return problem


def ifeval_task(path: Path | str) -> Task:
    """A task over a JSONL or Parquet file of IFEval's rows. The prompts are sent unchanged, as user messages.

    Loading raises ValueError, naming the file and row, for a row that does not fit, and for one that asks for a language while
    langdetect is not installed.
    """
    return problems_task(
        path,
        lambda row, _: ifeval_problem(row),
        description=f"the instructions of {path}",
        verifier="instructions",
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=1280,
        stop=(),
        chat=True,
    )
