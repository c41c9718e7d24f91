"""The rows of METHODS in slime, by its own flags. See docs/slime.md.

slime cuts the logits into responses, scales the loss and accumulates gradients; a row of METHODS is the rest. slime divides
what `loss` returns by the tokens or the responses of the whole update, so that `loss` is a sum.
"""

import logging
from argparse import Namespace
from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import mpu
from slime.backends.megatron_utils.cp_utils import all_gather_with_cp, slice_log_prob_with_cp
from slime.backends.megatron_utils.loss import get_responses
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from simko.adapters.verl_rows import plan_row
from simko.objectives import METHODS, Method, candidate_gap
from simko.objectives.tokens import every_token, read_tokens
from simko.token_stats import vocab_parallel_token_stats

_LOSS, _ADVANTAGES = "simko.adapters.slime.loss", "simko.adapters.slime.advantages"
_UNREAD = {
    "use_kl_loss": False, "entropy_coef": 0.0, "eps_clip_c": None, "use_tis": False, "get_mismatch_metrics": False,
    "use_opsm": False, "custom_pg_loss_reducer_function_path": None, "rollout_top_p": 1.0, "allgather_cp": False,
}  # fmt: skip
"""Options of slime that `loss` does not know, and the values at which they do nothing."""


def advantages(args: Namespace, rollout_data: dict[str, Any]) -> None:
    """--custom-advantage-function-path: the row's advantages, over whole groups wherever slime has put their responses.

    ValueError, before anything is trained, for a row or an option that would train another objective.
    """
    method = _row(args)
    rewards = torch.tensor(rollout_data["raw_reward"], dtype=torch.float32)
    if len(rewards) != args.rollout_batch_size * args.n_samples_per_prompt:
        raise ValueError(
            f"a rollout must have n_samples_per_prompt={args.n_samples_per_prompt} responses to each of "
            f"rollout_batch_size={args.rollout_batch_size} prompts, got {len(rewards)}: generate one sample for each"
        )
    groups = torch.arange(len(rewards)) // args.n_samples_per_prompt
    mean_logp = _mean_logp(args, rollout_data, len(rewards))[:, None] if method.needs_old_logp else None
    mask = None if mean_logp is None else torch.ones_like(mean_logp)
    found = method.advantages(rewards, groups, old_logp=mean_logp, mask=mask)[rollout_data["partition"]].tolist()
    for name in ("advantages", "returns"):
        rollout_data[name] = [torch.full_like(x, a) for x, a in zip(rollout_data["kl"], found, strict=True)]


