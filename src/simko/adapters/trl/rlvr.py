"""What every method trained through TRL shares: nothing of the objective, three aids around it."""

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from trl import GRPOConfig

from simko.adapters.trl.config_checks import check_count, follow_machine, warn_of_shifted_sampling
from simko.adapters.trl.head import HeadCall, completion_rows, watch_head
from simko.adapters.trl.model_card import name_local_models
from simko.adapters.trl.resume import ResumableTrainer
from simko.adapters.trl.rewards import checked_rewards
from simko.adapters.trl.skipping import only_rows, refuse_inexact_skipping
from simko.diagnostics import concentration_summary
from simko.evaluate.files import append
from simko.token_stats import TokenStats

logger = logging.getLogger("simko")

_LOSSES_BY_TOKENS = ("dapo", "cispo", "vespo")
_PROBE_CANDIDATES = 6
_PROBE_ROWS = 256
_ROWS_A_PROBED_ROW = 40  # responses generated and trained on for one that a probe scores
_UNSCORED_ROLLOUTS = 10


@dataclass
class RLVRConfig(GRPOConfig):
    """GRPOConfig with two aids that leave the gradient alone, and dynamic sampling's choice of groups.

    use_cpu and bf16 follow the machine where they are not set: a machine without an accelerator trains on its CPU, and
    bf16 is on where a GPU knows it (TRL's default is on everywhere). ValueError for a count below its least value.
    """

    use_cpu: bool = field(
        default=False, metadata={"help": "Train on the CPU; on where there is no accelerator, whatever is set."}
    )
    bf16: bool | None = field(  # type: ignore[assignment]
        default=None,
        metadata={
            "help": "Mixed precision in bfloat16. Where it is not set, the machine decides: on where the GPU knows it and "
            "fp16 is off, off on a CPU, which is slower in it."
        },
    )
    skip_zero_advantage: bool = field(
        default=False,
        metadata={
            "help": "Leave responses of advantage 0 out of the loss's forward and backward pass: the same gradient for "
            "less work. Needs loss_type dapo or cispo, beta 0 and no entropy bonus. TRL's entropy then covers the "
            "remaining responses only; the probe's covers all."
        },
    )
    probe_every: int = field(
        default=20,
        metadata={
            "help": "Every so many optimizer steps, measure on the fresh rollout how the policy concentrates (mean "
            "log-probability of ranks 1-6, entropy, rank probabilities at high-entropy tokens); 0: never."
        },
    )
    probe_rows: int | None = field(
        default=None,
        metadata={
            "help": "Responses measured by each probe, on each process; default: at most 256, and one for 40 rolled out "
            "since the last probe, which costs less than 2 % of the training."
        },
    )
    drop_one_outcome_groups: bool = field(
        default=False,
        metadata={
            "help": "Groups whose responses all have one reward leave the loss and its denominator (DAPO's dynamic "
            "sampling, without drawing others in their place). Needs loss_type dapo, cispo or vespo."
        },
    )

    def __post_init__(self) -> None:
        check_count("probe_every", self.probe_every, 0)
        if self.probe_rows is not None:
            check_count("probe_rows", self.probe_rows, 1)
        follow_machine(self)
        super().__post_init__()


def grpo_objective(args: GRPOConfig) -> str:
    """One line that names the objective of GRPOTrainer under `args`."""
    return (
        f"GRPO on {args.loss_type} (clip -{args.epsilon:g}/+{args.epsilon_high or args.epsilon:g}, beta={args.beta:g})"
    )


