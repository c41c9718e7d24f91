"""What crosses rooms: a problem, a sampled response, the verdict on it, and what gives it. Standard library only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

Outcome = Literal["correct", "wrong", "unparsed", "timeout", "error"]
FinishReason = Literal["stop", "length"]


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
    """Response number `index` (0-based) to a problem.

    tokens: generated, the end token included; prompt_tokens: of the prompt (0 where the back-end does not say);
    finish_reason: "stop" (an end token or stop string came) or "length" (cut off at the limit); seed: what its
    generator was seeded with, None where the back-end takes none.
    """

    problem_id: str
    index: int
    response: str
    tokens: int
    finish_reason: FinishReason
    prompt_tokens: int = 0
    seed: int | None = None

    @property
    def truncated(self) -> bool:
        """Whether the response was cut off at the limit."""
        return self.finish_reason == "length"


@dataclass(frozen=True)
class Verdict:
    """What a verifier says of one response.

    outcome: "correct" | "wrong" | "unparsed" (no answer found) | "timeout" (the answer exhausted its time or memory)
    | "error" (the verifier's own fault, never the model's); extracted: the answer that was judged; score: the reward in
    training, where it is not the usual one. Evaluation counts outcomes alone.
    """

    outcome: Outcome
    extracted: str | None = None
    score: float | None = None

    @property
    def reward(self) -> float | None:
        """None (unscorable) on our own error, else the score; without one, 1.0 if correct, else 0.0."""
        if self.outcome == "error":
            return None
        if self.score is not None:
            return self.score
        return 1.0 if self.outcome == "correct" else 0.0


@runtime_checkable
class Verifier(Protocol):
    """Judges responses to problems. simko's own can also be called with one response and its problem."""

    @property
    def name(self) -> str:
        """What a store keeps of it."""

    def check(self, problem: Problem) -> None:
        """ValueError, naming the problem, where no response to it can be judged. Called before anything is sampled."""

    def grade(self, answers: Sequence[tuple[str, Problem]]) -> list[Verdict]:
        """The verdicts on (response, problem) pairs, in order. Thread-safe; raises as `check` does."""


VerifierLike: TypeAlias = str | Verifier | Callable[[str, Problem], Verdict | bool | float]
"""What every call that takes a verifier accepts: a name, a `Verifier`, or a function of a response and its problem."""
