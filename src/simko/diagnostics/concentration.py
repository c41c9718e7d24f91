"""How the probability of a policy concentrates on its first candidates."""

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from simko.objectives import entropy_gate


def concentration_summary(
    logp: Float[Tensor, "B T"],
    entropy: Float[Tensor, "B T"],
    topk_logp: Float[Tensor, "B T K"],
    mask: Shaped[Tensor, "B T"],
    *,
    gate_quantile: float | None = 0.8,
    ranks: int = 4,
    edges: tuple[float, ...] = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, float("inf")),
) -> dict[str, object]:
    """Concentration of a policy on its own samples (SimKO, arXiv 2510.14807, section 2), as plain numbers.

        concentration[n] = mean_i (1/|y_i|) sum_t log pi(v^(n) | s_t)     Lambda^(n), natural log, n = 1..K
        sampled          = the same of the sampled token                  Lambda^sample
        entropy          = mean entropy of the counted tokens, nats
        gated_rank_probability[n] = mean probability of rank n at the gated tokens, n = 1..ranks
        entropy_histogram         = share of counted tokens with entropy in [edges[j], edges[j + 1])

    Log-probabilities are floored at -100, because a candidate of probability 0 has none. Responses without a counted token are
    left out; if all are, every number is nan.

    Args:
        logp: of the sampled tokens.
        entropy: of the next-token distributions, nats.
        topk_logp: of the K most likely tokens.
        mask: the counted tokens, nonzero.
        gate_quantile: the gate's entropy quantile, as in SimKO; None gates every token.
        ranks: how many ranks gated_rank_probability has.
        edges: of the entropy histogram's bins.

    ValueError if K < ranks.
    """
    if topk_logp.shape[-1] < ranks:
        raise ValueError(f"ranks {ranks} needs at least as many candidates, got {topk_logp.shape[-1]}")
    counted = mask != 0
    weight = counted / counted.sum(-1, keepdim=True).clamp(min=1) / counted.any(-1).sum()
    gate = entropy_gate(entropy, counted, gate_quantile)
    logp = logp.detach().masked_fill(~counted, 0.0).clamp(min=-100)
    topk_logp = topk_logp.detach().masked_fill(~counted[..., None], 0.0)
    per_rank = (topk_logp.clamp(min=-100) * weight[..., None]).sum((0, 1))
    inner = torch.tensor(edges[1:-1], dtype=entropy.dtype, device=entropy.device)
    bins = torch.bucketize(entropy.detach()[counted], inner, right=True).bincount(minlength=len(edges) - 1)
    return {
        "entropy": _mean(entropy.detach(), counted),
        "concentration": per_rank.tolist(),
        "sampled": float((logp * weight).sum()),
        "gated_rank_probability": [_mean(topk_logp[..., n].exp(), gate) for n in range(ranks)],
        "entropy_histogram": {
            "edges": [e if e != float("inf") else None for e in edges],
            "share": (bins / bins.sum()).tolist(),
        },
    }


def _mean(x: Float[Tensor, "B T"], where: Bool[Tensor, "B T"]) -> float:
    return float(x[where].mean())
