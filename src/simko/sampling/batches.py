"""How samples are put into batches: a layout that depends on the problems and the batch size alone."""

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from simko.sampling.protocol import Wanted, block_seed


@dataclass(frozen=True)
class Batch:
    """Rows that are drawn together, problem-major: `indices[j]` are the samples to draw of problem `problem_ids[j]`."""

    problem_ids: tuple[str, ...]
    indices: tuple[tuple[int, ...], ...]

    @property
    def keys(self) -> list[tuple[str, int]]:
        """(problem id, sample index) of every row."""
        return [(p, i) for p, indices in zip(self.problem_ids, self.indices, strict=True) for i in indices]

    @property
    def counts(self) -> list[int]:
        """Rows of every problem."""
        return [len(indices) for indices in self.indices]

    def seed(self, seed: int) -> int:
        """The seed (63 bits) of the whole batch: a hash of the block seeds of its problems.

        A batch that was stored has taken the lowest index of each of its problems, so no later one has its seed.
        """
        parts = [block_seed(seed, p, i[0]) for p, i in zip(self.problem_ids, self.indices, strict=True)]
        return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def index_blocks(batch_size: int) -> Iterator[range]:
    """Sample indices in blocks 0, 1, 2-3, 4-7, 8-15, ... that double up to batch_size and then keep that length.

    Short blocks of many problems come before long blocks of few, so that batches are full for a small n and for a large
    one without the layout knowing n, and a run that is cut off has about as many samples of each problem.
    """
    first = 0
    while True:
        block = range(first, first + min(max(1, first), batch_size))
        yield block
        first = block.stop


def lay_out(ordered_ids: Sequence[str], wanted: Wanted, batch_size: int) -> Iterator[Batch]:
    """The batches that hold something wanted, each with just its wanted rows (never more than batch_size)."""
    last = max((indices[-1] for indices in wanted.values() if indices), default=-1)
    for block in takewhile(lambda block: block.start <= last, index_blocks(batch_size)):
        together = batch_size // len(block)
        for start in range(0, len(ordered_ids), together):
            rows = _rows(ordered_ids[start : start + together], wanted, block)
            if rows:
                yield Batch(tuple(rows), tuple(rows.values()))


def _rows(ids: Sequence[str], wanted: Wanted, block: range) -> Mapping[str, tuple[int, ...]]:
    """{problem id: its wanted indices in the block}, of the problems that want any."""
    rows = {}
    for problem_id in ids:
        indices = wanted.get(problem_id, ())
        inside = tuple(indices[bisect_left(indices, block.start) : bisect_left(indices, block.stop)])
        if inside:
            rows[problem_id] = inside
    return rows
