"""What an update of a row has to be in any of verl's engines: the row's own loss on the whole of it.

A policy here is a function from the ids [t] of a sequence to the logits [t, V] after each of them.
"""

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from tensordict import TensorDict
from verl.utils import tensordict_utils as tu

from simko.adapters.verl import PolicyLoss
from simko.adapters.verl.loss import RowLoss
from simko.objectives import METHODS, candidate_gap
from simko.token_stats import token_stats

PROMPTS, RESPONSES = (3, 5, 4, 6, 3, 2, 5, 4), (10, 7, 12, 9, 2, 8, 1, 11)
ADVANTAGES = (1.0, -1.0, 0.7, -0.5, 0.0, 1.3, -0.8, 0.4)
TEMPERATURE = 0.7


@dataclass
class Case:
    """One setting of an engine."""

    row: str
    options: dict = field(default_factory=dict)
    packed: bool = False
    micro: int | None = 2
    """Responses a micro-batch; None for all that a process has, 0 for dynamic batch sizes."""
    sequence_parallel: int = 1


@dataclass
class Update:
    """The responses of an update."""

    ids: list
    """Prompt and response."""
    old_logp: list
    """At sampling, of the response."""
    mask: list
    """Counted tokens of the response."""


@torch.no_grad()
def make_update(policy):
    """About half of its tokens are the likeliest ones, a tool said some, and one response does not count."""
    draw, update = torch.Generator().manual_seed(0), Update([], [], [])
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        ids = torch.randint(5, 40, (prompt + response,), generator=draw)
        for t in range(prompt, prompt + response):
            if torch.rand((), generator=draw) < 0.5:
                ids[t] = policy(ids[:t])[-1].argmax()
        logp = (policy(ids)[prompt - 1 : -1] / TEMPERATURE).log_softmax(-1).gather(1, ids[prompt:, None])[:, 0]
        update.ids.append(ids)
        update.old_logp.append(logp + 0.2 * torch.randn(response, generator=draw))
        update.mask.append(torch.ones(response, dtype=torch.long))
    update.mask[2][4:7] = 0
    update.mask[6][:] = 0
    update.mask[3][0] = 0
    return update


def verl_batch(update, rows):
    """These rows of the update as verl's workers get them."""

    def nested(tensors):
        return torch.nested.as_nested_tensor([tensors[i] for i in rows], layout=torch.jagged)

    ids, mask = update.ids, update.mask
    data = {
        "input_ids": nested(ids),
        "position_ids": nested([torch.arange(len(x)) for x in ids]),
        "prompts": nested([x[:p] for x, p in zip(ids, PROMPTS, strict=True)]),
        "responses": nested([x[p:] for x, p in zip(ids, PROMPTS, strict=True)]),
        "response_mask": nested(mask),
        "loss_mask": nested(mask),
        "old_log_probs": nested(update.old_logp),
        "advantages": nested([a * x.float() for a, x in zip(ADVANTAGES, mask, strict=True)]),
    }
    batch = TensorDict(data, batch_size=[len(rows)])
    tu.assign_non_tensor(batch, temperature=TEMPERATURE, global_batch_size=len(ids), calculate_entropy=False)
    return batch


def expected_loss(case, policy, update):
    """METHODS' loss on the whole update, with its graph, and what is logged beside it."""
    method = METHODS[case.row].with_options(**case.options)
    stats, gaps = [], []
    for ids, prompt in zip(update.ids, PROMPTS, strict=True):
        logits = policy(ids)[prompt - 1 : -1] / TEMPERATURE
        stats.append(token_stats(logits, ids[prompt:], top_k=method.top_k or 1, impl="eager"))
        gaps.append(candidate_gap(stats[-1].topk_logp, stats[-1].logp, method.candidate_weights or "uniform"))
    logp, entropy, is_top1 = (padded([getattr(s, name) for s in stats]) for name in ("logp", "entropy", "is_top1"))
    advantages, mask, old = torch.tensor(ADVANTAGES), padded(update.mask), padded(update.old_logp)
    marked = None
    if method.selects:  # verl's worker orders responses by what they say
        order = sorted(range(len(mask)), key=lambda i: _digest(update.ids[i]))
        ordered = (x[order] for x in (logp, old, entropy, advantages, mask))
        chosen = method.select(*ordered, generator=torch.Generator().manual_seed(0))[1]
        marked = torch.empty_like(chosen).index_copy(0, torch.tensor(order), chosen)
    loss, metrics = method.policy_loss(logp, old, entropy, padded(gaps), is_top1, advantages, mask, marked=marked)
    counted = mask != 0
    best = padded([s.topk_logp[:, 0] for s in stats]).detach() * counted
    rows = counted.any(1)
    metrics["lambda_1"] = (best.sum(1)[rows] / counted.sum(1)[rows]).mean()
    metrics["entropy"] = entropy[counted].mean()
    return loss, {name: x.item() for name, x in metrics.items()}


def train_update(worker, case, strategy, actor_config, update, gradients):
    """verl's metrics of one update on this process's part of it, and its gradients; the weights stay as they are."""
    policy_loss = PolicyLoss(loss_mode=f"simko/{case.row}", **case.options)
    config = actor_config(
        strategy=strategy, rollout_n=4, ppo_micro_batch_size_per_gpu=1, policy_loss=policy_loss, clip_ratio_c=1e30,
        **policy_loss.plan().actor_options,
    )  # fmt: skip
    worker.set_loss_fn(RowLoss(config))
    worker._updates = 0
    worker.engine_config.use_dynamic_bsz = case.micro == 0
    worker.engine_config.max_token_len_per_gpu = 40
    found = []
    worker.engine.optimizer_step = lambda: found.append(gradients()) or 0.0
    rank, size = worker.engine.get_data_parallel_rank(), worker.engine.get_data_parallel_size()
    here = len(PROMPTS) // size
    worker.engine_config.micro_batch_size_per_gpu = here if case.micro is None else case.micro
    output = worker.train_batch(verl_batch(update, range(rank * here, (rank + 1) * here)))
    return {} if output is None else tu.get(output, "metrics"), found[0]


def padded(tensors):
    """[B, T], padded with 0."""
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)


def report(case, metrics, expected, gradient, wanted):
    """What the test looks at."""
    loss, named = expected
    row = {name.removeprefix("simko/"): x for name, x in metrics.items() if name.startswith("simko/")}
    error = float((gradient - wanted).norm() / wanted.norm())
    found = {"case": vars(case), "loss": metrics.get("loss"), "expected": float(loss), "error": error, "metrics": row}
    return found | {"expected_metrics": named}


def run(measure):
    """Write measure(Case) of each case of the file of the first argument to that of the second, on rank 0."""
    cases = json.loads(Path(sys.argv[1]).read_text())
    results = [measure(Case(**fields)) for fields in cases]
    if dist.get_rank() == 0:
        Path(sys.argv[2]).write_text(json.dumps(results))
    dist.barrier()
    dist.destroy_process_group()


def _digest(ids):
    return int.from_bytes(hashlib.blake2b(ids.numpy().tobytes(), digest_size=7).digest())
