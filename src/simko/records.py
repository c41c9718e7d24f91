"""The rows that cross rooms: a problem, a sampled response, and the verdict on it. Standard library only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Outcome = Literal["correct", "wrong", "unparsed", "timeout", "error"]


@dataclass(frozen=True)
class Problem:
    """One problem of a task.

    id: unique inside the task and stable over runs; prompt: the text a base model continues; answer: the gold
    answer as text (empty where the verifier needs none); metadata: whatever else the verifier reads.
    """

    id: str
    prompt: str
    answer: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """Response number `index` (0-based) to a problem; `tokens` generated; `truncated` where no end token came."""

    problem_id: str
    index: int
    response: str
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class Verdict:
    """What a verifier says of one response.

    outcome: "correct" | "wrong" | "unparsed" (no answer found) | "timeout" (the answer exhausted its time or memory)
    | "error" (the verifier's own fault, never the model's); extracted: the answer that was judged.
    """

    outcome: Outcome
    extracted: str | None = None

    @property
    def reward(self) -> float | None:
        """1.0 if correct, None (unscorable) on our own error, else 0.0."""
        if self.outcome == "error":
            return None
        return 1.0 if self.outcome == "correct" else 0.0


Verifier = Callable[[str, Problem], Verdict]
