"""slime's side of an update, down to the division of the gradient by Megatron, around the functions it was told to call.

What slime does is a stand-in, unless slime and Megatron are importable, in which case it is slime's own code.

    PYTHONPATH=src:CHECKOUT_OF_SLIME python -m pytest tests/adapters/test_slime.py     with megatron-core installed
"""

import importlib
import sys
from argparse import Namespace
from importlib.util import find_spec
from types import ModuleType

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn

from simko.objectives import METHODS, candidate_gap
from simko.token_stats import token_stats

OWN_CODE = find_spec("slime") is not None
V, N, PROMPTS = 26, 4, 4
FLAGS = {
    "rollout_temperature": 0.8, "rollout_top_p": 1.0, "use_rollout_logprobs": False, "n_samples_per_prompt": N,
    "rollout_batch_size": PROMPTS, "eps_clip": 0.2, "eps_clip_high": 0.2, "eps_clip_c": None, "use_kl_loss": False,
    "kl_coef": 0.0, "entropy_coef": 0.0, "use_tis": False, "get_mismatch_metrics": False, "use_opsm": False,
    "use_opd": False, "normalize_advantages": False, "custom_pg_loss_reducer_function_path": None, "allgather_cp": False,
    "recompute_loss_function": False, "advantage_estimator": "grpo", "calculate_per_token_loss": True,
    "loss_type": "custom_loss", "custom_loss_function_path": "simko.adapters.slime.loss",
    "custom_advantage_function_path": "simko.adapters.slime.advantages", "log_probs_chunk_size": -1,
}  # fmt: skip
OPTIONS = {
    "passk_training": {"k": 2}, "pkpo": {"k": 2}, "ordergrad": {"k": 2}, "dr_grpo": {"length": 12},
    "ds_grpo": {"gamma_right": 0.05, "gamma_wrong": 0.1}, "entropy_bonus": {"entropy_coef": 0.1},
    "simko": {"alpha": 0.3, "top_penalty": 1.4, "gate_quantile": 0.5},
}  # fmt: skip


def flags(name, **changed):
    """The arguments of a run that trains a row as it asks to be."""
    method = METHODS[name].with_options(**OPTIONS.get(name, {}))
    clips = {"eps_clip": method.options.get("clip_low", 0.2), "eps_clip_high": method.options.get("clip_high", 0.2)}
    by_token = method.reduction.keywords["reduction"] == "token_mean"
    options = {"simko": {"method": name} | OPTIONS.get(name, {}), "calculate_per_token_loss": by_token}
    return Namespace(**FLAGS | clips | options | changed)


# The stand-in, for processes that share the vocabulary, the responses, or each response: slime cuts it into two pieces for a
# process, the stand-in into one.


class Groups:
    """(rank, size, process group) of this process."""

    tensor = data = context = (0, 1, None)


def initialize_model_parallel(tensor_model_parallel_size=1, context_parallel_size=1):
    rank, size = dist.get_rank(), dist.get_world_size()
    alone, together = (0, 1, [dist.new_group([r]) for r in range(size)][rank]), (rank, size, None)
    Groups.tensor = together if tensor_model_parallel_size > 1 else alone
    Groups.context = together if context_parallel_size > 1 else alone
    Groups.data = alone if tensor_model_parallel_size * context_parallel_size > 1 else together


def data_and_context(with_context_parallel):
    return Groups.context if with_context_parallel and Groups.context[1] > 1 else Groups.data


