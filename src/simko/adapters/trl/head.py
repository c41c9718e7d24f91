"""Reads candidates off TRL's fused LM head while it runs.

TRL never materialises the logits: it calls one autograd function on (hidden states, head weight, labels). This file
watches that call, so that temperature, logit scale, soft cap, gathered FSDP weights and dtypes are TRL's own, and
takes the few logits that a method needs from the same tensors, inside the model's forward.

Legend: N scored positions, H hidden size, V vocabulary, K candidates.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import trl.trainer.utils as trl_utils
from torch import Tensor

from simko.token_stats import Head, TokenStats, candidate_logits, fused_token_stats


@dataclass(frozen=True)
class HeadCall:
    """One call of TRL's fused head. hidden [N, H]; weight [V, H]; bias [V]; labels [N]; logp, entropy [N]."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    labels: Tensor
    temperature: float
    softcap: float | None
    scale: float
    logp: Tensor
    entropy: Tensor

    @property
    def head(self) -> Head:
        """The head's weight and what TRL makes of its products, in the type of the hidden states as TRL has it."""
        bias = None if self.bias is None else self.bias.to(self.hidden.dtype)
        return Head(self.weight, bias, self.temperature, self.softcap, self.scale)

    def candidate_logits(self, rows: Tensor, top_k: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of the positions `rows` [n]: the K largest logits [n, K] and the label's [n], with gradient, and the
        candidates' ids [n, K]. K + 1 dot products a position; the full rows are looked at without gradient."""
        return candidate_logits(self.hidden[rows], self.head, self.labels[rows], top_k=top_k)

    def token_stats(self, rows: Tensor, tokens: Tensor, top_k: int) -> TokenStats:
        """Statistics of `tokens` [n] at the positions `rows` [n]."""
        head = self.head
        return fused_token_stats(
            self.hidden[rows], head.weight, tokens, top_k=top_k, bias=head.bias, temperature=head.temperature,
            softcap=head.softcap, scale=head.scale,
        )  # fmt: skip

    @torch.no_grad()
    def logp_error(self, rows: Tensor) -> float:
        """Largest difference between the head's log-probabilities and those of `token_stats`, over `rows`."""
        if not len(rows):
            return 0.0
        return float((self.token_stats(rows, self.labels[rows], 1).logp - self.logp[rows]).abs().max())


@contextmanager
def watch_head(observe: Callable[[HeadCall], None]) -> Iterator[None]:
    """While open, `observe` is called inside every call of TRL's fused head, after it has scored its labels."""
    name = "_ChunkedLogProbFunction"
    original = getattr(trl_utils, name)

    class Watched:
        @staticmethod
        def apply(hidden, weight, bias, labels, temperature, chunk_size, softcap, scale, outputs):  # type: ignore[no-untyped-def]
            scored = original.apply(hidden, weight, bias, labels, temperature, chunk_size, softcap, scale, outputs)
            observe(HeadCall(hidden, weight, bias, labels, temperature, softcap, scale, *scored[:2]))
            return scored

    setattr(trl_utils, name, Watched)
    try:
        yield
    finally:
        setattr(trl_utils, name, original)


def completion_rows(positions: int, valid: Tensor) -> Tensor:
    """Where the head's N positions hold completion token (b, t): [B, T] indices, meaningful where `valid` is True.

    TRL scores the valid completion tokens alone where it has a Triton kernel, else all B x (L - 1) positions of the
    sequences; the two are told apart by N. valid [B, T]: the token is no padding.
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
