"""simko inside TRL: trainers, their configurations, and verifiers as reward functions."""

from simko.adapters.trl.method_config import MethodConfig, may_skip_rows, plan_method
from simko.adapters.trl.method_trainer import MethodTrainer
from simko.adapters.trl.passk_callback import PassAtKCallback
from simko.adapters.trl.rewards import problems_to_dataset, reward_function
from simko.adapters.trl.rlvr import RLVRConfig, RLVRTrainer, grpo_objective
from simko.adapters.trl.trainer import SimKOConfig, SimKOTrainer, simko_objective

__all__ = [
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
