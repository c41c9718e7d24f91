"""Problems to samples. A back-end is a module here, imported only where it is asked for by its own name."""

from simko.sampling.backends import BACKENDS, open_sampler
from simko.sampling.protocol import Sampler, SamplingSettings, Wanted, block_seed, check_wanted, setting_seed

__all__ = [
    "BACKENDS",
    "Sampler",
    "SamplingSettings",
    "Wanted",
    "block_seed",
    "check_wanted",
    "open_sampler",
    "setting_seed",
]
