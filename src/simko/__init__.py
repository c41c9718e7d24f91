"""SimKO and its rivals for RL with verifiable rewards: train, measure pass@K, see the concentration."""

__version__ = "0.1.0"
