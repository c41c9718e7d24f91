"""Answers to reasoning-gym problems: find the answer, compare it with the gold, else ask the dataset's own scorer.

The scorer runs in `judge`, which belongs in a process with CPU and memory limits; importing this module does not import
reasoning_gym. Which datasets may be judged: `simko.tasks.reasoning_gym.ALLOWED`.
"""

import functools
import json
from typing import Any

from simko.records import Problem
from simko.verifiers.bounded import Bounded
from simko.verifiers.last_box import last_box

MAX_ANSWER = 20_000
"""Longest answer that goes to a scorer, in characters; longer ones are wrong (the longest golds have about 2,000)."""


def extract_answer_tag(response: str, problem: Problem) -> str | None:
    r"""What stands in the last <answer>...</answer>, else in the last box, else on the last line that is not empty.

    White space around it is dropped. None if there is nothing, or only an opened tag (a cut-off response).
    """
    end = response.rfind("</answer>")
    start = response.rfind("<answer>", 0, end) if end >= 0 else -1
    if start >= 0:
        return response[start + len("<answer>") : end].strip() or None
    if "<answer>" in response:
        return None
    boxed = last_box(response)
    if boxed is not None:
        return boxed.strip() or None
    return response.strip().rsplit("\n", 1)[-1].strip() or None


def quick(extracted: str, problem: Problem) -> bool | None:
    """True if the answer is the gold answer; False if it is empty or too long to be judged; None: ask the scorer."""
    if extracted == problem.answer.strip():
        return True
    if not extracted.strip() or len(extracted) > MAX_ANSWER:
        return False
    return None


def judge(extracted: str, problem: Problem) -> bool:
    """Whether the dataset's scorer gives the answer 1.0 exactly; partial credit is no pass.

    A scorer that raises on an answer has refused it. Raises ValueError naming the problem if it does not say its
    dataset, RuntimeError if reasoning_gym is not installed.
    """
    known = quick(extracted, problem)
    if known is not None:
        return known
    dataset, entry = _entry(problem)
    try:
        score = dataset.score_answer(extracted, entry)
    except Exception:
        return False
    return bool(score == 1.0)


def _entry(problem: Problem) -> tuple[Any, dict[str, Any]]:
    """(the dataset, the problem's entry, a fresh copy: scorers write into it)."""
    try:
        name = str(problem.metadata["dataset"])
        entry = json.loads(json.dumps(problem.metadata["entry"]))
        entry["answer"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"problem {problem.id!r} does not hold a reasoning-gym entry ({error!r})") from error
    return _dataset(name), entry


@functools.lru_cache(maxsize=128)
def _dataset(name: str) -> Any:
    """A dataset object to score with; its own problems do not matter."""
    try:
        import reasoning_gym
    except ModuleNotFoundError as missing:
        raise RuntimeError("judging reasoning-gym answers needs: pip install 'simko[reasoning-gym]'") from missing
    return reasoning_gym.create_dataset(name, seed=0, size=1)


verify_reasoning_gym = Bounded("reasoning_gym", extract_answer_tag, quick, "simko.verifiers.reasoning_gym_judge:judge")
