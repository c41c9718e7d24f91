"""Signs that a run goes wrong, read off what it logs: told as they begin, or a reason to stop."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

logger = logging.getLogger("simko")

_PATIENCE = 3
"""Logged rows in a row that must show a sign before it is told."""


@dataclass(frozen=True)
class Sign:
    """What one metric shows."""

    metric: str
    """Its name in TRL's log; one that ends in / stands for all that begin so."""
    holds: Callable[[float, float], bool]
    """(now, in the first logged row) -> whether the sign is there."""
    said: str
    """What it means and what to do; {now}, {first} and {name} are filled in."""

    def reads(self, name: str) -> bool:
        """Whether a metric is its own."""
        return name == self.metric or (self.metric.endswith("/") and name.startswith(self.metric))


SIGNS = (
    Sign(
        "entropy", lambda now, first: now < 0.1 * first,
        "entropy has collapsed to {now:.3g} nats from {first:.3g}: what is left to learn from is what the policy still "
        "samples; look at learning_rate, or at a method that keeps alternatives (simko)",
    ),
    Sign(
        "probe/gated_rank_probability_1", lambda now, first: now > 0.95 and now > first,
        "the first candidate has {now:.0%} of the probability at high-entropy tokens, from {first:.0%}: the samples of a group "
        "become one; a larger simko_alpha acts against it",
    ),
    Sign(
        "clip_ratio/region_mean", lambda now, first: now > 0.3,
        "{now:.0%} of the tokens are clipped: the updates of a rollout leave its policy; lower learning_rate, or make fewer "
        "updates of each rollout",
    ),
    Sign(
        "completions/clipped_ratio", lambda now, first: now > 0.5 and now > first + 0.2,
        "{now:.0%} of the responses are cut at max_completion_length, from {first:.0%}: they grow without an end",
    ),
    Sign(
        "sampling/sampling_logp_difference/mean", lambda now, first: now > 0.1,
        "sampler and trainer disagree by {now:.2g} nats a token: see that both have the same weights and precision",
    ),
    Sign(
        "verdicts/rule/", lambda now, first: now > 0.5 and first < 0.1,
        "{now:.0%} of the correct answers were found by the rule {name}, from {first:.0%}: read some, the policy may have "
        "found a hole in the verifier",
    ),
    Sign(
        "verdicts/commonest_answer", lambda now, first: now > 0.5 and now > first + 0.3,
        "{now:.0%} of the responses to all problems have one and the same answer, from {first:.0%}: read some, the policy may "
        "have found a hole in the verifier",
    ),
)  # fmt: skip


class EarlyWarnings(TrainerCallback):
    """Tells once when a sign of SIGNS has shown in three logged rows in a row, and again when it comes back.

    For any GRPOTrainer of TRL's: trainer.add_callback(EarlyWarnings()). What is told depends on the log alone, which
    checkpoints keep, so that a continued run tells the same.

    stop: end the run at the first sign, with a checkpoint.
    """

    def __init__(self, *, stop: bool = False) -> None:
        self.stop = stop

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at the rows so far."""
        rows = [row for row in state.log_history if "loss" in row]
        found = new_signs(rows) if rows and rows[-1] is state.log_history[-1] else []
        for sign in found if state.is_world_process_zero else ():
            logger.warning("step %d: %s%s", state.global_step, sign, "; the run stops here" if self.stop else "")
        if self.stop and broadcast_object_list([bool(found)])[0]:
            control.should_training_stop = control.should_save = True


def _with_metric(sign: Sign, rows: Iterable[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """The first rows that log a metric of the sign."""
    return list(islice((row for row in rows if any(map(sign.reads, row))), most))


def new_signs(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the signs say that began to hold with the last of the logged rows.

    A sign is read off the rows that log its metric, or for several metrics, any of them: a rule that found nothing has no
    metric in a row in which another one did.
    """
    found = []
    for sign in SIGNS:
        names = list(filter(sign.reads, rows[-1]))
        if not names:
            continue
        begin, *_ = _with_metric(sign, rows, 1)
        last = _with_metric(sign, reversed(rows), _PATIENCE + 1)
        for name in names:
            first = float(begin.get(name, 0.0))
            shown = [sign.holds(float(row.get(name, 0.0)), first) for row in last]
            if len(shown) >= _PATIENCE and all(shown[:_PATIENCE]) and not all(shown[_PATIENCE:] or [False]):
                said = sign.said.format(now=rows[-1][name], first=first, name=name.removeprefix(sign.metric))
                found.append(said)
    return found
