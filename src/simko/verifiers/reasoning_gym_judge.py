"""What the grading pool imports to score reasoning-gym's answers; nothing else does, for it loads all generators.

At the top, and not in the call: every forked process then has them, and no answer pays for the import with its CPU time.
"""

import functools
import json
from typing import Any

import reasoning_gym

from simko.records import Problem
from simko.verifiers.reasoning_gym import check_entry, quick


def judge(extracted: str, problem: Problem) -> bool:
    """Whether the dataset's scorer gives the answer 1.0 exactly; partial credit is no pass.

    A scorer that raises on an answer has refused it. Raises ValueError naming the problem if it holds no entry.
    """
    known = quick(extracted, problem)
    if known is not None:
        return known
    check_entry(problem)
    dataset = _dataset(str(problem.metadata["dataset"]))
    entry = json.loads(json.dumps(problem.metadata["entry"]))  # a copy: scorers write into it
    try:
        return bool(dataset.score_answer(extracted, entry) == 1.0)
    except Exception:  # a scorer raises anything on an answer that it does not understand
        return False


@functools.lru_cache(maxsize=128)
def _dataset(name: str) -> Any:
    """A dataset object to score with; its own problems do not matter."""
    return reasoning_gym.create_dataset(name, seed=0, size=1)
