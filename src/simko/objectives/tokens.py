"""The links of a method that work token by token, before the ratio and after the surrogate.

A link takes the Tokens of a micro-batch. A mask returns which tokens have a loss, a token link returns changed Tokens, an
auxiliary term returns a further loss of each token. All return metrics beside it, a Mean by name.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from simko.objectives.arguments import check_tensors, not_none
from simko.objectives.effective import penalised_advantages, penalised_old_logp, penalised_tokens, spread_shift
from simko.objectives.gate import entropy_gate
from simko.objectives.reduction import Mean, mean_over

Metrics = dict[str, Mean]


class Tokens(NamedTuple):
    """One micro-batch, in nats. Values outside the mask are 0 or False. Gradient flows through logp, entropy and gap."""

    logp: Float[Tensor, "B T"]
    """log pi of the current policy."""
    old_logp: Float[Tensor, "B T"]
    """log pi at sampling."""
    entropy: Float[Tensor, "B T"]
    """Entropy of the current policy."""
    gap: Float[Tensor, "B T"] | None
    """candidate_gap; 0 outside `scored`."""
    is_top1: Bool[Tensor, "B T"] | None
    """Whether the token is the most likely one; False outside `scored`."""
    advantages: Float[Tensor, "#B #T"]
    """One for each response, or one for each token."""
    mask: Bool[Tensor, "B T"]
    """Counted tokens."""
    gate: Bool[Tensor, "B T"]
    """Tokens that SimKO's links may change. A link that ignores it reads candidates of every token."""
    marked: Bool[Tensor, "B T"]
    """The second answer of the method's selection."""
    left_out: Float[Tensor, ""]
    """The number of counted tokens of responses with advantage 0 that the engine did not score."""
    scored: Bool[Tensor, "B T"]
    """Tokens whose gap and is_top1 are known."""
    changed: Bool[Tensor, "B T"]
    """Tokens that a link has changed. Each link adds its own."""


class TokenMask(NamedTuple):
    """Which tokens train."""

    active: Bool[Tensor, "B T"]
    """Tokens with a loss."""
    counted: Bool[Tensor, "B T"]
    """Tokens that the reduction counts, active or not."""
    metrics: Metrics
    """Shares of these tokens."""


def read_tokens(
    logp: Tensor,
    old_logp: Tensor,
    entropy: Tensor,
    gap: Tensor | None,
    is_top1: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
    marked: Tensor | None,
    left_out: Tensor | float = 0.0,
    scored: Tensor | None = None,
) -> Tokens:
    """Tokens of a batch.

    Args:
        logp, old_logp, entropy, gap, is_top1, mask, marked: [B, T]; see Tokens.
        advantages: [B] or [B, T].
        left_out: a number of tokens.
        scored: [B, T]; None for every counted token.

    ValueError as check_batch.
    """
    optional = not_none(gap=gap, is_top1=is_top1, marked=marked)
    check_batch(logp, advantages, old_logp=old_logp, entropy=entropy, mask=mask, **optional)
    counted = mask != 0
    advantages = advantages.detach().to(logp.dtype)
    return Tokens(
        logp=logp.masked_fill(~counted, 0.0),
        old_logp=old_logp.detach().masked_fill(~counted, 0.0),
        entropy=entropy.masked_fill(~counted, 0.0),
        gap=None if gap is None else gap.masked_fill(~counted, 0.0),
        is_top1=None if is_top1 is None else is_top1 & counted,
        advantages=advantages[:, None] if advantages.dim() == 1 else advantages.masked_fill(~counted, 0.0),
        mask=counted,
        gate=counted,
        marked=torch.zeros_like(counted) if marked is None else marked & counted,
        left_out=torch.as_tensor(left_out, dtype=logp.dtype, device=logp.device),
        scored=counted if scored is None else scored & counted,
        changed=torch.zeros_like(counted),
    )


def unscored_tokens(advantages: Tensor, mask: Tensor, marked: Tensor | None) -> Tokens:
    """Tokens [B, T] of a batch that an engine has not scored: what a policy says of them is 0 or False."""
    nothing = torch.zeros(mask.shape, device=mask.device)
    return read_tokens(nothing, nothing, nothing, nothing, nothing != 0, advantages, mask, marked)


