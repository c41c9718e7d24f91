"""verl's reward for NuminaMath (PRIME): prm800k's grader, then Qwen's, with sympy."""

import sys
from importlib.metadata import version as installed
from types import ModuleType

from peer_graders.loading import part

# verl.utils.py_functional imports a class from here for an annotation, and with it torch.
sys.modules["verl.utils.metric"] = metric = ModuleType("verl.utils.metric")
metric.Metric = object  # type: ignore[attr-defined]
reward = part("verl.utils.reward_score.prime_math")

TITLE = "verl prime_math"


def version() -> str:
    return installed("verl")


def grade(response: str, gold: str) -> bool:
    return bool(reward.compute_score(response, gold)[0])
