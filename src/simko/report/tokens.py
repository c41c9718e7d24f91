"""Blocks that show text token by token: a response coloured by what a model thinks of it, and the candidates of a segment.

Both work without a script: a token is a radio button, so that the arrow keys walk from token to token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

_LONGEST = 60


def on_one_line(text: str) -> str:
    """A token's text where white space must be seen: " a" becomes "␣a", a line's end "⏎". Long ones are cut."""
    marked = text.replace("\r", "").replace("\n", "⏎").replace("\t", "⇥")
    bare = marked.strip(" ")
    before = len(marked) - len(marked.lstrip(" "))
    shown = "␣" * before + bare + "␣" * (len(marked) - before - len(bare)) if bare else "␣" * len(marked)
    return (shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…") or "∅"


def in_text(text: str) -> str:
    """A token's text within a response. A line's end is marked; long tokens are cut."""
    shown = text.replace("\r", "").replace("\n", "⏎\n")
    return (shown if len(shown) <= 4 * _LONGEST else f"{shown[: 4 * _LONGEST]}…") or "∅"


@dataclass(frozen=True)
class Token:
    """A token of a response."""

    text: str
    """Its text, with a mark at the end of a line."""
    line: str
    """Its text on one line (see `on_one_line`)."""
    p: float
    """Its probability."""
    rank: int
    """1 for the most likely token."""
    entropy: float
    """Of the distribution that it was drawn from, nats."""
    gated: bool
    """Whether the entropy is among the highest of the response."""
    acts: int
    """1 where SimKO raises the candidates, -1 where it penalises the token, 0 elsewhere."""
    candidates: Sequence[tuple[str, float]]
    """The most likely tokens, each on one line, and their probabilities."""

    @property
    def heat(self) -> int:
        """The entropy as a shade from 0 to 100, which it reaches at 2 nats."""
        return min(100, round(50 * self.entropy))

    @property
    def classes(self) -> str:
        """The names by which the style colours it."""
        acts = {1: " up", -1: " down"}.get(self.acts, "")
        return f"r{min(self.rank, 4)}{' g' if self.gated else ''}{acts}"


@dataclass(frozen=True)
class Reading:
    """A response as one model reads it."""

    name: str
    """The model."""
    tokens: Sequence[Token]
    """The tokens of the response, or the first of them."""
    ranks: int
    """Ranks above this one were not told apart."""


@dataclass(frozen=True)
class TokenView:
    """A response whose tokens are coloured by entropy, rank, gate, or what SimKO does to them, as several models read it."""

    key: str
    """A word that no other block of the page has."""
    readings: Sequence[Reading]
    """One for each model."""
    caption: str = ""
    """Below it."""
    kind: ClassVar[str] = "tokens"


@dataclass(frozen=True)
class Candidate:
    """A cell of a candidate matrix."""

    text: str
    """The candidate."""
    p: float
    """Its probability."""
    sampled: bool
    """Whether it is the sampled token."""
    elsewhere: Mapping[str, str]
    """{model: the probability that it gives to the candidate}."""


@dataclass(frozen=True)
class Column:
    """The distribution of one token of a segment."""

    sampled: str
    """The sampled token."""
    said: str
    """Its probability and rank."""
    candidates: Sequence[Candidate]
    """The first candidates."""
    rest: str
    """The probability of all others."""


@dataclass(frozen=True)
class Candidates:
    """The candidates of a segment under one model."""

    name: str
    """The model."""
    columns: Sequence[Column]
    """The tokens of the segment."""

    @property
    def depth(self) -> int:
        """The most candidates of a column."""
        return max((len(column.candidates) for column in self.columns), default=0)


@dataclass(frozen=True)
class Matrix:
    """The candidates of a segment by rank, with the sampled path, under several models."""

    key: str
    """A word that no other block of the page has."""
    models: Sequence[Candidates]
    """One for each model."""
    caption: str = ""
    """Below it."""
    kind: ClassVar[str] = "matrix"
