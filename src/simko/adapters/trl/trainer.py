"""SimKO in TRL: hands TRL's own loss the effective log-probabilities of objectives/effective.py.

TRL's loss types, KL term, vLLM correction, PEFT, DDP and FSDP keep working because none of them is rewritten.
"""

import logging
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from accelerate.utils import DistributedType, is_peft_model
from torch import Tensor

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


@dataclass
class SimKOConfig(RLVRConfig):
    """GRPOConfig with SimKO's settings; the paper's values are the defaults (arXiv 2510.14807)."""

    simko_alpha: float = field(
        default=0.01, metadata={"help": "Share of a correct token's reward that is spread over the candidates."}
    )
    simko_top_k: int = field(default=3, metadata={"help": "Number of candidates: the K most likely tokens."})
    simko_top_penalty: float = field(
        default=1.1, metadata={"help": "lambda: factor on rank-1 tokens of incorrect responses; 1 turns it off."}
    )
    simko_gate_quantile: float | None = field(
        default=0.8,
        metadata={"help": "Only tokens above this entropy quantile of their response are touched; null: all of them."},
    )
    simko_weights: str = field(
        default="uniform",
        metadata={"help": "Candidate weights.", "choices": ["uniform", "softmax"]},
    )
    simko_penalty: str = field(
        default="ratio",
        metadata={
            "help": "Where lambda sits: on the ratio, before the clip (the paper), or on the advantage (its code).",
            "choices": ["ratio", "advantage"],
        },
    )
    use_bias_correction_kl: bool = field(
        default=False,
        metadata={"help": "Off here: it multiplies the KL by the ratio, which would leak SimKO's gradient into it."},
    )


def simko_objective(args: SimKOConfig) -> str:
    """One line that names the objective of SimKOTrainer under `args`."""
    quantile = args.simko_gate_quantile
    gate = "every token" if quantile is None else f"tokens with entropy above quantile {quantile:g}"
    return (
        f"SimKO on {args.loss_type} (alpha={args.simko_alpha:g}, K={args.simko_top_k}, {args.simko_weights} weights, "
        f"lambda={args.simko_top_penalty:g} on the {args.simko_penalty}; {gate}; beta={args.beta:g})"
    )


