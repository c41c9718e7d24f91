"""Problems -> samples. Each back-end is a module, imported only when it is used."""

from simko.sampling.backends import BACKENDS, open_sampler
from simko.sampling.protocol import Sampler, SamplingSettings, Served, Wanted, block_seed, check_wanted, setting_seed

__all__ = [
    "BACKENDS",
    "Sampler",
    "SamplingSettings",
    "Served",
    "Wanted",
    "block_seed",
    "check_wanted",
    "open_sampler",
    "setting_seed",
]
