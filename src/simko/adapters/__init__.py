"""Frameworks that train: the only rooms that import them."""
