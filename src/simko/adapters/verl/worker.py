"""verl's actor worker, with a row in place of its loss."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tensordict import TensorDict
from torch import Tensor
from verl.single_controller.base.decorator import Dispatch, register
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.device import get_device_id
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker
from verl.workers.utils.padding import no_padding_2_padding, response_to_nested

from simko.adapters.verl.loss import MARKED, RowLoss, response_advantages
from simko.evaluate.files import read_json, write_whole
from simko.objectives.update import Scored, open_update

logger = logging.getLogger("simko")

_STATE = "simko_rank_{}.json"


class DataParallel:
    """verl's data-parallel group, as objectives/update.py knows the processes of an update. Answers are on verl's device,
    where its collectives work; an update lies in the host's memory until its micro-batches are read."""

    def __init__(self, engine: Any) -> None:
        self._group = engine.get_data_parallel_group()
        self.index, self.count = engine.get_data_parallel_rank(), engine.get_data_parallel_size()

    def sum(self, x: Tensor) -> Tensor:
        """Processes.sum."""
        total = x.to(get_device_id(), copy=True)
        dist.all_reduce(total, group=self._group)
        return total

    def gather(self, x: Tensor) -> Tensor:
        """Processes.gather."""
        x = x.to(get_device_id())
        if x.dim() > 1:
            width = torch.tensor(x.shape[1], device=x.device)
            dist.all_reduce(width, op=dist.ReduceOp.MAX, group=self._group)
            x = torch.cat([x, x.new_zeros(len(x), int(width) - x.shape[1], *x.shape[2:])], 1)
        parts = [torch.empty_like(x) for _ in range(self.count)]
        dist.all_gather(parts, x.contiguous(), group=self._group)
        return torch.cat(parts)


class RowTrainingWorker(TrainingWorker):
    """TrainingWorker whose loss function is a RowLoss: each train_batch is one update of the row."""

    loss_fn: RowLoss
    _updates = 0

    def train_batch(self, data: TensorDict) -> TensorDict:
        """One update on this process's part of a mini-batch. verl logs the row's metrics beside its own."""
        processes, loss = DataParallel(self.engine), self.loss_fn
        denominator = self._open_own_loss(data, processes) if loss.plan.own_loss else None
        loss.open(data, denominator)
        output = super().train_batch(data)
        means = loss.close().means(processes)
        loss.step(means)
        self._updates += 1
        if output is not None:
            if processes.index == 0:
                self._say_objective(means)
            tu.get(output, "metrics").update({f"simko/{name}": mean for name, mean in means.items()})
        return output

    def _say_objective(self, means: dict[str, float]) -> None:
        loss = self.loss_fn
        if loss.plan.links:
            loss.receipt.see(means.get("changed", 0.0))
        elif self._updates == 1:
            logger.warning(loss.plan.objective(loss.config))

    def save_checkpoint(self, local_path: str, *args: Any, **kwargs: Any) -> Any:
        """verl's checkpoint, and the state of the row beside this process's part of it."""
        saved = super().save_checkpoint(local_path, *args, **kwargs)
        state = {"updates": self._updates, "method": self.loss_fn.adaptation.state_dict()}
        write_whole(Path(local_path) / _STATE.format(dist.get_rank()), json.dumps(state))
        return saved

    def load_checkpoint(self, local_path: str, *args: Any, **kwargs: Any) -> Any:
        """Continue from save_checkpoint. ValueError where a row that changes has no state."""
        loaded = super().load_checkpoint(local_path, *args, **kwargs)
        own, others = Path(local_path) / _STATE.format(dist.get_rank()), Path(local_path).glob(_STATE.format("*"))
        path = own if own.exists() else min(others, default=own)  # all ranks have the same state
        if path.exists():
            state = read_json(path)
            self._updates = state["updates"]
            self.loss_fn.adaptation.load_state_dict(state["method"])
        elif self.loss_fn.plan.method.controller is not None:
            raise ValueError(
                f"{path} is missing: this checkpoint is of another method than {self.loss_fn.plan.method.name}"
            )
        return loaded

    def _open_own_loss(self, data: TensorDict, processes: DataParallel) -> Tensor:
        """The denominator of a loss of the row's own; marks tokens in the batch where the row selects them."""
        method = self.loss_fn.adaptation.method
        nested = data["response_mask"]
        mask = nested.to_padded_tensor(0).to(get_device_id()) != 0
        advantages = response_advantages(data["advantages"].to_padded_tensor(0.0).to(mask.device), mask)
        generator = torch.Generator(device=mask.device).manual_seed(self._updates)
        update = open_update(
            method, [(advantages, mask)], lambda: [self._score(data, advantages, mask)], processes, generator
        )
        if (marked := update.marked[0]) is not None:
            data[MARKED] = response_to_nested(marked.long().to(nested.device), nested)
        return update.denominator

    def _score(self, data: TensorDict, advantages: Tensor, mask: Tensor) -> Scored:
        """The update scored by the current policy, in one more forward pass, for the row's selection."""
        engine, batch = self.engine_config, data.copy()
        tu.assign_non_tensor(
            batch,
            calculate_entropy=True,
            use_remove_padding=self.model_config.get("use_remove_padding", False),
            use_dynamic_bsz=engine.use_dynamic_bsz,
            max_token_len_per_gpu=engine.max_token_len_per_gpu,
            micro_batch_size_per_gpu=engine.micro_batch_size_per_gpu,
            use_fused_kernels=engine.use_fused_kernels,
        )
        with self.engine.train_mode(disable_auto_offload=tu.get(data, key="disable_auto_offload", default=False)):
            found = self.engine.infer_batch(batch)["model_output"]
        if not found:  # a stage of a pipeline that has no logits; it has no loss either
            logp = entropy = torch.zeros(mask.shape, device=mask.device)
        else:
            logp, entropy = (
                no_padding_2_padding(found[name], data).to(mask.device) for name in ("log_probs", "entropy")
            )
        old_logp = data["old_log_probs"].to_padded_tensor(0.0).to(mask.device)
        digests = [hashlib.blake2b(ids.cpu().numpy().tobytes(), digest_size=7) for ids in data["input_ids"].unbind()]
        row = torch.tensor([int.from_bytes(digest.digest()) for digest in digests], device=mask.device)
        return Scored(logp, old_logp, entropy, advantages, mask, row)


class RowWorker(ActorRolloutRefWorker):
    """ActorRolloutRefWorker whose actor trains the row of actor.policy_loss."""

    actor_worker_cls = RowTrainingWorker

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def init_model(self) -> None:
        """verl's, with the loss of the row."""
        super().init_model()
        self.actor.set_loss_fn(RowLoss(omega_conf_to_dataclass(self.config.actor)))
