"""Any row of METHODS in TRL, by name.

A row that TRL implements only sets TRL's options; SimKO's rows ride TRL's loss through their link; every other row
brings its own advantages and policy_loss, and refuses what that lacks. No row does half of each.
"""

import logging
import time
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from torch import Tensor
from trl import GRPOConfig

from simko.adapters.trl.link import LinkedTrainer, SimKOLink, refuse_other_objectives
from simko.adapters.trl.rlvr import RLVRConfig
from simko.objectives import METHODS, Method

logger = logging.getLogger("simko")

_CLIPPED_TOKEN_MEAN = {"loss_type": "dapo", "importance_sampling_level": "token"}


_IGNORED = (
    "beta", "loss_type", "importance_sampling_level", "epsilon", "epsilon_high", "delta", "top_entropy_quantile",
    "entropy_coef", "use_adaptive_entropy", "off_policy_mask_threshold", "scale_rewards",
)  # fmt: skip
_DEFAULTS = {f.name: f.default for f in fields(GRPOConfig)}


@dataclass
class MethodConfig(RLVRConfig):
    """GRPOConfig with the name of a method and its options."""

    _VALID_DICT_FIELDS: ClassVar = [*GRPOConfig._VALID_DICT_FIELDS, "method_options"]

    method: str = field(default="simko", metadata={"help": "A row of METHODS: grpo, simko, nsr, pkpo ..."})
    method_options: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "The method's own options, e.g. {'k': 8}; the others keep their defaults."}
    )
    correctness: str | None = field(
        default=None,
        metadata={"help": "The reward function that says right (1) or wrong (0), for methods defined on that alone."},
    )
    grpo_warmup_steps: int = field(
        default=0, metadata={"help": "Plain GRPO for so many updates before SimKO starts (its paper's logic runs: 50)."}
    )
    drop_one_outcome_groups: bool = field(
        default=False,
        metadata={"help": "Groups whose responses are all right or all wrong leave the loss and its denominator."},
    )
    use_bias_correction_kl: bool = field(default=False, metadata={"help": "As in SimKOConfig: off."})


