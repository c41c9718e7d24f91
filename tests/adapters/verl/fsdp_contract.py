"""What verl's FSDP2 engine trains for a row, against METHODS.

torchrun --nproc_per_node N fsdp_contract.py CASES OUT MODEL [--weights]
"""

import sys
from functools import cache, partial
from pathlib import Path

import torch
import verl_on_cpu  # noqa: F401
from contract import expected_loss, make_update, report, run, train_update, verl_batch
from transformers import AutoModelForCausalLM
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.workers.config import (
    FSDPActorConfig,
    FSDPEngineConfig,
    FSDPOptimizerConfig,
    HFModelConfig,
    TrainingWorkerConfig,
)
from verl.workers.engine_workers import TrainingWorker
from verl.workers.utils.losses import ppo_loss

from simko.adapters.verl import PolicyLoss
from simko.adapters.verl.loss import RowLoss
from simko.adapters.verl.worker import RowTrainingWorker

MODEL = sys.argv[3]


@cache
def make_worker(packed, sequence_parallel, kind=RowTrainingWorker, _copy=""):
    attention = "eager" if packed else "sdpa"
    engine = FSDPEngineConfig(
        strategy="fsdp2",
        model_dtype="fp32",
        mixed_precision=dict.fromkeys(("param_dtype", "reduce_dtype", "buffer_dtype"), "fp32"),
        use_torch_compile=False,
        ulysses_sequence_parallel_size=sequence_parallel,
    )
    model = HFModelConfig(
        path=_path(sequence_parallel),
        use_remove_padding=packed,
        override_config={"attn_implementation": attention},
        enable_gradient_checkpointing=False,
    )
    worker = kind(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=model,
            engine_config=engine,
            optimizer_config=FSDPOptimizerConfig(lr=1e-3, total_training_steps=10),
            checkpoint_config=CheckpointConfig(),
        )
    )
    worker.reset()
    return worker


@cache
def reference(sequence_parallel):
    path = _path(sequence_parallel)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")

    def policy(ids):
        return model(ids[None]).logits[0]

    return model, policy, make_update(policy)


def _path(sequence_parallel):
    """verl's attention is parallel over the sequence with flash attention alone, so that model has none (o_proj is 0)."""
    return MODEL if sequence_parallel == 1 else f"{MODEL}_without_attention"


def measure(case):
    worker, (model, policy, update) = (
        make_worker(case.packed, case.sequence_parallel),
        reference(case.sequence_parallel),
    )

    def compared(named_gradients):
        return torch.cat([g.flatten() for name, g in named_gradients if "o_proj" not in name])

    def gradients():
        return compared((name, p.grad.full_tensor()) for name, p in worker.engine.module.named_parameters())

    metrics, gradient = train_update(worker, case, "fsdp2", FSDPActorConfig, update, gradients)
    model.zero_grad()
    expected = expected_loss(case, policy, update)
    expected[0].backward()
    return report(case, metrics, expected, gradient, compared((name, p.grad) for name, p in model.named_parameters()))


def weights_after(loss_fn, kind, copy):
    """The weights after 3 updates with verl's AdamW."""
    worker, update = make_worker(False, 1, kind, copy), reference(1)[2]
    worker.set_loss_fn(loss_fn)
    worker.engine_config.use_dynamic_bsz, worker.engine_config.micro_batch_size_per_gpu = False, 2
    rank, here = worker.engine.get_data_parallel_rank(), len(update.ids) // worker.engine.get_data_parallel_size()
    for _ in range(3):
        worker.train_batch(weighted(verl_batch(update, range(rank * here, (rank + 1) * here))))
    return torch.cat([p.full_tensor().detach().flatten() for p in worker.engine.module.parameters()])


def weighted(batch):
    """With importance weights of verl's rollout_correction, which its vanilla loss reads."""
    weights = [0.5 + 0.1 * torch.arange(len(x)) for x in batch["response_mask"].unbind()]
    tu.assign_non_tensor(batch, calculate_entropy=True)
    batch["rollout_is_weights"] = torch.nested.as_nested_tensor(weights, layout=torch.jagged)
    return batch


def compare_weights(case):
    """Whether a row's weights are those of verl's own loss, bit for bit. verl's own has its dual clip, as by default."""
    mode = "seq-mean-token-mean"
    config = partial(
        FSDPActorConfig,
        strategy="fsdp2",
        rollout_n=4,
        ppo_micro_batch_size_per_gpu=1,
        loss_agg_mode=mode,
        entropy_coeff=0.01,
    )
    plain = weights_after(partial(ppo_loss, config()), TrainingWorker, f"{case}")
    policy_loss = PolicyLoss(loss_mode=f"simko/{case.row}", **case.options)
    row = weights_after(RowLoss(config(policy_loss=policy_loss, clip_ratio_c=1e30)), RowTrainingWorker, f"{case}")
    found = {"case": vars(case), "equal": torch.equal(plain, row), "distance": float((plain - row).norm())}
    return found | {"continued": updates_of_a_continued_run(config(policy_loss=policy_loss), f"{case}")}


def updates_of_a_continued_run(config, copy):
    """How many updates a fresh worker knows of after reading the checkpoint of the trained one."""
    folder = Path(sys.argv[2]).with_name(f"checkpoint {len(copy)}")
    make_worker(False, 1, RowTrainingWorker, copy).save_checkpoint(str(folder))
    fresh = make_worker(False, 1, RowTrainingWorker, f"{copy}, continued")
    fresh.set_loss_fn(RowLoss(config))
    fresh.load_checkpoint(str(folder))
    return fresh._updates


run(compare_weights if "--weights" in sys.argv else measure)
