"""The ways to compare: ours, the plain ones, and other libraries' fused heads, each behind a loader that imports it.

A loader raises ImportError where its library is missing. Each way takes a Problem and returns what its library can give
with a gradient: log-prob and entropy (what GRPO needs), these and the candidate gap (SimKO), or the log-prob alone.
"""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from measure import Outputs, Problem, Way
from torch import Tensor

from simko.objectives import candidate_gap
from simko.token_stats import fused_candidate_gap, fused_token_stats

LOGP, GRPO, SIMKO = "logp", "logp, entropy", "logp, entropy, gap"

EAGER_GRPO = "GRPO, eager"
EAGER_SIMKO = "SimKO, eager"
K_FOLD = "SimKO, logits repeated K times"

STORED = 0.15
"""Share of the logits that one of our ways stores for its backward pass; the memory targets leave room for it."""

SEQUENCE = 128
"""Tokens a row of the [B, T, V] logits that the plain ways loop over."""


def full_logits(problem: Problem) -> Tensor:
    """hidden weight' [B, T, V]."""
    logits = problem.hidden @ problem.weight.t()
    return logits.unflatten(0, (-1, SEQUENCE)) if len(logits) % SEQUENCE == 0 else logits[None]


def selected_logp(logits: Tensor, ids: Tensor) -> Tensor:
    """log p of ids [B, T] under logits [B, T, V], a row at a time: gather less log-sum-exp, or log-softmax in half precision."""
    if logits.dtype == torch.float32:
        normaliser = torch.stack([row.logsumexp(-1) for row in logits])
        return logits.gather(-1, ids[..., None])[..., 0] - normaliser
    rows = zip(logits, ids, strict=True)
    return torch.stack([row.log_softmax(-1).gather(-1, at[:, None])[:, 0] for row, at in rows])


def chunked_entropy(logits: Tensor) -> Tensor:
    parts = []
    for part in logits.flatten(0, 1).split(128):
        logp = part.log_softmax(-1)
        parts.append(-(logp.exp() * logp).sum(-1))
    return torch.cat(parts)


def eager_grpo() -> Way:
    """Log-prob and entropy from full logits, as TRL computes them without its kernels."""

    def way(problem: Problem) -> Outputs:
        logits = full_logits(problem)
        tokens = problem.tokens.view(logits.shape[:-1])
        return Outputs(selected_logp(logits, tokens).flatten(), chunked_entropy(logits))

    return way


class SelectedLogp(torch.autograd.Function):
    """log p of ids [M] under logits [M, V]; keeps its input, and one tensor of that size in backward, as fused kernels do."""

    @staticmethod
    def forward(ctx, logits: Tensor, ids: Tensor) -> Tensor:
        normaliser = logits.logsumexp(-1)
        ctx.save_for_backward(logits, ids, normaliser)
        return logits.gather(-1, ids[:, None])[:, 0] - normaliser

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:
        logits, ids, normaliser = ctx.saved_tensors
        gradient = (logits - normaliser[:, None]).exp_().mul_(-upstream[:, None])
        return gradient.scatter_add_(-1, ids[:, None], upstream[:, None]), None


def k_fold() -> Way:
    """Candidates as the authors of SimKO take them: logits repeated K times, one log-prob gathered from each copy.

    At its leanest, with the log-probs from a fused cross-entropy rather than a log-softmax kept beside the copies.
    """

    def way(problem: Problem) -> Outputs:
        logits = full_logits(problem).float()
        K = problem.top_k
        logp = selected_logp(logits, problem.tokens.view(logits.shape[:-1])).flatten()
        entropy = (logits.logsumexp(-1) - (logits.softmax(-1) * logits).sum(-1)).flatten()
        ids = logits.detach().topk(K, dim=-1).indices
        copies = logits.flatten(0, 1).repeat_interleave(K, dim=0)
        topk_logp = SelectedLogp.apply(copies, ids.flatten()).view(-1, K)
        return Outputs(logp, entropy, candidate_gap(topk_logp, logp))

    return way


def ours_simko(impl: str, stored: float = 0.0) -> Way:
    """stored: share of the logits for whose float32 there is memory."""

    def way(problem: Problem) -> Outputs:
        stats = fused_token_stats(
            problem.hidden, problem.weight, problem.tokens, top_k=problem.top_k, impl=impl,
            store_bytes=int(stored * problem.unit),
        )  # fmt: skip
        return Outputs(stats.logp, stats.entropy, candidate_gap(stats.topk_logp, stats.logp))

    return way


def ours_grpo(impl: str) -> Way:
    """No gradient of candidates, and one candidate, for is_top1."""

    def way(problem: Problem) -> Outputs:
        stats = fused_token_stats(problem.hidden, problem.weight, problem.tokens, top_k=1, impl=impl)
        return Outputs(stats.logp, stats.entropy)

    return way


def gap_where_gated(grpo: Callable[[], Way], impl: str) -> Way:
    """Another way's log-prob and entropy, and our candidate gap on the gated fifth alone."""
    inner = grpo()

    def way(problem: Problem) -> Outputs:
        stats = inner(problem)
        gap = fused_candidate_gap(
            problem.hidden, problem.weight, problem.tokens, problem.where, top_k=problem.top_k, impl=impl
        )
        return Outputs(stats.logp, stats.entropy, gap)

    return way


