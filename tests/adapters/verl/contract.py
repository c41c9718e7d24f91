"""What verl's real engine trains for a row, against METHODS on the whole update. Started by test_contract.py:

    torchrun --nproc_per_node N contract.py CASES OUT

CASES: JSON list of Case fields. OUT: JSON list of results, by rank 0.
"""

import hashlib
import json
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import torch
import torch.distributed as dist
import verl_on_cpu  # noqa: F401
from tensordict import TensorDict
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

from simko.adapters.verl import PolicyLoss
from simko.adapters.verl.loss import RowLoss
from simko.adapters.verl.worker import RowTrainingWorker
from simko.objectives import METHODS, candidate_gap
from simko.token_stats import token_stats

PROMPTS, RESPONSES = (3, 5, 4, 6, 3, 2, 5, 4), (10, 7, 12, 9, 2, 8, 1, 11)
ADVANTAGES = (1.0, -1.0, 0.7, -0.5, 0.0, 1.3, -0.8, 0.4)


@dataclass
class Case:
    row: str
    options: dict = field(default_factory=dict)
    packed: bool = False
    micro: int = 2
    """Responses a micro-batch; 0 for dynamic batch sizes."""
    sequence_parallel: int = 1


@cache
def update(path):
    """An update's sequences, of which about half the tokens are the likeliest ones; log pi_old; and the counted tokens."""
    model, draw = load(path), torch.Generator().manual_seed(0)
    ids = []
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        sequence = torch.randint(5, 40, (prompt + response,), generator=draw)
        for t in range(prompt, prompt + response):
            if torch.rand((), generator=draw) < 0.5:
                sequence[t] = model(sequence[None, :t]).logits[0, -1].argmax()
        ids.append(sequence)
    old = [-3.5 + 0.3 * torch.randn(r, generator=draw) for r in RESPONSES]
    mask = [torch.ones(r, dtype=torch.long) for r in RESPONSES]
    mask[2][4:7] = 0  # what a tool said
    return ids, old, mask


def load(path):
    """The model without verl."""
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")


def digest(ids):
    """The number by which verl's worker orders responses."""
    return int.from_bytes(hashlib.blake2b(ids.numpy().tobytes(), digest_size=7).digest())


def batch_of(rows, path):
    """verl's batch of these rows of the update."""
    ids, old, mask = update(path)

    def nested(tensors):
        return torch.nested.as_nested_tensor(tensors, layout=torch.jagged)

    data = {
        "input_ids": nested([ids[i] for i in rows]),
        "position_ids": nested([torch.arange(len(ids[i])) for i in rows]),
        "prompts": nested([ids[i][: PROMPTS[i]] for i in rows]),
        "responses": nested([ids[i][PROMPTS[i] :] for i in rows]),
        "response_mask": nested([mask[i] for i in rows]),
        "loss_mask": nested([mask[i] for i in rows]),
        "old_log_probs": nested([old[i] for i in rows]),
        "advantages": nested([ADVANTAGES[i] * mask[i].float() for i in rows]),
    }
    batch = TensorDict(data, batch_size=[len(rows)])
    tu.assign_non_tensor(batch, temperature=0.7, global_batch_size=len(ids), calculate_entropy=False)
    return batch


