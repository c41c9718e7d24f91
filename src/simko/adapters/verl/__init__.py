"""SimKO and the other methods of the table in verl. Importing this registers them; docs/verl.md says how to use them."""

from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY, register_policy_loss

from simko.adapters.verl.advantages import register_advantages
from simko.adapters.verl.check import check_config
from simko.adapters.verl.config import PolicyLoss
from simko.adapters.verl.loss import row_loss
from simko.adapters.verl.trainer import RowTrainer
from simko.adapters.verl_rows import PREFIX
from simko.objectives import METHODS

__all__ = ["PolicyLoss", "RowTrainer", "check_config", "register_rows"]


def register_rows() -> None:
    """Make every row of METHODS known to verl; call it again after adding a row of your own, in the module that adds it."""
    for name in METHODS:
        if PREFIX + name not in POLICY_LOSS_REGISTRY:
            register_policy_loss(PREFIX + name)(row_loss)
    register_advantages()


register_rows()
