"""Tasks from your own files of prompts and answers."""

from pathlib import Path

from simko.records import Problem
from simko.tasks.file_rows import Row, problems_task, text_of, text_or_number_of
from simko.tasks.task import Task, fill
from simko.verifiers import get_verifier

PROMPT_COLUMNS = ("prompt", "problem", "question")


def file_task(
    path: Path | str,
    verifier: str,
    *,
    template: str = "{problem}",
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 1024,
    stop: tuple[str, ...] = (),
) -> Task:
    r"""A task over a UTF-8 JSONL or CSV file (with a header line) or a Parquet file.

    The columns are prompt (or problem, or question), answer, and optionally id. Prompts and answers are texts. An answer may
    also be a number, which is read as it is written: 3.50 as "3.50"; from Parquet 2.0 as "2". Other columns become metadata.
    A true run_on cuts responses where they go on with another question, as those of base models do, before they are judged.
    Without an id column, the id is the row's number, in a JSONL file the line's. Loading raises ValueError, naming the file and
    row, for a row that does not fit.

    Args:
        path: the file.
        verifier: the verifier's name.
        template: the prompt, with {problem} for the text, e.g. "{problem}\nPlease put your final answer within \boxed{}."
        temperature: the default for sampling, like all that follow; 0 is greedy.
        top_p: the probability mass to keep.
        max_new_tokens: the length at which a response is truncated.
        stop: strings that end a response.
    """
    get_verifier(verifier)
    if "{problem}" not in template:
        raise ValueError(f"the template {template!r} has no {{problem}} to put a problem's text in")

    def read(row: Row, number: int) -> Problem:
        return _problem(row, number, template)

    return problems_task(
        path,
        read,
        description=f"the problems of {path}",
        verifier=verifier,
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        stop=stop,
    )


def _problem(row: Row, number: int, template: str) -> Problem:
    prompt = next((column for column in PROMPT_COLUMNS if column in row), None)
    if prompt is None:
        raise ValueError(f"there is no column {', '.join(PROMPT_COLUMNS[:-1])} or {PROMPT_COLUMNS[-1]}")
    text, answer = text_of(row, prompt), text_or_number_of(row, "answer")
    metadata = {key: value for key, value in row.items() if key not in (prompt, "answer", "id")}
    id = number if row.get("id") is None else row["id"]
    return Problem(str(id), fill(template, text), answer, metadata)
