"""The tensor maths of policy-gradient methods for verifiable rewards: pure functions on [B, T] tensors."""

from simko.objectives.advantages import group_advantages
from simko.objectives.effective import (
    candidate_gap,
    penalised_advantages,
    penalised_old_logp,
    penalised_tokens,
    spread_shift,
)
from simko.objectives.gate import entropy_gate
from simko.objectives.method import Method
from simko.objectives.methods import METHODS
from simko.objectives.options import OPTIONS, REQUIRED
from simko.objectives.reduction import reduce_loss
from simko.objectives.simko import check_simko_options, simko_loss
from simko.objectives.surrogate import clipped_surrogate

__all__ = [
    "METHODS",
    "OPTIONS",
    "REQUIRED",
    "Method",
    "candidate_gap",
    "check_simko_options",
    "clipped_surrogate",
    "entropy_gate",
    "group_advantages",
    "penalised_advantages",
    "penalised_old_logp",
    "penalised_tokens",
    "reduce_loss",
    "simko_loss",
    "spread_shift",
]
