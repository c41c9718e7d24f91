"""Rows that anyone writes: a problem and a response, a problem and a list of responses, or counts that are judged already."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from simko.generations.rows import Response, Row, draws, finish_reason, whole_number
from simko.sampling.replies import THINKING
from simko.tasks.columns import RECOGNISED, Cell, Columns, cell_answer
from simko.tasks.local_file import meaning
from simko.tasks.table_files import Row as Cells

_RESPONSE = ("response", "completion", "output", "generation", "generated_text", "model_output")
_RESPONSES = tuple(f"{name}s" for name in _RESPONSE)
_TEXTS = ("text", "content", *_RESPONSE)
"""Where an object holds a response's text."""
_DRAW = ("model", "temperature", "top_p", "top_k")
ROLES: Mapping[str, Sequence[str]] = {
    **RECOGNISED,
    "answer": ("answer", "gold", "target", "ground_truth", "gold_answer", "expected_answer", "reference_answer"),
    "id": ("id", "problem_id", "question_id", "task_id", "unique_id", "doc_id"),
    "response": (*_RESPONSE, *_RESPONSES),
    **{name: (name,) for name in (*_DRAW, "seed", "finish_reason", "tokens", "c", "n")},
}
"""{what a row needs: the columns in which it is looked for, whatever the case of their names}."""
VERIFIER_COLUMNS = ("tolerance", "run_on", "choices", "answer_type")
"""What simko's verifiers and pages read beside the answer, where it is no more than a cell."""
MOST_COUNTED = 1_000_000
"""The largest n of a problem in counts."""


def is_counts(cells: Cells, columns: Columns) -> bool:
    """Whether a file's first row has an id, c and n, and no response."""
    return all(columns.find(cells, role) for role in ("id", "c", "n")) and columns.find(cells, "response") is None


def counts_row(cells: Cells, place: str, columns: Columns) -> Row:
    """A row of counts: n responses without a text, c of them correct. ValueError for other numbers than 0 <= c <= n."""
    n, c = (whole_number(columns.needed(cells, role).value, role) for role in ("n", "c"))
    if n is None or c is None or not c <= n or not 1 <= n <= MOST_COUNTED:
        raise ValueError(f"c is {c} and n is {n}: give 0 <= c <= n, and n from 1 to {MOST_COUNTED:,}")
    judged = [Response("", outcome="correct")] * c + [Response("", outcome="wrong")] * (n - c)
    return Row(
        place,
        judged,
        id=cell_answer(columns.needed(cells, "id")),
        said=_said(cells, columns),
    )


def flat_row(cells: Cells, place: str, columns: Columns) -> Row:
    """A row with one response or a list of them. ValueError, saying what to do, if it does not fit."""
    responses = _only(cells, columns, "response") or columns.needed(cells, "response")
    prompt, answer, id = columns.find(cells, "prompt"), _only(cells, columns, "answer"), _only(cells, columns, "id")
    if id is not None and (id.value in (None, "") or (prompt is not None and id.column == prompt.column)):
        id = None
    return Row(
        place,
        _responses(cells, responses, columns),
        id=None if id is None else cell_answer(id),
        sure="id" in columns.names,
        prompt=None if prompt is None else prompt_text(prompt.value),
        answer=None if answer is None else _answer(answer),
        metadata=dict(
            meaning(key, value) for key, value in cells.items() if key.strip().casefold() in VERIFIER_COLUMNS
        ),
        said=_said(cells, columns),
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
    if isinstance(content, list) and all(isinstance(part, dict) and part.keys() & {"type", "text"} for part in content):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    if content is None:
        todo = ': write "" for one that failed, which counts as incorrect'
    else:
        todo = f" with {', '.join(map(repr, content))}" if isinstance(content, dict) else ""
    raise ValueError(f"a response must be a text, not {type(content).__name__}{todo}")


def gold_text(value: object) -> str:
    """A gold answer: a text, a number, or a list of one. ValueError for anything else."""
    return _answer(Cell("answer", True, value))


def _answer(cell: Cell) -> str:
    return cell_answer(
        replace(cell, value=cell.value[0]) if isinstance(cell.value, list) and len(cell.value) == 1 else cell
    )


def _only(cells: Cells, columns: Columns, role: str) -> Cell | None:
    """The cell of a role; None if there is none. ValueError if several columns may hold it and none is named."""
    found = columns.find(cells, role)
    if found is not None and role not in columns.names:
        others = [c for c in cells if c != found.column and c.strip().casefold() in columns.recognised[role]]
        if others:
            raise ValueError(f"{found.column!r} and {others[0]!r} may be the {role}: name one, --columns {role}=NAME")
    return found


def _responses(cells: Cells, cell: Cell, columns: Columns) -> list[Response]:
    value = cell.value
    if isinstance(value, str) and cell.column.strip().casefold() in _RESPONSES:
        value = _json_list(value, cell.column)
    several = value if isinstance(value, list) and not _is_conversation(value) else [value]
    if not several:
        raise ValueError(f"the column {cell.column!r} holds no response: give every problem at least one")
    ends, tokens, seeds = (
        _each(columns.find(cells, role), len(several)) for role in ("finish_reason", "tokens", "seed")
    )
    return [_response(one, *about) for one, *about in zip(several, ends, tokens, seeds, strict=True)]


def _json_list(text: str, column: str) -> list[Any]:
    """The list in a cell of CSV."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise ValueError(
            f"the column {column!r} must hold a list of responses, in CSV as JSON; one is a {column[:-1]!r}"
        )
    return found


def _each(cell: Cell | None, count: int) -> Sequence[object]:
    """What a cell says of each of several responses. ValueError for a list of another length."""
    if cell is None or not isinstance(cell.value, list):
        return [cell and cell.value] * count
    if len(cell.value) != count:
        raise ValueError(f"the column {cell.column!r} has {len(cell.value)} entries for {count} responses")
    return cell.value


def _is_conversation(value: Any) -> bool:
    """Whether a list holds the messages of one chat, and not several answers."""
    messages = isinstance(value, list) and bool(value) and all(isinstance(m, dict) and "role" in m for m in value)
    return messages and (len(value) == 1 or any(m["role"] != "assistant" for m in value))


def _response(value: Any, end: object, tokens: object, seed: object) -> Response:
    """A response from its text, from an object that holds it, as servers give it, or from the chat that it ends."""
    thinking = None
    if _is_conversation(value):
        value = value[-1]
        if value["role"] != "assistant":
            raise ValueError(
                f"the chat must end with the assistant's response, not with a message of {value['role']!r:.40}"
            )
    if isinstance(value, dict):
        end = value.get("finish_reason", end)
        inner = value["message"] if isinstance(value.get("message"), dict) else value
        thinking = next((inner[key] for key in THINKING if inner.get(key) and isinstance(inner[key], str)), None)
        held = next((key for key in _TEXTS if key in inner), None)
        value = inner if held is None else inner[held]
    text = "" if value is None and thinking else message_text(value)
    return Response(
        text, finish_reason(end), whole_number(tokens, "tokens") or 0, whole_number(seed, "seed"), thinking=thinking
    )


def _said(cells: Cells, columns: Columns) -> dict[str, Any]:
    found = {role: columns.find(cells, role) for role in _DRAW}
    return draws(**{role: cell.value for role, cell in found.items() if cell is not None})
