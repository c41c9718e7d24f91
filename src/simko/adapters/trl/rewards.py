"""Problems as TRL's dataset rows, verifiers as TRL's reward functions."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from datasets import Dataset
from trl.trainer.utils import get_callable_name, is_async_callable

from simko.adapters.trl.time_limit import TimeIsUp, time_limit
from simko.adapters.trl.traces import log_traces
from simko.evaluate.files import append
from simko.records import Problem, Verdict, VerifierLike
from simko.verifiers import grade_many, verifier_name

logger = logging.getLogger("simko")

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

    The verdicts are a column of TRL's table of completions (log_completions), <name>/verdict. Where report_to names trackio, the
    first 16 samples of each rollout are traces there (see traces.log_traces).
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
        verdicts: Sequence[Verdict] = ()
        try:
            verdicts = grade_many(verifier, answers)
        finally:  # without verdicts TRL's table would keep those of the last rollout
            if "log_extra" in columns:
                outcomes: list[Any] = [verdict.outcome for verdict in verdicts] or [None] * len(answers)
                columns["log_extra"](f"{reward.__name__}/verdict", outcomes)
        step = getattr(columns.get("trainer_state"), "global_step", None)
        log_traces(answers, verdicts, step)
        if samples is not None:
            lines = [
                json.dumps({"step": step, "problem_id": problem.id, "response": response} | asdict(verdict)) + "\n"
                for (response, problem), verdict in zip(answers, verdicts, strict=True)
            ]
            append(samples, "".join(lines))
        for about, share in verdict_shares(verdicts).items() if "log_metric" in columns else ():
            columns["log_metric"](f"verdicts/{about}", share)
        return [verdict.reward for verdict in verdicts]

    reward.__name__ = name or verifier_name(verifier)  # under which TRL logs it
    return reward


def verdict_shares(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Shares that show how a verifier is being satisfied: of the correct verdicts, those by each rule that found an answer
    (rule/<rule>); of the answers, those that are the commonest of the whole rollout (commonest_answer)."""
    rules = Counter(v.rule for v in verdicts if v.outcome == "correct" and v.rule is not None)
    answers = Counter(v.extracted for v in verdicts if v.extracted is not None)
    found = {f"rule/{rule}": count / rules.total() for rule, count in rules.items()}
    return found | ({"commonest_answer": max(answers.values()) / answers.total()} if answers else {})


def checked_rewards(
    function: Any, *, place: str | None = None, failures: str = "raise", timeout: float | None = None
) -> Any:
    """A TRL reward function, synchronous or not, whose answer is read as what it is: any iterable with a number or None
    for each completion. Generators and maps are drawn once. Reward models are left as they are.

    Where it fails, so does the run, or what failed is masked, as if the function had given None: a sample whose reward is
    nan (which TRL would take for None), infinite or no number; all samples of a call that gives another number of rewards,
    a dict, text or a lone number, that raises or ends the process (SystemExit), or that takes too long. The share of a
    call's samples without a reward is logged as rewards/<function>/masked. A function that is checked already is left as
    it is, with its own policy.

    Args:
        function: the reward function.
        place: where the user's file named it; every exception of its own is then a ValueError that says so.
        failures: "raise": ValueError that names the function and the sample, TimeoutError, or the function's own exception;
            "mask": a warning.
        timeout: seconds that a call may take (see time_limit); None: any.
    """
    if failures not in ("raise", "mask"):
        raise ValueError(f"reward_failures is {failures!r}: choose raise or mask")
    if not callable(function) or isinstance(function, torch.nn.Module) or hasattr(function, "checks_rewards_of"):
        return function
    name = get_callable_name(function)
    kinds: Any = (SystemExit, Exception) if failures == "mask" or place is not None else SystemExit
    context = partial(_failure_named, place or name, kinds, timeout)

    def masked(error: Exception, arguments: dict[str, Any]) -> list[float | None]:
        if failures == "raise":
            raise error
        logger.warning("no reward of this rollout counts: %s", error)
        return _counted([None] * len(arguments["completions"]), name, arguments)

    def read(rewards: Any, arguments: dict[str, Any]) -> list[float | None]:
        found = _read_rewards(name, rewards, len(arguments["completions"]), failures)
        return _counted(found, name, arguments)

    if is_async_callable(function):

        async def checked(*args: Any, **kwargs: Any) -> list[float | None]:
            try:
                with context():
                    rewards = _drawn(await _in_time(function(*args, **kwargs), timeout), kwargs)
                return read(rewards, kwargs)
            except (ValueError, TimeoutError) as error:
                return masked(error, kwargs)

    else:

        def checked(*args: Any, **kwargs: Any) -> Any:
            try:
                with context(), time_limit(timeout) if timeout else nullcontext():
                    rewards = _drawn(function(*args, **kwargs), kwargs)
                return read(rewards, kwargs)
            except (ValueError, TimeoutError) as error:
                return masked(error, kwargs)

    checked.__name__ = name
    checked.checks_rewards_of = function  # type: ignore[attr-defined]
    return checked


async def _in_time(answer: Any, timeout: float | None) -> Any:
    try:
        async with asyncio.timeout(timeout) as limit:
            return await answer
    except TimeoutError as error:
        raise TimeIsUp if limit.expired() else error from None


@contextmanager
def _failure_named(name: str, kinds: Any, timeout: float | None) -> Iterator[None]:
    try:
        yield
    except TimeIsUp as error:
        raise TimeoutError(
            f"reward function {name} took longer than reward_timeout={timeout:g} seconds: see where it waits, or give it more"
        ) from error
    except SystemExit as error:
        raise ValueError(f"reward function {name} ended the process (exit code {error.code}): let it return") from error
    except kinds as error:
        raise ValueError(f"reward function {name} raised {type(error).__name__}: {error}") from error


def _counted(rewards: list[float | None], name: str, arguments: dict[str, Any]) -> list[float | None]:
    """The rewards, after logging the share of samples without one, if any."""
    if (masked := rewards.count(None)) and "log_metric" in arguments:
        arguments["log_metric"](f"rewards/{name}/masked", masked / len(rewards))
    return rewards


def _drawn(rewards: Any, arguments: dict[str, Any]) -> Any:
    """The list of what is drawn one by one, and one more where there are too many; anything else as it is."""
    known = isinstance(rewards, str | bytes | Mapping | Set | list | tuple | torch.Tensor | np.ndarray)
    if known or not isinstance(rewards, Iterable):
        return rewards
    return list(islice(rewards, len(arguments["completions"]) + 1))


def _read_rewards(name: str, rewards: Any, wanted: int, failures: str) -> list[float | None]:
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
    read: list[float | None] = []
    # The rollout has the processes' samples in their order.
    first = wanted * dist.get_rank() if dist.is_initialized() else 0
    for sample, reward in enumerate(found, start=first):
        number = _number(reward)
        if number is None and reward is not None:
            said = f"reward function {name} gave {reward!r:.80} to sample {sample} of the rollout"
            if failures == "raise":
                raise ValueError(f"{said}: {expected}")
            logger.warning("%s: it does not count", said)
        read.append(number)
    return read


def _number(reward: Any) -> float | None:
    """The finite number of float32's range that a reward is; None where it is none."""
    if reward is None or isinstance(reward, str | bytes):
        return None
    try:
        number = float(reward)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) <= torch.finfo(torch.float32).max else None  # nan is not


def message_text(message: Any) -> str:
    """The text of a plain string, or of the last message of a conversation."""
    return message if isinstance(message, str) else str(message[-1]["content"])