class SimKOTrainer(RLVRTrainer):
    """GRPOTrainer whose objective is SimKO's.

    Constructed like GRPOTrainer. ValueError for a setting under which TRL would train another objective than SimKO.
    Logs simko/gated, simko/penalised (shares of counted tokens), simko/gap (nats, mean over the gated tokens of
    responses with an advantage) and simko/rank1 (share of the same tokens) at every step.
    """

    _tag_names: ClassVar = ["trl", "simko"]
    _name = "SimKO"
    _paper: ClassVar = {
        "title": "SimKO: Simple Pass@K Policy Optimization",
        "id": "2510.14807",
        "citation": "@article{peng2025simko, title={SimKO: Simple Pass@K Policy Optimization}, author={Peng, Ruotian "
        "and Ren, Yi and Yu, Zhouliang and Liu, Weiyang and Wen, Yandong}, journal={arXiv preprint arXiv:2510.14807}, "
        "year={2025}}",
    }

    args: SimKOConfig

    def __init__(self, model: Any, reward_funcs: Any = None, args: SimKOConfig | None = None, **kwargs: Any) -> None:
        args = args if args is not None else SimKOConfig("SimKO")
        if not isinstance(args, SimKOConfig):
            raise ValueError(f"SimKOTrainer needs a SimKOConfig, got {type(args).__name__}")
        _refuse_other_objectives(args)
        super().__init__(model, reward_funcs, args, **kwargs)
        _refuse_unread_heads(self.model, args.simko_top_k)
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED and self.is_deepspeed_enabled:
            plugin = self.accelerator.state.deepspeed_plugin
            if plugin is not None and plugin.zero_stage == 3:
                raise ValueError("ZeRO-3 shards the LM head in a way SimKO is not tested with: use ZeRO-2 or FSDP2")
        self._window = torch.zeros(7, device=self.accelerator.device)
        self._idle_steps = 0
        self._receipt_given = self._head_checked = False

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        loss = super()._compute_loss(model, inputs)
        if not self.model.training or self.accelerator.sync_gradients:
            self._log_window("train" if self.model.training else "eval")
        return loss

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        inputs = self._loss_inputs
        if inputs is None:  # old and reference log-probabilities
            return super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        scored: list[GatedTokens] = []
        with watch_head(lambda call: scored.append(self._score_gated(call, inputs))):
            logp, entropy, aux_loss = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        if len(scored) != 1:
            raise RuntimeError(f"TRL scored the loss's tokens in {len(scored)} calls of its head, SimKO expects one")
        return self._effective_logp(logp, scored[0], inputs), entropy, aux_loss

    def _score_gated(self, call: HeadCall, inputs: dict[str, Any]) -> "GatedTokens":
        """The gate, and the candidates of gated tokens whose response has an advantage."""
        valid = inputs["completion_mask"] != 0
        counted = valid & (inputs["tool_mask"] != 0) if "tool_mask" in inputs else valid
        advantages = _per_token(inputs["advantages"])
        rows = completion_rows(len(call.labels), valid)
        entropy = call.entropy.new_zeros(valid.shape).masked_scatter(valid, call.entropy.detach()[rows[valid]])
        gate = entropy_gate(entropy, counted, self.args.simko_gate_quantile)
        scored = gate & (advantages != 0)
        self._check_head(call, rows[scored])
        topk_logits, logits, ids = call.candidate_logits(rows[scored], self.args.simko_top_k)
        gap = candidate_gap(topk_logits, logits, self.args.simko_weights)  # type: ignore[arg-type]
        gap = torch.zeros_like(entropy).masked_scatter(scored, gap.to(entropy.dtype))
        is_top1 = torch.zeros_like(scored).masked_scatter(scored, ids[:, 0] == call.labels[rows[scored]])
        return GatedTokens(counted, gate, scored, gap, is_top1)

    def _effective_logp(self, logp: Tensor, tokens: "GatedTokens", inputs: dict[str, Any]) -> Tensor:
        """logp_eff; `inputs` gets the old side, the advantages and the reference that belong to it."""
        advantages = _per_token(inputs["advantages"])
        penalised = penalised_tokens(tokens.is_top1, advantages, tokens.gate)
        shift = spread_shift(tokens.gap, advantages, tokens.gate, self.args.simko_alpha)
        if self.args.simko_penalty == "ratio":
            old_logp = inputs.get("old_per_token_logps")
            old_logp = logp.detach() if old_logp is None else old_logp
            inputs.setdefault("sampling_per_token_logps", old_logp)  # TRL's off-policy mask reads the true one
            inputs["old_per_token_logps"] = penalised_old_logp(old_logp, penalised, self.args.simko_top_penalty)
        else:
            inputs["advantages"] = penalised_advantages(advantages, penalised, self.args.simko_top_penalty)
        if inputs.get("ref_per_token_logps") is not None:  # so that the KL keeps the gradient of the true logp
            inputs["ref_per_token_logps"] = inputs["ref_per_token_logps"] + shift
        counts = (
            tokens.counted,
            tokens.gate,
            tokens.gate & (advantages > 0),
            penalised,
            tokens.scored,
            tokens.gap.detach(),
            tokens.is_top1,
        )
        self._window += torch.stack([x.sum().float() for x in counts])
        return logp + shift

    def _check_head(self, call: HeadCall, rows: Tensor) -> None:
        """Once: the logits read off the head must give TRL's own log-probabilities."""
        if self._head_checked or not len(rows):
            return
        exact = call.hidden.dtype == torch.float32 and not torch.is_autocast_enabled(call.hidden.device.type)
        error = call.logp_error(rows[:64])
        if error > (1e-3 if exact else 0.1):
            raise RuntimeError(
                f"SimKO reads other logits off the LM head than TRL scored (log-probabilities differ by {error:.2g}): "
                f"{type(self.model).__name__} transforms its logits in a way SimKO does not know"
            )
        self._head_checked = True

    def _log_window(self, mode: str) -> None:
        """Metrics of the accumulated micro-batches, over all processes."""
        totals = self.accelerator.reduce(self._window, reduction="sum")
        self._window = torch.zeros_like(self._window)
        counted, gated, raised, penalised, scored, gap, rank1 = totals.tolist()
        metrics = self._metrics[mode]
        metrics["simko/gated"].append(gated / max(counted, 1))
        metrics["simko/penalised"].append(penalised / max(counted, 1))
        metrics["simko/gap"].append(gap / max(scored, 1))
        metrics["simko/rank1"].append(rank1 / max(scored, 1))
        if mode == "train":
            changed = raised * (self.args.simko_alpha > 0) + penalised * (self.args.simko_top_penalty != 1)
            self._give_receipt(changed / max(counted, 1))

    def _give_receipt(self, changed: float) -> None:
        if not self.accelerator.is_main_process:
            return
        if not self._receipt_given:
            self._receipt_given = True
            logger.warning(
                "%s; the first update changes %.1f%% of its tokens", simko_objective(self.args), 100 * changed
            )
        self._idle_steps = 0 if changed else self._idle_steps + 1
        if self._idle_steps and self._idle_steps % _IDLE_STEPS == 0:
            logger.warning(
                "SimKO has changed no token for %d updates: the run is GRPO so far. Usual causes: no group has both "
                "right and wrong responses, alpha is 0 and lambda 1, or responses too short for the gate",
                self._idle_steps,
            )


