"""The cache with room holds what Transformers' own holds, whatever is done to it."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, Gemma3ForCausalLM, Gemma3TextConfig

from simko.sampling.roomy_cache import RoomyLayer, select_with_room

SIZES = {"heads": 2, "size": 3}

steps = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 3)),
    st.tuples(st.just("crop"), st.integers(0, 2)),
    st.tuples(st.just("select"), st.lists(st.integers(0, 1), min_size=1, max_size=4)),
    st.tuples(st.just("select with room"), st.lists(st.integers(0, 1), min_size=1, max_size=4)),
)


@settings(deadline=None, max_examples=60)
@given(done=st.lists(steps, max_size=8), room=st.integers(0, 4))
def test_it_equals_a_dynamic_cache_after_any_steps(done: list[tuple[str, Any]], room: int) -> None:
    draw = torch.Generator().manual_seed(0)
    ours, plain = DynamicCache(), DynamicCache()
    first = torch.randn(2, 2, 4, 3, generator=draw)
    for cache in (ours, plain):
        cache.update(first, -first, 0)
    select_with_room(ours, torch.tensor([0, 1]), room)
    for name, what in done:
        batch = len(plain.layers[0].keys)
        rows = torch.tensor([i % batch for i in what]) if isinstance(what, list) else torch.tensor([0])
        new = torch.randn(batch, 2, what, 3, generator=draw) if name == "add" else None
        for cache in (ours, plain):
            if new is not None:
                cache.update(new, -new, 0)
            elif name == "crop":
                cache.crop(-what)
            elif name == "select with room" and cache is ours:
                select_with_room(cache, rows, room)
            else:
                cache.batch_select_indices(rows)
        for mine, theirs in zip(ours.layers, plain.layers, strict=True):
            assert torch.equal(mine.keys, theirs.keys)
            assert torch.equal(mine.values, theirs.values)
            assert mine.get_seq_length() == theirs.get_seq_length()


def test_tokens_are_written_in_place_until_the_room_is_full() -> None:
    cache, x = DynamicCache(), torch.ones(1, 2, 4, 3)
    cache.update(x, x, 0)
    select_with_room(cache, torch.tensor([0, 0]), 2)
    places = [cache.update(x.new_ones(2, 2, 1, 3), x.new_ones(2, 2, 1, 3), 0)[0].data_ptr() for _ in range(3)]
    assert places[0] == places[1] != places[2]


def test_layers_of_a_fixed_size_stay_what_they_are() -> None:
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=20, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, sliding_window=4, layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    model = Gemma3ForCausalLM(config).eval()
    ids = torch.randint(2, 20, (2, 9))
    with torch.no_grad():
        cache = model(ids[:, :6], use_cache=True).past_key_values
        select_with_room(cache, torch.tensor([1, 0, 1]), 3)
        assert [type(layer) is RoomyLayer for layer in cache.layers] == [False, True]
        for token in range(6, 9):
            rows = ids[[1, 0, 1], token : token + 1]
            name = "cache" if "cache" in model.forward.__annotations__ else "past_key_values"
            logits = model(rows, use_cache=True, **{name: cache}).logits[:, -1]
    torch.testing.assert_close(logits, model(ids[[1, 0, 1]]).logits[:, -1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_a_sampler_leaves_no_copy_of_the_cache_to_be_made(
    tiny_model: Any, tokenizer: Any, family: str, monkeypatch: Any
) -> None:
    from transformers.cache_utils import DynamicLayer

    from simko.records import Problem
    from simko.sampling import SamplingSettings
    from simko.sampling.transformers_sampler import TransformersSampler

    copied: list[int] = []
    plain = DynamicLayer.update

    def counted(self: Any, keys: torch.Tensor, *rest: Any, **more: Any) -> Any:
        if self.get_seq_length():
            copied.append(self.get_seq_length())
        return plain(self, keys, *rest, **more)

    monkeypatch.setattr(DynamicLayer, "update", counted)
    sampler = TransformersSampler(tiny_model(family), tokenizer, batch_size=6)
    problems = [Problem("a", "12345", "1"), Problem("b", "123", "1")]
    wanted = {p.id: range(3) for p in problems}
    drawn = [
        s for batch in sampler.sample(problems, wanted, SamplingSettings(max_new_tokens=40), seed=0) for s in batch
    ]
    assert len(drawn) == 6
    assert copied == []
