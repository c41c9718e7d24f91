"""What a run says of itself while it trains, in any engine: rollouts that cannot train, links that do nothing."""

import logging
from collections.abc import Mapping

logger = logging.getLogger("simko")

_UNSCORED_ROLLOUTS = 64
_IDLE_STEPS = 50


class UnscoredRollouts:
    """Counts rollouts of which no response could be scored; they train nothing."""

    def __init__(self) -> None:
        self.in_a_row = 0

    def see(self, scored: bool, training: bool, step: int, functions: str) -> None:
        """Say so where none was; ValueError after many such rollouts in a row."""
        if training:
            self.in_a_row = 0 if scored else self.in_a_row + 1
        if self.in_a_row >= _UNSCORED_ROLLOUTS:
            raise ValueError(
                f"no response of {self.in_a_row} rollouts in a row could be scored: {functions} gave None to all of them; "
                "let it give a number to a response that it can judge"
            )
        if not scored:
            where, then = "evaluation batch", "it is left out"
            if training:
                where, then = "rollout", f"it trains nothing ({self.in_a_row} in a row)"
            said = "no response of the %s at step %d could be scored, %s gave None to all: %s"
            logger.warning(said, where, step, functions, then)


def warn_of_poor_rollout(truncated: float, longest: int | None, outcomes: Mapping[str, float]) -> None:
    """Say where most of the first rollout cannot train.

    truncated: share of responses cut at `longest` tokens. outcomes: objectives.update.group_outcomes of the rollout.
    """
    if truncated > 0.5:
        said = (
            "%.0f%% of the first rollout's completions were cut at max_completion_length=%d: the model is rarely judged "
            "on a finished answer; raise it, or see that the model ends its answers"
        )
        logger.warning(said, 100 * truncated, longest)
    if outcomes["mixed"] < 0.5:
        said = (
            "%.0f%% of the first rollout's groups have one outcome (%.0f%% all right, %.0f%% all wrong) and train "
            "nothing: choose problems nearer the model's ability, or more generations"
        )
        shares = (100 * outcomes[name] for name in ("all_right", "all_wrong"))
        logger.warning(said, 100 * (1 - outcomes["mixed"]), *shares)


class Receipt:
    """Says once what a row's token links do, and every so many updates that they do nothing."""

    def __init__(self, objective: str, candidates: str) -> None:
        self._objective, self._candidates = objective, candidates
        self._given, self._idle_steps = False, 0

    def see(self, changed: float) -> None:
        """changed: share of the update's tokens that the links changed."""
        if not self._given:
            self._given = True
            said = "%s; the first update changes %.1f%% of its tokens%s"
            logger.warning(said, self._objective, 100 * changed, self._candidates)
        self._idle_steps = 0 if changed else self._idle_steps + 1
        if self._idle_steps and self._idle_steps % _IDLE_STEPS == 0:
            said = (
                "%s has changed no token for %d updates: the run is GRPO so far. Usual causes: no group has both right "
                "and wrong responses, alpha is 0 and lambda 1, or responses too short for the gate"
            )
            logger.warning(said, self._objective.split(" ")[0], self._idle_steps)
