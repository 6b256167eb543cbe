"""Attention for rows of image prefixes and their conversations, at the cost of what is seen.

A plain masked attention scores every pair of a row's tokens, most of which lie in different
conversations. Here the prefix attends to itself once, all text attends to its row's prefix in one
product, and each conversation to itself; the last two are joined by the mass of their scores. A
row may hold several groups of a prefix and conversations: they are taken apart and brought back.

Letters: B rows, T tokens, H heads, D features a head, P prefix tokens, S = T - P text tokens, M
conversations, L tokens of the longest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

__all__ = ["NAME", "Groups", "Layout", "layout_of"]

NAME = "shared_prefix"
_BUCKETS = (12, 16, 24, 32, 64)
"""Conversations are padded to the longest of their bucket, not to the longest of all."""


@dataclass(frozen=True)
class _Bucket:
    """Conversations of like length: `index` [M, L] points into B * S text tokens.

    `unseen` [M, 1, L, L] is true where a token may not look.
    """

    index: Tensor
    unseen: Tensor


@dataclass(frozen=True)
class Layout:
    """Where the prefix ends and the conversations lie.

    `place` [B * S] is where a text token lies among the buckets' tokens, one bucket after the
    other; padding has place 0, and what is computed for it is dropped.
    """

    prefix: int
    buckets: tuple[_Bucket, ...]
    place: Tensor

    def to(self, device: torch.device) -> Layout:
        """The same on `device`."""
        buckets = tuple(_Bucket(b.index.to(device), b.unseen.to(device)) for b in self.buckets)
        return Layout(self.prefix, buckets, self.place.to(device))


@dataclass(frozen=True)
class Groups:
    """Groups that are not a row each, by the length of their prefix.

    `parts`: places [G, L] of each group's tokens among all B * T, and the layout of these. `place`
    [B * T] is where a token lies among the parts' tokens; padding has place 0.
    """

    parts: tuple[tuple[Tensor, Layout], ...]
    place: Tensor

    def to(self, device: torch.device) -> Groups:
        """The same on `device`."""
        parts = tuple((index.to(device), layout.to(device)) for index, layout in self.parts)
        return Groups(parts, self.place.to(device))


def layout_of(segment_ids: Tensor, group_ids: Tensor | None = None) -> Layout | Groups:
    """Layout of `segment_ids` [B, T]: 0 a prefix, 1.. its conversations, -1 padding.

    `group_ids` [B, T] number the groups of a row from 0, -1 padding; without them a row is one.
    """
    prefixes = (segment_ids == 0).sum(1)
    alone = group_ids is None or int(group_ids.max()) == 0
    if alone and bool((prefixes == prefixes[0]).all()):
        return _rows(segment_ids)
    groups = torch.zeros_like(segment_ids) if group_ids is None else group_ids
    return _groups(segment_ids, torch.where(segment_ids < 0, -1, groups))


def _groups(segment_ids: Tensor, group_ids: Tensor) -> Groups:
    """Layout of rows that hold several groups, or prefixes of several lengths."""
    tokens = segment_ids.shape[1]
    spans: dict[int, list[tuple[int, int]]] = {}
    for b, row in enumerate(group_ids):
        numbers, lengths = row[row >= 0].unique_consecutive(return_counts=True)
        start = b * tokens
        for number, length in zip(numbers.tolist(), lengths.tolist(), strict=True):
            prefix = int(((row == number) & (segment_ids[b] == 0)).sum())
            spans.setdefault(prefix, []).append((start, start + length))
            start += length
    place = torch.zeros(segment_ids.numel(), dtype=torch.long)
    parts, before = [], 0
    for _, many in sorted(spans.items()):
        start, end = torch.tensor(many).T
        offsets = torch.arange(int((end - start).max()))
        valid = offsets < (end - start)[:, None]
        index = torch.minimum(start[:, None] + offsets, end[:, None] - 1)
        segments = torch.where(valid, segment_ids.flatten()[index], -1)
        place[index[valid]] = before + torch.arange(valid.numel()).view(valid.shape)[valid]
        parts.append((index, _rows(segments)))
        before += index.numel()
    return Groups(tuple(parts), place)


def _rows(segment_ids: Tensor) -> Layout:
    """Layout of rows that each are one group, all with prefixes of one length."""
    rows, tokens = segment_ids.shape
    prefix = int((segment_ids[0] == 0).sum())
    room = tokens - prefix
    spans: dict[int, list[tuple[int, int]]] = {}
    for b, row in enumerate(segment_ids[:, prefix:].tolist()):
        start = 0
        while start < room and row[start] > 0:
            end = start
            while end < room and row[end] == row[start]:
                end += 1
            bucket = next((size for size in _BUCKETS if end - start <= size), tokens)
            spans.setdefault(bucket, []).append((b * room + start, b * room + end))
            start = end
    place = torch.zeros(rows * room, dtype=torch.long)
    buckets, before = [], 0
    for _, many in sorted(spans.items()):
        start, end = torch.tensor(many).T
        offsets = torch.arange(int((end - start).max()))
        valid = offsets < (end - start)[:, None]
        # A padded place repeats its conversation's last token; nothing looks at it.
        index = torch.minimum(start[:, None] + offsets, end[:, None] - 1)
        place[index[valid]] = before + torch.arange(valid.numel()).view(valid.shape)[valid]
        later = torch.ones(len(offsets), len(offsets), dtype=torch.bool).triu(1)
        buckets.append(_Bucket(index, (later | ~valid[:, None, :])[:, None]))
        before += index.numel()
    return Layout(prefix, tuple(buckets), place)


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: Layout | Groups | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention [B, T, H, D] of `query`, `key`, `value` [B, H, T, D] under `layout`."""
    if layout is None:
        raise ValueError("shared_prefix attention needs a layout")
    # Fewer key heads than query heads share them in groups.
    shared_by = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(shared_by, 1) if shared_by > 1 else x for x in (key, value))
    # Under autocast the rotation leaves query and key in float32.
    query = (query * (scaling or query.shape[-1] ** -0.5)).to(value.dtype)
    key = key.to(value.dtype)
    if isinstance(layout, Layout):
        return _by_row(query, key, value, layout), None
    return _by_group(query, key, value, layout), None


