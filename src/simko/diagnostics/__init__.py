"""Token statistics -> the numbers that show how a policy concentrates."""

from simko.diagnostics.concentration import concentration_summary

__all__ = ["concentration_summary"]