def expected(model, case, path):
    """Loss and gradient of the row on the whole update."""
    ids, old, mask = update(path)
    method = METHODS[case.row].with_options(**case.options)
    width = max(RESPONSES)
    model.zero_grad()
    columns = {name: [] for name in ("logp", "entropy", "gap", "is_top1")}
    for i, sequence in enumerate(ids):
        logits = model(sequence[None]).logits[0, PROMPTS[i] - 1 : -1] / 0.7
        stats = token_stats(logits, sequence[PROMPTS[i] :], top_k=method.top_k or 1, impl="eager")
        gap = candidate_gap(stats.topk_logp, stats.logp, method.candidate_weights or "uniform")
        for name, x in (("logp", stats.logp), ("entropy", stats.entropy), ("gap", gap), ("is_top1", stats.is_top1)):
            columns[name].append(x)

    def padded(tensors):
        return torch.stack([torch.cat([x, x.new_zeros(width - len(x))]) for x in tensors])

    logp, entropy, gap, is_top1 = (padded(columns[name]) for name in ("logp", "entropy", "gap", "is_top1"))
    advantages, mask, old = torch.tensor(ADVANTAGES), padded(mask), padded(old)
    marked = None
    if method.selects:
        order = sorted(range(len(ids)), key=lambda i: digest(ids[i]))
        ordered = (x[order] for x in (logp, old, entropy, advantages, mask))
        marked = method.select(*ordered, generator=torch.Generator().manual_seed(0))[1]
        marked = torch.empty_like(marked).index_copy(0, torch.tensor(order), marked)
    loss, _ = method.policy_loss(logp, old, entropy, gap, is_top1, advantages, mask, marked=marked)
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])


class Workers:
    """RowTrainingWorkers of the settings that change the engine; their weights stay as they are."""

    def __init__(self, path):
        self.path, self.made = path, {}

    def get(self, case):
        key = case.packed, case.sequence_parallel
        if key not in self.made:
            model = HFModelConfig(
                path=self.path,
                use_remove_padding=case.packed,
                override_config={"attn_implementation": "eager" if case.packed else "sdpa"},
                enable_gradient_checkpointing=False,
            )
            fp32 = dict.fromkeys(("param_dtype", "reduce_dtype", "buffer_dtype"), "fp32")
            engine = FSDPEngineConfig(
                strategy="fsdp2",
                model_dtype="fp32",
                mixed_precision=fp32,
                use_torch_compile=False,
                ulysses_sequence_parallel_size=case.sequence_parallel,
            )
            config = TrainingWorkerConfig(
                model_type="language_model",
                model_config=model,
                engine_config=engine,
                optimizer_config=FSDPOptimizerConfig(lr=1e-3, total_training_steps=10),
                checkpoint_config=CheckpointConfig(),
            )
            worker = RowTrainingWorker(config)
            worker.reset()
            self.made[key] = worker
        return self.made[key]


def measure(worker, case, path):
    """Loss and gradient of one update on this process's part of it."""
    policy_loss = PolicyLoss(loss_mode=f"simko/{case.row}", **case.options)
    actor = FSDPActorConfig(
        strategy="fsdp2", rollout_n=4, ppo_micro_batch_size_per_gpu=1, policy_loss=policy_loss, clip_ratio_c=1e30,
        **policy_loss.plan().actor_options,
    )  # fmt: skip
    worker.set_loss_fn(RowLoss(actor))
    worker._updates = 0
    worker.engine_config.use_dynamic_bsz = case.micro == 0
    worker.engine_config.micro_batch_size_per_gpu = case.micro or None
    worker.engine_config.max_token_len_per_gpu = 40
    gradient = []

    def step():
        for p in worker.engine.module.parameters():
            gradient.append((p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad).flatten().clone())
        return 0.0

    worker.engine.optimizer_step = step
    rank, size = worker.engine.get_data_parallel_rank(), worker.engine.get_data_parallel_size()
    here = len(PROMPTS) // size
    output = worker.train_batch(batch_of(range(rank * here, (rank + 1) * here), path))
    return {} if output is None else tu.get(output, "metrics"), torch.cat(gradient)


def main():
    cases, out, path = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), sys.argv[3]
    reference, workers, results = load(path), Workers(path), []
    for fields in cases:
        case = Case(**fields)
        metrics, gradient = measure(workers.get(case), case, path)
        loss, wanted = expected(reference, case, path)
        row = {name: x for name, x in metrics.items() if name.startswith("simko/")}
        error = float((gradient - wanted).norm() / wanted.norm())
        results.append({"case": fields, "loss": metrics.get("loss"), "expected": loss, "error": error, "metrics": row})
    if dist.get_rank() == 0:
        out.write_text(json.dumps(results))
    dist.barrier()
    dist.destroy_process_group()


main()
