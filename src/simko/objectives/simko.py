"""The SimKO loss as one function: the plain face of the rows simko and simko_reference of methods.py."""

from dataclasses import replace
from functools import partial
from typing import Literal

from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from simko.objectives.arguments import check_tensors
from simko.objectives.effective import CandidateWeights, candidate_gap
from simko.objectives.methods import METHODS
from simko.objectives.options import checked_option
from simko.objectives.reduction import Reduction, reduce_loss
from simko.objectives.tokens import check_batch

Penalty = Literal["ratio", "advantage"]


def check_simko_options(
    alpha: float, top_penalty: float, gate_quantile: float | None, weights: str, penalty: str
) -> None:
    """ValueError for options outside their range."""
    for name, value in {"alpha": alpha, "top_penalty": top_penalty, "gate_quantile": gate_quantile}.items():
        checked_option(name, value)
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

    At gated tokens, a share alpha of a correct response's reward is spread over the top-K candidates. In an incorrect
    response the ratio of a gated rank-1 token is multiplied by lambda = top_penalty. See objectives/effective.py. alpha = 0
    and top_penalty = 1 give GRPO. Gradient flows through logp and topk_logp only.

    Args:
        logp: [B, T], log pi(y_t) under the current policy, nats.
        old_logp: [B, T], at sampling.
        entropy: [B, T], of the current policy, nats.
        topk_logp: [B, T, K], its K largest log-probabilities.
        is_top1: [B, T], whether y_t is the most likely token.
        advantages: [B] or [B, T].
        mask: [B, T], nonzero for counted tokens.
        alpha: in [0, 1].
        top_penalty: lambda, at least 1.
        gate_quantile: see entropy_gate.
        clip_low: the ratio is clipped below 1 - clip_low.
        clip_high: the ratio is clipped above 1 + clip_high.
        penalty: "ratio" (the paper), or "advantage" (the authors' code: lambda after the clip).
        weights: see candidate_gap.
        reduction: see reduce_loss.
        denominator: see reduce_loss.

    Returns the loss and detached metrics, all shares of counted tokens unless stated otherwise: gated; penalised; gap (mean
    over gated tokens with an advantage, nats); rank1 (share of these); clipped; ratio (mean). ValueError for an option outside its range,
    for shapes that do not match, and for an argument that is no tensor or not of its type.
    """
    check_simko_options(alpha, top_penalty, gate_quantile, weights, penalty)
    check_batch(logp, advantages, old_logp=old_logp, entropy=entropy, is_top1=is_top1, mask=mask)
    check_tensors(topk_logp=topk_logp)
    if topk_logp.shape[:-1] != logp.shape or not topk_logp.shape[-1]:
        raise ValueError(f"topk_logp must be [B, T, K] for logp {list(logp.shape)}, got {list(topk_logp.shape)}")
    if topk_logp.device != logp.device:
        raise ValueError(f"topk_logp must be on {logp.device} as logp is, got {topk_logp.device}")
    left_out = mask == 0
    gap = candidate_gap(topk_logp.masked_fill(left_out[..., None], 0.0), logp.masked_fill(left_out, 0.0), weights)
    row = METHODS["simko" if penalty == "ratio" else "simko_reference"].with_options(
        alpha=alpha, top_penalty=top_penalty, gate_quantile=gate_quantile, clip_low=clip_low, clip_high=clip_high
    )
    row = replace(row, reduction=partial(reduce_loss, reduction=reduction))
    return row.policy_loss(logp, old_logp, entropy, gap, is_top1, advantages, mask, denominator=denominator)
