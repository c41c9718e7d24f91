"""GRPOTrainer with a row of METHODS as its objective, and two plain faces of it.

plan.py decides by what the row is made of how TRL trains it: by TRL's own options; by TRL's loss with the row's
advantages, its token links, or both; or by the row's own loss. No row does half of the last.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import Sampler
from trl import GRPOTrainer

from simko.adapters.trl import resume
from simko.adapters.trl.aids import (
    Probe,
    Receipt,
    UnscoredRollouts,
    log_group_outcomes,
    name_local_models,
    one_outcome,
    only_rows,
    rows_to_score,
    take_means,
    warn_of_poor_rollout,
)
from simko.adapters.trl.config import MethodConfig, RLVRConfig, SimKOConfig, warn_of_shifted_sampling
from simko.adapters.trl.lm_head import HeadCall, watch_head
from simko.adapters.trl.loss import (
    AcceleratedProcesses,
    Candidates,
    Update,
    check_head,
    counted_tokens,
    link_loss,
    one_pass_candidates,
    own_loss,
    read_candidates,
    refuse_not_finite,
    refuse_unread_heads,
)
from simko.adapters.trl.plan import plan_method, refuse_changed_plan, refuse_group_sizes, refuse_unfit_steps
from simko.adapters.trl.rewards import checked_rewards
from simko.objectives import Method
from simko.objectives.tokens import Metrics
from simko.objectives.update import (
    Adaptation,
    MetricSums,
    Scored,
    select_tokens,
    update_denominator,
)


class MethodTrainer(GRPOTrainer):
    """GRPOTrainer with the objective METHODS[args.method].with_options(**args.method_options).

    Constructed like GRPOTrainer. ValueError at construction for an unknown method or option, and for a TRL option that
    the method would ignore or contradict. Methods on right and wrong read the reward function named by args.correctness
    (the only one, if there is but one).

    Every method logs entropy and clip_ratio/region_mean (the share of counted tokens at which the clip acts), and its
    own metrics as <method>/<metric>, means over the tokens of the update; rows that read candidates as simko/<metric>,
    so that SimKO's variants share a plot. What would be a mean over no tokens is not logged. It can skip responses of
    advantage 0, probes how the policy concentrates, continues from a checkpoint as if it had not been stopped, and stops
    on a loss, a gradient or a reward that is not finite instead of training on it.
    """

    _tag_names: ClassVar = ["trl", "simko"]
    _name = "Method"
    _config: ClassVar[type[MethodConfig]] = MethodConfig

    args: MethodConfig
    model: Any
    _train_sampler: Sampler

    def __init__(self, model: Any, reward_funcs: Any = None, args: MethodConfig | None = None, **kwargs: Any) -> None:
        args = args if args is not None else self._config(self._name)
        if not isinstance(args, self._config):
            article = "an" if self._config is RLVRConfig else "a"
            raise ValueError(
                f"{type(self).__name__} needs {article} {self._config.__name__}, got {type(args).__name__}"
            )
        self.plan = plan_method(args)
        several = isinstance(reward_funcs, list | tuple)
        checked = [checked_rewards(f) for f in (reward_funcs if several else [reward_funcs])]
        super().__init__(model, checked if several else checked[0], args, **kwargs)
        warn_of_shifted_sampling(args, self.model)
        if args.skip_zero_advantage and self.aux_loss_enabled:
            raise ValueError("skip_zero_advantage would change the mixture-of-experts auxiliary loss: turn one off")

        self.processes = AcceleratedProcesses(self.accelerator)
        self.probe = Probe(self)
        self._rewards = torch.empty(0)
        self._unscored = UnscoredRollouts()
        self._rollout_judged, self._rollout_has_rewards, self._update_has_rewards = False, True, False
        self._loss_inputs: dict[str, Any] | None = None  # the micro-batch whose loss is being scored
        self._sums = MetricSums()
        self._update: Update | None = None
        self._rollout_step = -1
        self._head_checked = self._read_in_rollout = False
        self._prefix = ""
        self._adaptation = None if self.plan.method is None else Adaptation(self.plan.method)
        if self._adaptation is not None:
            self._prepare(self._adaptation.method)

    def _prepare(self, method: Method) -> None:
        """ValueError for a model, groups or steps with which the row cannot be trained."""
        looked_up = ""
        if method.needs_candidates:
            refuse_unread_heads(self.model, method.top_k or 1)
            one_pass = one_pass_candidates(method, self.accelerator.device) is not None
            looked_up = (
                "; one pass over the head scores and finds candidates"
                if one_pass
                else "; TRL's head scores, gated tokens are looked at again for candidates"
            )
        self._receipt = Receipt(self.plan.objective(self.args), looked_up)
        self._prefix = "simko" if method.needs_candidates else method.name
        if self.plan.own_advantages:
            refuse_group_sizes(method, self)
            self._correct = self._column_of_correctness(method) if method.binary else None
        if self.plan.own_loss:
            refuse_unfit_steps(method, self)

    @property
    def method(self) -> Method | None:
        """The row with the options of the current update; None for TRL's own objective."""
        return None if self._adaptation is None else self._adaptation.method

    # Rewards and advantages, on the rollout.

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        rewards = super()._calculate_rewards(*args, **kwargs)
        if torch.isinf(rewards).any():
            sample, function = (int(i) for i in torch.isinf(rewards).nonzero()[0])
            name = self.reward_func_names[function]
            raise ValueError(f"reward function {name} gave an infinite reward to sample {sample} of the rollout")
        self._rewards = rewards
        scored, training = not bool(self.scored_rewards().isnan().all()), self.model.training
        if training:
            self._rollout_has_rewards = scored
        self._unscored.see(scored, training, self.state.global_step, ", ".join(self.reward_func_names))
        log_group_outcomes(self.scored_rewards().view(-1, self.group_size()), self._mode_metrics())
        return rewards

    def group_size(self) -> int:
        """Responses a prompt."""
        return int((self.num_generations if self.model.training else self.num_generations_eval) or 1)

    def scored_rewards(self) -> Tensor:
        """[B] rewards of the last rollout, gathered: weighted sums over reward functions, or correctness for a method
        that is defined on that alone; nan where there is none."""
        if self.method is not None and self.method.binary:
            return self._rewards[:, self._correct]
        total = (self._rewards * self.reward_weights.to(self._rewards.device)).nansum(1)
        return total.masked_fill(self._rewards.isnan().all(1), torch.nan)

    def _column_of_correctness(self, method: Method) -> int:
        names, wanted = list(self.reward_func_names), self.args.correctness
        if wanted is None and len(names) == 1:
            return 0
        if wanted not in names:
            raise ValueError(
                f"{method.name} is defined on right and wrong: name the reward function that says so by correctness, "
                f"one of {', '.join(names)}" + ("" if wanted is None else f"; got {wanted!r}")
            )
        return names.index(wanted)

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        if self.model.training:  # one rendering of the log-probabilities a rollout: roundings of two would differ
            last = self.state.global_step + self.probe.updates_per_rollout
            self._read_in_rollout = last > self.args.grpo_warmup_steps
        rollout = super()._generate_and_score_completions(inputs)
        if self.model.training:
            if not self._rollout_judged and self._rollout_has_rewards:
                self._rollout_judged = True
                warn_of_poor_rollout(self._metrics["train"], self.max_completion_length)
            if self.probe.is_due():
                self.probe.measure(rollout)
            self._update, self._rollout_step = None, self.state.global_step
        self.change_rollout(rollout)
        if self.model.training and self.args.drop_one_outcome_groups:
            self._drop_one_outcome_groups(rollout)
        return rollout

    def change_rollout(self, rollout: dict[str, Any]) -> None:
        """Put the row's advantages in the place of TRL's, before TRL shuffles the rollout."""
        method = self.method
        if method is None or not self.plan.own_advantages:
            return
        rewards = self.scored_rewards()
        groups = torch.arange(len(rewards), device=rewards.device) // self.group_size()
        old_logp = mask = None
        if method.needs_old_logp:
            old_logp, mask = self._gathered_old_logp(rollout)
        advantages = method.advantages(rewards, groups, old_logp=old_logp, mask=mask)
        rollout["advantages"] = self.own_rows(advantages, rollout)
        rollout["row"] = self.own_rows(torch.arange(len(rewards)), rollout)
        logged: Any = self._logs["advantages"]  # TRL's table of completions, which has its own ones last
        for _ in range(min(len(logged), len(advantages))):
            logged.pop()
        logged.extend(advantages.tolist())

    def _gathered_old_logp(self, rollout: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """log pi_old and counted tokens [B, T] of all processes; scored here where TRL had no need of them."""
        if (old_logp := rollout.get("old_per_token_logps")) is None:
            with torch.no_grad():
                old_logp = self._score(rollout, batch_size=self.args.per_device_train_batch_size)[0]
        both = self.processes.gather(torch.stack([old_logp, counted_tokens(rollout).to(old_logp.dtype)], -1))
        return both[..., 0], both[..., 1]

    def own_rows(self, gathered: Tensor, rollout: dict[str, Any]) -> Tensor:
        """This process's rows of a tensor over the rollout of all processes."""
        here = len(rollout["completion_ids"])
        return gathered[self.processes.index * here :][:here].to(rollout["completion_ids"].device)

    def _drop_one_outcome_groups(self, rollout: dict[str, Any]) -> None:
        """Mask out the responses of groups whose scorable responses have one reward, or of which none is scorable."""
        rewards = self.scored_rewards().view(-1, self.group_size())
        dropped = one_outcome(rewards)[0][:, None].expand_as(rewards)
        dropped = self.own_rows(dropped.flatten(), rollout)
        rollout["completion_mask"] = rollout["completion_mask"].masked_fill(dropped[:, None], 0)
        rollout["num_items_in_batch"] = self.accelerator.gather(counted_tokens(rollout).sum()).sum()

    # Scoring: TRL's, with the candidates that the row reads, and its token links where they act in TRL's loss.

    def _acts(self) -> bool:
        """Whether the current update trains with the row's loss or token links."""
        return self.plan.own_loss or (self.plan.links and self.state.global_step >= self.args.grpo_warmup_steps)

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        acts, method = self._acts(), self.method
        inputs = self._loss_inputs if acts else None  # None: old or reference log-probabilities, or GRPO's own
        if method is None or not (acts or (self.plan.links and self.model.training and self._read_in_rollout)):
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        if method.needs_candidates:
            with self._reading_candidates(method, inputs):
                scored = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        else:
            scored = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        if inputs is None or self.plan.own_loss:
            return scored
        logp, entropy, aux_loss = scored
        logp, metrics = link_loss(method, logp, entropy, inputs)
        self._add(metrics)
        return logp, entropy, aux_loss

    @contextmanager
    def _reading_candidates(self, method: Method, inputs: dict[str, Any] | None) -> Iterator[None]:
        """While open, TRL's head is read for the candidates of a loss's micro-batch, which `inputs` gets."""
        found: list[Candidates] = []

        def observe(call: HeadCall) -> None:
            if inputs is None:
                return
            found.append(read_candidates(method, call, inputs))
            self._check_head(call)

        with watch_head(observe, one_pass_candidates(method, self.accelerator.device)):
            yield
        if inputs is not None:
            if len(found) != 1:
                raise RuntimeError(f"TRL scored the loss's tokens in {len(found)} calls of its head, simko expects one")
            inputs["candidates"] = found[0]

    def _check_head(self, call: HeadCall) -> None:
        if not self._head_checked and len(call.labels):
            check_head(call, self.model)
            self._head_checked = True

    def _score(self, batch: dict[str, Any], *, batch_size: int | None = None, model: Any = None) -> Any:
        """log pi and entropy [B, T] of a batch's completions."""
        if "num_images" in batch and self.method is not None:
            raise ValueError(f"{self.method.name} scores responses itself and does not know multimodal batches")
        model = self.model if model is None else model
        words = {"batch_size": batch_size, "compute_entropy": True}
        return self._get_per_token_logps_and_entropies(model, *_scored_ids(batch), **words)[:2]

    def score_by_trl(self, batch: dict[str, Any]) -> Any:
        """TRL's scoring of a batch's completions alone, for a probe that watches the head itself."""
        return super()._get_per_token_logps_and_entropies(self.model, *_scored_ids(batch), compute_entropy=True)

    # Loss, on each micro-batch.

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        inputs = dict(inputs)  # TRL reuses its buffered batches: what a method changes stays in this copy
        counted, training = counted_tokens(inputs).sum(), self.model.training
        if self.args.skip_zero_advantage and training:
            inputs = only_rows(inputs, rows_to_score(inputs["advantages"], self.accelerator))
        inputs["left_out"] = counted - counted_tokens(inputs).sum()
        self._loss_inputs = inputs
        try:
            loss = self.base_loss(model, inputs)
        finally:
            self._loss_inputs = None
        refuse_not_finite(loss, self.state.global_step)
        if training:
            self._update_has_rewards |= self._rollout_has_rewards
        if not self.plan.own_loss:
            self._sums.add(take_means(self._mode_metrics(), self.args.loss_type, counted, inputs["left_out"]))
        if not training or self.accelerator.sync_gradients:
            self._end_update(training)
        return loss

    def base_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """The loss of a micro-batch: TRL's, or the row's policy_loss."""
        if self.method is None or not self.plan.own_loss:
            return super()._compute_loss(model, inputs)
        logp, entropy = self._score(inputs, model=model)
        self._loss_inputs = None  # what is scored from here on is no loss's
        old_logp = self._old_logp(inputs, logp)
        denominator, marked = self._of_this_update(self.method, inputs, logp, old_logp, entropy)
        loss, metrics, core = own_loss(self.method, inputs, logp, old_logp, entropy, denominator, marked)
        self._add(metrics)
        self._sums.add(core)
        return loss

    def _old_logp(self, batch: dict[str, Any], logp: Tensor) -> Tensor:
        """log pi_old; `logp` itself while the policy is still the rollout's: TRL's, of another pass, differ from it by
        rounding, of which kl_cov's |log-ratio| would train the sign."""
        unchanged = not self.model.training or self.state.global_step == self._rollout_step
        return logp.detach() if unchanged else batch.get("old_per_token_logps", logp.detach())

    def _of_this_update(
        self, method: Method, inputs: dict[str, Any], logp: Tensor, old_logp: Tensor, entropy: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """The denominator of the whole update and this micro-batch's marked tokens; an evaluation batch stands alone."""
        if not self.model.training:
            if not method.selects:
                return None, None
            advantages, mask = inputs["advantages"], counted_tokens(inputs)
            return None, method.select(logp, old_logp, entropy, advantages, mask, generator=self._generator())[1]
        at = self._step % int(self.args.steps_per_generation or 1)
        first = at - at % self.current_gradient_accumulation_steps
        opened = self._step - at + first
        if self._update is None or self._update.step != opened:
            batches: list[Any] = list(self._buffered_inputs or [])
            self._update = self._open_update(
                method, opened, batches[first : first + self.current_gradient_accumulation_steps]
            )
        return self._update.denominator, self._update.marked[at - first]

    def _open_update(self, method: Method, step: int, batches: list[dict[str, Any]]) -> Update:
        marked: list[Any] = [None] * len(batches)
        if method.selects:
            start = time.perf_counter()
            marked = select_tokens(method, [self._scored(b) for b in batches], self.processes, self._generator())
            self._metrics["train"][f"{self._prefix}/select_seconds"].append(time.perf_counter() - start)
        counted = [(b["advantages"], counted_tokens(b)) for b in batches]
        return Update(step, update_denominator(method, counted, marked, self.processes), marked)

    @torch.no_grad()
    def _scored(self, batch: dict[str, Any]) -> Scored:
        logp, entropy = self._score(batch)
        old_logp = self._old_logp(batch, logp)
        return Scored(logp, old_logp, entropy, batch["advantages"], counted_tokens(batch), batch["row"])

    def _generator(self) -> torch.Generator:
        """Seeded alike on every process, anew for every update."""
        seed = 1_000_003 * int(self.args.seed) + self.state.global_step
        return torch.Generator(device=self.accelerator.device).manual_seed(seed)

    # The end of an update.

    def _mode_metrics(self) -> Any:
        return self._metrics["train" if self.model.training else "eval"]

    def _add(self, metrics: Metrics) -> None:
        self._sums.add({f"{self._prefix}/{name}": metric for name, metric in metrics.items()})

    def _end_update(self, training: bool) -> None:
        """Log the metrics of the update over all processes, and let the row's controller see its own."""
        means, logged = self._sums.means(self.processes), self._mode_metrics()
        changed = means.pop(f"{self._prefix}/changed", None)
        for name, value in means.items():
            logged[name].append(value)
        if training and changed is not None and self.accelerator.is_main_process:
            self._receipt.see(changed)
        warm = self.state.global_step >= self.args.grpo_warmup_steps
        if training and warm and self._adaptation is not None and self._adaptation.method.controller:
            own = f"{self._prefix}/"
            self._adaptation.step({k.removeprefix(own): v for k, v in means.items() if k.startswith(own)})
            refuse_changed_plan(self.plan, self._adaptation.method, self.args)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The norm of the gradient of an update, before the optimizer's step.

        FloatingPointError where it is not finite, but under fp16, whose scaler skips such an update. An update all of
        whose responses could not be scored loses its gradient, so that the optimizer's momentum and decay do not act.
        """
        norm = super()._get_grad_norm(model, grad_norm)
        if not self.args.fp16:
            refuse_not_finite(norm, self.state.global_step, gradient=True)
        if not self._update_has_rewards:
            model.zero_grad()
        self._update_has_rewards = False
        return norm

    # Checkpoints: see resume.py.

    def _get_train_sampler(self, dataset: Any = None) -> Sampler:
        self._train_sampler = super()._get_train_sampler(dataset)
        return self._train_sampler

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        """All that `train` does once it has loaded the weights of a checkpoint."""
        resume.check_before_training(self, kwargs.get("resume_from_checkpoint"))
        return super()._inner_training_loop(*args, **kwargs)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            resume.continue_from(self, self._adaptation, Path(checkpoint))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        with resume.writing(self, self._adaptation, folder):
            super()._save_checkpoint(model, trial)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        super().create_model_card(*args, **kwargs)
        if self.accelerator.is_main_process:
            directory = Path(str(self.args.output_dir))
            checkpoint = directory / f"checkpoint-{self.state.global_step}"  # which TRL saves next
            name_local_models(directory / "README.md", self.model.config, checkpoint)


def _scored_ids(batch: dict[str, Any]) -> tuple[Tensor, Tensor, int]:
    """The token ids, the attention mask and the width of the completions, as TRL's scoring takes them."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    return ids, attention, batch["completion_ids"].size(1)


class RLVRTrainer(MethodTrainer):
    """MethodTrainer with TRL's own objective, as TRL's options say, and the aids alone."""

    _name = "RLVR"
    _config = RLVRConfig
    args: RLVRConfig


class SimKOTrainer(MethodTrainer):
    """MethodTrainer with SimKO, set by the simko_* options.

    ValueError for a setting under which TRL would train another objective than SimKO. Logs at every step: simko/gated,
    the share of counted tokens above the entropy gate; simko/raised and simko/penalised, the shares of counted tokens
    whose candidates are raised and whose ratio is penalised; simko/gap (nats) and simko/rank1, the mean gap and the
    share of rank-1 tokens over the gated tokens of responses with an advantage. Under skip_zero_advantage simko/gated
    covers the responses that are scored; the other shares cover all.
    """

    _name = "SimKO"
    _config = SimKOConfig
    _paper: ClassVar = {
        "title": "SimKO: Simple Pass@K Policy Optimization",
        "id": "2510.14807",
        "citation": "@article{peng2025simko, title={SimKO: Simple Pass@K Policy Optimization}, author={Peng, Ruotian "
        "and Ren, Yi and Yu, Zhouliang and Liu, Weiyang and Wen, Yandong}, journal={arXiv preprint arXiv:2510.14807}, "
        "year={2025}}",
    }
    args: SimKOConfig
