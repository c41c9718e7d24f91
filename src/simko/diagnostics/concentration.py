"""How the probability of a policy concentrates on its first candidates, over any number of tokens.

Legend: B responses, T tokens, K candidates, D numbers of draws.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from simko.diagnostics.candidates import distinct_bounds, sampled_rank
from simko.objectives import entropy_gate

ENTROPY_EDGES = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, math.inf)
"""Of the entropy histogram's bins, nats."""
PROBABILITY_EDGES = tuple(i / 20 for i in range(21))
"""Of the bins of rank probabilities: the lowest ends at 0.05, as in the paper."""
DRAWS = (2, 4, 8, 16, 32, 64)
_LOG_ZERO = -100.0
_BINNED_RANKS = 3
_GATED_RANKS = 4


class Concentration:
    """Concentration of a policy on given responses (SimKO, arXiv 2510.14807, section 2), in memory that does not grow.

    `add` batches of responses in any order, then ask for the `summary`. Sums are float64, so the order and the sizes of
    batches change the last digits at most. The numbers are taken over all counted tokens, over the gated tokens, and, where
    `add` was told which responses are correct, over the tokens of correct and of incorrect responses.

    Args:
        candidates: K, the number of candidates that `add` is given.
        gate_quantile: the gate's entropy quantile, as in SimKO; None gates every token.
        entropy_edges: of the entropy histogram's bins, nats, ascending.
        draws: the numbers of draws of the expected distinct tokens.

    ValueError for fewer than one candidate.
    """

    def __init__(
        self,
        candidates: int,
        *,
        gate_quantile: float | None = 0.8,
        entropy_edges: Sequence[float] = ENTROPY_EDGES,
        draws: Sequence[int] = DRAWS,
    ) -> None:
        if candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {candidates}")
        self.candidates, self.gate_quantile = candidates, gate_quantile
        self._sets = {name: _Sums(candidates, entropy_edges, draws) for name in ("all", "gated")}
        self._judged = {name: _Sums(candidates, entropy_edges, draws) for name in ("correct", "incorrect")}
        self._has_verdicts = False

    def add(
        self,
        logp: Float[Tensor, "B T"],
        entropy: Float[Tensor, "B T"],
        topk_logp: Float[Tensor, "B T K"],
        mask: Shaped[Tensor, "B T"],
        correct: Bool[Tensor, " B"] | None = None,
    ) -> None:
        """Count the tokens of a batch of responses.

        Args:
            logp: of the sampled tokens, nats.
            entropy: of the next-token distributions, nats.
            topk_logp: of the K most likely tokens, nats, descending.
            mask: the counted tokens, nonzero.
            correct: the verdicts; None if there are none.

        ValueError for another K.
        """
        if topk_logp.shape[-1] != self.candidates:
            raise ValueError(f"{self.candidates} candidates are summed here, got {topk_logp.shape[-1]}")
        counted = mask != 0
        gate = entropy_gate(entropy, counted, self.gate_quantile)
        tokens = _Tokens.of(logp, entropy, topk_logp, counted, self._sets["all"].draws)
        counted, gate = counted.cpu(), gate.cpu()
        self._sets["all"].add(tokens, counted)
        self._sets["gated"].add(tokens, gate)
        if correct is not None:
            self._has_verdicts = True
            right = correct.cpu()[:, None]
            self._judged["correct"].add(tokens, counted & right)
            self._judged["incorrect"].add(tokens, counted & ~right)

    def summary(self) -> dict[str, Any]:
        """The numbers, of plain Python types; nan for a mean over no tokens.

            concentration[n]      = mean_i (1/|y_i|) sum_t log pi(v^(n) | s_t)      Lambda^(n), natural log, n = 1..K
            sampled               = the same of the sampled token                   Lambda^sample
            concentration_log10, sampled_log10    the same in log10, as the paper plots them
            rank_probability[n]   = mean probability of rank n
            top_mass[n]           = mean probability of ranks 1..n together
            entropy               = mean entropy, nats
            entropy_histogram     = share of tokens with entropy in [edges[j], edges[j + 1])
            rank_histogram[n]     = share of tokens whose rank-n candidate has a probability in that bin, n = 1..3
            sampled_rank1         = share of tokens whose sampled token is the most likely one
            distinct              = bounds of the mean expected number of distinct tokens in K draws
            responses, tokens     = how many there are

        Lambda is a mean over responses, however long; all other numbers are means over tokens. Log-probabilities are floored
        at -100, because a candidate of probability 0 has none. Responses without a counted token are left out.

        The keys stand for all counted tokens; "gated", "correct" and "incorrect" hold the same keys for theirs. The last two
        are absent without verdicts. "gated_rank_probability" is the "rank_probability" of "gated" for ranks 1 to 4.
        """
        gated = self._sets["gated"].summary()
        first = gated["rank_probability"][:_GATED_RANKS]
        found = self._sets["all"].summary() | {"gated_rank_probability": first, "gated": gated}
        if self._has_verdicts:
            found |= {name: sums.summary() for name, sums in self._judged.items()}
        return found


