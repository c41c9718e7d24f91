"""Rows that anyone writes: a problem and a response, a problem and a list of responses, or counts that are judged already."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simko.generations.rows import UNKNOWN, Response, Row, finish_reason, known, whole_number
from simko.tasks.file_rows import Row as Cells
from simko.tasks.file_rows import text_or_number_of
from simko.tasks.local_file import PROMPT_COLUMNS

ANSWER_COLUMNS = ("answer", "gold", "target", "ground_truth", "gold_answer", "expected_answer", "reference_answer")
RESPONSE_COLUMNS = ("response", "completion", "output", "generation", "generated_text", "model_output")
ID_COLUMNS = ("id", "problem_id", "question_id", "task_id", "unique_id", "doc_id")
VERIFIER_COLUMNS = ("tolerance", "run_on", "choices", "answer_type")
"""What simko's verifiers read beside the answer, where it is no more than a cell."""
_DRAW_NUMBERS = ("temperature", "top_p", "top_k")
MOST_COUNTED = 1_000_000
"""The largest n of a problem in counts."""


@dataclass(frozen=True)
class Columns:
    """The names of the columns, or paths such as "doc.answer"; None for those that are recognised by their names."""

    problem: str | None = None
    """The problem's text."""
    answer: str | None = None
    """The gold answer."""
    response: str | None = None
    """The response, or a list of responses."""
    id: str | None = None
    """The problem's id."""

    @property
    def given(self) -> bool:
        """Whether any is named."""
        return any((self.problem, self.answer, self.response, self.id))


def is_counts(cells: Cells) -> bool:
    """Whether a file's first row has the columns id, c and n, and no response."""
    return {"id", "c", "n"} <= cells.keys() and not _recognised(cells, RESPONSE_COLUMNS, plural=True)


def counts_row(cells: Cells, place: str, columns: Columns) -> Row:
    """A row of counts: n responses without a text, c of them correct. ValueError for other numbers than 0 <= c <= n."""
    n, c = whole_number(cells.get("n")), whole_number(cells.get("c"))
    if n is None or c is None or not 0 <= c <= n or not 1 <= n <= MOST_COUNTED:
        raise ValueError(f"c is {c} and n is {n}: give 0 <= c <= n, and n from 1 to {MOST_COUNTED:,}")
    judged = [Response("", outcome="correct")] * c + [Response("", outcome="wrong")] * (n - c)
    return Row(place, judged, id=text_or_number_of(cells, "id"), prompt="", answer="", said=_said(cells))


def flat_row(cells: Cells, place: str, columns: Columns) -> Row:
    """A row with one response or a list of them. ValueError, saying what to do, if it does not fit."""
    responses = _find(cells, columns.response, RESPONSE_COLUMNS, "response", plural=True)
    if responses is None:
        raise ValueError(
            f"there is no column {', '.join(RESPONSE_COLUMNS)}, or several of them as a list, among "
            f"{', '.join(map(str, cells))}: name yours with --response-column"
        )
    prompt = columns.problem or next((c for c in PROMPT_COLUMNS for c in _recognised(cells, (c,))), None)
    answer = _find(cells, columns.answer, ANSWER_COLUMNS, "answer")
    id = _find(cells, columns.id, ID_COLUMNS, "id")
    return Row(
        place,
        _responses(cells, responses),
        id=None if id is None or id == prompt else _text_or_number(cells, id),
        prompt=None if prompt is None else prompt_text(_cell(cells, prompt)),
        answer=None if answer is None else _text_or_number(cells, answer),
        metadata={key: cells[key] for key in VERIFIER_COLUMNS if cells.get(key) is not None},
        said=_said(cells),
    )


def prompt_text(value: object) -> str:
    """A prompt: a text, or the messages of a chat. ValueError for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(m, dict) and "content" in m for m in value):
        if len(value) == 1:
            return message_text(value[0]["content"])
        return "\n\n".join(f"{m.get('role', '')}: {message_text(m['content'])}" for m in value)
    raise ValueError(f"the problem must be a text or a list of messages, not {type(value).__name__}")


def message_text(content: object) -> str:
    """The text of a message's content, which may be a list of parts. ValueError if it has none."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    raise ValueError(
        f'a response must be a text, not {type(content).__name__}: write "" for one that failed, which counts as incorrect'
    )


def gold_text(value: object) -> str:
    """A gold answer: a text, a number, or a list of one. ValueError for anything else."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return text_or_number_of({"answer": value}, "answer")


def _find(cells: Cells, given: str | None, names: Sequence[str], role: str, *, plural: bool = False) -> str | None:
    """The column of a role: the given one, or the only one that is recognised; None if there is none."""
    if given is not None:
        return given
    found = _recognised(cells, names, plural=plural)
    if len(found) > 1:
        raise ValueError(f"the columns {' and '.join(found)} may each hold the {role}: name one with --{role}-column")
    return found[0] if found else None


def _recognised(cells: Cells, names: Sequence[str], *, plural: bool = False) -> list[str]:
    wanted = {*names, *(f"{name}s" for name in names if plural)}
    return [column for column in cells if isinstance(column, str) and column.lower() in wanted]


def _cell(cells: Cells, column: str) -> Any:
    """The cell of a column, or of a path such as "doc.answer". ValueError if there is none."""
    value: Any = cells
    for part in [column] if column in cells else column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise ValueError(f"there is no column {column!r} among {', '.join(map(str, cells))}")
        value = value[part]
    return value


def _text_or_number(cells: Cells, column: str) -> str:
    value = _cell(cells, column)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return text_or_number_of({column: value}, column)


def _responses(cells: Cells, column: str) -> list[Response]:
    value = _cell(cells, column)
    if isinstance(value, str) and column.lower() in {f"{name}s" for name in RESPONSE_COLUMNS}:
        value = _json_list(value, column)
    several = value if isinstance(value, list) else [value]
    if not several:
        raise ValueError(f"the column {column!r} holds no response: give every problem at least one")
    ends, tokens, seeds = (_each(cells.get(key), len(several)) for key in ("finish_reason", "tokens", "seed"))
    return [_response(one, *about) for one, *about in zip(several, ends, tokens, seeds, strict=True)]


def _json_list(text: str, column: str) -> list[Any]:
    """The list in a cell of CSV."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise ValueError(f"the column {column!r} must hold a list of responses, in CSV as JSON; one is {column[:-1]!r}")
    return found


def _each(value: object, count: int) -> Sequence[object]:
    """What a cell says of each of several responses."""
    return value if isinstance(value, list) and len(value) == count else [value] * count


def _response(value: object, end: object, tokens: object, seed: object) -> Response:
    """A response from its text, or from an object with text, content or message, as servers give it."""
    if isinstance(value, dict):
        end = value.get("finish_reason", end)
        inner = value.get("message", value)
        value = next((inner[key] for key in ("text", "content", "response") if key in inner), None)
    text = message_text(value)
    return Response(text, finish_reason(end), max(whole_number(tokens) or 0, 0), whole_number(seed))


def _said(cells: Cells) -> dict[str, Any]:
    numbers = {key: _number(cells[key], key) for key in _DRAW_NUMBERS if cells.get(key) not in (None, "", UNKNOWN)}
    model = cells.get("model")
    return known(model=model if isinstance(model, str) and model else None, **numbers)


def _number(value: object, column: str) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"the column {column!r} must be a number of at least 0, not {value!r:.40}")
    return number
