"""simko inside TRL: trainers, their configurations, and verifiers as reward functions."""

from simko.adapters.trl.rewards import problems_to_dataset, reward_function
from simko.adapters.trl.rlvr import RLVRConfig, RLVRTrainer
from simko.adapters.trl.trainer import SimKOConfig, SimKOTrainer

__all__ = [
    "RLVRConfig",
    "RLVRTrainer",
    "SimKOConfig",
    "SimKOTrainer",
    "problems_to_dataset",
    "reward_function",
]