def _by_group(query: Tensor, key: Tensor, value: Tensor, layout: Groups) -> Tensor:
    """Attention [B, T, H, D] of rows of several groups."""
    rows, heads, tokens, size = query.shape
    flat = [x.transpose(1, 2).reshape(rows * tokens, heads, size) for x in (query, key, value)]
    seen = []
    for index, inner in layout.parts:
        chosen = index.flatten()
        q, k, v = (
            x.index_select(0, chosen).view(*index.shape, heads, size).transpose(1, 2) for x in flat
        )
        seen.append(_by_row(q, k, v, inner).reshape(-1, heads, size))
    return torch.cat(seen).index_select(0, layout.place).view(rows, tokens, heads, size)


def _by_row(query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """Attention [B, T, H, D] of rows of one group."""
    rows, heads, _, size = query.shape
    p = layout.prefix
    k, v = key[:, :, :p], value[:, :, :p]
    later = torch.ones(p, p, dtype=torch.bool, device=query.device).triu(1)
    head, _ = _attend(query[:, :, :p], k, v, later)
    if not layout.buckets:
        return head.transpose(1, 2)
    above, above_mass = _attend(query[:, :, p:], k, v, None)
    beside, beside_mass = _among_themselves(query, key, value, layout)
    # [B * S, H, D] and [B * S, H]: what the prefix says counts by its share of the scores' mass.
    above, above_mass = above.transpose(1, 2), above_mass.transpose(1, 2)
    share = (above_mass - beside_mass.view_as(above_mass)).sigmoid().to(value.dtype)[..., None]
    beside = beside.view_as(above)
    text = beside + share * (above - beside)
    return torch.cat([head.transpose(1, 2), text], dim=1).view(rows, -1, heads, size)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, unseen: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attention [.., Q, D] and the log of its scores' mass [.., Q], in float32."""
    scores = (query @ key.transpose(-1, -2)).float()
    if unseen is not None:
        scores = scores.masked_fill(unseen, -torch.inf)
    # Any shift gives the same result: the largest score is a constant to the gradient.
    largest = scores.detach().amax(-1, keepdim=True)
    weights = (scores - largest).exp()
    total = weights.sum(-1, keepdim=True)
    seen = (weights.to(value.dtype) @ value) / total.to(value.dtype)
    return seen, (largest + total.log())[..., 0]


def _among_themselves(
    query: Tensor, key: Tensor, value: Tensor, layout: Layout
) -> tuple[Tensor, Tensor]:
    """What the text tokens see of their own conversations, [B * S, H, D], and its mass."""
    _, heads, _, size = query.shape
    flat = [
        x[:, :, layout.prefix :].transpose(1, 2).reshape(-1, heads * size)
        for x in (query, key, value)
    ]
    seen, masses = [], []
    for bucket in layout.buckets:
        chosen = bucket.index.flatten()
        q, k, v = (
            x.index_select(0, chosen).view(*bucket.index.shape, heads, size).transpose(1, 2)
            for x in flat
        )
        found, mass = _attend(q, k, v, bucket.unseen)
        seen.append(found.transpose(1, 2).reshape(-1, heads * size))
        masses.append(mass.transpose(1, 2).reshape(-1, heads))
    joined = torch.cat(seen).index_select(0, layout.place).view(-1, heads, size)
    return joined, torch.cat(masses).index_select(0, layout.place)


AttentionInterface.register(NAME, shared_prefix_attention)
