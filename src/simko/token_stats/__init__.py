"""Logits -> what an objective needs of each token."""

from simko.token_stats.eager import TokenStats, token_stats, top_candidates

__all__ = ["TokenStats", "token_stats", "top_candidates"]
