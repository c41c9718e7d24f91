"""SimKO's link inside TRL's own loss: hands it the effective log-probabilities of objectives/effective.py.

TRL's loss types, KL term, vLLM correction, PEFT, DDP and FSDP keep working because none of them is rewritten.
"""

import logging
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import is_peft_model
from torch import Tensor

from simko.adapters.trl.config_checks import check_count
from simko.adapters.trl.head import HeadCall, completion_rows, watch_head
from simko.adapters.trl.rlvr import RLVRConfig, RLVRTrainer
from simko.objectives import (
    candidate_gap,
    check_simko_options,
    entropy_gate,
    penalised_advantages,
    penalised_old_logp,
    penalised_tokens,
    spread_shift,
)

logger = logging.getLogger("simko")

_IDLE_STEPS = 50


class GatedTokens(NamedTuple):
    """What SimKO knows of a micro-batch, all [B, T]: counted, gate, scored, is_top1 bool; gap in nats, 0 off `scored`."""

    counted: Tensor
    gate: Tensor
    scored: Tensor
    gap: Tensor
    is_top1: Tensor


@dataclass(frozen=True)
class SimKOLink:
    """The link's numbers; see simko_loss for their meaning."""

    alpha: float
    top_k: int
    top_penalty: float
    gate_quantile: float | None
    weights: str
    penalty: str

    def __post_init__(self) -> None:
        check_simko_options(self.alpha, self.top_penalty, self.gate_quantile, self.weights, self.penalty)
        check_count("top_k", self.top_k, 1)

    def __str__(self) -> str:
        gate = (
            "every token"
            if self.gate_quantile is None
            else f"tokens with entropy above quantile {self.gate_quantile:g}"
        )
        return (
            f"alpha={self.alpha:g}, K={self.top_k}, {self.weights} weights, lambda={self.top_penalty:g} on the "
            f"{self.penalty}; {gate}"
        )

    def one_pass_candidates(self, device: torch.device) -> int | None:
        """K where one pass of ours over the head gives all statistics: without a gate, when every token needs
        candidates, and on CPUs, where TRL's head has no kernel and costs more than twice as much.

        None where TRL scores and the gated tokens' logits are looked at again; so also for a link that changes nothing,
        which leaves GRPOTrainer's run what it is to the bit.
        """
        changes_nothing = self.alpha == 0 and self.top_penalty == 1
        one_pass = self.gate_quantile is None or device.type == "cpu"
        return self.top_k if one_pass and not changes_nothing else None

    def score(self, call: HeadCall, inputs: dict[str, Any]) -> GatedTokens:
        """The gate, and the candidates of gated tokens whose response has an advantage."""
        valid = inputs["completion_mask"] != 0
        counted = valid & (inputs["tool_mask"] != 0) if "tool_mask" in inputs else valid
        advantages = per_token(inputs["advantages"])
        rows = completion_rows(len(call.labels), valid)
        entropy = call.entropy.new_zeros(valid.shape).masked_scatter(valid, call.entropy.detach()[rows[valid]])
        gate = entropy_gate(entropy, counted, self.gate_quantile)
        scored = gate & (advantages != 0)
        topk_logits, logits, ids = call.candidate_logits(rows[scored], self.top_k)
        gap = candidate_gap(topk_logits, logits, self.weights)  # type: ignore[arg-type]
        gap = torch.zeros_like(entropy).masked_scatter(scored, gap.to(entropy.dtype))
        is_top1 = torch.zeros_like(scored).masked_scatter(scored, ids[:, 0] == call.labels[rows[scored]])
        return GatedTokens(counted, gate, scored, gap, is_top1)

    def apply(self, logp: Tensor, tokens: GatedTokens, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """logp_eff and the penalised tokens; `inputs` gets the old side, advantages and reference that belong to it."""
        advantages = per_token(inputs["advantages"])
        penalised = penalised_tokens(tokens.is_top1, advantages, tokens.gate)
        shift = spread_shift(tokens.gap, advantages, tokens.gate, self.alpha)
        if self.penalty == "ratio":
            old_logp = inputs.get("old_per_token_logps")
            old_logp = logp.detach() if old_logp is None else old_logp
            inputs.setdefault("sampling_per_token_logps", old_logp)  # TRL's off-policy mask reads the true one
            inputs["old_per_token_logps"] = penalised_old_logp(old_logp, penalised, self.top_penalty)
        else:
            inputs["advantages"] = penalised_advantages(advantages, penalised, self.top_penalty)
        if inputs.get("ref_per_token_logps") is not None:  # so that the KL keeps the gradient of the true logp
            inputs["ref_per_token_logps"] = inputs["ref_per_token_logps"] + shift
        return logp + shift, penalised


@dataclass
class LinkConfig(RLVRConfig):
    """RLVRConfig with what concerns any trainer in whose loss a SimKOLink may sit."""

    grpo_warmup_steps: int = field(
        default=0, metadata={"help": "Plain GRPO for so many updates before SimKO starts (its paper's logic runs: 50)."}
    )
    use_bias_correction_kl: bool = field(
        default=False,
        metadata={"help": "Off here: it multiplies the KL by the ratio, which would leak SimKO's gradient into it."},
    )

    def __post_init__(self) -> None:
        check_count("grpo_warmup_steps", self.grpo_warmup_steps, 0)
        super().__post_init__()


class LinkMetrics:
    """Sums over the micro-batches of an update, and what is said once of them."""

    def __init__(self, link: SimKOLink, objective: str, accelerator: Accelerator) -> None:
        self.link, self.objective, self.accelerator = link, objective, accelerator
        self.sums = torch.zeros(8, device=accelerator.device)
        self.idle_steps = 0
        self.receipt_given = False

    def add(self, tokens: GatedTokens, penalised: Tensor, advantages: Tensor, left_out: Tensor) -> None:
        raised = tokens.gate & (per_token(advantages) > 0)
        counts = (tokens.counted, tokens.gate, raised, penalised, tokens.scored, tokens.gap.detach(), tokens.is_top1)
        self.sums += torch.stack([*(x.sum().float() for x in counts), left_out.float()])

    def log(self, metrics: defaultdict[str, list[float]], training: bool) -> None:
        """Append the shares over all processes to TRL's metrics and start anew; a mean over no tokens is left out."""
        totals = self.accelerator.reduce(self.sums, reduction="sum")
        self.sums = torch.zeros_like(self.sums)
        counted, gated, raised, penalised, scored, gap, rank1, left_out = totals.tolist()
        every = counted + left_out
        shares = {"gated": (gated, counted), "raised": (raised, every), "penalised": (penalised, every)}
        for name, (total, count) in (shares | {"gap": (gap, scored), "rank1": (rank1, scored)}).items():
            if count:
                metrics[f"simko/{name}"].append(total / count)
        if training and every and self.accelerator.is_main_process:
            changed = raised * (self.link.alpha > 0) + penalised * (self.link.top_penalty != 1)
            self._tell(changed / every)

    def _tell(self, changed: float) -> None:
        if not self.receipt_given:
            self.receipt_given = True
            path = (
                "TRL's head scores, gated tokens are looked at again for candidates"
                if self.link.one_pass_candidates(self.accelerator.device) is None
                else "one pass over the head scores and finds candidates"
            )
            logger.warning("%s; the first update changes %.1f%% of its tokens; %s", self.objective, 100 * changed, path)
        self.idle_steps = 0 if changed else self.idle_steps + 1
        if self.idle_steps and self.idle_steps % _IDLE_STEPS == 0:
            logger.warning(
                "SimKO has changed no token for %d updates: the run is GRPO so far. Usual causes: no group has both "
                "right and wrong responses, alpha is 0 and lambda 1, or responses too short for the gate",
                self.idle_steps,
            )


class LinkedTrainer(RLVRTrainer):
    """An RLVRTrainer in whose loss a SimKOLink may sit. Subclasses set `link` and `link_metrics` after construction."""

    args: LinkConfig
    link: SimKOLink | None = None
    link_metrics: LinkMetrics
    _head_checked = False
    _read_in_rollout = False

    def put_link(self, link: SimKOLink, objective: str) -> None:
        """Train with `link` from now on; ValueError for a model whose head it cannot read."""
        _refuse_unread_heads(self.model, link.top_k)
        self.link, self.link_metrics = link, LinkMetrics(link, objective, self.accelerator)

    def link_is_active(self) -> bool:
        """Whether the current update trains with the link."""
        return self.link is not None and self.state.global_step >= self.args.grpo_warmup_steps

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss = super()._compute_loss(model, inputs)
        training = self.model.training
        if self.link_is_active() and (not training or self.accelerator.sync_gradients):
            self.link_metrics.log(self._metrics["train" if training else "eval"], training)
        return loss

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        if self.model.training:  # one rendering of the log-probabilities a rollout: roundings of two would differ
            self._read_in_rollout = self.state.global_step + self.updates_per_rollout > self.args.grpo_warmup_steps
        return super()._generate_and_score_completions(inputs)

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        link, active = self.link, self.link_is_active()
        if link is None or not (active or (self.model.training and self._read_in_rollout)):
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        inputs = self._loss_inputs if active else None  # None: old or reference log-probabilities, or GRPO's own
        scored: list[GatedTokens] = []

        def observe(call: HeadCall) -> None:
            if inputs is not None:
                scored.append(link.score(call, inputs))
                self._check_head(call)

        with watch_head(observe, link.one_pass_candidates(self.accelerator.device)):
            logp, entropy, aux_loss = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        if inputs is None:
            return logp, entropy, aux_loss
        if len(scored) != 1:
            raise RuntimeError(f"TRL scored the loss's tokens in {len(scored)} calls of its head, SimKO expects one")
        advantages = inputs["advantages"]
        logp, penalised = link.apply(logp, scored[0], inputs)
        self.link_metrics.add(scored[0], penalised, advantages, inputs["left_out"])
        return logp, entropy, aux_loss

    def _check_head(self, call: HeadCall) -> None:
        """Once: the logits read off the head must give TRL's own log-probabilities."""
        if self._head_checked or not len(call.labels):
            return
        error = call.logp_error(torch.arange(min(64, len(call.labels)), device=call.labels.device))
        if error > 1e-3:
            raise RuntimeError(
                f"SimKO reads other logits off the LM head than TRL scores (log-probabilities differ by {error:.2g} in "
                f"float32): {type(self.model).__name__} transforms its logits in a way SimKO does not know"
            )
        self._head_checked = True


def refuse_other_objectives(args: Any, link: SimKOLink) -> None:
    """ValueError with the way out where TRL would train another objective than the link's."""
    on_ratio = link.top_penalty != 1 and link.penalty == "ratio"
    if args.importance_sampling_level == "sequence" and link.top_penalty != 1:
        raise ValueError(
            'importance_sampling_level="sequence" turns a penalty on single tokens into a rescaling of whole responses: '
            'set simko_top_penalty=1 (the positive part is exact there) or importance_sampling_level="token"'
        )
    if args.loss_type == "vespo" and on_ratio:
        raise ValueError(
            'loss_type="vespo" sums log-ratios over a response, so lambda on the ratio would rescale it whole: set '
            'simko_penalty="advantage" or simko_top_penalty=1'
        )
    highest = args.epsilon if args.epsilon_high is None else args.epsilon_high
    if args.loss_type == "cispo" and on_ratio and highest < link.top_penalty:
        raise ValueError(
            f'loss_type="cispo" caps the ratio at epsilon_high={highest:g}, which swallows lambda on the ratio: set '
            'epsilon_high=5 as its paper does, or simko_penalty="advantage"'
        )
    if args.delta is not None and on_ratio:
        raise ValueError(
            f"delta={args.delta:g} caps the ratio, lambda included, above which incorrect responses have no gradient: "
            'leave delta out, or set simko_penalty="advantage"'
        )
    if args.use_bias_correction_kl and args.beta != 0:
        raise ValueError(
            "use_bias_correction_kl=True multiplies the KL term by SimKO's ratio: set it to False, or beta to 0"
        )
    if getattr(args, "use_liger_loss", False):
        raise ValueError("Liger's loss computes its own log-probabilities, which SimKO never reaches: turn it off")


def _refuse_unread_heads(model: Any, top_k: int) -> None:
    head = model.get_output_embeddings()
    if is_peft_model(model):
        if getattr(model.peft_config[model.active_adapter], "is_prompt_learning", False):
            raise ValueError("prompt-learning adapters shift the scored positions: use LoRA or full fine-tuning")
        if hasattr(head, "base_layer") or hasattr(head, "modules_to_save"):
            raise ValueError(
                "the LM head carries an adapter (LoRA target or modules_to_save), which SimKO's candidates would not "
                "see: leave lm_head out of target_modules and modules_to_save"
            )
    shape = getattr(head.weight, "ds_shape", head.weight.shape)  # ZeRO-3 leaves [0] of a weight it has sharded
    if top_k > (vocabulary := shape[0]):
        raise ValueError(f"simko_top_k={top_k} exceeds the model's vocabulary of {vocabulary}")


def per_token(advantages: Tensor) -> Tensor:
    """[B] -> [B, 1]; [B, T] as it is."""
    return advantages[:, None] if advantages.dim() == 1 else advantages
