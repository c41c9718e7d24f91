"""Problems to samples. A back-end is a module here, imported only where it is asked for by its own name."""

from simko.sampling.protocol import Sampler, SamplingSettings, Wanted, block_seed, check_wanted, setting_seed

__all__ = ["Sampler", "SamplingSettings", "Wanted", "block_seed", "check_wanted", "setting_seed"]