def concentration_summary(
    logp: Float[Tensor, "B T"],
    entropy: Float[Tensor, "B T"],
    topk_logp: Float[Tensor, "B T K"],
    mask: Shaped[Tensor, "B T"],
    *,
    correct: Bool[Tensor, " B"] | None = None,
    gate_quantile: float | None = 0.8,
    edges: Sequence[float] = ENTROPY_EDGES,
) -> dict[str, Any]:
    """The summary of one batch. Arguments, numbers and errors are those of `Concentration`."""
    sums = Concentration(topk_logp.shape[-1], gate_quantile=gate_quantile, entropy_edges=edges)
    sums.add(logp, entropy, topk_logp, mask, correct)
    return sums.summary()


class _Tokens:
    """What is summed of each token, float64 on the CPU, 0 where a token does not count."""

    def __init__(self, logp: Tensor, entropy: Tensor, topk_logp: Tensor, draws: Sequence[int]) -> None:
        self.entropy, self.probability = entropy, topk_logp.exp()
        self.logp, self.topk_logp = logp.clamp(min=_LOG_ZERO), topk_logp.clamp(min=_LOG_ZERO)
        self.rank1 = (sampled_rank(logp, topk_logp) == 1).double()
        self.distinct = torch.cat(distinct_bounds(topk_logp, draws), -1)

    @classmethod
    def of(cls, logp: Tensor, entropy: Tensor, topk_logp: Tensor, counted: Tensor, draws: Sequence[int]) -> "_Tokens":
        def clean(x: Tensor, where: Tensor) -> Tensor:
            return x.detach().masked_fill(~where, 0.0).cpu().double()

        return cls(clean(logp, counted), clean(entropy, counted), clean(topk_logp, counted[..., None]), draws)


class _Sums:
    """Sums over one set of tokens."""

    def __init__(self, candidates: int, entropy_edges: Sequence[float], draws: Sequence[int]) -> None:
        self.draws, self._edges = tuple(draws), tuple(entropy_edges)
        self._responses = self._tokens = 0
        self._lambda = torch.zeros(candidates + 1, dtype=torch.float64)  # of the sampled token last
        self._means = torch.zeros(candidates + 2 + 2 * len(self.draws), dtype=torch.float64)
        self._entropy_bins = torch.zeros(len(self._edges) - 1, dtype=torch.int64)
        shape = min(candidates, _BINNED_RANKS), len(PROBABILITY_EDGES) - 1
        self._rank_bins = torch.zeros(shape, dtype=torch.int64)

    def add(self, tokens: _Tokens, where: Tensor) -> None:
        """where: [B, T] bool."""
        length = where.sum(-1, keepdim=True)
        weight = where / length.clamp(min=1)
        logs = torch.cat([tokens.topk_logp, tokens.logp[..., None]], -1)
        self._lambda += (logs * weight[..., None]).sum((0, 1))
        self._responses += int((length > 0).sum())
        self._tokens += int(length.sum())
        single = torch.stack([tokens.entropy, tokens.rank1], -1)
        self._means += torch.cat([tokens.probability, single, tokens.distinct], -1)[where].sum(0)
        self._entropy_bins += _bins(tokens.entropy[where], self._edges)
        for n, row in enumerate(self._rank_bins):
            row += _bins(tokens.probability[..., n][where], PROBABILITY_EDGES)

    def summary(self) -> dict[str, Any]:
        of_response, of_token = self._responses or math.nan, self._tokens or math.nan
        *concentration, sampled = (self._lambda / of_response).tolist()
        K, D = len(concentration), len(self.draws)
        probability, (entropy, rank1), low, high = (self._means / of_token).split([K, 2, D, D])
        return {
            "responses": self._responses,
            "tokens": self._tokens,
            "entropy": float(entropy),
            "concentration": concentration,
            "concentration_log10": [x / math.log(10) for x in concentration],
            "sampled": sampled,
            "sampled_log10": sampled / math.log(10),
            "sampled_rank1": float(rank1),
            "rank_probability": probability.tolist(),
            "top_mass": probability.cumsum(0).tolist(),
            "entropy_histogram": _histogram(self._edges, (self._entropy_bins / of_token).tolist()),
            "rank_histogram": _histogram(PROBABILITY_EDGES, (self._rank_bins / of_token).tolist()),
            "distinct": {"draws": list(self.draws), "low": low.tolist(), "high": high.tolist()},
        }


def _bins(x: Tensor, edges: Sequence[float]) -> Tensor:
    """How many of x [n] lie in [edges[j], edges[j + 1]); the outer bins take what lies beyond them."""
    inner = torch.tensor(edges[1:-1], dtype=x.dtype)
    return torch.bucketize(x, inner, right=True).bincount(minlength=len(edges) - 1)


def _histogram(edges: Sequence[float], share: list[float] | list[list[float]]) -> dict[str, Any]:
    return {"edges": [None if math.isinf(e) else e for e in edges], "share": share}
