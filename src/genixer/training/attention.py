"""Attention for rows of one image prefix and many conversations, at the cost of what is seen.

A plain masked attention scores every pair of a row's tokens, most of which lie in different
conversations. Here the prefix attends to itself once, all text attends to its row's prefix in one
product, and each conversation to itself; the last two are joined by the mass of their scores.

Letters: B rows, T tokens, H heads, D features a head, P prefix tokens, S = T - P text tokens, M
conversations, L tokens of the longest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

__all__ = ["NAME", "Layout", "layout_of"]

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


def layout_of(segment_ids: Tensor) -> Layout:
    """Layout of `segment_ids` [B, T]: 0 the prefix, 1.. the conversations, -1 padding."""
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
    layout: Layout | None = None,
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
    rows, heads, _, size = query.shape
    p = layout.prefix
    k, v = key[:, :, :p], value[:, :, :p]
    later = torch.ones(p, p, dtype=torch.bool).triu(1)
    head, _ = _attend(query[:, :, :p], k, v, later)
    if not layout.buckets:
        return head.transpose(1, 2), None
    above, above_mass = _attend(query[:, :, p:], k, v, None)
    beside, beside_mass = _among_themselves(query, key, value, layout)
    # [B * S, H, D] and [B * S, H]: what the prefix says counts by its share of the scores' mass.
    above, above_mass = above.transpose(1, 2), above_mass.transpose(1, 2)
    share = (above_mass - beside_mass.view_as(above_mass)).sigmoid().to(value.dtype)[..., None]
    beside = beside.view_as(above)
    text = beside + share * (above - beside)
    return torch.cat([head.transpose(1, 2), text], dim=1).view(rows, -1, heads, size), None


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
