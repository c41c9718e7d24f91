"""How samples are split into batches. The layout depends only on the problems and the batch size."""

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from simko.sampling.protocol import Wanted, block_seed


@dataclass(frozen=True)
class Batch:
    """Rows that are drawn together, in order of problems."""

    problem_ids: tuple[str, ...]
    """The problems of the batch."""
    indices: tuple[tuple[int, ...], ...]
    """For each problem, the indices of the samples to draw."""

    @property
    def keys(self) -> list[tuple[str, int]]:
        """(problem id, sample index) of each row."""
        return [(p, i) for p, indices in zip(self.problem_ids, self.indices, strict=True) for i in indices]

    @property
    def counts(self) -> list[int]:
        """The number of rows of each problem."""
        return [len(indices) for indices in self.indices]

    def seed(self, seed: int) -> int:
        """The seed (63 bits) of the batch: a hash of the block seeds of its problems.

        No later batch has the same seed, because a stored batch has used the lowest index of each of its problems.
        """
        parts = [block_seed(seed, p, i[0]) for p, i in zip(self.problem_ids, self.indices, strict=True)]
        return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def index_blocks(batch_size: int) -> Iterator[range]:
    """Sample indices in blocks 0, 1, 2-3, 4-7, 8-15, ..., which double up to batch_size and then keep that length.

    The layout does not know n. Batches are still full for small and large n, because short blocks of many problems come
    before long blocks of few. An interrupted run has about the same number of samples of each problem.
    """
    first = 0
    while True:
        block = range(first, first + min(max(1, first), batch_size))
        yield block
        first = block.stop


def lay_out(ordered_ids: Sequence[str], wanted: Wanted, batch_size: int) -> Iterator[Batch]:
    """The batches that hold wanted samples, each with only its wanted rows (at most batch_size)."""
    last = max((indices[-1] for indices in wanted.values() if indices), default=-1)
    for block in takewhile(lambda block: block.start <= last, index_blocks(batch_size)):
        together = batch_size // len(block)
        for start in range(0, len(ordered_ids), together):
            rows = _rows(ordered_ids[start : start + together], wanted, block)
            if rows:
                yield Batch(tuple(rows), tuple(rows.values()))


def _rows(ids: Sequence[str], wanted: Wanted, block: range) -> Mapping[str, tuple[int, ...]]:
    """{problem id: its wanted indices in the block}, without problems that want none."""
    rows = {}
    for problem_id in ids:
        indices = wanted.get(problem_id, ())
        inside = tuple(indices[bisect_left(indices, block.start) : bisect_left(indices, block.stop)])
        if inside:
            rows[problem_id] = inside
    return rows
