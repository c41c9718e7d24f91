"""What all packages share: a problem, a sampled response, its verdict, and what gives it. Standard library only."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

Outcome = Literal["correct", "wrong", "unparsed", "timeout", "error", "failed"]
FinishReason = Literal["stop", "length", "failed", "unknown"]


@dataclass(frozen=True)
class Problem:
    """One problem of a task."""

    id: str
    """Unique within the task and stable over runs."""
    prompt: str
    """The text that a base model continues, or a user's message."""
    answer: str = ""
    """The gold answer as text; empty if the verifier needs none."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the verifier reads."""


@dataclass(frozen=True)
class Sample:
    """One response to a problem."""

    problem_id: str
    """The problem's id."""
    index: int
    """The response's number among those to the problem, from 0."""
    response: str
    """The text, without the prompt."""
    tokens: int
    """The number of generated tokens, including the end token; 0 if unknown."""
    finish_reason: FinishReason
    """"stop" for an end token or stop string, "length" for a response truncated at the limit, "failed" if none came, "unknown" for
    one from a file that does not say."""
    prompt_tokens: int = 0
    """The number of prompt tokens; 0 if the back-end does not say."""
    seed: int | None = None
    """The seed of the draw; None if the back-end takes none."""
    thinking: str | None = None
    """The thinking that a server keeps apart from the response; None if it keeps none apart."""
    failure: str | None = None
    """Why no response came, in the server's words; None if one came."""

    @property
    def truncated(self) -> bool:
        """Whether the response was truncated at the limit."""
        return self.finish_reason == "length"


@dataclass(frozen=True)
class Verdict:
    """A verifier's judgement of one response. Evaluation only counts outcomes."""

    outcome: Outcome
    """"correct", "wrong", "unparsed" (no answer found), "timeout" (the answer exceeded its time or memory), "error" (the
    verifier failed, whatever the answer), or "failed" (no response came, so none was judged)."""
    extracted: str | None = None
    """The answer that was judged."""
    score: float | None = None
    """The reward in training; None for the usual one."""
    rule: str | None = None
    """Where the answer stood, such as "box" or "answer tag"; None if the verifier does not say."""

    @property
    def reward(self) -> float | None:
        """None for an "error", else the score, or without a score 1.0 if correct and 0.0 if not."""
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