def trl_logits() -> Way:
    from trl.trainer.utils import entropy_from_logits, selective_log_softmax

    def way(problem: Problem) -> Outputs:
        logits = full_logits(problem)
        logp = selective_log_softmax(logits, problem.tokens.view(logits.shape[:-1]))
        return Outputs(logp.flatten(), entropy_from_logits(logits).flatten())

    return way


def trl_head() -> Way:
    """TRL's fused head, in its own tiles of 4,096 tokens x 32,768 of the vocabulary."""
    from trl.kernels import ChunkedLogProbFunction

    def way(problem: Problem) -> Outputs:
        made = ChunkedLogProbFunction.apply(
            problem.hidden, problem.weight, None, problem.tokens, 1.0, 32768, None, 1.0, ("entropy",)
        )
        return Outputs(made[0], made[1])

    return way


def liger_head() -> Way:
    from liger_kernel.ops.fused_linear_scaled_cross_entropy import LigerFusedLinearScaledCrossEntropyFunction

    def way(problem: Problem) -> Outputs:
        # temperature, ignored label, tiles a cluster, with entropy
        made = LigerFusedLinearScaledCrossEntropyFunction.apply(
            problem.hidden, problem.weight, problem.tokens, 1.0, -100, 1, True
        )
        return Outputs(-made[0], made[1])

    return way


def cut_cross_entropy_head() -> Way:
    """Apple's; no entropy. filter_eps None: exact gradients."""
    from cut_cross_entropy import linear_cross_entropy

    def way(problem: Problem) -> Outputs:
        nll = linear_cross_entropy(problem.hidden, problem.weight, problem.tokens, reduction="none", filter_eps=None)
        return Outputs(-nll.float())

    return way


def bare_verl() -> None:
    """verl's modules without the __init__ of its packages, which want Ray and more; its kernels need neither."""
    spec = importlib.util.find_spec("verl") if "verl" not in sys.modules else None
    if "verl" not in sys.modules:
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError("No module named 'verl'", name="verl")
        root = Path(next(iter(spec.submodule_search_locations)))
        for name in ("verl", "verl.utils"):
            package = ModuleType(name)
            package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
            sys.modules[name] = package


def verl_kernel() -> Way:
    bare_verl()
    from verl.utils.kernel.linear_cross_entropy import linear_cross_entropy

    def way(problem: Problem) -> Outputs:
        return Outputs(*linear_cross_entropy(problem.hidden, problem.weight, problem.tokens, 1.0, "none", None))

    return way


def verl_chunked() -> Way:
    bare_verl()
    from verl.utils.experimental.torch_functional import FusedLinearForPPO

    def way(problem: Problem) -> Outputs:
        return Outputs(*FusedLinearForPPO()(problem.hidden, problem.weight, problem.tokens))

    return way


def ways(device: str) -> dict[str, tuple[str, Callable[[], Way]]]:
    """name -> (outputs, loader): the plain ones, ours, other libraries'."""
    made = {EAGER_GRPO: (GRPO, eager_grpo), EAGER_SIMKO: (SIMKO, partial(ours_simko, "eager")), K_FOLD: (SIMKO, k_fold)}
    for impl in ("chunked", "triton") if device == "cuda" else ("chunked",):
        made[ours("GRPO", impl)] = (GRPO, partial(ours_grpo, impl))
        made[ours("SimKO", impl)] = (SIMKO, partial(ours_simko, impl))
        made[stored(impl)] = (SIMKO, partial(ours_simko, impl, STORED))
        made[f"{ours('SimKO', impl)}, logits stored"] = (SIMKO, partial(ours_simko, impl, 1.0))
        made[gated(impl)] = (SIMKO, partial(gap_where_gated, partial(ours_grpo, impl), impl))
    made["SimKO, TRL fused head + our gated gap"] = (SIMKO, partial(gap_where_gated, trl_head, "auto"))
    made["GRPO, TRL on full logits"] = (GRPO, trl_logits)
    made["GRPO, TRL fused head"] = (GRPO, trl_head)
    made["GRPO, verl chunked head"] = (GRPO, verl_chunked)
    made["GRPO, Liger fused head"] = (GRPO, liger_head)
    if device == "cuda":
        made["GRPO, verl linear_cross_entropy"] = (GRPO, verl_kernel)
        made["log-prob, cut-cross-entropy"] = (LOGP, cut_cross_entropy_head)
    return made


def ours(objective: str, impl: str) -> str:
    return f"{objective}, ours {impl}"


def stored(impl: str) -> str:
    return f"{ours('SimKO', impl)}, {STORED:.0%} of logits stored"


def gated(impl: str) -> str:
    return f"SimKO, ours {impl}, gap on gated tokens"


def exact_gradients(problem: Problem, N: int = 256) -> dict[str, Tensor]:
    """d loss / d hidden of the first N tokens, in float64 and by the book; a token's does not depend on the others."""
    small = problem.first(N)
    gradients = {}
    for outputs in (LOGP, GRPO, SIMKO):
        all_logp = (small.hidden @ small.weight.t()).log_softmax(-1)
        logp = all_logp.gather(-1, small.tokens[:, None])[:, 0]
        entropy = -(all_logp.exp() * all_logp).sum(-1) if outputs != LOGP else None
        gap = all_logp.topk(small.top_k).values.mean(-1) - logp if outputs == SIMKO else None
        (gradients[outputs],) = torch.autograd.grad(small.loss(Outputs(logp, entropy, gap)), small.hidden)
    return gradients


def versions() -> str:
    """The other libraries' versions, of those that are installed."""
    found = []
    for name in ("trl", "verl", "liger-kernel", "cut-cross-entropy"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