def loss(args: Namespace, batch: dict[str, Any], logits: Tensor, _: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """--custom-loss-function-path: the row's loss of a micro-batch, undivided, and its metrics.

    logits: [1, T, V_r], this process's part of the packed sequence and of the vocabulary.
    """
    method = _row(args)
    lengths = list(zip(batch["total_lengths"], batch["response_lengths"], strict=True))

    def whole(parts: Any) -> Tensor:
        """[B, T] of the responses of which each process of the context-parallel group has a part."""
        return pad_sequence([all_gather_with_cp(x, *n) for x, n in zip(parts, lengths, strict=True)], batch_first=True)

    places, labels = _responses(args, batch, logits)
    rank, group = mpu.get_tensor_model_parallel_rank(), mpu.get_tensor_model_parallel_group()
    stats = vocab_parallel_token_stats(
        logits[0], labels, rank * logits.shape[-1],
        top_k=method.top_k or 1, temperature=args.rollout_temperature, group=group,
    )  # fmt: skip
    gap = candidate_gap(stats.topk_logp, stats.logp, method.candidate_weights or "uniform")
    is_top1 = stats.is_top1.to(gap.dtype)
    logp, entropy, gap, is_top1 = (whole([x[i] for i in places]) for x in (stats.logp, stats.entropy, gap, is_top1))
    old = batch["rollout_log_probs" if args.use_rollout_logprobs else "log_probs"]
    old_logp = whole(old).to(logp.dtype) if old else logp.detach()
    mask = pad_sequence(batch["loss_masks"], batch_first=True)
    tokens = read_tokens(logp, old_logp, entropy, gap, is_top1 > 0, whole(batch["advantages"]), mask, None)
    total, metrics = method.policy_terms(tokens, denominator=method.options.get("length", 1))
    size = mask.sum() if args.calculate_per_token_loss else len(mask)
    logged = {"loss": total.detach()} | {f"simko/{name}": size * mean.value() for name, mean in metrics.items()}
    processes = mpu.get_context_parallel_world_size()  # each has the whole loss, and slime adds them up
    return total / processes, {name: x / processes for name, x in logged.items()}


def _responses(args: Namespace, batch: dict[str, Any], logits: Tensor) -> tuple[list[Tensor], Tensor]:
    """Where the tokens of each response are scored, and the label of each position, 0 where there is none."""
    index = torch.arange(logits.shape[1], dtype=torch.float32, device=logits.device)[None, :, None]
    lists = {name: batch[name] for name in ("unconcat_tokens", "total_lengths", "response_lengths")}
    found = list(get_responses(index, args=args, apply_temperature=False, **lists))
    labels = torch.zeros(logits.shape[1], dtype=torch.long, device=logits.device)
    places = [position[:, 0].long() for position, _ in found]
    for place, (_, tokens) in zip(places, found, strict=True):
        labels[place] = tokens
    return places, labels


def _mean_logp(args: Namespace, rollout_data: dict[str, Any], size: int) -> Tensor:
    """[size] mean log pi_old of the responses of all processes."""
    name = "rollout_log_probs" if args.use_rollout_logprobs else "log_probs"
    if not (old := rollout_data.get(name) or rollout_data.get("rollout_log_probs")):
        raise ValueError(f"slime gives no {name}, which the row's advantages need: set --use-rollout-logprobs")
    means = old[0].new_zeros(size, dtype=torch.float32)
    columns = (rollout_data[key] for key in ("partition", "loss_masks", "total_lengths", "response_lengths"))
    for logp, place, mask, *lengths in zip(old, *columns, strict=True):
        means[place] = (logp * slice_log_prob_with_cp(mask, *lengths)).sum() / mask.sum().clamp(min=1)
    dist.all_reduce(means, group=mpu.get_data_parallel_group(with_context_parallel=True))
    return means.cpu()


def _row(args: Namespace) -> Method:
    """The row that `args.simko` names, with its options; ValueError where slime would train another objective."""
    given = getattr(args, "simko", None)
    if not isinstance(given, dict) or given.get("method") not in METHODS:
        raise ValueError(
            f"simko must hold a method and its options, got {given!r}: write `simko: {{method: simko, alpha: 0.01}}` into "
            f"the file of --custom-config-path, with one of {', '.join(METHODS)}"
        )
    method = METHODS[given["method"]].with_options(**{k: v for k, v in given.items() if k != "method"})
    own_loss = args.loss_type == "custom_loss" and args.custom_loss_function_path == _LOSS
    conflicts = _conflicts(method, args) | (_own_loss_conflicts if own_loss else _slimes_loss_conflicts)(method, args)
    for message, holds in conflicts.items():
        if holds:
            raise ValueError(f"{method.name} in slime: {message}")
    options = ", ".join(f"{name}={value}" for name, value in method.options.items())
    _say(f"simko trains {method.name} ({options}), with {'its own' if own_loss else 'slime’s'} loss")
    return method


@lru_cache
def _say(line: str) -> None:
    logging.getLogger("simko").warning(line)


def _conflicts(method: Method, args: Namespace) -> dict[str, bool]:
    """What slime would do otherwise than the row, with the way out, and whether it holds."""
    low, high = method.options.get("clip_low", 0.2), method.options.get("clip_high", 0.2)
    return {
        f"set --custom-advantage-function-path {_ADVANTAGES}": args.custom_advantage_function_path != _ADVANTAGES,
        "--normalize-advantages would change its advantages: leave it out": args.normalize_advantages,
        "--kl-coef is not read: leave it out": args.kl_coef != 0,
        f"it clips at clip_low={low:g} and clip_high={high:g}, slime at --eps-clip {args.eps_clip:g} and --eps-clip-high "
        f"{args.eps_clip_high:g}: set both to the same": (low, high) != (args.eps_clip, args.eps_clip_high),
    }


def _slimes_loss_conflicts(method: Method, args: Namespace) -> dict[str, bool]:
    plan = plan_row(method)
    own_loss = plan.own_loss or plan.links or bool(plan.actor_options)
    return {
        f"its loss is not slime's: set --loss-type custom_loss --custom-loss-function-path {_LOSS}": own_loss,
        "--loss-type is not policy_loss: leave it out": args.loss_type != "policy_loss",
        f"--advantage-estimator {args.advantage_estimator} brings another loss: set grpo": args.advantage_estimator
        != "grpo",
        "it divides by tokens: set --calculate-per-token-loss": not args.calculate_per_token_loss,
        "it has no dual clip: leave out --eps-clip-c": args.eps_clip_c is not None,
    }


def _own_loss_conflicts(method: Method, args: Namespace) -> dict[str, bool]:
    by_token = method.reduction.keywords.get("reduction", "token_mean") == "token_mean"
    unread = [f"--{name.replace('_', '-')}" for name, off in _UNREAD.items() if getattr(args, name) != off]
    divisor = "tokens: set" if by_token else "responses: leave out"
    return {
        "it chooses tokens over the whole update, which a micro-batch does not see: use TRL": method.selects,
        "it divides by other tokens than slime does: use TRL": method.token_mask.func is not every_token,
        "it changes from update to update, which slime does not know: use TRL": method.controller is not None,
        "its length has no default here: set the option": method.options.get("length", 1) is None,
        f"it divides by {divisor} --calculate-per-token-loss": by_token != args.calculate_per_token_loss,
        f"its own loss does not know {', '.join(unread)}: leave them out": bool(unread),
    }