def piece(total, response):
    """Length of a process's piece, and the first and last scored position of the response in it, from the piece's start and
    from the response's."""
    length, prompt = -(-total // Groups.context[1]), total - response
    start = Groups.context[0] * length
    first = min(max(prompt - 1, start), total - 1)
    last = max(min(total - 1, start + length), first)
    return length, (first - start, last - start), (first - prompt + 1, last - prompt + 1)


def slice_with_cp(x, padding):
    length = piece(len(x), 1)[0]
    padded = torch.cat([x, x.new_full((Groups.context[1] * length - len(x), *x.shape[1:]), padding)])
    return padded[Groups.context[0] * length :][:length]


def slice_log_prob_with_cp(x, total, response):
    return x[slice(*piece(total, response)[2])]


def all_gather_with_cp(x, total, response):
    first, last = piece(total, response)[2]
    whole = torch.nn.functional.pad(x, (first, response - last))
    return whole if Groups.context[1] == 1 else dist_nn.all_reduce(whole, group=Groups.context[2])


def get_responses(logits, *, args, unconcat_tokens, total_lengths, response_lengths, apply_temperature=True):
    assert logits.dtype == torch.float32
    assert logits.dim() == 3
    assert logits.size(0) == 1
    logits = logits.squeeze(0)
    if apply_temperature and args.rollout_temperature != 1.0:
        logits = logits.div(args.rollout_temperature)
    for tokens, total, response in zip(unconcat_tokens, total_lengths, response_lengths, strict=True):
        length, here, of_response = piece(total, response)
        yield logits[slice(*here)], tokens[total - response :][slice(*of_response)]
        logits = logits[length:]


def compute_advantages_and_returns(args, rollout_data):
    rollout_data["kl"] = [torch.zeros_like(x, dtype=torch.float32) for x in rollout_data["log_probs"]]
    _load(args.custom_advantage_function_path)(args, rollout_data)


def loss_function(args, batch, num_microbatches, step_global_batch_size, logits):
    num_tokens = sum(torch.clamp_min(mask.sum(), 1) for mask in batch["loss_masks"])
    loss, log = _load(args.custom_loss_function_path)(args, batch, logits, None)
    if not args.calculate_per_token_loss:
        loss = loss * num_microbatches / step_global_batch_size * data_and_context(True)[1]
    else:
        loss = loss * Groups.context[1]
    return (
        loss,
        num_tokens if args.calculate_per_token_loss else torch.tensor(1),
        {
            "keys": list(log),
            "values": torch.tensor([num_tokens if args.calculate_per_token_loss else 0, *log.values()]),
        },
    )


def _load(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def stand_in():
    """sys.modules of the stand-in."""
    mpu, loss, cp_utils = ModuleType("mpu"), ModuleType("loss"), ModuleType("cp_utils")
    mpu.initialize_model_parallel, mpu.destroy_model_parallel = initialize_model_parallel, lambda: None
    mpu.get_tensor_model_parallel_rank = lambda: Groups.tensor[0]
    mpu.get_tensor_model_parallel_world_size = lambda: Groups.tensor[1]
    mpu.get_tensor_model_parallel_group = lambda: Groups.tensor[2]
    mpu.get_data_parallel_rank = lambda: Groups.data[0]
    mpu.get_data_parallel_world_size = lambda with_context_parallel=False: data_and_context(with_context_parallel)[1]
    mpu.get_data_parallel_group = lambda with_context_parallel=False: data_and_context(with_context_parallel)[2]
    mpu.get_context_parallel_world_size = lambda: Groups.context[1]
    for function in (all_gather_with_cp, slice_log_prob_with_cp, slice_with_cp):
        setattr(cp_utils, function.__name__, function)
    loss.get_responses, loss.loss_function = get_responses, loss_function
    loss.compute_advantages_and_returns = compute_advantages_and_returns
    core, utils = ModuleType("core"), ModuleType("megatron_utils")
    core.mpu, utils.loss, utils.cp_utils = mpu, loss, cp_utils
    names = {"megatron": ModuleType("megatron"), "megatron.core": core, "megatron.core.mpu": mpu}
    names |= {"slime": ModuleType("slime"), "slime.backends": ModuleType("backends")}
    path = "slime.backends.megatron_utils"
    return names | {path: utils, f"{path}.loss": loss, f"{path}.cp_utils": cp_utils}


def prepare():
    """Make slime's code, or the stand-in, what the adapter imports."""
    if OWN_CODE:
        torch.cuda.current_device = lambda: torch.device("cpu")
    else:
        sys.modules.update(stand_in())


# An update.


class Rollout:
    """Responses of every length, some tokens of which do not count, their logits, and log-probabilities at sampling."""

    def __init__(self):
        g = torch.Generator().manual_seed(0)
        size = N * PROMPTS
        self.prompts = torch.randint(2, 6, (size,), generator=g).tolist()
        self.responses = torch.randint(3, 12, (size,), generator=g).tolist()
        self.rewards = (torch.rand(size, generator=g) < 0.4).float()
        self.rewards[:N] = torch.tensor([1.0, 0.0, 0.0, 1.0])
        self.groups = torch.arange(size) // N
        both = list(zip(self.prompts, self.responses, strict=True))
        self.tokens = [torch.randint(V, (p + r,), generator=g) for p, r in both]
        self.logits = [3 * torch.randn(p + r, V, generator=g, dtype=torch.float64) for p, r in both]
        for z, (p, r), y in zip(self.logits, both, self.tokens, strict=True):
            z[p - 1 : p + r - 1 : 2].scatter_(1, y[p::2, None], 6.0)  # of rank 1 at every second position
        self.masks = [(torch.rand(r, generator=g) < 0.8).int() for r in self.responses]
        for mask in self.masks:
            mask[0] = 1
        self.old = [
            (z[p - 1 : -1] / FLAGS["rollout_temperature"]).log_softmax(-1).gather(-1, y[p:, None])[:, 0]
            + 0.2 * torch.randn(r, generator=g, dtype=torch.float64)
            for z, (p, r), y in zip(self.logits, both, self.tokens, strict=True)
        ]


def reference(rollout, name, temperature=FLAGS["rollout_temperature"]):
    """METHODS[name].loss of the whole update at once, its metrics, and the gradient of all logits."""
    method = METHODS[name].with_options(**OPTIONS.get(name, {}))
    leaves = [z.clone().requires_grad_() for z in rollout.logits]
    pad = torch.nn.utils.rnn.pad_sequence
    logits = pad([z[p - 1 : -1] for z, p in zip(leaves, rollout.prompts, strict=True)], batch_first=True)
    tokens = pad([y[p:] for y, p in zip(rollout.tokens, rollout.prompts, strict=True)], batch_first=True)
    s = token_stats(logits, tokens, top_k=method.top_k or 1, temperature=temperature, impl="eager")
    gap = candidate_gap(s.topk_logp, s.logp, method.candidate_weights or "uniform")
    old, mask = pad(rollout.old, batch_first=True), pad(rollout.masks, batch_first=True)
    loss, metrics = method.loss(rollout.rewards.double(), rollout.groups, s.logp, old, s.entropy, gap, s.is_top1, mask)
    loss.backward()
    return loss.detach(), metrics, torch.cat([z.grad.flatten() for z in leaves])


def update(rollout, args, micro_batches):
    """What slime and Megatron make of the update in so many micro-batches a process: loss, metrics, gradient."""
    from megatron.core import mpu
    from slime.backends.megatron_utils import cp_utils, loss

    dp, cp = mpu.get_data_parallel_world_size(), mpu.get_context_parallel_world_size()
    size, rank = len(rollout.tokens), mpu.get_data_parallel_rank()
    partition = list(range(rank, size, dp))  # the groups are split over the processes
    lengths = [len(y) for y in rollout.tokens]
    data = {
        "tokens": [rollout.tokens[i] for i in partition],
        "total_lengths": [lengths[i] for i in partition],
        "response_lengths": [rollout.responses[i] for i in partition],
        "loss_masks": [rollout.masks[i] for i in partition],
        "rollout_mask_sums": torch.tensor([float(rollout.masks[i].sum()) for i in partition]),
        "log_probs": [cp_utils.slice_log_prob_with_cp(rollout.old[i], lengths[i], rollout.responses[i]) for i in partition],
    }  # fmt: skip
    whole = {"raw_reward": rollout.rewards.tolist(), "partition": partition, "rewards": [0.0] * len(partition)}
    rollout_data = data | whole
    loss.compute_advantages_and_returns(args, rollout_data)
    leaves = [z.clone().requires_grad_() for z in rollout.logits]
    columns = V // mpu.get_tensor_model_parallel_world_size()
    first = mpu.get_tensor_model_parallel_rank() * columns
    values, tokens = 0.0, 0.0
    for indices in torch.arange(len(partition)).tensor_split(micro_batches):
        batch = {key: [rollout_data[key][i] for i in indices] for key in (*data, "advantages", "returns")}
        batch |= {"unconcat_tokens": batch["tokens"], "rollout_log_probs": None}
        rows = [cp_utils.slice_with_cp(leaves[partition[i]][:, first : first + columns], 0) for i in indices]
        logits = torch.cat([*rows, torch.zeros(5, columns, dtype=torch.float64)])[None]
        scaled, counted, logged = loss.loss_function(args, batch, micro_batches, size, logits)
        if not args.calculate_per_token_loss:
            scaled = scaled / counted / micro_batches
        scaled.backward()
        values, tokens = values + logged["values"].double(), tokens + counted
    gradient = torch.cat([torch.zeros_like(z).flatten() if z.grad is None else z.grad.flatten() for z in leaves])
    total = torch.cat([gradient, values * (mpu.get_tensor_model_parallel_rank() == 0)])
    dist.all_reduce(total)
    gradient, values = total.split([len(gradient), len(values)])
    divisor = values[0] if args.calculate_per_token_loss else float(dp * cp)
    shared = values[1:] * cp / values[0] if args.calculate_per_token_loss else values[1:] / size
    metrics = dict(zip(logged["keys"], shared.tolist(), strict=True))
    return metrics.pop("loss"), metrics, gradient / divisor


def assert_same(name, micro_batches, **changed):
    """slime's update is the row's."""
    rollout = Rollout()
    loss, metrics, gradient = reference(rollout, name)
    assert gradient.norm() > 0
    found = update(rollout, flags(name, **changed), micro_batches)
    assert abs(found[0] - loss) < 1e-6 * max(1, abs(loss)), (name, found[0], loss)
    assert (found[2] - gradient).norm() < 1e-6 * gradient.norm(), (name, found[2].norm(), gradient.norm())
    assert found[1].keys() == {f"simko/{key}" for key in metrics}
    by_token, split = flags(name).calculate_per_token_loss, micro_batches > 1 or dist.get_world_size() > 1
    keys = metrics if not split else {"penalised", "gated", "clipped"} & metrics.keys() if by_token else ()
    for key in keys:  # slime weighs a micro-batch by all its tokens or responses
        assert abs(found[1][f"simko/{key}"] - metrics[key]) < 1e-5, (name, key)