def check_batch(logp: Any, advantages: Any, **others: Any) -> None:
    """ValueError that names an argument of another kind, or of another shape than logp's [B, T] (advantages: [B] too)."""
    check_tensors(logp=logp, advantages=advantages, **others)
    for name, x in {"advantages": advantages, **others}.items():
        if x.device != logp.device:
            raise ValueError(f"{name} must be on {logp.device} as logp is, got {x.device}")
    for name, x in others.items():
        if x.shape != logp.shape:
            raise ValueError(f"{name} must be [B, T] as logp {list(logp.shape)}, got {list(x.shape)}")
    if advantages.shape not in (logp.shape[:1], logp.shape):
        raise ValueError(f"advantages must be [B] or [B, T] for logp {list(logp.shape)}, got {list(advantages.shape)}")


def checked_link(row: str, link: partial, tokens: Tokens) -> tuple[Tokens, Metrics]:
    """What a token link of the row makes of tokens. ValueError, naming the link, for anything but Tokens of the same
    responses and metrics that are Means."""
    answer: Any = link(tokens)
    said = f"{row}: the token link {getattr(link.func, '__name__', link.func)} must return"
    if type(answer) is not tuple or len(answer) != 2 or not isinstance(answer[0], Tokens):
        raise ValueError(f"{said} its Tokens and a dict of metrics, got {type(answer).__name__}")
    after, metrics = answer
    for name, metric in metrics.items():
        if not isinstance(metric, Mean):
            raise ValueError(f"{said} {name} as a Mean, by mean_over or over_counted, got {type(metric).__name__}")
    for name in ("logp", "old_logp", "advantages"):
        shape, allowed = getattr(after, name).shape, {getattr(tokens, name).shape, tokens.logp.shape}
        if shape not in allowed:
            raise ValueError(f"{said} {name} of shape {list(tokens.logp.shape)}, got {list(shape)}")
    return after, metrics


def over_counted(x: Shaped[Tensor, "B T"], tokens: Tokens) -> Mean:
    """Mean over counted tokens of an x that is 0 wherever the advantage is 0, and so at the tokens left out."""
    total, size = mean_over(x, tokens.mask)
    return Mean(total, size + tokens.left_out)


def every_token(tokens: Tokens) -> TokenMask:
    """Every counted token."""
    return TokenMask(tokens.mask, tokens.mask, {})


def rows_with_advantage(tokens: Tokens) -> TokenMask:
    """Tokens whose advantage is not 0; the others leave the loss and the denominator. kept: their share."""
    kept = tokens.mask & (tokens.advantages != 0)
    return TokenMask(kept, kept, {"kept": over_counted(kept, tokens)})


def marked_tokens(tokens: Tokens) -> TokenMask:
    """Marked tokens; the others leave the loss and the denominator. kept: their share."""
    return TokenMask(tokens.marked, tokens.marked, {"kept": over_counted(tokens.marked, tokens)})


def unmarked_tokens(tokens: Tokens) -> TokenMask:
    """Tokens that are not marked; marked ones have no loss and stay in the denominator. marked: their share."""
    return TokenMask(tokens.mask & ~tokens.marked, tokens.mask, {"marked": over_counted(tokens.marked, tokens)})


def gate_by_entropy(tokens: Tokens, *, gate_quantile: float | None) -> tuple[Tokens, Metrics]:
    """Restrict the links that follow to entropy_gate's tokens.

    gated: their share; rank1: the share of rank 1 in those of them that have an advantage.
    """
    gate = entropy_gate(tokens.entropy, tokens.mask, gate_quantile)
    metrics, tokens = {"gated": mean_over(gate, tokens.mask)}, tokens._replace(gate=gate)
    if tokens.is_top1 is not None:
        metrics["rank1"] = mean_over(tokens.is_top1, _trained(tokens))
    return tokens, metrics


GATES = (gate_by_entropy,)
"""Links that narrow the gate and need no candidates. An engine runs them first and looks up candidates of fewer tokens.
Other gates work too, at the cost of more candidates."""


def spread_over_candidates(tokens: Tokens, *, alpha: float) -> tuple[Tokens, Metrics]:
    """SimKO's positive part: logp + spread_shift. gap: mean over gated tokens that have an advantage, nats."""
    return _spread(tokens, alpha, 1.0)


def spread_by_success(tokens: Tokens, *, alpha: float) -> tuple[Tokens, Metrics]:
    """spread_over_candidates with alpha / (1 + A^2) in the place of alpha.

    In a group of N responses of which the share rho is correct (1) and the rest incorrect (0), GRPO's advantage of a correct
    one is A = sqrt((1 - rho) / rho (N - 1) / N). So alpha / (1 + A^2) is alpha rho / (1 - (1 - rho) / N): alpha rho but for
    a factor between 1 and 1 + 1 / (N - 1). What is solved already is spread, what is rare is sharpened.
    """
    return _spread(tokens, alpha, 1 / (1 + tokens.advantages**2))


