"""Logits, or hidden states and a language-model head -> the statistics of each token that an objective needs."""

from simko.token_stats.eager import TokenStats, top_candidates
from simko.token_stats.fused import candidate_logits, fused_candidate_gap, fused_token_stats, head_token_stats
from simko.token_stats.head import Head, LogitTransform
from simko.token_stats.stats import token_stats
from simko.token_stats.vocab_parallel import vocab_parallel_token_stats

__all__ = [
    "Head",
    "LogitTransform",
    "TokenStats",
    "candidate_logits",
    "fused_candidate_gap",
    "fused_token_stats",
    "head_token_stats",
    "token_stats",
    "top_candidates",
    "vocab_parallel_token_stats",
]
