"""What a run needs of a GPU's memory and of the network, from plain numbers. docs/scaling.md tells what for.

Bytes, of one process unless said otherwise. benchmarks/scaling.py compares the loss's with a count.
"""

from math import ceil

FLOAT = 4
"""Bytes of a float32, in which statistics are computed and sent."""
CHUNK_BYTES = 2**30
"""Float32 logits that a GPU reads at a time, at most; see token_stats.choice."""


def columns(vocabulary: int, shards: int) -> int:
    """The columns of the vocabulary that the largest of `shards` processes has."""
    return ceil(vocabulary / shards)


def logit_bytes(positions: int, vocabulary: int, shards: int = 1, *, size: int = FLOAT) -> int:
    """The logits of a micro-batch, N V / P numbers of `size` bytes, which an engine makes before it calls a loss."""
    return positions * columns(vocabulary, shards) * size


def loss_bytes(positions: int, vocabulary: int, shards: int = 1, *, size: int = FLOAT, chunk: int | None = None) -> int:
    """What a row's loss adds to the logits at its peak: their gradient, as large as they are, and the chunk being read.

    chunk: positions read at a time; None for a GPU's.
    """
    width = columns(vocabulary, shards)
    rows = min(positions, max(128, CHUNK_BYTES // (FLOAT * width)) if chunk is None else chunk)
    cast = size if size < FLOAT else 0  # a chunk of the gradient in the logits' own type
    return logit_bytes(positions, vocabulary, shards, size=size) + rows * width * (FLOAT + cast)


def gathered_bytes(positions: int, candidates: int, shards: int) -> int:
    """What a process receives for the statistics of a micro-batch whose vocabulary is split: 4 + 2K floats a position from
    each of the others."""
    return (shards - 1) * positions * (4 + 2 * candidates) * FLOAT


def candidate_bytes(positions: int, candidates: int) -> int:
    """What the old policy's candidates, an id and a log-probability each, would add to a batch. No row needs them."""
    return positions * candidates * 2 * FLOAT


def state_bytes(parameters: int, shards: int, optimizer_shards: int | None = None) -> float:
    """Weights, gradients and Adam's state: 16 bytes a parameter under FSDP2 and ZeRO-3, all of it split over `shards`.

    optimizer_shards: Megatron's, which splits 6 of 18 bytes (bf16 weights, float32 gradients) over its model-parallel
    processes, and 12 (float32 weights and two moments) over these.
    """
    if optimizer_shards is None:
        return 16 * parameters / shards
    return parameters * (6 / shards + 12 / optimizer_shards)
