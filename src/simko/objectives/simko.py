"""The SimKO loss as one function."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from simko.objectives.effective import (
    CandidateWeights,
    candidate_gap,
    penalised_advantages,
    penalised_old_logp,
    penalised_tokens,
    spread_shift,
)
from simko.objectives.gate import entropy_gate
from simko.objectives.reduction import Reduction, reduce_loss
from simko.objectives.surrogate import clipped_surrogate

Penalty = Literal["ratio", "advantage"]


def check_simko_options(
    alpha: float, top_penalty: float, gate_quantile: float | None, weights: str, penalty: str
) -> None:
    """ValueError for options outside their range."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
    if not 0 < top_penalty < float("inf"):
        raise ValueError(f"top_penalty (lambda) must be positive and finite, got {top_penalty}; 1 turns it off")
    if gate_quantile is not None and not 0 <= gate_quantile <= 1:
        raise ValueError(f"gate_quantile must lie in [0, 1] or be None (no gate), got {gate_quantile}")
    if weights not in ("uniform", "softmax"):
        raise ValueError(f'weights must be "uniform" or "softmax", got {weights!r}')
    if penalty not in ("ratio", "advantage"):
        raise ValueError(f'penalty must be "ratio" (the paper) or "advantage" (the authors\' code), got {penalty!r}')


def simko_loss(
    logp: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    entropy: Float[Tensor, "B T"],
    topk_logp: Float[Tensor, "B T K"],
    is_top1: Bool[Tensor, "B T"],
    advantages: Shaped[Tensor, " B"] | Shaped[Tensor, "B T"],
    mask: Shaped[Tensor, "B T"],
    *,
    alpha: float = 0.01,
    top_penalty: float = 1.1,
    gate_quantile: float | None = 0.8,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    penalty: Penalty = "ratio",
    weights: CandidateWeights = "uniform",
    reduction: Reduction = "token_mean",
    denominator: float | Float[Tensor, ""] | None = None,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """SimKO (arXiv 2510.14807): GRPO's clipped loss on the effective ratio exp(logp_eff - old_eff).

    On gated tokens a correct response's reward is spread over the top-K candidates by the share alpha, and in an
    incorrect response the ratio of a rank-1 token is multiplied by lambda = top_penalty > 1; see objectives/effective.py.
    alpha = 0 and top_penalty = 1 give GRPO.

    logp, old_logp: log pi(y_t) now and at sampling, nats; entropy: of the current policy; topk_logp: its K largest
    log-probabilities, differentiable; is_top1: y_t is the most likely token; advantages: one a response or one a
    token; mask: non-zero where a token counts. Gradient flows through logp and topk_logp only.
    gate_quantile: see entropy_gate; penalty: "ratio" (the paper) or "advantage" (the authors' code: lambda after the
    clip); weights: see candidate_gap; reduction and denominator: see reduce_loss.

    Returns the loss and detached metrics, all shares of the counted tokens unless said otherwise: gated; penalised;
    gap (mean over gated tokens, nats); rank1 (share of gated tokens); clipped; ratio (mean). ValueError for an option
    outside its range or shapes that do not match.
    """
    check_simko_options(alpha, top_penalty, gate_quantile, weights, penalty)
    for name, x in {"old_logp": old_logp, "entropy": entropy, "is_top1": is_top1, "mask": mask}.items():
        if x.shape != logp.shape:
            raise ValueError(f"{name} must be [B, T] as logp {list(logp.shape)}, got {list(x.shape)}")
    if topk_logp.shape[:-1] != logp.shape:
        raise ValueError(f"topk_logp must be [B, T, K] for logp {list(logp.shape)}, got {list(topk_logp.shape)}")
    if advantages.shape not in (logp.shape[:1], logp.shape):
        raise ValueError(f"advantages must be [B] or [B, T] for logp {list(logp.shape)}, got {list(advantages.shape)}")
    counted = mask != 0
    logp, old_logp, entropy = (x.masked_fill(~counted, 0.0) for x in (logp, old_logp.detach(), entropy.detach()))
    topk_logp = topk_logp.masked_fill(~counted[..., None], 0.0)
    advantages = advantages.to(logp.dtype)
    advantages = advantages[:, None] if advantages.dim() == 1 else advantages.masked_fill(~counted, 0.0)

    gate = entropy_gate(entropy, counted, gate_quantile)
    gap = candidate_gap(topk_logp, logp, weights)
    penalised = penalised_tokens(is_top1, advantages, gate)
    logp_eff = logp + spread_shift(gap, advantages, gate, alpha)
    if penalty == "ratio":
        old_logp = penalised_old_logp(old_logp, penalised, top_penalty)
    else:
        advantages = penalised_advantages(advantages, penalised, top_penalty)
    ratio = (logp_eff - old_logp).exp()
    token_loss = clipped_surrogate(ratio, advantages, clip_low, clip_high)
    loss = reduce_loss(token_loss, counted, reduction, denominator)

    clipped = ((ratio < 1 - clip_low) & (advantages < 0)) | ((ratio > 1 + clip_high) & (advantages > 0))
    with torch.no_grad():
        metrics = {
            "gated": _mean_over(gate, counted),
            "penalised": _mean_over(penalised, counted),
            "gap": _mean_over(gap, gate),
            "rank1": _mean_over(is_top1, gate),
            "clipped": _mean_over(clipped, counted),
            "ratio": _mean_over(ratio, counted),
        }
    return loss, metrics


def _mean_over(x: Shaped[Tensor, "B T"], where: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    value = x.to(torch.get_default_dtype()) if x.dtype == torch.bool else x
    return torch.where(where, value, 0.0).sum() / where.sum().clamp(min=1)
