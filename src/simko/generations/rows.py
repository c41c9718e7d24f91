"""What every reader of foreign generations gives: rows, each a problem with responses to it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from simko.records import FinishReason, Outcome

UNKNOWN = "unknown"
"""What a record holds where the files say nothing."""

_LARGEST = 2**63 - 1  # of a database

_FINISH_REASONS: Mapping[object, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
}


@dataclass(frozen=True)
class Response:
    """One response."""

    text: str
    """Its text."""
    finish_reason: FinishReason = "unknown"
    """Why it ended."""
    tokens: int = 0
    """The number of its tokens; 0 if unknown."""
    seed: int | None = None
    """The seed of its draw; None if unknown."""
    outcome: Outcome | None = None
    """How it was judged, for counts; None for a response that is to be graded."""
    failure: str | None = None
    """Why no response came, in the words of the file; None if one came."""


@dataclass(frozen=True)
class Row:
    """One problem with some responses to it. A problem may have several rows."""

    place: str
    """The file and line, for messages."""
    responses: Sequence[Response]
    """The responses."""
    id: str | None = None
    """The problem's id; None for one made of its prompt."""
    prompt: str | None = None
    """The problem's text; None if the row has none."""
    answer: str | None = None
    """The gold answer; None if the row has none."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What verifiers read beside the answer."""
    task: str | None = None
    """The name of the set of problems; None if the row has none."""
    said: Mapping[str, Any] = field(default_factory=dict)
    """What the row says of the draw: model, temperature, step and the like, as keys of a setting's record."""


def finish_reason(value: object) -> FinishReason:
    """A server's word for why a response ended."""
    return _FINISH_REASONS.get(value if isinstance(value, str) else None, "unknown")


def whole_number(value: object) -> int | None:
    """A whole number from a cell, None for an empty one. ValueError for anything else."""
    if value in (None, "", UNKNOWN):
        return None
    try:
        number = int(str(value))
    except ValueError:
        raise ValueError(f"{value!r:.40} is not a whole number") from None
    if abs(number) > _LARGEST:
        raise ValueError(f"{value!r:.40} is too large a number")
    return number


def known(**said: Any) -> dict[str, Any]:
    """What is said, without what is None."""
    return {key: value for key, value in said.items() if value is not None}


@contextmanager
def reading(place: str, writer: str = "") -> Iterator[None]:
    """Names the place of a row that cannot be read. writer: the package that writes such rows, for what is missing in one."""
    try:
        yield
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        wanted = f"is not as {writer} writes it" if writer else "cannot be read"
        raise ValueError(f"{place}: the row {wanted} ({error!r})") from error
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
