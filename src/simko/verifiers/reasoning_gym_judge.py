"""What the grading pool imports to score reasoning-gym's answers; nothing else does, for it loads all generators.

Here, and not in the call: every forked process then has them, and no answer pays for the import with its CPU time.
"""

import reasoning_gym  # noqa: F401

from simko.verifiers.reasoning_gym import judge

__all__ = ["judge"]
