"""Which implementation runs where."""

from importlib.util import find_spec
from typing import Literal

import torch

Implementation = Literal["auto", "eager", "chunked", "triton"]
_CHUNK_ON_CPU = 128  # positions; more are not faster, fewer slow down the matrix products
_CHUNK_BYTES = 2**30  # of float32 logits at a time on a GPU


def choose(impl: Implementation) -> Implementation:
    """`impl`, with "auto" resolved. ValueError for an implementation that cannot run."""
    if impl not in ("auto", "eager", "chunked", "triton"):
        raise ValueError(f'impl must be "auto", "eager", "chunked" or "triton", got {impl!r}')
    if impl == "auto":
        return "chunked"  # on GPUs too, until benchmarks/gpu_check.py shows that the Triton kernels are faster
    if impl == "triton" and find_spec("triton") is None:
        raise ValueError('impl="triton" needs the package triton, which is not installed: use impl="auto"')
    return impl


def default_chunk(device: torch.device, vocabulary: int) -> int:
    """The number of positions whose logits are held at a time."""
    return _CHUNK_ON_CPU if device.type == "cpu" else max(_CHUNK_ON_CPU, _CHUNK_BYTES // (4 * vocabulary))
