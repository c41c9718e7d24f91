"""Tasks from your own files of prompts and answers."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simko.records import Problem
from simko.tasks.columns import Columns, cell_answer, cell_id, cell_text
from simko.tasks.file_rows import problems_task
from simko.tasks.golds import eaten_latex, read_gold
from simko.tasks.table_files import Row
from simko.tasks.task import Task, fill
from simko.verifiers import VERIFIERS, get_verifier

_MESSAGES = re.compile(r"""\s*(?:array\()?\[\s*\{.*['"](?:role|content|from)['"]\s*:""", re.DOTALL)


def file_task(
    path: Path | str,
    verifier: str | None,
    *,
    template: str = "{problem}",
    columns: Mapping[str, str] | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 1024,
    stop: tuple[str, ...] = (),
) -> Task:
    r"""A task over a UTF-8 JSONL or CSV file (with a header line), which may end in .gz, or a Parquet file.

    The columns are prompt (or problem, or question), answer, and optionally id, whatever the case of their names. Prompts and
    answers are texts. An answer may also be a number, which is read as it is written: 3.50 as "3.50"; from Parquet 2.0 as "2".
    For simko's own verifiers that compare answers, an answer is what follows "####" or stands in \boxed{} where the
    text has either, and the text itself is kept as the metadata's answer_raw; for "math" and "last_box" prose is refused.

    Other columns become metadata, as JSON can hold them (see `as_json`). Three of them have a meaning:

    - tolerance: for "math", how far a number may be from the answer, absolute, instead of the usual relative tolerances; a number
      of at least 0, or empty.
    - run_on: true cuts responses where they go on with another question, as those of base models do, before they are judged; true,
      false or empty.
    - choices: the number of equally likely answers, for the guessing line; or anything else, which has no meaning.

    Without an id column, the id is the row's number, in a JSONL file the line's. Loading raises ValueError, naming the file and
    row, for a row that does not fit, and for one that the verifier cannot judge.

    Args:
        path: the file.
        verifier: the verifier's name; None if it is not known yet, which leaves answers as they are and checks none.
        template: the prompt, with {problem} for the text, e.g. "{problem}\nPlease put your final answer within \boxed{}."
        columns: {"prompt", "answer" or "id": its column}, a path for a nested one, as in reward_model.ground_truth or
            prompt.0.content. The others are looked for as said above.
        temperature: the default for sampling, like all that follow; 0 is greedy.
        top_p: the probability mass to keep.
        max_new_tokens: the length at which a response is truncated.
        stop: strings that end a response.
    """
    judge = None if verifier is None else get_verifier(verifier)
    if "{problem}" not in template:
        raise ValueError(f"the template {template!r} has no {{problem}} to put a problem's text in")
    found = Columns(columns or {})

    def read(row: Row, number: int) -> Problem:
        problem = _problem(row, number, found, template, verifier)
        if judge is not None and verifier in VERIFIERS:
            judge.check(problem)
        return problem

    return problems_task(
        path,
        read,
        description=f"the problems of {path}",
        verifier=verifier or "",
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        stop=stop,
    )


def _problem(row: Row, number: int, columns: Columns, template: str, verifier: str | None) -> Problem:
    prompt, answer, id = columns.needed(row, "prompt"), columns.needed(row, "answer"), columns.find(row, "id")
    text, raw = cell_text(prompt, "prompt"), cell_answer(answer)
    if not text.strip():
        raise ValueError("the prompt is empty")
    if (reason := eaten_latex(text)) is not None:
        raise ValueError(f"the column {prompt.column!r} {reason}")
    if _MESSAGES.match(text):
        raise ValueError(
            f"the column {prompt.column!r} holds chat messages that were written as text: write the user's text alone, or the "
            "messages as JSON with --columns prompt=prompt.0.content"
        )
    try:
        gold = read_gold(raw, verifier)
    except ValueError as error:
        another = "correct it, or name another column, --columns answer=NAME"
        raise ValueError(f"the column {answer.column!r}: {error}; {another}") from error
    read_whole = {cell.column for cell in (prompt, answer, id) if cell is not None and cell.whole}
    metadata = dict(meaning(key, value) for key, value in row.items() if key not in read_whole)
    if gold != raw:
        metadata = {"answer_raw": raw} | metadata
    own_id = str(number) if id is None or id.value is None else cell_id(id)
    return Problem(own_id, fill(template, text), gold, metadata)


def meaning(column: str, value: Any) -> tuple[str, Any]:
    """A column and its value, under the name and in the form in which simko reads it, if it does."""
    name = column.strip().casefold()
    empty = value is None or value == ""
    if name == "tolerance":
        return name, None if empty else value
    if name == "run_on":
        text = str(value).strip().casefold()
        if not empty and text not in ("true", "false", "1", "0", "yes", "no"):
            raise ValueError(f"the column {column!r} must be true, false or empty, not {value!r:.80}")
        return name, not empty and text in ("true", "1", "yes")
    if name == "choices":
        whole = str(value).strip()
        return name, int(whole) if whole.isdecimal() and int(whole) > 0 else None if empty else value
    return column, value
