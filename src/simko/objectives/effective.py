"""SimKO as a change of log-probabilities, which any loss on a ratio can then use.

    logp_eff = logp + alpha gate [A > 0] (gap - sg(gap))        value logp; the reward also reaches the candidates
    old_eff  = old_logp - gate [A < 0] is_top1 log(lambda)      so that the ratio of a rank-1 token is lambda gamma

exp(logp_eff - old_eff) equals the paper's gamma+ and gamma- (arXiv 2510.14807, section 3) in value and in gradient. sg is
stop-gradient. The penalty changes old_logp, not logp: an engine may set old_logp = sg(logp), which would cancel whatever
was added to the value of logp.
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

CandidateWeights = Literal["uniform", "softmax"]


def candidate_gap(
    topk_logp: Float[Tensor, "*N K"], logp: Float[Tensor, "*N"], weights: CandidateWeights = "uniform"
) -> Float[Tensor, "*N"]:
    """How far the top-K candidates lie above the sampled token, in nats. Differentiable.

        gap = sum_n w_n (log p_(n) - log p_y)      w_n = 1/K ("uniform") or p_(n) / sum_m p_(m), detached ("softmax")

    topk_logp [..., K] and logp [...] may be logits as well, since log Z cancels in each term. A candidate at -inf adds
    nothing. ValueError for other weights.
    """
    above = torch.where(topk_logp > -torch.inf, topk_logp - logp[..., None], 0.0)
    if weights == "uniform":
        return above.mean(-1)
    if weights == "softmax":
        return (topk_logp.detach().softmax(-1) * above).sum(-1)
    raise ValueError(f'weights must be "uniform" or "softmax", got {weights!r}')


def spread_shift(
    gap: Float[Tensor, "B T"], advantages: Shaped[Tensor, "#B #T"], gate: Bool[Tensor, "B T"], alpha: float
) -> Float[Tensor, "B T"]:
    """alpha gate [A > 0] (gap - sg(gap)). Its value is 0; added to logp, its gradient spreads a reward over candidates.

    The update of a gated token's logits becomes that of a label-smoothed cross-entropy, A gamma (target - p), with
    target = (1 - alpha) e_y + alpha sum_n w_n e_(n).
    """
    raised = gate & (advantages > 0)
    gap = torch.where(raised, gap, 0.0)
    return alpha * (gap - gap.detach())


def penalised_tokens(
    is_top1: Bool[Tensor, "B T"], advantages: Shaped[Tensor, "#B #T"], gate: Bool[Tensor, "B T"]
) -> Bool[Tensor, "B T"]:
    """Gated rank-1 tokens of responses with a negative advantage."""
    return gate & is_top1 & (advantages < 0)


def penalised_old_logp(
    old_logp: Float[Tensor, "B T"], penalised: Bool[Tensor, "B T"], top_penalty: float
) -> Float[Tensor, "B T"]:
    """old_logp - [penalised] log(lambda). This is the paper's form: lambda multiplies the ratio, before the clip."""
    return torch.where(penalised, old_logp - math.log(top_penalty), old_logp)


def penalised_advantages(
    advantages: Shaped[Tensor, "#B #T"], penalised: Bool[Tensor, "B T"], top_penalty: float
) -> Shaped[Tensor, "B T"]:
    """lambda A at penalised tokens, A elsewhere. This is the form of the authors' code. The clip does not undo it."""
    return torch.where(penalised, advantages * top_penalty, advantages)