def _spread(tokens: Tokens, alpha: float, weight: Tensor | float) -> tuple[Tokens, Metrics]:
    gap = _read(tokens.gap, "gap", "candidate_weights and top_k")
    metrics = {"gap": mean_over(gap, _trained(tokens))}
    if alpha == 0:
        return tokens, metrics
    shift = weight * spread_shift(gap, tokens.advantages, tokens.gate, alpha)
    raised = tokens.gate & (tokens.advantages > 0)
    return tokens._replace(logp=tokens.logp + shift, changed=tokens.changed | raised), metrics


def penalise_ratio(tokens: Tokens, *, top_penalty: float) -> tuple[Tokens, Metrics]:
    """SimKO's negative part, in the paper's form: penalised_old_logp. penalised: share of such tokens.

    Not for a ratio per sequence, where it would rescale the whole response.
    """
    is_top1 = _read(tokens.is_top1, "is_top1", "needs_top1")
    penalised = penalised_tokens(is_top1, tokens.advantages, tokens.gate)
    metrics = {"penalised": over_counted(penalised, tokens)}
    if top_penalty == 1:
        return tokens, metrics
    old_logp = penalised_old_logp(tokens.old_logp, penalised, top_penalty)
    return tokens._replace(old_logp=old_logp, changed=tokens.changed | penalised), metrics


def penalise_advantage(tokens: Tokens, *, top_penalty: float) -> tuple[Tokens, Metrics]:
    """SimKO's negative part, in the form of the authors' code: penalised_advantages. penalised: share of such tokens."""
    is_top1 = _read(tokens.is_top1, "is_top1", "needs_top1")
    penalised = penalised_tokens(is_top1, tokens.advantages, tokens.gate)
    metrics = {"penalised": over_counted(penalised, tokens)}
    if top_penalty == 1:
        return tokens, metrics
    advantages = penalised_advantages(tokens.advantages, penalised, top_penalty)
    return tokens._replace(advantages=advantages, changed=tokens.changed | penalised), metrics


def add_entropy_to_advantage(tokens: Tokens, *, entropy_scale: float, kappa: float) -> tuple[Tokens, Metrics]:
    """A + min(entropy_scale sg(H), |A| / kappa), for both signs of A; A = 0 stays 0, kappa > 1 keeps the sign.

    bonus: mean of what was added; bonus_capped: share of tokens with an advantage where |A| / kappa is the smaller.
    Source: arXiv 2506.14758.
    """
    cap = tokens.advantages.abs() / kappa
    wanted = entropy_scale * tokens.entropy.detach()
    bonus = torch.minimum(wanted, cap)
    metrics = {
        "bonus": over_counted(bonus, tokens),
        "bonus_capped": mean_over(wanted > cap, tokens.mask & (tokens.advantages != 0)),
    }
    changed = tokens.changed | (tokens.mask & (bonus > 0))
    return tokens._replace(advantages=tokens.advantages + bonus, changed=changed), metrics


def entropy_reward(tokens: Tokens, *, entropy_coef: float) -> tuple[Float[Tensor, "B T"], Metrics]:
    """-entropy_coef H, with gradient. entropy: mean, nats."""
    return -entropy_coef * tokens.entropy, {"entropy": mean_over(tokens.entropy, tokens.mask)}


def log_ratio_penalty(tokens: Tokens, *, kl_coef: float) -> tuple[Float[Tensor, "B T"], Metrics]:
    """kl_coef |logp - old_logp| at marked tokens; no gradient where both are equal.

    marked: share of such tokens; log_ratio: mean over them of |logp - old_logp|, nats. Source: KL-Cov, arXiv 2505.22617.
    """
    distance = (tokens.logp - tokens.old_logp).abs()
    metrics = {"marked": over_counted(tokens.marked, tokens), "log_ratio": mean_over(distance, tokens.marked)}
    return torch.where(tokens.marked, kl_coef * distance, 0.0), metrics


def _trained(tokens: Tokens) -> Bool[Tensor, "B T"]:
    """Gated tokens that have an advantage, whose candidates an engine knows whether or not it scores other responses."""
    return tokens.gate & tokens.scored & (tokens.advantages != 0)


def _read(x: Tensor | None, name: str, declared: str) -> Tensor:
    if x is None:
        raise ValueError(f"a token link reads {name}, which nobody looked up: set {declared} in its row")
    return x
