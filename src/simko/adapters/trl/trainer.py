"""GRPOTrainer with a row of METHODS as its objective.

plan.py decides by what the row is made of how TRL trains it: by TRL's own options; by TRL's loss with the row's
advantages, its token links, or both; or by the row's own loss. No row does half of the last.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from trl import GRPOTrainer

from simko.adapters.trl import aids, loss, plan
from simko.adapters.trl.checkpoints import Checkpoints
from simko.adapters.trl.config import MethodConfig, warn_of_shifted_sampling
from simko.adapters.trl.early_warnings import EarlyWarnings
from simko.adapters.trl.guards import Guards
from simko.adapters.trl.lm_head import HeadCall, watch_head
from simko.adapters.trl.loss import AcceleratedProcesses, Candidates, counted_tokens
from simko.adapters.trl.probe import Probe
from simko.diagnostics import Receipt, warn_of_poor_rollout
from simko.objectives import Method
from simko.objectives.tokens import Metrics
from simko.objectives.update import (
    Adaptation,
    MetricSums,
    Scored,
    Update,
    check_group_size,
    one_outcome,
    open_update,
    refuse_unknown_denominators,
)


class MethodTrainer(Checkpoints, Guards, GRPOTrainer):
    """GRPOTrainer with the objective METHODS[args.method].with_options(**args.method_options).

    Constructed like GRPOTrainer. ValueError at construction for an unknown method or option, and for a TRL option that
    the method would ignore or contradict. Methods for correct (1) and incorrect (0) read the reward function that
    args.correctness names (the only one, if there is but one).

    Every method logs entropy, clip_ratio/region_mean (the share of counted tokens at which the clip acts, or of responses
    where TRL's loss has one ratio for each), and its own metrics as <method>/<metric>. Rows that read candidates log theirs
    as simko/<metric>, so that SimKO's variants share a plot. All are means over the tokens of the update; a mean over no
    tokens is not logged. The trainer can skip responses of advantage 0, and probes how the policy concentrates. It continues
    from a checkpoint as if it had not been stopped (Checkpoints), and keeps what is not finite out of the weights (Guards).
    """

    _tag_names: ClassVar = ["trl", "simko"]
    _name = "Method"
    _config: ClassVar[type[MethodConfig]] = MethodConfig

    args: MethodConfig
    model: Any

    def __init__(self, model: Any, reward_funcs: Any = None, args: MethodConfig | None = None, **kwargs: Any) -> None:
        args = args if args is not None else self._config(self._name)
        if not isinstance(args, self._config):
            article = "an" if self._config.__name__.startswith("RL") else "a"
            raise ValueError(
                f"{type(self).__name__} needs {article} {self._config.__name__}, got {type(args).__name__}"
            )
        self.plan = plan.plan_method(args)
        self.reward_failures, self.reward_timeout = args.reward_failures, args.reward_timeout
        self.max_skipped_updates = args.max_skipped_updates
        super().__init__(model, reward_funcs, args, **kwargs)
        if args.early_warnings != "off":
            self.add_callback(EarlyWarnings(stop=args.early_warnings == "stop"))
        warn_of_shifted_sampling(args, self.model)
        plan.refuse_unfit_runs(self.plan, self)

        self.processes = AcceleratedProcesses(self.accelerator)
        self.probe = Probe(self, args.probe_every, args.probe_rows)
        self._rollout_judged = False
        self._loss_inputs: dict[str, Any] | None = None  # the micro-batch whose loss is being scored
        self._sums = MetricSums()
        self._update: tuple[int, Update] | None = None  # and the step that opened it
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
            loss.refuse_unread_heads(self.model, method.top_k or 1)
            one_pass = loss.one_pass_candidates(method, self.accelerator.device) is not None
            second_look = "; TRL's head scores, gated tokens are looked at again for candidates"
            looked_up = "; one pass over the head scores and finds candidates" if one_pass else second_look
        self._receipt = Receipt(self.plan.objective(self.args), looked_up)
        self._prefix = "simko" if method.needs_candidates else method.name
        if self.plan.own_advantages:
            for option in ("num_generations", "num_generations_eval"):
                check_group_size(method, option, int(getattr(self, option) or 1))
            if self.plan.own_loss:
                refuse_unknown_denominators(method)
            if method.binary:
                self._correct = plan.column_of_correctness(method, self.reward_func_names, self.args.correctness)

    @property
    def method(self) -> Method | None:
        """The row with the options of the current update; None for TRL's own objective."""
        return None if self._adaptation is None else self._adaptation.method

    # Rewards and advantages, on the rollout.

    def scored_rewards(self) -> Tensor:
        """As Guards', or correctness for a method that is defined on that alone."""
        if self.method is not None and self.method.binary:
            return self._rewards[:, self._correct]
        return super().scored_rewards()

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        if self.model.training:  # one rendering of the log-probabilities a rollout: roundings of two would differ
            last = self.state.global_step + self.probe.updates_per_rollout
            self._read_in_rollout = last > self.args.grpo_warmup_steps
        rollout = super()._generate_and_score_completions(inputs)
        if self.model.training:
            if not self._rollout_judged and self._rollout_has_rewards:
                self._rollout_judged = True
                truncated = self._metrics["train"]["completions/clipped_ratio"][-1]
                warn_of_poor_rollout(truncated, self.max_completion_length, self._outcomes)
            if self.probe.is_due():
                self.probe.measure(rollout, self.own_rows(self.scored_rewards(), rollout))
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
        dropped = one_outcome(rewards)[:, None].expand_as(rewards)
        dropped = self.own_rows(dropped.flatten(), rollout)
        rollout["completion_mask"] = rollout["completion_mask"].masked_fill(dropped[:, None], 0)
        rollout["num_items_in_batch"] = self.accelerator.gather(counted_tokens(rollout).sum()).sum()

    # Scoring: TRL's, with the candidates that the row reads, and its token links where they act in TRL's loss.

    def _acts(self) -> bool:
        """Whether the current update trains with the row's loss or token links."""
        return self.plan.own_loss or (self.plan.links and self._is_warm())

    def _is_warm(self) -> bool:
        return self.state.global_step >= self.args.grpo_warmup_steps

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        acts, method = self._acts(), self.method
        inputs = self._loss_inputs if acts else None  # None: old or reference log-probabilities, or GRPO's own
        if method is None or not (acts or (self.plan.links and self.model.training and self._read_in_rollout)):
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        with self._reading_candidates(method, inputs) if method.needs_candidates else nullcontext():
            scored = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        if inputs is None or self.plan.own_loss:
            return scored
        logp, entropy, aux_loss = scored
        logp, metrics = loss.link_loss(method, logp, entropy, inputs)
        self._add(metrics)
        return logp, entropy, aux_loss

    @contextmanager
    def _reading_candidates(self, method: Method, inputs: dict[str, Any] | None) -> Iterator[None]:
        """While open, TRL's head is read for the candidates of a loss's micro-batch, which `inputs` gets."""
        found: list[Candidates] = []

        def observe(call: HeadCall) -> None:
            if inputs is None:
                return
            found.append(loss.read_candidates(method, call, inputs))
            self._check_head(call)

        with watch_head(observe, loss.one_pass_candidates(method, self.accelerator.device)):
            yield
        if inputs is not None:
            if len(found) != 1:
                raise RuntimeError(f"TRL scored the loss's tokens in {len(found)} calls of its head, simko expects one")
            inputs["candidates"] = found[0]

    def _check_head(self, call: HeadCall) -> None:
        if not self._head_checked and len(call.labels):
            loss.check_head(call, self.model)
            self._head_checked = True

    def _score(self, batch: dict[str, Any], *, batch_size: int | None = None, model: Any = None) -> Any:
        """log pi and entropy [B, T] of a batch's completions."""
        if "num_images" in batch and self.method is not None:
            raise ValueError(f"{self.method.name} scores responses itself and does not know multimodal batches")
        model = self.model if model is None else model
        words = {"batch_size": batch_size, "compute_entropy": True}
        return self._get_per_token_logps_and_entropies(model, *loss.scored_ids(batch), **words)[:2]

    # Loss, on each micro-batch.

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        inputs = dict(inputs)  # TRL reuses its buffered batches: what a method changes stays in this copy
        before, training = loss.batch_size(inputs), self.model.training
        if self.args.skip_zero_advantage and training:
            inputs = aids.only_rows(inputs, aids.rows_to_score(inputs["advantages"], self.accelerator))
        after = loss.batch_size(inputs)
        inputs["left_out"] = before[0] - after[0]
        self._loss_inputs = inputs
        try:
            value = self.base_loss(model, inputs)
        finally:
            self._loss_inputs = None
        if not self.plan.own_loss:
            self._sums.add(aids.take_means(self._mode_metrics(), self.args, *zip(after, before, strict=True)))
        if not training or self.accelerator.sync_gradients:
            self._end_update(training)
        return value

    def base_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        """The loss of a micro-batch: TRL's, or the row's policy_loss."""
        if self.method is None or not self.plan.own_loss:
            return super()._compute_loss(model, inputs)
        logp, entropy = self._score(inputs, model=model)
        self._loss_inputs = None  # what is scored from here on is no loss's
        old_logp = self._old_logp(inputs, logp)
        denominator, marked = self._update_terms(self.method, inputs)
        tokens = loss.tokens_of(inputs, logp, old_logp, entropy, marked)
        value, metrics = self.method.policy_terms(tokens, denominator)
        self._add(metrics)
        self._sums.add(loss.core_metrics(tokens, metrics))
        return value

    def _old_logp(self, batch: dict[str, Any], logp: Tensor) -> Tensor:
        """log pi_old; `logp` itself while the policy is still the rollout's: TRL's, of another pass, differ from it by
        rounding, of which kl_cov's |log-ratio| would train the sign."""
        unchanged = not self.model.training or self.state.global_step == self._rollout_step
        return logp.detach() if unchanged else batch.get("old_per_token_logps", logp.detach())

    def _update_terms(self, method: Method, inputs: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """The denominator of the whole update and this micro-batch's marked tokens; an evaluation batch stands alone."""
        if not self.model.training:
            update = self._open_update(method, [inputs])
            return update.denominator, update.marked[0]
        at, size = self._step % int(self.args.steps_per_generation or 1), self.current_gradient_accumulation_steps
        place = at % size
        if self._update is None or self._update[0] != self._step - place:
            batches: Any = self._buffered_inputs
            self._update = self._step - place, self._open_update(method, batches[at - place : at - place + size])
        return self._update[1].denominator, self._update[1].marked[place]

    def _open_update(self, method: Method, batches: list[dict[str, Any]]) -> Update:
        start = time.perf_counter()
        counted = [(b["advantages"], counted_tokens(b)) for b in batches]
        update = open_update(
            method, counted, lambda: [self._scored(b) for b in batches], self.processes, self._generator()
        )
        if method.selects and self.model.training:
            self._metrics["train"][f"{self._prefix}/select_seconds"].append(time.perf_counter() - start)
        return update

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
        if training and self._is_warm() and self._adaptation is not None and self._adaptation.method.controller:
            seen = {k.removeprefix(f"{self._prefix}/"): v for k, v in means.items()}
            if all(map(math.isfinite, seen.values())):  # else the update is skipped
                self._adaptation.step(seen)
            plan.refuse_changed_plan(self.plan, self._adaptation.method, self.args)

    # Checkpoints: see checkpoints.py.

    def objective_in_words(self) -> str:
        """The objective that the run is bound to."""
        return self.plan.objective(self.args)

    def carried_state(self) -> dict[str, Any]:
        """The state of the row's controller."""
        return {} if self._adaptation is None else self._adaptation.state_dict()

    def load_carried_state(self, kept: dict[str, Any]) -> None:
        """Continue with a controller's state."""
        if self._adaptation is not None:
            self._adaptation.load_state_dict(kept)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """TRL's, with the folder of a local model named."""
        super().create_model_card(*args, **kwargs)
        if self.accelerator.is_main_process:
            directory = Path(str(self.args.output_dir))
            checkpoint = directory / f"checkpoint-{self.state.global_step}"  # which TRL saves next
            aids.name_local_models(directory / "README.md", self.model.config, checkpoint)
