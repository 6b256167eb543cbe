"""What a model knows of a block of prompts, and how it reads on.

Every prompt of a model starts with the same ids, the image among them. That prefix is run once per
distinct image, and what was understood is handed to all rows about it; then come the texts, padded
on the left; then whatever is fed row by row.

Shapes: B rows, N images, S side in px, P prefix tokens, T text tokens, K tokens fed at a time,
V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from genixer.errors import BackendError
from genixer.models.llava import LoadedModel

__all__ = ["State"]

_ROOM = 32
"""Tokens a cache has room for before it moves to a larger place."""


class _RoomyLayer(DynamicLayer):
    """Keys and values of one layer that grow in place.

    The library's own layer copies everything for every token, which took half the time of a block.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self.keys, self.values = keys, values
        self._place: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append [B, heads, K, width] keys and values; returns all of them."""
        used, more = self.get_seq_length(), key_states.shape[-2]
        if self._place is None or used + more > self._place[0].shape[-2]:
            room = more + _ROOM
            self._place = (_moved(self.keys, room), _moved(self.values, room))
        keys, values = self._place
        keys[:, :, used : used + more] = key_states
        values[:, :, used : used + more] = value_states
        self.keys, self.values = keys[:, :, : used + more], values[:, :, : used + more]
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep rows `indices`, in a place of their own."""
        super().batch_select_indices(indices)
        self._place = None


def _moved(states: Any, room: int) -> Tensor:
    """Copy of `states` [B, heads, K, width] with `room` more tokens behind it, not yet filled."""
    rows, heads, used, width = states.shape
    place: Tensor = states.new_empty(rows, heads, used + room, width)
    place[:, :, :used] = states
    return place


class State:
    """A block in the middle of its texts: `logits` [B, V] say what each row's next token may be."""

    def __init__(self, loaded: LoadedModel, prompts: Sequence[list[int]], cache: Any) -> None:
        """Read the rest of `prompts`, given the `cache` of their common start, B rows of it."""
        start = cache.get_seq_length()
        texts = [ids[start:] for ids in prompts]
        longest = max(len(ids) for ids in texts)
        gaps = [[0] * (longest - len(ids)) for ids in texts]
        padded = [[loaded.pad_id] * len(gap) + ids for gap, ids in zip(gaps, texts, strict=True)]
        present = [[1] * start + gap + [1] * (longest - len(gap)) for gap in gaps]
        self.loaded, self.cache = loaded, cache
        # Bookkeeping and logits are on the CPU; only what the model reads goes to its device.
        self.mask = torch.tensor(present)
        """[B, tokens so far]: 0 for padding."""
        self.positions = torch.full((len(texts),), start)
        """[B]: place of the next token, padding not counted."""
        self.logits = self._run(torch.tensor(padded), self.mask.cumsum(1)[:, start:] - 1, keep=1)[
            :, -1
        ]

    @classmethod
    def of(
        cls,
        loaded: LoadedModel,
        prompts: Sequence[list[int]],
        pixels: Tensor,
        of: Sequence[int],
    ) -> State:
        """Read `prompts`; row i is about image `of[i]` of `pixels` [N, 3, S, S]."""
        start = len(prompts[0]) - prompts[0][::-1].index(loaded.image_id)
        prefix = prompts[0][:start]
        if any(ids[:start] != prefix or len(ids) == start for ids in prompts):
            raise BackendError(
                f"model {loaded.name}: its prompts have no common start with an image"
            )
        model = loaded.model
        seen = model(
            input_ids=torch.tensor([prefix]).expand(len(pixels), -1).to(model.device),
            pixel_values=pixels.to(model.device, model.dtype),
            use_cache=True,
            logits_to_keep=1,
        ).past_key_values
        seen.batch_select_indices(torch.tensor(of).to(model.device))
        layers: list[Any] = [_RoomyLayer(layer.keys, layer.values) for layer in seen.layers]
        return cls(loaded, prompts, Cache(layers=layers))

    def read(self, tokens: Tensor) -> Tensor:
        """Feed `tokens` [B, K]; returns logits after each, [B, K, V], and keeps the last."""
        count = tokens.shape[1]
        self.mask = torch.cat([self.mask, torch.ones_like(tokens)], dim=1)
        logits = self._run(tokens, self.positions[:, None] + torch.arange(count), keep=0)
        self.logits = logits[:, -1]
        return logits

    def _run(self, tokens: Tensor, places: Tensor, keep: int) -> Tensor:
        device = self.loaded.model.device
        logits: Tensor = self.loaded.model(
            input_ids=tokens.to(device),
            attention_mask=self.mask.to(device),
            position_ids=places.to(device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=keep,
        ).logits
        self.positions = places[:, -1] + 1
        return logits.float().cpu()

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but `rows`."""
        kept = torch.tensor(rows)
        self.cache.batch_select_indices(kept.to(self.loaded.model.device))
        self.mask, self.positions = self.mask[kept], self.positions[kept]
        self.logits = self.logits[kept]

    def fork(self) -> State:
        """A state that reads on by itself; one at a time, since all forks write to one place."""
        fork = copy.copy(self)
        fork.cache = copy.copy(self.cache)
        fork.cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        return fork
