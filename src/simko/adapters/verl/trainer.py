"""verl's synchronous trainer, for a row: trainer.v1.trainer_mode=simko."""

from typing import Any

import ray
import transfer_queue as tq
from omegaconf import DictConfig
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from simko.adapters.verl.advantages import known_old_logp
from simko.adapters.verl.check import prepare_config
from simko.adapters.verl.worker import RowWorker


@register_trainer("simko")
class RowTrainer(PPOTrainerSync):
    """PPOTrainerSync whose actor is a RowWorker."""

    def __init__(self, config: DictConfig) -> None:
        prepare_config(config)
        super().__init__(config)

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        for role in (Role.ActorRolloutRef, Role.ActorRollout):
            if role in self.role_worker_mapping:
                self.role_worker_mapping[role] = ray.remote(RowWorker)

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        if self.config.algorithm.adv_estimator == "grpo":
            return super()._compute_advantage(batch, metrics)
        sessions = [key.rsplit("_", 1)[0] for key in batch.keys]
        if len(set(sessions)) < len(sessions):
            raise ValueError(
                "the agent loop gives several outputs for one response, over which verl spreads the advantages of grpo alone: "
                "use a method whose advantages are those of grpo"
            )
        fields = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["old_log_probs"])
        with known_old_logp(fields["old_log_probs"].to_padded_tensor(0.0)):
            return super()._compute_advantage(batch, metrics)

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        batch = super()._update_actor(batch, metrics)
        for name in [name for name in metrics if name.startswith("actor/simko/")]:
            metrics[name.removeprefix("actor/")] = metrics.pop(name)
        return batch
