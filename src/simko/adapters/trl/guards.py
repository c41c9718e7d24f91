"""What keeps a bad number out of the weights: updates that are not finite, rollouts that nothing could score."""

import logging
import math
from typing import Any

import torch
from torch import Tensor

from simko.adapters.trl.rewards import checked_rewards
from simko.diagnostics import UnscoredRollouts
from simko.objectives.update import group_outcomes, lost_in_float32

logger = logging.getLogger("simko")


class Guards:
    """A mix-in for GRPOTrainer of TRL's and its kin, before it in the bases: `class Mine(Guards, GRPOTrainer)`.

    - An update whose loss or gradient is nan or infinite on any process leaves weights, momentum and decay as they are.
      It is warned of and logged as guards/skipped_updates (the share of the updates since the last log). After
      max_skipped_updates in a row FloatingPointError ends the run; the last checkpoint is as it was.
    - A rollout of which no response could be scored trains nothing; ValueError after 64 in a row.
    - Reward functions are read with checked_rewards, under reward_failures and reward_timeout. An infinite reward of a
      reward model is refused or masked too, and so are all of a group that float32 loses (lost_in_float32).
    - groups/* count what cannot train: shares of groups all right, all wrong, mixed, all truncated (no response came to
      its end) and all empty (no response has a token before its end), and of responses that are unscorable.
    """

    args: Any
    accelerator: Any
    model: Any
    state: Any
    _metrics: Any
    reward_funcs: list[Any]

    max_skipped_updates: int = 5
    """Updates in a row that are skipped; the next one ends the run."""
    reward_failures: str = "raise"
    """What becomes of rewards that are no use: "raise" or "mask"; see checked_rewards."""
    reward_timeout: float | None = 1500.0
    """Seconds that a call of a reward function may take; None: any. By default less than torch waits for a process."""

    _skipped = 0  # in a row
    _loss_is_finite = True
    _rewards: Tensor
    _rollout_has_rewards, _update_has_rewards = True, False

    # Rewards.

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Tensor:
        policy: Any = {"failures": self.reward_failures, "timeout": self.reward_timeout}
        # At every rollout, since a user may have put in others.
        self.reward_funcs = [checked_rewards(f, **policy) for f in self.reward_funcs]
        self._rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)  # type: ignore[misc]
        self._leave_out_lost()
        scored = not bool(self.scored_rewards().isnan().all())
        if self.model.training:
            self._rollout_has_rewards = scored
        if not hasattr(self, "_unscored"):
            self._unscored = UnscoredRollouts()
        self._unscored.see(scored, self.model.training, self.state.global_step, ", ".join(self.reward_func_names))  # type: ignore[attr-defined]
        self._outcomes = group_outcomes(self.scored_rewards().view(-1, self.group_size()))
        for name, share in (self._outcomes | self._unfinished_groups(completion_ids_list)).items():
            self._mode_metrics()[f"groups/{name}"].append(share)
        return self._rewards

    def _leave_out_lost(self) -> None:
        """Refuse, or take for None, rewards that are infinite and all of a group that float32 loses."""
        given = self._rewards
        self._rewards = given.masked_fill(given.isinf(), torch.nan)
        sizes = [self.group_size()] + [len(given)] * (self.args.scale_rewards == "batch")
        for size in sizes:  # the batch is standardised as one without the groups that are lost
            self._rewards = self._rewards.masked_fill(self._lost(size)[:, None], torch.nan)
        left_out = self._rewards.isnan() & ~given.isnan()
        if not left_out.any():
            return
        sample, function = divmod(int(given.abs().masked_fill(~left_out, -1.0).argmax()), given.shape[1])
        said = (
            f"reward function {self.reward_func_names[function]} gave {given[sample, function].item():g} to sample {sample} "  # type: ignore[attr-defined]
            "of the rollout: float32, in which advantages are, loses the differences between the rewards of its group"
        )
        if self.reward_failures == "raise":
            raise ValueError(
                f"{said}; bring the rewards to the order of 1, or set reward_failures to mask, which leaves them out"
            )
        logger.warning("%s; %d such rewards do not count", said, int(left_out.sum()))
        for name, share in zip(self.reward_func_names, left_out.float().mean(0).tolist(), strict=True):  # type: ignore[attr-defined]
            if share:
                self._mode_metrics()[f"rewards/{name}/masked"].append(share)

    def _lost(self, size: int) -> Tensor:
        """[B] responses whose group of so many is lost in float32."""
        by_function = self.args.multi_objective_aggregation == "normalize_then_sum"
        sets = self._rewards.unbind(1) if by_function else [self.scored_rewards()]
        lost = [lost_in_float32(r.view(-1, size).cpu())[:, None].expand(-1, size).flatten() for r in sets]
        return torch.stack(lost).any(0).to(self._rewards.device)

    def _unfinished_groups(self, completion_ids: Any) -> dict[str, float]:
        trainer: Any = self
        ends = {*trainer.eos_token_ids, trainer._tokenizer.pad_token_id}
        kinds = [[ids[-1] not in ends, ids[0] in ends] if len(ids) else [False, True] for ids in completion_ids]
        gathered = self.accelerator.gather(torch.tensor(kinds, device=self.accelerator.device))
        truncated, empty = gathered.view(-1, self.group_size(), 2).all(1).float().mean(0).tolist()
        return {"all_truncated": truncated, "all_empty": empty}

    def group_size(self) -> int:
        """Responses a prompt."""
        trainer: Any = self
        return int((trainer.num_generations if self.model.training else trainer.num_generations_eval) or 1)

    def scored_rewards(self) -> Tensor:
        """[B] rewards of the last rollout, gathered: weighted sums over reward functions; nan where there is none."""
        total = (self._rewards * self.reward_weights.to(self._rewards.device)).nansum(1)  # type: ignore[attr-defined]
        return total.masked_fill(self._rewards.isnan().all(1), torch.nan)

    def _mode_metrics(self) -> Any:
        return self._metrics["train" if self.model.training else "eval"]

    # Loss and gradient.

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        """TRL's, seen."""
        loss = super().compute_loss(*args, **kwargs)  # type: ignore[misc]
        if self.model.training:
            self._update_has_rewards |= self._rollout_has_rewards
            value = loss.item()
            finite = math.isfinite(value)
            self._loss_is_finite &= finite
            if not finite and self.is_deepspeed_enabled:  # type: ignore[attr-defined]
                raise FloatingPointError(
                    f"the loss is {value} at step {self.state.global_step}, and DeepSpeed cannot skip an update: "
                    "stopped before it reached the weights"
                )
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The norm of an update's gradient, before the optimizer's step, which goes without one that must not act."""
        norm = super()._get_grad_norm(model, grad_norm)  # type: ignore[misc]
        value = 0.0 if norm is None else float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)  # FSDP2's
        lost = torch.tensor(float(not self._loss_is_finite), device=self.accelerator.device)
        loss_is_finite = not self.accelerator.reduce(lost)
        finite = loss_is_finite and math.isfinite(value)
        said = f"the gradient's norm is {value:g}, though the loss is finite"
        self._see_update(finite, said if loss_is_finite else f"the loss is not finite (gradient's norm {value:g})")
        if (not finite and not self.args.fp16) or not self._update_has_rewards:  # fp16's scaler skips by itself
            model.zero_grad()
        self._update_has_rewards, self._loss_is_finite = False, True
        return norm

    def _see_update(self, finite: bool, why: str) -> None:
        self._metrics["train"]["guards/skipped_updates"].append(float(not finite))
        self._skipped = 0 if finite else self._skipped + 1
        if finite:
            return
        step = self.state.global_step
        if self._skipped > self.max_skipped_updates:
            raise FloatingPointError(
                f"{why} at step {step}, after {self.max_skipped_updates} skipped updates: look at learning_rate (lower it), "
                "at the precision (bf16 and fp16 overflow), at max_grad_norm, and at the rewards' and log-probabilities' "
                "size; the last checkpoint is as it was"
            )
        logger.warning("update %d is skipped, weights and optimizer stay: %s (%d in a row)", step, why, self._skipped)
