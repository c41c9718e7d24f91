"""The layout of batches: full, fixed, and independent of what is wanted."""

from itertools import islice

import pytest

from simko.sampling.batches import index_blocks, lay_out

IDS = [f"p{i:03}" for i in range(100)]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 48, 64])
def test_blocks_cover_all_indices_once(batch_size: int) -> None:
    blocks = list(islice(index_blocks(batch_size), 20))
    assert [i for block in blocks for i in block] == list(range(blocks[-1].stop))
    assert {len(block) for block in blocks[-3:]} == {batch_size}


@pytest.mark.parametrize("n", [1, 2, 8, 64, 256])
def test_batches_are_full_for_a_power_of_two(n: int) -> None:
    batches = list(lay_out(IDS, {i: range(n) for i in IDS}, 64))
    keys = [key for batch in batches for key in batch.keys]
    assert sorted(keys) == [(p, i) for p in IDS for i in range(n)]
    assert max(sum(batch.counts) for batch in batches) == 64
    assert len(keys) / len(batches) > 0.75 * 64


def test_samples_of_any_want_lie_in_the_batches_of_all() -> None:
    place = {key: j for j, batch in enumerate(lay_out(IDS, {i: range(90) for i in IDS}, 16)) for key in batch.keys}
    wanted = {"p007": [0, 5, 40], "p008": [5], "p099": [89]}
    batches = list(lay_out(IDS, wanted, 16))
    assert sorted(key for batch in batches for key in batch.keys) == [
        (p, i) for p, indices in wanted.items() for i in indices
    ]
    places = [{place[key] for key in batch.keys} for batch in batches]
    assert all(len(found) == 1 for found in places)
    assert len(set.union(*places)) == len(places)


def test_every_stored_batch_has_its_own_seed() -> None:
    seeds: set[int] = set()
    batches = 0
    for low, high in [(0, 3), (3, 20), (20, 21), (21, 64)]:
        for batch in lay_out(IDS, {i: range(low, high) for i in IDS}, 16):
            seeds.add(batch.seed(0))
            batches += 1
    assert len(seeds) == batches
    assert not seeds & {batch.seed(1) for batch in lay_out(IDS, {i: range(64) for i in IDS}, 16)}


def test_nothing_wanted_is_nothing_drawn() -> None:
    assert list(lay_out(IDS, {}, 16)) == list(lay_out(IDS, {"p000": []}, 16)) == []
