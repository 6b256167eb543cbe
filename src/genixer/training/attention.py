"""Attention for rows of one image prefix and many conversations, at the cost of what is seen.

A plain masked attention scores every pair of a row's tokens, most of which lie in different
conversations. Here the prefix attends to itself once, and each conversation to prefix and itself.

Letters: B rows, T tokens, H heads, D features a head, P prefix tokens, M conversations, L tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

__all__ = ["NAME", "Layout", "layout_of"]

NAME = "shared_prefix"
_BUCKETS = (16, 24, 32, 64)
"""Conversations are padded to the longest of their bucket, not to the longest of all."""


@dataclass(frozen=True)
class _Bucket:
    """Conversations of like length.

    `index` [M, L] points into flattened tokens, `row` [M] is where each lies, `valid` [M, L] tells
    padding. `mask` [M, 1, L, P + L] is true where a token may look.
    """

    index: Tensor
    row: Tensor
    valid: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Layout:
    """Where the prefix ends and the conversations lie."""

    prefix: int
    buckets: tuple[_Bucket, ...]


def layout_of(segment_ids: Tensor) -> Layout:
    """Layout of `segment_ids` [B, T]: 0 the prefix, 1.. the conversations, -1 padding."""
    tokens = segment_ids.shape[1]
    prefix = int((segment_ids[0] == 0).sum())
    spans: dict[int, list[tuple[int, int, int]]] = {}
    for b, row in enumerate(segment_ids.tolist()):
        start = prefix
        while start < tokens and row[start] > 0:
            end = start
            while end < tokens and row[end] == row[start]:
                end += 1
            bucket = next((size for size in _BUCKETS if end - start <= size), tokens)
            spans.setdefault(bucket, []).append((b, start, end))
            start = end
    return Layout(prefix, tuple(_bucket(many, prefix, tokens) for _, many in sorted(spans.items())))


def _bucket(spans: list[tuple[int, int, int]], prefix: int, tokens: int) -> _Bucket:
    row, start, end = torch.tensor(spans).T
    length = int((end - start).max())
    offsets = torch.arange(length)
    valid = offsets[None] < (end - start)[:, None]
    index = row[:, None] * tokens + torch.where(
        valid, start[:, None] + offsets[None], start[:, None]
    )
    own = torch.ones(length, length, dtype=torch.bool).tril()[None] & valid[:, None, :]
    # A padded place looks at the prefix, so that its softmax is a number; its result is dropped.
    seen = torch.cat([torch.ones(len(spans), length, prefix, dtype=torch.bool), own], dim=2)
    return _Bucket(index, row, valid, seen[:, None])


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
    # Under autocast the rotation leaves query and key in float32.
    query, key = query.to(value.dtype), key.to(value.dtype)
    # Fewer key heads than query heads share them in groups.
    attend = partial(
        nn.functional.scaled_dot_product_attention,
        scale=scaling,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    rows, heads, tokens, size = query.shape
    p = layout.prefix
    flat = [x.transpose(1, 2).reshape(rows * tokens, -1, size) for x in (query, key, value)]
    head = attend(query[:, :, :p], key[:, :, :p], value[:, :, :p], is_causal=True)
    places = [torch.arange(rows * tokens).view(rows, tokens)[:, :p].flatten()]
    parts = [head.transpose(1, 2).flatten(0, 1)]
    for bucket in layout.buckets:
        q, k, v = (x[bucket.index].transpose(1, 2) for x in flat)
        k = torch.cat([key[bucket.row, :, :p], k], dim=2)
        v = torch.cat([value[bucket.row, :, :p], v], dim=2)
        seen = attend(q, k, v, attn_mask=bucket.mask).transpose(1, 2)
        places.append(bucket.index[bucket.valid])
        parts.append(seen[bucket.valid])
    out = torch.zeros_like(flat[0]).index_copy(0, torch.cat(places), torch.cat(parts))
    return out.view(rows, tokens, heads, size), None


AttentionInterface.register(NAME, shared_prefix_attention)
