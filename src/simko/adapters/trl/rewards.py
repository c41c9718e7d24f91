"""Problems as TRL's dataset rows, verifiers as TRL's reward functions."""

import functools
import inspect
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datasets import Dataset

from simko.evaluate.files import append
from simko.records import Problem, Verifier
from simko.verifiers import grade_many

_COLUMNS = ("problem_id", "answer", "metadata")


def problems_to_dataset(problems: Iterable[Problem], *, chat: bool = False) -> Dataset:
    """Rows with `prompt` (text, or one user message if `chat`), `problem_id`, `answer` and `metadata` (JSON)."""
    rows = [
        {
            "prompt": [{"role": "user", "content": p.prompt}] if chat else p.prompt,
            "problem_id": p.id,
            "answer": p.answer,
            "metadata": json.dumps(dict(p.metadata)),
        }
        for p in problems
    ]
    if not rows:
        raise ValueError("no problems to train on")
    return Dataset.from_list(rows)


def reward_function(
    verifier: Verifier, *, name: str | None = None, samples: Path | None = None
) -> Callable[..., list[float | None]]:
    """A TRL reward function from a verifier: 1.0 for a correct response, 0.0 for any other, None (TRL then leaves it
    out) for an error of the verifier's own.

    The dataset needs the columns of `problems_to_dataset`; ValueError names a missing one. samples: a JSONL file to
    which every graded response is appended. A verifier that raises becomes a VerifierError naming the problem.
    """

    def reward(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        missing = [column for column in _COLUMNS if column not in columns]
        if missing:
            raise ValueError(
                f"the training dataset has no column {', '.join(missing)}: build it with problems_to_dataset, or give a "
                "reward function of your own"
            )
        answers = [
            (message_text(completion), Problem(problem_id, message_text(prompt), answer, json.loads(metadata)))
            for prompt, completion, problem_id, answer, metadata in zip(
                prompts, completions, *(columns[c] for c in _COLUMNS), strict=True
            )
        ]
        verdicts = grade_many(verifier, answers)
        if samples is not None:
            step = getattr(columns.get("trainer_state"), "global_step", None)
            lines = [
                json.dumps({"step": step, "problem_id": problem.id, "response": response} | asdict(verdict)) + "\n"
                for (response, problem), verdict in zip(answers, verdicts, strict=True)
            ]
            append(samples, "".join(lines))
        return [verdict.reward for verdict in verdicts]

    reward.__name__ = name or str(getattr(verifier, "__name__", "verifier"))
    return reward


def refuse_nan(function: Any) -> Any:
    """A reward function that raises ValueError where it gives nan, which TRL would take for None. Reward models and
    asynchronous functions are left as they are."""
    if not inspect.isroutine(function) or inspect.iscoroutinefunction(function):
        return function

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        rewards = function(*args, **kwargs)
        for sample, reward in enumerate(rewards):
            if reward is not None and reward != reward:
                raise ValueError(
                    f"reward function {function.__name__} gave nan to sample {sample} of the rollout: give None to a "
                    "response that cannot be scored"
                )
        return rewards

    return checked


def message_text(message: Any) -> str:
    """The text of a plain string, or of the last message of a conversation."""
    return message if isinstance(message, str) else str(message[-1]["content"])
