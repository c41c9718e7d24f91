"""simko inside TRL: trainers, their configurations, and verifiers as reward functions."""

from simko.adapters.trl.config import MethodConfig
from simko.adapters.trl.faces import (
    RLVRConfig,
    RLVRTrainer,
    SimKOConfig,
    SimKOTrainer,
    grpo_objective,
    simko_objective,
)
from simko.adapters.trl.passk_callback import PassAtKCallback
from simko.adapters.trl.plan import may_skip_rows, plan_method
from simko.adapters.trl.probe import ConcentrationCallback
from simko.adapters.trl.rewards import problems_to_dataset, reward_function
from simko.adapters.trl.trainer import MethodTrainer

__all__ = [
    "ConcentrationCallback",
    "MethodConfig",
    "MethodTrainer",
    "PassAtKCallback",
    "RLVRConfig",
    "RLVRTrainer",
    "SimKOConfig",
    "SimKOTrainer",
    "grpo_objective",
    "may_skip_rows",
    "plan_method",
    "problems_to_dataset",
    "reward_function",
    "simko_objective",
]