class RLVRTrainer(ResumableTrainer):
    """TRL's GRPOTrainer, with its loss untouched, which can skip responses of advantage 0, probes how the policy
    concentrates, and stops on a loss or a reward that is not finite instead of training on it."""

    args: RLVRConfig
    model: Any
    _runs_own_loss = False

    def __init__(self, model: Any, reward_funcs: Any = None, args: RLVRConfig | None = None, **kwargs: Any) -> None:
        args = args if args is not None else RLVRConfig("RLVR")
        if not isinstance(args, RLVRConfig):
            raise ValueError(f"{type(self).__name__} needs an RLVRConfig, got {type(args).__name__}")
        if args.skip_zero_advantage:
            refuse_inexact_skipping(args)
        if args.drop_one_outcome_groups and args.loss_type not in _LOSSES_BY_TOKENS:
            raise ValueError(
                f"loss_type={args.loss_type!r} divides by responses, so that dropped groups would stay in its "
                "denominator: set drop_one_outcome_groups to False or loss_type to dapo"
            )
        several = isinstance(reward_funcs, list | tuple)
        checked = [checked_rewards(f) for f in (reward_funcs if several else [reward_funcs])]
        super().__init__(model, checked if several else checked[0], args, **kwargs)
        self._loss_inputs: dict[str, Any] | None = None
        self._rewards = torch.empty(0)
        self._rollout_judged = self._probe_refused = False
        self._unscored_rollouts, self._probed = 0, -1
        self._rollout_has_rewards, self._update_has_rewards = True, False
        warn_of_shifted_sampling(args, self.model)
        if args.skip_zero_advantage and self.aux_loss_enabled:
            raise ValueError("skip_zero_advantage would change the mixture-of-experts auxiliary loss: turn one off")

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        inputs = dict(inputs)  # TRL reuses its buffered batches: what a method changes stays in this copy
        counted = counted_tokens(inputs).sum()
        if self.args.skip_zero_advantage and self.model.training:
            inputs = only_rows(inputs, self._rows_with_advantage(inputs["advantages"]))
        inputs["left_out"] = counted - counted_tokens(inputs).sum()
        self._loss_inputs = inputs
        try:
            loss = self.base_loss(model, inputs)
        finally:
            self._loss_inputs = None
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.state.global_step}: stopped before it reached the weights"
            )
        if self.model.training:
            self._update_has_rewards |= self._rollout_has_rewards
        if not self._runs_own_loss:
            self._mend_means(counted, inputs["left_out"])
        return loss

    def _mend_means(self, counted: Tensor, left_out: Tensor) -> None:
        """TRL's means over a micro-batch: none over no tokens, for which TRL has 0, and shares of clipped tokens over all
        counted ones, under one name."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        if self.args.loss_type == "cispo":
            metrics["clip_ratio/region_mean"].append(metrics["cispo_clip_ratio"][-1])
        every, left = self.accelerator.reduce(torch.stack([counted, left_out]).float(), reduction="sum").tolist()
        clipped = [f"clip_ratio/{kind}_mean" for kind in ("low", "high", "region")]
        for name, tokens in {"entropy": every - left, "kl": every - left, **dict.fromkeys(clipped, every)}.items():
            values = metrics.get(name)
            if values and name in clipped:
                values[-1] *= 1 - left / max(every, 1.0)
            if values and not tokens:
                values.pop()
                if not values:
                    del metrics[name]

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The norm of the gradient of an update, before the optimizer's step.

        FloatingPointError where it is not finite, but under fp16, whose scaler skips such an update. An update all of
        whose responses could not be scored loses its gradient, so that the optimizer's momentum and decay do not act.
        """
        norm = super()._get_grad_norm(model, grad_norm)
        size = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # FSDP2's
        if size is not None and not (self.args.fp16 or math.isfinite(size)):
            raise FloatingPointError(
                f"the gradient's norm is {float(size)} at step {self.state.global_step}, though the loss is finite: "
                "stopped before the optimizer's step; the last checkpoint is as it was"
            )
        if not self._update_has_rewards:
            model.zero_grad()
        self._update_has_rewards = False
        return norm

    def base_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """The loss of a micro-batch: TRL's."""
        return super()._compute_loss(model, inputs)

    def _rows_with_advantage(self, advantages: Tensor) -> Tensor:
        """[B] bool: responses with an advantage, and others until every process has equally many (at least one): TRL
        gathers a number for each response."""
        keep = advantages.view(len(advantages), -1).ne(0).any(-1)
        most = int(self.accelerator.gather(keep.sum().view(1)).max().clamp(min=1))
        keep[(~keep).nonzero().flatten()[: most - int(keep.sum())]] = True
        return keep

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        rewards = super()._calculate_rewards(*args, **kwargs)
        if torch.isinf(rewards).any():
            sample, function = (int(i) for i in torch.isinf(rewards).nonzero()[0])
            name = self.reward_func_names[function]
            raise ValueError(f"reward function {name} gave an infinite reward to sample {sample} of the rollout")
        self._rewards = rewards
        self._count_unscored_rollouts()
        self._log_group_outcomes()
        return rewards

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        super().create_model_card(*args, **kwargs)
        if self.accelerator.is_main_process:
            directory = Path(str(self.args.output_dir))
            checkpoint = directory / f"checkpoint-{self.state.global_step}"  # which TRL saves next
            name_local_models(directory / "README.md", self.model.config, checkpoint)

    def _count_unscored_rollouts(self) -> None:
        """Say so where no response of a rollout could be scored; ValueError after many such rollouts in a row."""
        scored = not bool(self.scored_rewards().isnan().all())
        names = ", ".join(self.reward_func_names)
        if self.model.training:
            self._rollout_has_rewards = scored
            self._unscored_rollouts = 0 if scored else self._unscored_rollouts + 1
            if self._unscored_rollouts >= _UNSCORED_ROLLOUTS:
                raise ValueError(
                    f"no response of {self._unscored_rollouts} rollouts in a row could be scored: {names} gave None to "
                    "all of them"
                )
        if not scored:
            logger.warning(
                "no response of the %s at step %d could be scored, %s gave None to all: %s",
                "rollout" if self.model.training else "evaluation batch",
                self.state.global_step,
                names,
                f"it trains nothing ({self._unscored_rollouts} in a row)" if self.model.training else "it is left out",
            )

    def group_size(self) -> int:
        """Responses a prompt."""
        return int((self.num_generations if self.model.training else self.num_generations_eval) or 1)

    def scored_rewards(self) -> Tensor:
        """[B] rewards of the last rollout, gathered: weighted sums over reward functions; nan where all gave None."""
        total = (self._rewards * self.reward_weights.to(self._rewards.device)).nansum(1)
        return total.masked_fill(self._rewards.isnan().all(1), torch.nan)

    def own_rows(self, gathered: Tensor, rollout: dict[str, Any]) -> Tensor:
        """This process's rows of a tensor over the rollout of all processes."""
        here = len(rollout["completion_ids"])
        return gathered[self.accelerator.process_index * here :][:here].to(rollout["completion_ids"].device)

    def _log_group_outcomes(self) -> None:
        """Of the groups with a response that could be scored, the shares whose rewards are all equal and positive (all
        right), all equal otherwise (all wrong), or mixed: only mixed groups train. And the share of responses that no
        reward function could score."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        total = self.scored_rewards().view(-1, self.group_size())
        metrics["groups/unscorable"].append(total.isnan().float().mean().item())
        total = total[~total.isnan().all(1)]
        if not len(total):
            return
        highest, lowest = total.nan_to_num(-torch.inf).amax(1), total.nan_to_num(torch.inf).amin(1)
        equal = highest <= lowest
        right = equal & (highest > 0)
        for name, groups in (("all_right", right), ("mixed", ~equal), ("all_wrong", equal & ~right)):
            metrics[f"groups/{name}"].append(groups.float().mean().item())

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        outputs = super()._generate_and_score_completions(inputs)
        if self.model.training and not self._rollout_judged and self._rollout_has_rewards:
            self._rollout_judged = True
            self._warn_of_poor_rollout()
        if self.model.training and self._probe_is_due():
            self._probe(outputs)
        self.change_rollout(outputs)
        if self.model.training and self.args.drop_one_outcome_groups:
            self._drop_one_outcome_groups(outputs)
        return outputs

    def change_rollout(self, rollout: dict[str, Any]) -> None:
        """Where a subclass puts its own advantages, before TRL shuffles the rollout."""

    def _drop_one_outcome_groups(self, rollout: dict[str, Any]) -> None:
        """Mask out the responses of groups whose scorable responses have one reward, or of which none is scorable."""
        rewards = self.scored_rewards().view(-1, self.group_size())
        unscorable = rewards.isnan()
        highest = rewards.masked_fill(unscorable, -torch.inf).amax(1, keepdim=True)
        dropped = (highest <= rewards.masked_fill(unscorable, torch.inf).amin(1, keepdim=True)).expand_as(rewards)
        dropped = self.own_rows(dropped.flatten(), rollout)
        rollout["completion_mask"] = rollout["completion_mask"].masked_fill(dropped[:, None], 0)
        rollout["num_items_in_batch"] = self.accelerator.gather(counted_tokens(rollout).sum()).sum()

    @property
    def updates_per_rollout(self) -> int:
        """The most optimizer steps that a rollout may reach into, those that it shares with others included."""
        steps = int(self.args.steps_per_generation or 1) * self.args.num_iterations
        accumulate = self.args.gradient_accumulation_steps
        return math.ceil((steps - math.gcd(steps, accumulate)) / accumulate) + 1

    def _probe_is_due(self) -> bool:
        """Whether a multiple of probe_every lies between the last rollout's step and this one's, this one included, and
        was not probed yet: an update may open several rollouts."""
        step, every = self.state.global_step, self.args.probe_every
        due = every > 0 and (step - self.updates_per_rollout) // every < step // every != self._probed
        self._probed = step // every if due else self._probed
        return due

    def _probe_size(self, rollout: dict[str, Any]) -> int:
        """How many of the rollout's responses on this process a probe measures."""
        here = len(rollout["completion_ids"])
        rollouts = max(1.0, self.args.probe_every / self.updates_per_rollout)
        return self.args.probe_rows or min(_PROBE_ROWS, max(1, int(here * rollouts / _ROWS_A_PROBED_ROW)))

    def _warn_of_poor_rollout(self) -> None:
        metrics = self._metrics["train"]
        truncated, mixed = metrics["completions/clipped_ratio"][-1], metrics["groups/mixed"][-1]
        if truncated > 0.5:
            logger.warning(
                "%.0f%% of the first rollout's completions were cut at max_completion_length=%d: the model is rarely "
                "judged on a finished answer; raise it, or see that the model ends its answers",
                100 * truncated,
                self.max_completion_length,
            )
        if mixed < 0.5:
            logger.warning(
                "%.0f%% of the first rollout's groups have one outcome (%.0f%% all right, %.0f%% all wrong) and train "
                "nothing: choose problems nearer the model's ability, or more generations",
                100 * (1 - mixed),
                100 * metrics["groups/all_right"][-1],
                100 * metrics["groups/all_wrong"][-1],
            )

    @torch.no_grad()
    def _probe(self, rollout: dict[str, Any]) -> None:
        """Log how the policy concentrates on the first responses of its own rollout (main process)."""
        if "num_images" in rollout:
            if not self._probe_refused:
                self._probe_refused = True
                logger.warning("the probe of the policy's concentration does not know images: this run has none")
            return
        rows = slice(0, self._probe_size(rollout))
        mask = counted_tokens(rollout)[rows]
        with evaluating(self.model):  # dropout would draw random numbers that the training is to draw
            stats = self._completion_stats(
                {k: v[rows] for k, v in rollout.items() if torch.is_tensor(v) and v.dim() > 1}
            )
        summary = concentration_summary(stats.logp, stats.entropy, stats.topk_logp, mask)
        summary = json.loads(json.dumps(summary), parse_constant=lambda _: None)  # nan: a mean over no tokens
        if not self.accelerator.is_main_process:
            return
        for name in ("concentration", "gated_rank_probability"):
            for rank, value in enumerate(summary[name], start=1):
                if value is not None:
                    self._metrics["train"][f"probe/{name}_{rank}"].append(value)
        directory = Path(str(self.args.output_dir))
        directory.mkdir(parents=True, exist_ok=True)
        append(directory / "diagnostics.jsonl", json.dumps({"step": self.state.global_step} | summary) + "\n")

    def _completion_stats(self, rollout: dict[str, Tensor]) -> TokenStats:
        """Token statistics of a rollout's completions, a small batch at a time through TRL's own scoring."""
        parts: list[TokenStats] = []
        size = self.args.per_device_train_batch_size
        for start in range(0, len(rollout["completion_ids"]), size):
            batch = {k: v[start : start + size] for k, v in rollout.items()}
            ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
            attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
            observe = partial(_keep_stats, batch["completion_mask"] != 0, parts)
            with watch_head(observe, top_k=_PROBE_CANDIDATES):
                super()._get_per_token_logps_and_entropies(  # not a subclass's, which may watch the head itself
                    self.model, ids, attention, batch["completion_ids"].size(1), compute_entropy=True
                )
        return TokenStats(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode inside; each module's own mode is put back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def counted_tokens(batch: dict[str, Any]) -> Tensor:
    """[B, T] bool: completion tokens that are no padding and no tool's."""
    mask = batch["completion_mask"] != 0
    return mask & (batch["tool_mask"] != 0) if "tool_mask" in batch else mask


def _keep_stats(valid: Tensor, kept: list[TokenStats], call: HeadCall) -> None:
    """Append the statistics of completion tokens [B, T]; zeros off `valid`."""
    assert call.stats is not None
    rows, spread = completion_rows(len(call.labels), valid)[valid], []
    for x in call.stats:
        spread.append(x.new_zeros(*valid.shape, *x.shape[1:]))
        spread[-1][valid] = x[rows]
    kept.append(TokenStats(*spread))
