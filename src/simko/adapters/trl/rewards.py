"""Problems as TRL's dataset rows, verifiers as TRL's reward functions."""

import json
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from trl.trainer.utils import get_callable_name, is_async_callable

from simko.evaluate.files import append
from simko.records import Problem, VerifierLike
from simko.verifiers import grade_many, verifier_name

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
    verifier: VerifierLike, *, name: str | None = None, samples: Path | None = None
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

    reward.__name__ = name or verifier_name(verifier)  # under which TRL logs it
    return reward


def checked_rewards(function: Any, *, place: str | None = None) -> Any:
    """A TRL reward function, synchronous or not, whose answer is read as what it is: any iterable with a number or None
    for each completion. Generators and maps are drawn once.

    ValueError, naming the function and the sample, for anything else: another number of rewards, a dict, text, a lone
    number, nan (which TRL would take for None), infinity; and where the function ends the process (SystemExit), which
    would leave half a run under exit code 0. place: where the user's file named it; every exception of its own is then
    a ValueError that says so. Reward models are left as they are.
    """
    if not callable(function) or isinstance(function, torch.nn.Module):
        return function
    name = get_callable_name(function)
    context = partial(_failure_named, place or name, SystemExit if place is None else (SystemExit, Exception))
    if is_async_callable(function):

        async def checked(*args: Any, **kwargs: Any) -> list[float | None]:
            with context():
                rewards = _drawn(await function(*args, **kwargs), kwargs)
            return _read_rewards(name, rewards, len(kwargs["completions"]))

    else:

        def checked(*args: Any, **kwargs: Any) -> Any:
            with context():
                rewards = _drawn(function(*args, **kwargs), kwargs)
            return _read_rewards(name, rewards, len(kwargs["completions"]))

    checked.__name__ = name
    return checked


@contextmanager
def _failure_named(name: str, kinds: Any) -> Iterator[None]:
    try:
        yield
    except SystemExit as error:
        raise ValueError(f"reward function {name} ended the process (exit code {error.code}): let it return") from error
    except kinds as error:
        raise ValueError(f"reward function {name} raised {type(error).__name__}: {error}") from error


def _drawn(rewards: Any, arguments: dict[str, Any]) -> Any:
    """The list of an iterator's rewards, and one more where there are too many; anything else as it is."""
    return list(islice(rewards, len(arguments["completions"]) + 1)) if isinstance(rewards, Iterator) else rewards


def _read_rewards(name: str, rewards: Any, wanted: int) -> list[float | None]:
    expected = f"return a list of {wanted} numbers, one a completion, with None for one that cannot be scored"
    if isinstance(rewards, torch.Tensor | np.ndarray):
        rewards = rewards.tolist()
    if isinstance(rewards, str | bytes | Mapping | Set) or not isinstance(rewards, Iterable):
        if isinstance(rewards, Coroutine):
            rewards.close()
            expected = "declare it with async def"
        said = "None" if rewards is None else f"a {type(rewards).__name__}"
        raise ValueError(f"reward function {name} returned {said}: {expected}")
    found = list(islice(rewards, wanted + 1))
    if len(found) != wanted:
        said = f"more than {wanted}" if len(found) > wanted else str(len(found))
        raise ValueError(f"reward function {name} returned {said} rewards for {wanted} completions: {expected}")
    return [_read_reward(name, reward, sample, expected) for sample, reward in enumerate(found)]


def _read_reward(name: str, reward: Any, sample: int, expected: str) -> float | None:
    if reward is None:
        return None
    said = f"reward function {name} gave {reward!r:.80} to sample {sample} of the rollout: {expected}"
    if isinstance(reward, str | bytes):
        raise ValueError(said)
    try:
        number = float(reward)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(said) from error
    if not abs(number) <= torch.finfo(torch.float32).max:  # nan too
        raise ValueError(said)
    return number


def message_text(message: Any) -> str:
    """The text of a plain string, or of the last message of a conversation."""
    return message if isinstance(message, str) else str(message[-1]["content"])