class GatedTokens(NamedTuple):
    """What SimKO knows of a micro-batch, all [B, T]: counted, gate, scored, is_top1 bool; gap in nats, 0 off `scored`."""

    counted: Tensor
    gate: Tensor
    scored: Tensor
    gap: Tensor
    is_top1: Tensor


def _per_token(advantages: Tensor) -> Tensor:
    return advantages[:, None] if advantages.dim() == 1 else advantages


def _refuse_other_objectives(args: SimKOConfig) -> None:
    check_simko_options(
        args.simko_alpha, args.simko_top_penalty, args.simko_gate_quantile, args.simko_weights, args.simko_penalty
    )
    if args.simko_top_k < 1:
        raise ValueError(f"simko_top_k must be at least 1, got {args.simko_top_k}")
    penalised = args.simko_top_penalty != 1
    if args.importance_sampling_level == "sequence" and penalised:
        raise ValueError(
            'importance_sampling_level="sequence" turns a penalty on single tokens into a rescaling of whole responses: '
            'set simko_top_penalty=1 (the positive part is exact there) or importance_sampling_level="token"'
        )
    if args.loss_type == "vespo" and penalised and args.simko_penalty == "ratio":
        raise ValueError(
            'loss_type="vespo" sums log-ratios over a response, so lambda on the ratio would rescale it whole: set '
            'simko_penalty="advantage" or simko_top_penalty=1'
        )
    highest = args.epsilon if args.epsilon_high is None else args.epsilon_high
    if args.loss_type == "cispo" and penalised and args.simko_penalty == "ratio" and highest < args.simko_top_penalty:
        raise ValueError(
            f'loss_type="cispo" caps the ratio at epsilon_high={highest:g}, which swallows lambda on the ratio: set '
            'epsilon_high=5 as its paper does, or simko_penalty="advantage"'
        )
    if args.use_bias_correction_kl and args.beta != 0:
        raise ValueError(
            "use_bias_correction_kl=True multiplies the KL term by SimKO's ratio: set it to False, or beta to 0"
        )
    if getattr(args, "use_liger_loss", False):
        raise ValueError("Liger's loss computes its own log-probabilities, which SimKO never reaches: turn it off")


def _refuse_unread_heads(model: Any, top_k: int) -> None:
    if is_peft_model(model):
        config = model.peft_config[model.active_adapter]
        if getattr(config, "is_prompt_learning", False):
            raise ValueError("prompt-learning adapters shift the scored positions: use LoRA or full fine-tuning")
        if hasattr(model.get_output_embeddings(), "base_layer") or hasattr(
            model.get_output_embeddings(), "modules_to_save"
        ):
            raise ValueError(
                "the LM head carries an adapter (LoRA target or modules_to_save), which SimKO's candidates would not "
                "see: leave lm_head out of target_modules and modules_to_save"
            )
    vocabulary = model.get_output_embeddings().weight.shape[0]
    if top_k > vocabulary:
        raise ValueError(f"simko_top_k={top_k} exceeds the model's vocabulary of {vocabulary}")
