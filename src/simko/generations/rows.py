"""What every reader of foreign generations gives: rows, each a problem with responses to it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from simko.records import FinishReason, Outcome
from simko.sampling.replies import FINISH_REASONS

UNKNOWN = "unknown"
"""What a record holds where the files say nothing."""

_LARGEST = 2**63 - 1  # of a database


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
    thinking: str | None = None
    """The thinking that is kept apart from the response; None if none is."""
    prompt_tokens: int = 0
    """The number of the prompt's tokens; 0 if unknown."""


@dataclass(frozen=True)
class Row:
    """One problem with some responses to it. A problem may have several rows."""

    place: str
    """The file and line, for messages."""
    responses: Sequence[Response]
    """The responses."""
    id: str | None = None
    """The problem's id; None for one made of its prompt."""
    sure: bool = True
    """Whether ids number problems for certain, since a package or the user says so."""
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
    return FINISH_REASONS.get(str(value).lower(), "unknown")


def whole_number(value: object, what: str) -> int | None:
    """A whole number of at least 0 from a cell, None for an empty one. ValueError, with what it is, for anything else.

    3.0 is 3: pandas writes numbers so in a column with an empty cell.
    """
    if value in (None, "", UNKNOWN):
        return None
    text = str(value)
    try:
        number = int(text.removesuffix(".0"))
    except ValueError:
        number = -1
    if not 0 <= number <= _LARGEST:
        raise ValueError(f"{what} must be a whole number of at least 0, not {value!r:.40}")
    return number


def draws(**said: Any) -> dict[str, Any]:
    """What is said of a draw, without what is None or unknown, as a record holds it. ValueError for a value that does not fit."""
    return {key: _FORMS[key](value, key) for key, value in said.items() if value not in (None, "", UNKNOWN)}


def _number(value: object, what: str) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"{what} must be a number of at least 0, not {value!r:.40}")
    return number


def _share(value: object, what: str) -> float:
    number = _number(value, what)
    if number > 1:
        raise ValueError(f"{what} must be a number from 0 to 1, not {value!r:.40}")
    return number


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} must be a text, not {value!r:.40}")
    return value


def _texts(value: object, what: str) -> list[str]:
    return [_text(part, what) for part in (value if isinstance(value, list) else [value])]


_FORMS: Mapping[str, Callable[[object, str], Any]] = {
    "model": _text,
    "temperature": _number,
    "top_p": _share,
    "top_k": whole_number,
    "max_new_tokens": whole_number,
    "stop": _texts,
    "seed": whole_number,
    "step": whole_number,
}
"""{key of a setting's record: (value, key) -> the value as the record holds it}."""


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