class MethodTrainer(LinkedTrainer):
    """GRPOTrainer with the objective METHODS[args.method].with_options(**args.method_options).

    ValueError at construction for an unknown method or option, and for a TRL option that the method would ignore or
    contradict. Methods on right and wrong read the reward function named by args.correctness (the only one, if there
    is but one). Own rows log their metrics as <method>/<metric>.
    """

    _tag_names: ClassVar = ["trl", "simko"]
    _name = "Method"
    args: MethodConfig

    def __init__(self, model: Any, reward_funcs: Any = None, args: MethodConfig | None = None, **kwargs: Any) -> None:
        args = args if args is not None else MethodConfig("Method")
        if not isinstance(args, MethodConfig):
            raise ValueError(f"MethodTrainer needs a MethodConfig, got {type(args).__name__}")
        self.method = chosen_method(args)
        link, trl_options = _link_of(self.method), _trl_options(self.method, args)
        self._runs_own_loss = link is None and trl_options is None
        if self._runs_own_loss:
            _refuse_ignored_options(self.method, args)
        elif trl_options is not None:
            _set_trl_options(self.method, args, trl_options)
        if link is not None:
            refuse_other_objectives(args, link)
        elif args.grpo_warmup_steps:
            raise ValueError(f"grpo_warmup_steps delays SimKO's rows only: set it to 0 for {self.method.name}")
        super().__init__(model, reward_funcs, args, **kwargs)
        if link is not None:
            self.put_link(link, f"{self.method.name} ({link}; beta={args.beta:g})")
        self._rewards = torch.empty(0)
        self._window_state: _Window | None = None
        if self._runs_own_loss:
            self._check_own_loss_can_run()

    def link_is_active(self) -> bool:
        return self.link is not None and self.state.global_step >= self.args.grpo_warmup_steps

    # Advantages: on the gathered rollout, where TRL makes its own.

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        self._rewards = super()._calculate_rewards(*args, **kwargs)
        return self._rewards

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        rollout = super()._generate_and_score_completions(inputs)
        self._window_state = None
        if self._runs_own_loss:
            rollout["advantages"] = self._own_advantages(rollout)
        if self.args.drop_one_outcome_groups and self.model.training:
            self._drop_one_outcome_groups(rollout)
        return rollout

    def _own_advantages(self, rollout: dict[str, Any]) -> Tensor:
        """The method's advantages of this process's responses, from the rewards of all processes."""
        training = self.model.training
        size = int((self.num_generations if training else self.num_generations_eval) or 1)
        rewards = self._correctness() if self.method.binary else self._total_rewards()
        groups = torch.arange(len(rewards), device=rewards.device) // size
        old_logp = mask = None
        if self.method.needs_old_logp:
            old_logp, mask = self._gathered_old_logp(rollout)
        advantages = self.method.advantages(rewards, groups, old_logp=old_logp, mask=mask)
        here = len(rollout["completion_ids"])
        return advantages[self.accelerator.process_index * here :][:here].to(rollout["advantages"].device)

    def _total_rewards(self) -> Tensor:
        """[B] weighted sums over reward functions; nan where every function gave None."""
        total = (self._rewards * self.reward_weights.to(self._rewards.device)).nansum(1)
        return total.masked_fill(self._rewards.isnan().all(1), torch.nan)

    def _correctness(self) -> Tensor:
        """[B] 1 right, 0 wrong, nan unscorable, from the reward function that says so."""
        names = list(self.reward_func_names)
        if self.args.correctness is None and len(names) > 1:
            raise ValueError(
                f"{self.method.name} is defined on right and wrong: name the reward function that says so by "
                f"correctness, one of {', '.join(names)}"
            )
        column = 0 if self.args.correctness is None else names.index(self.args.correctness)
        return self._rewards[:, column]

    def _gathered_old_logp(self, rollout: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """log pi_old and counted tokens [B, T] of all processes; scored here where TRL had no need of them."""
        if (old_logp := rollout.get("old_per_token_logps")) is None:
            with torch.no_grad():
                old_logp = self._score(rollout, self.args.per_device_train_batch_size)[0]
        both = torch.stack([old_logp, _counted(rollout).to(old_logp.dtype)], -1)
        both = self.accelerator.gather(self.accelerator.pad_across_processes(both, dim=1))
        return both[..., 0], both[..., 1]

    def _drop_one_outcome_groups(self, rollout: dict[str, Any]) -> None:
        size, rewards = int(self.num_generations or 1), self._total_rewards()
        grouped = rewards.nan_to_num(0.0).view(-1, size)
        one = (grouped.amax(1) == grouped.amin(1)).repeat_interleave(size)
        here = len(rollout["completion_ids"])
        dropped = one[self.accelerator.process_index * here :][:here]
        rollout["completion_mask"] = rollout["completion_mask"].masked_fill(dropped[:, None], 0)
        rollout["num_items_in_batch"] = self.accelerator.gather(_counted(rollout).sum()).sum()

    # Loss: the row's own, on each micro-batch.

    def _score(self, batch: dict[str, Any], batch_size: int | None = None, model: Any = None) -> tuple[Tensor, Tensor]:
        """log pi and entropy [B, T] of a batch's completions."""
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

    def base_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        if not self._runs_own_loss:
            return super().base_loss(model, inputs)
        logp, entropy = self._score(inputs, model=model)
        old_logp = inputs.get("old_per_token_logps")
        old_logp = logp.detach() if old_logp is None else old_logp
        mask = _counted(inputs)
        denominator, marked = self._of_the_update(inputs, logp, old_logp, entropy, mask)
        loss, metrics = self.method.policy_loss(
            logp, old_logp, entropy, None, None, inputs["advantages"], mask, denominator=denominator, marked=marked
        )
        logged = self._metrics["train" if self.model.training else "eval"]
        for name, value in metrics.items():
            mean = self.accelerator.gather(value.detach().view(1)).mean().item()
            logged[f"{self.method.name}/{name}"].append(mean)
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
            method.denominator(b["advantages"], _counted(b), marked=m) for b, m in zip(batches, marked, strict=True)
        ]
        total = torch.stack([s.float() for s in sizes]).sum().to(self.accelerator.device)
        total = self.accelerator.reduce(total, reduction="sum").clamp(min=1)
        return _Window(step, total / self.accelerator.num_processes, marked)

    def _select(self, batches: list[dict[str, Any]]) -> list[Tensor]:
        """`marked` of each micro-batch, chosen over the update batch of all processes."""
        with torch.no_grad():
            scored = [self._score(b) for b in batches]
        columns = []
        for batch, (logp, entropy) in zip(batches, scored, strict=True):
            old_logp = batch.get("old_per_token_logps")
            old_logp = logp if old_logp is None else old_logp
            advantages = batch["advantages"][:, None].expand_as(logp)
            columns.append(torch.stack([logp, old_logp, entropy, advantages, _counted(batch).to(logp.dtype)], -1))
        here = torch.cat(columns)
        width, rows = here.size(1), len(here)
        gathered = self.accelerator.gather(self.accelerator.pad_across_processes(here, dim=1))
        logp, old_logp, entropy, advantages, mask = gathered.unbind(-1)
        marked = self.method.select(logp, old_logp, entropy, advantages, mask, generator=self._generator())[1]
        marked = marked[self.accelerator.process_index * rows :][:rows, :width]
        return list(marked.split([len(b["advantages"]) for b in batches]))

    def _generator(self) -> torch.Generator:
        """Seeded alike on every process, anew for every update."""
        seed = 1_000_003 * int(self.args.seed) + self.state.global_step
        return torch.Generator(device=self.accelerator.device).manual_seed(seed)

    def _check_own_loss_can_run(self) -> None:
        args, accumulate = self.args, self.args.gradient_accumulation_steps
        steps = int(args.steps_per_generation or 1)
        if steps % accumulate:
            raise ValueError(
                f"{self.method.name} divides by what the whole update counts: steps_per_generation={steps} must be a "
                f"multiple of gradient_accumulation_steps={accumulate}"
            )
        if self.aux_loss_enabled:
            raise ValueError(f"{self.method.name} has no mixture-of-experts auxiliary loss: turn it off in the model")
        dropout = any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in self.model.modules())
        if self.method.selects and dropout:
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


