"""Two updates of a recipe for verl on a tiny random model of the same architecture, in this process."""

import contextlib
import io
import math
import os
import socket
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import open_dict
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.device import get_device_name
from verl.workers.config import TrainingWorkerConfig
from verl.workers.engine_workers import TrainingWorker
from verl.workers.utils.losses import ppo_loss

from simko.adapters.verl.advantages import OPTIONS_KEY
from simko.adapters.verl.check import prepare_config
from simko.adapters.verl.config import PolicyLoss, read_row
from simko.adapters.verl.loss import RowLoss
from simko.adapters.verl.worker import RowTrainingWorker
from simko.adapters.verl_rows import PREFIX
from simko.objectives import METHODS, Method
from simko.training.tiny_model import no_progress_bars, write_tiny_model

_GROUPS, _PROMPT, _RESPONSE = 2, 4, 8
_FP32 = dict.fromkeys(("param_dtype", "reduce_dtype", "buffer_dtype"), "fp32")


def dry_run(config: Any) -> list[float] | None:
    """The losses of two updates of the composed recipe; None where verl has no engine for this machine, and for Megatron.

    Rewards are made up. ValueError for whatever stops them.
    """
    config = config.copy()
    if config.actor_rollout_ref.actor.strategy not in ("fsdp", "fsdp2"):  # Megatron makes its models on GPUs of its own
        return None
    if not (torch.accelerator.is_available() or get_device_name() == "cpu"):  # the latter is a plug-in's doing
        return None
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), no_progress_bars():
            write_tiny_model(Path(folder), config.actor_rollout_ref.model.path)
            losses = _losses(config, folder)
    except Exception as error:  # verl's libraries raise almost any
        raise ValueError(f"the dry run was stopped by {type(error).__name__}: {error}") from error
    if not all(map(math.isfinite, losses)):
        raise ValueError(f"the losses of the dry run are {losses}")
    return losses


def _losses(config: Any, folder: str) -> list[float]:
    row = str(config.actor_rollout_ref.actor.policy_loss.loss_mode).startswith("simko/")
    if row:
        prepare_config(config)
    _shrink(config, folder)
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    engine = actor.engine
    engine.use_dynamic_bsz, engine.micro_batch_size_per_gpu = False, config.actor_rollout_ref.rollout.n
    _join_alone()
    worker = (RowTrainingWorker if row else TrainingWorker)(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=omega_conf_to_dataclass(config.actor_rollout_ref.model),
            engine_config=engine,
            optimizer_config=actor.optim,
            checkpoint_config=actor.checkpoint,
        )
    )
    worker.reset()
    worker.set_loss_fn(RowLoss(actor) if row else partial(ppo_loss, config=actor))
    method = _method(config, actor)
    temperature = config.actor_rollout_ref.rollout.temperature
    return [tu.get(worker.train_batch(_batch(method, config, temperature)), "metrics")["loss"] for _ in range(2)]


def _method(config: Any, actor: Any) -> Method:
    """The row whose advantages the recipe trains."""
    if isinstance(actor.policy_loss, PolicyLoss):
        return actor.policy_loss.method()
    estimator = config.algorithm.adv_estimator
    options = dict(config.algorithm.get(OPTIONS_KEY) or {})
    return read_row(estimator, options, "algorithm") if estimator.startswith(PREFIX) else METHODS["grpo"]


def _shrink(config: Any, folder: str) -> None:
    """Float32 and plain attention run on any machine."""
    with open_dict(config):
        model, actor = config.actor_rollout_ref.model, config.actor_rollout_ref.actor
        model.update({"path": folder, "enable_gradient_checkpointing": False, "use_liger": False})
        model.override_config = {"attn_implementation": "eager"}
        actor.optim.total_training_steps = 2
        actor.fsdp_config.update({"model_dtype": "fp32", "param_offload": False, "optimizer_offload": False})
        actor.fsdp_config.update({"mixed_precision": _FP32, "use_torch_compile": False, "fsdp_size": -1})
        for place in (actor, actor.fsdp_config):
            place.ulysses_sequence_parallel_size = 1


def _join_alone() -> None:
    """The environment of a group of one process."""
    if not torch.distributed.is_initialized():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        os.environ.update({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"})
        os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port})


def _batch(method: Any, config: Any, temperature: float) -> TensorDict:
    """Groups of random responses of which every other one is correct."""
    size = _GROUPS * config.actor_rollout_ref.rollout.n
    draw = torch.Generator().manual_seed(0)
    ids = list(torch.randint(3, 64, (size, _PROMPT + _RESPONSE), generator=draw))
    mask, old_logp = torch.ones(size, _RESPONSE, dtype=torch.long), torch.full((size, _RESPONSE), -math.log(64))
    rewards, groups = torch.arange(size) % 2, torch.arange(size) * _GROUPS // size
    advantages = method.advantages(rewards.float(), groups, old_logp=old_logp, mask=mask)
    columns = {
        "input_ids": ids,
        "position_ids": [torch.arange(len(x)) for x in ids],
        "prompts": [x[:_PROMPT] for x in ids],
        "responses": [x[_PROMPT:] for x in ids],
        "response_mask": list(mask),
        "loss_mask": list(mask),
        "old_log_probs": list(old_logp),
        "advantages": list(advantages[:, None] * mask),
    }
    nested = {name: torch.nested.as_nested_tensor(list(x), layout=torch.jagged) for name, x in columns.items()}
    batch = TensorDict(nested, batch_size=[size])
    tu.assign_non_tensor(batch, temperature=temperature, global_batch_size=size, calculate_entropy=False)
    return batch
