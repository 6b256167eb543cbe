"""From conversations to tensors: one image prefix, many conversations about that image.

Letters: B rows (one image each), T tokens, N images. A row is `[image prefix][conversation
1][conversation 2]...`; a conversation sees the prefix and itself, and its positions restart after
the prefix, so it reads exactly as if it stood alone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from genixer.data import ImageRef, SftRow, random_for
from genixer.errors import CannotEncodeError
from genixer.training.cells import Cells, Region, cells_of

if TYPE_CHECKING:
    from genixer.models.llava import LoadedModel

__all__ = ["Batch", "Conversation", "Visit", "collate", "encode", "group", "plan_visits"]

NO_LOSS = -100


@dataclass(frozen=True)
class Conversation:
    """One tokenised conversation.

    `own[i]` is true where token i of `ids` is the assistant's: its loss counts.
    """

    row_id: str
    key: str
    """What it is drawn by: the row's `purpose/task/kind`, the kind left out where there is none."""
    ids: np.ndarray
    own: np.ndarray


@dataclass(frozen=True)
class Visit:
    """One look at an image, with the conversations read off it this time."""

    image: ImageRef
    conversations: tuple[Conversation, ...]
    regions: tuple[Region, ...] = ()
    """What the image shows, where that is known."""


@dataclass
class Batch:
    """Tensors of one step; loss = sum of weighted token losses / sum of weights.

    `input_ids` [B, T] int64; `labels` [B, T], -100 where there is no loss; `position_ids` [B, T];
    `segment_ids` [B, T]: 0 the shared prefix, 1.. the conversations, -1 padding; `loss_weight` [B,
    T] float32; `pixel_values` [N, 3, H, W] float32; `image_of` [N]: the row each image belongs to.
    `cells`: what the image tokens show, None where no image tells.
    """

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor
    segment_ids: Tensor
    loss_weight: Tensor
    pixel_values: Tensor
    image_of: Tensor
    row_ids: list[str] = field(default_factory=list)
    cells: Cells | None = None


def encode(row: SftRow, model: LoadedModel) -> Conversation | str:
    """The row's tokens, or why it cannot be trained on.

    The reasons are `frame_mismatch`, `no_answer`, `too_long`, `unaligned_answer` and
    `roles_do_not_alternate`.
    """
    preset = model.preset
    if (row.frame, row.decimals) != (preset.frame, preset.decimals):
        return "frame_mismatch"
    try:
        ids, own = model.turns(row.messages)
    except CannotEncodeError as error:
        return error.reason
    if not any(own):
        return "no_answer"
    if len(ids) + len(model.prefix()) > preset.max_tokens:
        return "too_long"
    key = f"{row.purpose}/{row.task}/{row.kind}".rstrip("/")
    return Conversation(row.id, key, np.asarray(ids, np.int32), np.asarray(own, bool))


def plan_visits(
    by_image: Mapping[ImageRef, Sequence[Conversation]],
    per_visit: int,
    weights: Mapping[str, float],
    seed: int,
    regions: Mapping[ImageRef, Sequence[Region]] | None = None,
) -> Iterator[Visit]:
    """Endless visits to images in a new order each round, with some of their conversations.

    A visit has up to `per_visit` of them, and an image of n conversations is visited n /
    `per_visit` times a round, rounded up: one with few does not take the place of one with many.

    A visit's conversations are drawn without replacement. Those that one entry of `weights` covers
    share its weight, however many an image has of them: with 2 for `student/rec` and 1 for `judge`,
    two conversations of the first come for one of the second. Others count 1 each. Depends on the
    arguments alone.
    """
    images = sorted(by_image, key=lambda image: image.path)
    round_number = 0
    while True:
        rng = random_for(seed, "visits", str(round_number))
        visited = [one for one in images for _ in range(0, len(by_image[one]), per_visit)]
        rng.shuffle(visited)
        for image in visited:
            drawn = _draw(by_image[image], per_visit, weights, rng)
            yield Visit(image, drawn, tuple((regions or {}).get(image, ())))
        round_number += 1


def _draw(
    many: Sequence[Conversation], count: int, weights: Mapping[str, float], rng: random.Random
) -> tuple[Conversation, ...]:
    """Weighted draw without replacement: the `count` largest of u ** (1 / weight)."""
    entries = [covering(one.key, weights) for one in many]
    shared_by = Counter(entries)
    ranked = []
    for i, entry in enumerate(entries):
        weight = weights[entry] / shared_by[entry] if entry else 1.0
        ranked.append((rng.random() ** (1 / max(weight, 1e-6)), i))
    return tuple(many[i] for _, i in sorted(ranked, reverse=True)[:count])


def covering(key: str, weights: Mapping[str, float]) -> str:
    """Entry of `weights` for `purpose/task/kind`, else for `purpose/task`, `purpose`, or "".

    >>> covering("student/rec", {"student": 0.5}), covering("judge/rec", {"judge/rec": 2.0})
    ('student', 'judge/rec')
    """
    while key and key not in weights:
        key = key.rpartition("/")[0]
    return key


def collate(
    visits: Sequence[Visit], model: LoadedModel, images: Path, length_power: float
) -> Batch:
    """One batch; a conversation of n trained tokens weighs n ** (1 - `length_power`) in all.

    With `length_power` 0 every token counts the same, with 1 every conversation does.
    """
    prefix = model.prefix()
    lengths = [len(prefix) + sum(len(c.ids) for c in visit.conversations) for visit in visits]
    shape = (len(visits), max(lengths))
    ids = np.full(shape, model.pad_id, np.int64)
    labels = np.full(shape, NO_LOSS, np.int64)
    positions = np.zeros(shape, np.int64)
    segments = np.full(shape, -1, np.int64)
    weight = np.zeros(shape, np.float32)
    for b, visit in enumerate(visits):
        end = len(prefix)
        ids[b, :end], positions[b, :end], segments[b, :end] = prefix, range(end), 0
        for number, one in enumerate(visit.conversations, start=1):
            start, end = end, end + len(one.ids)
            ids[b, start:end] = one.ids
            labels[b, start:end] = np.where(one.own, one.ids, NO_LOSS)
            positions[b, start:end] = np.arange(len(prefix), len(prefix) + len(one.ids))
            segments[b, start:end] = number
            weight[b, start:end] = float(one.own.sum()) ** -length_power * one.own
    return Batch(
        input_ids=torch.from_numpy(ids),
        labels=torch.from_numpy(labels),
        position_ids=torch.from_numpy(positions),
        segment_ids=torch.from_numpy(segments),
        loss_weight=torch.from_numpy(weight),
        pixel_values=model.read_pixels(images, [visit.image.path for visit in visits]),
        image_of=torch.arange(len(visits)),
        row_ids=[c.row_id for visit in visits for c in visit.conversations],
        cells=cells_of(model, [(visit.image, visit.regions) for visit in visits]),
    )


def group(
    conversations: Iterable[tuple[ImageRef, Conversation]],
) -> dict[ImageRef, list[Conversation]]:
    """Conversations by the image they are about, in order."""
    grouped: dict[ImageRef, list[Conversation]] = {}
    for image, one in conversations:
        grouped.setdefault(image, []).append(one)
    return grouped
