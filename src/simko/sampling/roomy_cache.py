"""A key-value cache with room: new tokens are written into it, where Transformers' own copies all that is there at each step."""

from typing import Any

import torch
from transformers.cache_utils import DynamicLayer


def select_with_room(cache: Any, rows: torch.Tensor, room: int) -> None:
    """Make row i of the cache what rows[i] was, with room for `room` more tokens.

    Args:
        cache: a cache of Transformers, whose layers it changes.
        rows: [rows], places in the batch.
        room: tokens.

    Layers other than those of full attention (sliding windows, states) have a fixed size and only select their rows.
    """
    for place, layer in enumerate(cache.layers):
        if type(layer) in (DynamicLayer, RoomyLayer) and layer.get_seq_length():
            cache.layers[place] = RoomyLayer(layer, rows, room)
        else:
            layer.batch_select_indices(rows)


class RoomyLayer(DynamicLayer):
    """A layer of full attention, [B, heads, T, D], whose tensors are views of larger ones.

    Args:
        layer: whose tokens it takes.
        rows: which of its rows.
        room: how many tokens fit in beside them. Beyond them it is a DynamicLayer.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, layer: Any, rows: torch.Tensor, room: int) -> None:
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self._whole = [_with_room(x, rows, room) for x in (layer.keys, layer.values)]
        self._show(layer.keys.shape[-2])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds [B, heads, T', D]; all keys and values."""
        start, end = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
        replaced = self.keys.data_ptr() != self._whole[0].data_ptr()  # by a selection of rows
        if replaced or end > self._whole[0].shape[-2]:
            return super().update(key_states, value_states)
        for whole, new in zip(self._whole, (key_states, value_states), strict=True):
            whole[:, :, start:end] = new
        self._show(end)
        return self.keys, self.values

    def _show(self, tokens: int) -> None:
        self.keys, self.values = (whole[:, :, :tokens] for whole in self._whole)


def _with_room(x: torch.Tensor, rows: torch.Tensor, room: int) -> torch.Tensor:
    batch, heads, tokens, size = len(rows), *x.shape[1:]
    whole = x.new_empty(batch, heads, tokens + room, size)
    torch.index_select(x, 0, rows, out=whole[:, :, :tokens])
    return whole
