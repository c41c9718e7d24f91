"""TRL's accuracy_reward: math-verify with options of its own. It gives no reward where it cannot parse the gold."""

from importlib.metadata import version as installed

from peer_graders.loading import boxed, part

accuracy_reward = part("trl.rewards.accuracy_rewards").accuracy_reward

TITLE = "TRL accuracy_reward"


def version() -> str:
    return installed("trl")


def grade(response: str, gold: str) -> bool:
    return accuracy_reward([[{"role": "assistant", "content": response}]], [boxed(gold)]) == [1.0]
