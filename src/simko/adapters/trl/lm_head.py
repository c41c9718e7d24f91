"""Reads candidates off TRL's fused LM head while it runs.

TRL never materialises the logits. It calls one autograd function on (hidden states, head weight, labels), inside the model's
forward pass, where weights that FSDP or ZeRO-3 shards are gathered. This file puts a class of its own in the place of that
function. The class either lets TRL's function score the labels, and reads the few logits that a method needs from the same
tensors, or takes all statistics in one pass of its own (head_token_stats). The second is cheaper where most positions need
candidates.

Legend: N scored positions, H hidden size, V vocabulary, K candidates.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import trl.trainer.utils as trl_utils
from torch import Tensor

from simko.token_stats import Head, LogitTransform, TokenStats, candidate_logits, head_token_stats
from simko.token_stats.head import without_autocast

_TRL_HEAD = "_ChunkedLogProbFunction"


@dataclass(frozen=True)
class HeadCall:
    """One call of TRL's fused head."""

    hidden: Tensor
    """[N, H]."""
    head: Head
    """The head and the transform of its logits."""
    labels: Tensor
    """[N], the scored ids."""
    logp: Tensor
    """[N], TRL's or that of `stats`."""
    entropy: Tensor
    """[N], likewise."""
    stats: TokenStats | None
    """The statistics of one pass; None if TRL scored."""
    trl_head: Callable[[Tensor, Tensor, Tensor | None, Tensor], Tensor]
    """(hidden, weight, bias, labels) -> TRL's log-probabilities, with the same temperature, cap and scale."""

    def candidate_logits(self, rows: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
        """The K largest logits [n, K] and the label's [n] at the positions `rows` [n], with gradient, and the candidates' ids
        [n, K]. All logits of a position may be shifted by the same number."""
        if self.stats is not None:
            return self.stats.topk_logp[rows], self.stats.logp[rows], self.stats.topk_ids[rows]
        return candidate_logits(self.hidden[rows], self.head, self.labels[rows], top_k=top_k)

    @torch.no_grad()
    def logp_error(self, rows: Tensor) -> float:
        """The largest difference between TRL's log-probabilities and those of `head` over `rows`, divided by the size of the
        log-probability where that is above 1.

        Both are computed in float32. In half precision TRL rounds each logit, by up to an eighth where logits reach 45, and
        that would hide a head that is read wrongly.
        """
        hidden, labels = self.hidden[rows].float(), self.labels[rows]
        weight, bias = self.head.weight.float(), None if self.head.bias is None else self.head.bias.float()
        with without_autocast(hidden):
            ours = head_token_stats(hidden, Head(weight, bias, self.head.transform), labels, top_k=1).logp
            theirs = self.trl_head(hidden, weight, bias, labels)
        error = (ours - theirs).abs() / theirs.abs().clamp(min=1)
        return float(error.max()) if len(error) else 0.0


@contextmanager
def watch_head(observe: Callable[[HeadCall], None], top_k: int | None = None) -> Iterator[None]:
    """Call `observe` inside every call of TRL's fused head, after its labels are scored.

    top_k: None to let TRL score; else the number of candidates, and head_token_stats scores every position.
    """
    original = getattr(trl_utils, _TRL_HEAD)
    _ObservedHead.observe, _ObservedHead.top_k, _ObservedHead.trl_head = observe, top_k, original
    setattr(trl_utils, _TRL_HEAD, _ObservedHead)
    try:
        yield
    finally:
        setattr(trl_utils, _TRL_HEAD, original)


class _ObservedHead:
    """Stands in for TRL's head. It is one class for all calls, because another class would compile the model anew."""

    observe: Callable[[HeadCall], None]
    top_k: int | None
    trl_head: Any

    @staticmethod
    @torch.compiler.disable
    def apply(hidden, weight, bias, labels, temperature, chunk_size, softcap, scale, outputs):  # type: ignore[no-untyped-def]
        trl_head, top_k = _ObservedHead.trl_head, _ObservedHead.top_k

        def by_trl(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Any:
            return trl_head.apply(hidden, weight, bias, labels, temperature, chunk_size, softcap, scale, outputs)

        head, stats = Head(weight, bias, LogitTransform(temperature, softcap, scale)), None
        ours = hidden
        if torch.is_autocast_enabled(hidden.device.type):
            ours = hidden.to(torch.get_autocast_dtype(hidden.device.type))  # as TRL does
        if top_k is None:
            scored = by_trl(hidden, weight, bias, labels)
        elif set(outputs) <= {"log_probs", "entropy"}:
            stats = head_token_stats(ours, head, labels, top_k=top_k)
            scored = (stats.logp, stats.entropy, None, None, None)
        else:
            raise RuntimeError(f"TRL asks its head for {', '.join(outputs)}: simko gives log_probs and entropy")
        logp, entropy = scored[:2]
        _ObservedHead.observe(HeadCall(ours, head, labels, logp, entropy, stats, lambda *inputs: by_trl(*inputs)[0]))
        return scored


def completion_rows(positions: int, valid: Tensor) -> Tensor:
    """The position of completion token (b, t) among the head's N positions, [B, T]; meaningful where `valid` is True.

    TRL scores only the valid completion tokens if it has a Triton kernel, and else all B x (L - 1) positions of the
    sequences. N tells the two apart. valid: [B, T], False for padding.
    """
    B, T = valid.shape
    width = positions // B
    if positions == B * width and width >= T and positions != int(valid.sum()):
        return torch.arange(positions, device=valid.device).view(B, width)[:, width - T :]
    if positions == int(valid.sum()):
        return (valid.flatten().cumsum(0) - 1).clamp(min=0).view(B, T)
    raise RuntimeError(
        f"TRL's fused head scored {positions} positions for a {B} x {T} batch of completions: this TRL release is not "
        "one that simko knows; install the range of versions in simko's `trl` extra"
    )
