"""Samples with their verdicts as traces of trackio."""

import sys
from collections.abc import Sequence
from typing import Any

from simko.evaluate.files import storable
from simko.records import Problem, Verdict

_TRACES = 16
"""The first samples of a rollout that are logged. They are there to be read, not to be counted."""


def log_traces(answers: Sequence[tuple[str, Problem]], verdicts: Sequence[Verdict], step: int | None) -> None:
    """Log the first samples of a rollout to the run of trackio that is under way in this process, or do nothing if there is none.

    TRL's trainers have one in their main process where `report_to` names trackio. trackio shows them under Traces: each has the
    prompt and the response as messages, and as metadata problem_id, answer (the gold one), status (the verdict, which its list
    shows), extracted, rule and reward.

    Args:
        answers: (response, problem) of every sample.
        verdicts: the verdicts on them.
        step: the optimizer step that the rollout is for.
    """
    trackio: Any = sys.modules.get("trackio")  # whoever began a run has imported it
    if trackio is None or not hasattr(trackio, "Trace") or trackio.context_vars.current_run.get() is None:
        return
    graded = zip(answers[:_TRACES], verdicts, strict=False)
    traces = [
        trackio.Trace(_messages(response, problem), _about(problem, verdict)) for (response, problem), verdict in graded
    ]
    trackio.log({"rollouts": traces}, step=step)


def _messages(response: str, problem: Problem) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": storable(problem.prompt)},
        {"role": "assistant", "content": storable(response)},
    ]


def _about(problem: Problem, verdict: Verdict) -> dict[str, Any]:
    texts = {"problem_id": problem.id, "answer": problem.answer, "status": verdict.outcome}
    texts |= {key: value for key in ("extracted", "rule") if (value := getattr(verdict, key)) is not None}
    return {key: storable(str(text)) for key, text in texts.items()} | {"reward": verdict.reward}
