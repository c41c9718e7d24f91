"""verl's reward for MATH: the last box, its text equal to the gold's once normalised."""

from importlib.metadata import version as installed

from peer_graders.loading import part

reward = part("verl.utils.reward_score.math_reward")

TITLE = "verl math_reward"


def version() -> str:
    return installed("verl")


def grade(response: str, gold: str) -> bool:
    return reward.compute_score(response, gold) > 0