def chosen_method(args: MethodConfig) -> Method:
    """The row and options that `args` names; ValueError for a name or an option that is not there."""
    if args.method not in METHODS:
        raise ValueError(f"unknown method {args.method!r}: choose from {', '.join(METHODS)}")
    options = args.method_options or {}
    if not isinstance(options, dict):
        raise ValueError(f"method_options must be a mapping such as {{'k': 8}}, got {options!r}")
    return METHODS[args.method].with_options(**options)


def _link_of(method: Method) -> SimKOLink | None:
    """The link of a SimKO row, None for another row."""
    if not (method.candidate_weights or method.needs_top1):
        return None
    options = method.options
    functions = {link.func.__name__ for link in method.token_links}
    return SimKOLink(
        alpha=options.get("alpha", 0.0),
        top_k=options.get("top_k", 1),
        top_penalty=options.get("top_penalty", 1.0),
        gate_quantile=options["gate_quantile"],
        weights=method.candidate_weights or "uniform",
        penalty="advantage" if "penalise_advantage" in functions else "ratio",
    )


def _set_trl_options(method: Method, args: MethodConfig, options: dict[str, Any]) -> None:
    """Set TRL's options to the method's; ValueError where the user set one of them otherwise."""
    for name, value in options.items():
        if getattr(args, name) not in (_DEFAULTS[name], value):
            raise ValueError(
                f"{method.name} sets {name}={value!r}, you set {getattr(args, name)!r}: leave it out, or change the "
                f"method by method_options ({', '.join(method.options) or 'it has none'})"
            )
        setattr(args, name, value)


def _refuse_ignored_options(method: Method, args: MethodConfig) -> None:
    ignored = [name for name in _IGNORED if getattr(args, name) != _DEFAULTS[name]]
    if args.use_vllm and args.vllm_importance_sampling_correction:
        ignored.append("vllm_importance_sampling_correction")
    if ignored:
        raise ValueError(
            f"{method.name} has a loss of its own, which does not know {', '.join(ignored)}: leave that at its default "
            f"(for vLLM's correction: False), or change the method by method_options ({', '.join(method.options)})"
        )
    if args.skip_zero_advantage and not method.inert_zero_rows:
        raise ValueError(f"responses of advantage 0 count in {method.name}: set skip_zero_advantage to False")


def _counted(batch: dict[str, Any]) -> Tensor:
    """[B, T] bool: completion tokens that are no padding and no tool's."""
    mask = batch["completion_mask"] != 0
    return mask & (batch["tool_mask"] != 0) if "tool_mask" in batch else mask


def _grpo_options(clip_low: float, clip_high: float) -> dict[str, Any]:
    return _CLIPPED_TOKEN_MEAN | {"epsilon": clip_low, "epsilon_high": clip_high, "scale_rewards": "group"}


def _trl_options(method: Method, args: MethodConfig) -> dict[str, Any] | None:
    """TRL's options that make it the method, None where TRL does not implement it."""
    options = method.options
    if method.name in ("grpo", "dapo"):
        return _grpo_options(options["clip_low"], options["clip_high"])
    if method.name == "dr_grpo":
        clip = {"epsilon": options["clip_low"], "epsilon_high": options["clip_high"]}
        return clip | {"loss_type": "dr_grpo", "scale_rewards": "none", "importance_sampling_level": "token"}
    if method.name == "gspo":
        clip = {"epsilon": options["clip_low"], "epsilon_high": options["clip_high"]}
        return clip | {"loss_type": "grpo", "scale_rewards": "group", "importance_sampling_level": "sequence"}
    if method.name == "cispo":
        return {
            "loss_type": "cispo",
            "epsilon_high": options["ratio_cap"],
            "scale_rewards": "group",
            "importance_sampling_level": "token",
        }
    return None
