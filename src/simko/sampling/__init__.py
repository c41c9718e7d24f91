"""Problems to samples. A back-end is a module here, imported only where it is asked for by its own name."""

from simko.sampling.protocol import SampleKey, Sampler

__all__ = ["SampleKey", "Sampler"]
