"""Any row of METHODS in TRL, by name.

A row that TRL implements only sets TRL's options; SimKO's rows ride TRL's loss through their link; every other row
brings its own advantages and policy_loss, and refuses what that lacks. No row does half of each.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from simko.adapters.trl.link import LinkedTrainer
from simko.adapters.trl.method_config import MethodConfig, plan_method
from simko.adapters.trl.rlvr import counted_tokens
from simko.objectives.reduction import Mean, mean_over
from simko.objectives.tokens import read_tokens

logger = logging.getLogger("simko")


class MethodTrainer(LinkedTrainer):
    """GRPOTrainer with the objective METHODS[args.method].with_options(**args.method_options).

    ValueError at construction for an unknown method or option, and for a TRL option that the method would ignore or
    contradict. Methods on right and wrong read the reward function named by args.correctness (the only one, if there
    is but one). Every row logs entropy and clip_ratio/region_mean (the share of counted tokens at which the clip
    acts); own rows log theirs as <method>/<metric> too, means over the tokens of the update.
    """

    _tag_names: ClassVar = ["trl", "simko"]
    _name = "Method"
    args: MethodConfig

    def __init__(self, model: Any, reward_funcs: Any = None, args: MethodConfig | None = None, **kwargs: Any) -> None:
        args = args if args is not None else MethodConfig("Method")
        if not isinstance(args, MethodConfig):
            raise ValueError(f"MethodTrainer needs a MethodConfig, got {type(args).__name__}")
        plan = plan_method(args)
        self.method = plan.method
        self._runs_own_loss = plan.runs_own_loss
        super().__init__(model, reward_funcs, args, **kwargs)
        if plan.link is not None:
            self.put_link(plan.link, plan.objective(args))
        self._window_state: _Window | None = None
        self._rollout_step = -1
        self._sums: dict[str, Tensor] = {}
        if self._runs_own_loss:
            self._check_own_loss_can_run()
            self._correct = self._column_of_correctness() if self.method.binary else None

    # Advantages: on the gathered rollout, where TRL makes its own.

    def change_rollout(self, rollout: dict[str, Any]) -> None:
        if self.model.training:
            self._window_state, self._rollout_step = None, self.state.global_step
        if not self._runs_own_loss:
            return
        rewards = self.scored_rewards()
        groups = torch.arange(len(rewards), device=rewards.device) // self.group_size()
        old_logp = mask = None
        if self.method.needs_old_logp:
            old_logp, mask = self._gathered_old_logp(rollout)
        advantages = self.method.advantages(rewards, groups, old_logp=old_logp, mask=mask)
        rollout["advantages"] = self.own_rows(advantages, rollout)
        rollout["row"] = self.own_rows(torch.arange(len(rewards)), rollout)
        logged: Any = self._logs["advantages"]  # TRL's table of completions, which has its own ones last
        for _ in range(min(len(logged), len(advantages))):
            logged.pop()
        logged.extend(advantages.tolist())

    def scored_rewards(self) -> Tensor:
        if not (self._runs_own_loss and self.method.binary):
            return super().scored_rewards()
        return self._rewards[:, self._correct]

    def _column_of_correctness(self) -> int:
        names, wanted = list(self.reward_func_names), self.args.correctness
        if wanted is None and len(names) == 1:
            return 0
        if wanted not in names:
            raise ValueError(
                f"{self.method.name} is defined on right and wrong: name the reward function that says so by "
                f"correctness, one of {', '.join(names)}" + ("" if wanted is None else f"; got {wanted!r}")
            )
        return names.index(wanted)

    def _gathered_old_logp(self, rollout: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """log pi_old and counted tokens [B, T] of all processes; scored here where TRL had no need of them."""
        if (old_logp := rollout.get("old_per_token_logps")) is None:
            with torch.no_grad():
                old_logp = self._score(rollout, self.args.per_device_train_batch_size)[0]
        both = torch.stack([old_logp, counted_tokens(rollout).to(old_logp.dtype)], -1)
        both = self.accelerator.gather(self.accelerator.pad_across_processes(both, dim=1))
        return both[..., 0], both[..., 1]

    # Loss: the row's own, on each micro-batch.

    def _score(self, batch: dict[str, Any], batch_size: int | None = None, model: Any = None) -> tuple[Tensor, Tensor]:
        """log pi and entropy [B, T] of a batch's completions."""
        if "num_images" in batch:
            raise ValueError(f"{self.method.name} has a loss of its own, which does not know multimodal batches")
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        logp, entropy, _ = self._get_per_token_logps_and_entropies(
            self.model if model is None else model,
            ids,
            attention,
            batch["completion_ids"].size(1),
            batch_size=batch_size,
            compute_entropy=True,
        )
        return logp, entropy

    def _old_logp(self, batch: dict[str, Any], logp: Tensor) -> Tensor:
        """log pi_old; `logp` itself while the policy is still the rollout's: TRL's, of another pass, differ from it by
        rounding, of which kl_cov's |log-ratio| would train the sign."""
        unchanged = not self.model.training or self.state.global_step == self._rollout_step
        return logp.detach() if unchanged else batch.get("old_per_token_logps", logp.detach())

    def base_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        if not self._runs_own_loss:
            return super().base_loss(model, inputs)
        logp, entropy = self._score(inputs, model=model)
        old_logp = self._old_logp(inputs, logp)
        mask, advantages = counted_tokens(inputs), inputs["advantages"]
        denominator, marked = self._of_the_update(inputs, logp, old_logp, entropy, mask)
        left_out = inputs["left_out"]
        tokens = read_tokens(logp, old_logp, entropy, None, None, advantages, mask, marked, left_out)
        loss, metrics = self.method.policy_terms(tokens, denominator)
        logged = {f"{self.method.name}/{name}": metric for name, metric in metrics.items()}
        clipped = metrics["clipped"].total if "clipped" in metrics else logp.new_zeros(())
        logged["clip_ratio/region_mean"] = Mean(clipped, mask.sum() + left_out)
        logged["entropy"] = mean_over(entropy, mask)
        for name, metric in logged.items():
            total = torch.stack([metric.total.float(), metric.size.float()])
            self._sums[name] = self._sums.get(name, torch.zeros_like(total)) + total
        return loss

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss = super()._compute_loss(model, inputs)
        training = self.model.training
        if self._sums and (not training or self.accelerator.sync_gradients):
            totals = self.accelerator.reduce(torch.stack(list(self._sums.values())), reduction="sum").tolist()
            for name, (total, count) in zip(self._sums, totals, strict=True):
                if count:  # a mean over no tokens is none
                    self._metrics["train" if training else "eval"][name].append(total / count)
            self._sums = {}
        return loss

    def _of_the_update(
        self, inputs: dict[str, Any], logp: Tensor, old_logp: Tensor, entropy: Tensor, mask: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """The denominator of the whole update, divided by the processes, and this micro-batch's marked tokens."""
        method, advantages = self.method, inputs["advantages"]
        if not self.model.training:
            if not method.selects:
                return None, None
            marked = method.select(logp, old_logp, entropy, advantages, mask, generator=self._generator())[1]
            return None, marked
        at = self._step % int(self.args.steps_per_generation or 1)
        first = at - at % self.current_gradient_accumulation_steps
        opened = self._step - at + first
        if self._window_state is None or self._window_state.step != opened:
            batches: list[Any] = list(self._buffered_inputs or [])
            self._window_state = self._open_window(
                opened, batches[first : first + self.current_gradient_accumulation_steps]
            )
        return self._window_state.denominator, self._window_state.marked[at - first]

    def _open_window(self, step: int, batches: list[dict[str, Any]]) -> "_Window":
        method, marked = self.method, [None] * len(batches)  # type: tuple[Method, list[Any]]
        if method.selects:
            start = time.perf_counter()
            marked = self._select(batches)
            self._metrics["train"][f"{method.name}/select_seconds"].append(time.perf_counter() - start)
        sizes = [
            method.denominator(b["advantages"], counted_tokens(b), marked=m)
            for b, m in zip(batches, marked, strict=True)
        ]
        total = torch.stack([s.float() for s in sizes]).sum().to(self.accelerator.device)
        total = self.accelerator.reduce(total, reduction="sum").clamp(min=1)
        return _Window(step, total / self.accelerator.num_processes, marked)

    def _select(self, batches: list[dict[str, Any]]) -> list[Tensor]:
        """`marked` of each micro-batch, chosen over the update batch of all processes in the order of the rollout, which
        TRL shuffles on each process: draws and ties do not depend on their number."""
        with torch.no_grad():
            scored = [self._score(b) for b in batches]
        columns = []
        for batch, (logp, entropy) in zip(batches, scored, strict=True):
            old_logp = self._old_logp(batch, logp)
            advantages = batch["advantages"][:, None].expand_as(logp)
            columns.append(torch.stack([logp, old_logp, entropy, advantages, counted_tokens(batch).to(logp.dtype)], -1))
        here = torch.cat(columns)
        width, rows = here.size(1), len(here)
        gathered = self.accelerator.gather(self.accelerator.pad_across_processes(here, dim=1))
        order = self.accelerator.gather(torch.cat([b["row"] for b in batches])).argsort()
        logp, old_logp, entropy, advantages, mask = gathered[order].unbind(-1)
        chosen = self.method.select(logp, old_logp, entropy, advantages, mask, generator=self._generator())[1]
        marked = torch.empty_like(chosen).index_copy(0, order, chosen)
        marked = marked[self.accelerator.process_index * rows :][:rows, :width]
        return list(marked.split([len(b["advantages"]) for b in batches]))

    def _generator(self) -> torch.Generator:
        """Seeded alike on every process, anew for every update."""
        seed = 1_000_003 * int(self.args.seed) + self.state.global_step
        return torch.Generator(device=self.accelerator.device).manual_seed(seed)

    def _check_group_sizes(self) -> None:
        """ValueError naming the option for groups of a size on which the method is not defined."""
        for option in ("num_generations", "num_generations_eval"):
            size = int(getattr(self, option) or 1)
            nothing, tokens = torch.zeros(size), torch.zeros(size, 1)
            try:
                self.method.advantages(nothing, torch.zeros(size, dtype=torch.long), old_logp=tokens, mask=tokens)
            except ValueError as error:
                raise ValueError(f"{option}={size} does not fit {self.method.name}: {error}") from error

    def _check_own_loss_can_run(self) -> None:
        self._check_group_sizes()
        args, accumulate = self.args, self.args.gradient_accumulation_steps
        steps = int(args.steps_per_generation or 1)
        if steps % accumulate:
            raise ValueError(
                f"{self.method.name} divides by what the whole update counts: steps_per_generation={steps} must be a "
                f"multiple of gradient_accumulation_steps={accumulate}"
            )
        if self.aux_loss_enabled:
            raise ValueError(f"{self.method.name} has no mixture-of-experts auxiliary loss: turn it off in the model")
        if self.method.selects and _has_dropout(self.model):
            raise ValueError(
                f"{self.method.name} chooses tokens in a pass of its own: with dropout the loss would see others; set "
                "the model's dropout to 0"
            )
        on_policy = args.num_iterations == 1 and steps == accumulate
        if self.method.name == "kl_cov" and on_policy:
            logger.warning(
                "kl_cov's penalty is |log pi - log pi_old|, which has no gradient on the first, on-policy update of a "
                "rollout, the only one here: the run trains without it; set num_iterations or steps_per_generation higher"
            )


@dataclass(frozen=True)
class _Window:
    """What the micro-batches of one update share. marked: a mask a micro-batch, or None."""

    step: int
    denominator: Tensor
    marked: list[Any]


def _has_dropout(model: torch.nn.Module) -> bool:
    """Dropout modules, and the rates that attention layers keep for their functional dropout."""
    rates = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    rates += [v for m in model.modules() for k, v in vars(m).items() if "dropout" in k and isinstance(v, float)]
    return any(rate > 0 for rate in rates)
