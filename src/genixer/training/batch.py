"""From conversations to tensors: one image prefix, many conversations about that image.

Letters: B rows, T tokens, N images. A group is `[prefix][conversation 1][conversation 2]...`, a row
is one group or several; a conversation sees its group's prefix and itself, and its positions
restart after the prefix, so it reads exactly as if it stood alone. A prefix may be without image.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from genixer.data import ImageRef, SftRow, random_for
from genixer.errors import CannotEncodeError
from genixer.training.attention import Groups, Layout, layout_of
from genixer.training.cells import Cells, Region, cells_of

if TYPE_CHECKING:
    from genixer.models.llava import LoadedModel

__all__ = ["Batch", "Conversation", "Row", "Visit", "collate", "encode", "group", "plan_visits"]

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
    """One look at an image, or at none, with the conversations read off it this time."""

    image: ImageRef | None
    conversations: tuple[Conversation, ...]
    regions: tuple[Region, ...] = ()
    """What the image shows, where that is known."""


Row = Sequence[Visit]
"""What stands in one row of a batch."""


@dataclass
class Batch:
    """Tensors of one step; loss = sum of weighted token losses / sum of weights.

    `input_ids` [B, T] int64; `labels` [B, T], -100 where there is no loss; `position_ids` [B, T];
    `segment_ids` [B, T]: 0 a prefix, 1.. its conversations, -1 padding; `group_ids` [B, T]: number
    of the group in its row; `loss_weight` [B, T] float32; `pixel_values` [N, 3, H, W] float32, None
    without images; `image_of` [N]: the row each image belongs to. `layout` says who sees whom.
    `cells`: what the image tokens show, None where no image tells.
    """

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor
    segment_ids: Tensor
    group_ids: Tensor
    loss_weight: Tensor
    pixel_values: Tensor | None
    image_of: Tensor
    layout: Layout | Groups
    row_ids: list[str] = field(default_factory=list)
    cells: Cells | None = None

    @property
    def tokens(self) -> int:
        """How many tokens are no padding."""
        return int((self.segment_ids >= 0).sum())

    def to(self, device: torch.device) -> Batch:
        """The same on `device`."""
        if device == self.input_ids.device:
            return self
        known = {one.name: getattr(self, one.name) for one in fields(self)}
        return Batch(**{k: v.to(device) if hasattr(v, "to") else v for k, v in known.items()})


def encode(row: SftRow, model: LoadedModel) -> Conversation | str:
    """The row's tokens, or why it cannot be trained on.

    The reasons are `frame_mismatch`, `no_answer`, `too_long`, `unaligned_answer` and
    `roles_do_not_alternate`.
    """
    preset = model.preset
    if (row.frame, row.decimals) != (preset.frame, preset.decimals):
        return "frame_mismatch"
    try:
        ids, own = model.turns(row.messages, image=row.image is not None)
    except CannotEncodeError as error:
        return error.reason
    if not any(own):
        return "no_answer"
    if len(ids) + len(model.prefix(row.image is not None)) > preset.max_tokens:
        return "too_long"
    key = f"{row.purpose}/{row.task}/{row.kind}".rstrip("/")
    return Conversation(row.id, key, np.asarray(ids, np.int32), np.asarray(own, bool))


def plan_visits(
    by_image: Mapping[ImageRef | None, Sequence[Conversation]],
    per_visit: int,
    weights: Mapping[str, float],
    seed: int,
    regions: Mapping[ImageRef, Sequence[Region]] | None = None,
    skip: int = 0,
) -> Iterator[Visit]:
    """Endless visits to images in a new order each round, with some of their conversations.

    A visit has up to `per_visit` of them, and an image of n conversations is visited n /
    `per_visit` times a round, rounded up: one with few does not take the place of one with many.

    A visit's conversations are drawn without replacement. Those that one entry of `weights` covers
    share its weight, however many an image has of them: with 2 for `student/rec` and 1 for `judge`,
    two conversations of the first come for one of the second. Others count 1 each. Depends on the
    arguments alone; the first `skip` visits are left out, whole rounds of them at no cost.
    """
    images = sorted(by_image, key=_path)
    a_round = sum(-(-len(many) // per_visit) for many in by_image.values())
    round_number, skip = divmod(skip, a_round)
    while True:
        rng = random_for(seed, "visits", str(round_number))
        visited = [one for one in images for _ in range(0, len(by_image[one]), per_visit)]
        rng.shuffle(visited)
        for image in visited:
            drawn = _draw(by_image[image], per_visit, weights, rng)
            if skip:
                skip -= 1
                continue
            yield Visit(image, drawn, regions_at(image, regions))
        round_number += 1


def _path(image: ImageRef | None) -> str:
    return image.path if image else ""


def regions_at(
    image: ImageRef | None, regions: Mapping[ImageRef, Sequence[Region]] | None
) -> tuple[Region, ...]:
    """What `image` is known to show."""
    return tuple(regions.get(image, ())) if image and regions else ()


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
    rows: Sequence[Row],
    model: LoadedModel,
    images: Path,
    length_power: float,
    question_weight: float = 0.0,
) -> Batch:
    """One batch; a conversation of n trained tokens weighs n ** (1 - `length_power`) in all.

    With `length_power` 0 every token counts the same, with 1 every conversation does. A token of
    the user's counts `question_weight` of one of the assistant's.
    """
    prefixes = {image: model.prefix(image) for image in (True, False)}
    lengths = [
        sum(
            len(prefixes[v.image is not None]) + sum(len(c.ids) for c in v.conversations)
            for v in row
        )
        for row in rows
    ]
    table = _Table((len(rows), max(lengths)), model.pad_id)
    for b, row in enumerate(rows):
        end = 0
        for group_number, visit in enumerate(row):
            prefix = prefixes[visit.image is not None]
            end = table.prefix(b, end, group_number, prefix)
            for number, one in enumerate(visit.conversations, start=1):
                start, end = end, end + len(one.ids)
                table.conversation(b, slice(start, end), number, len(prefix), one)
                weight = float(one.own.sum()) ** -length_power
                table.weigh(b, slice(start, end), one, weight, weight * question_weight)
            table.groups[b, :end][table.groups[b, :end] < 0] = group_number
    visits = [(b, visit) for b, row in enumerate(rows) for visit in row]
    seen = [(b, visit.image, visit.regions) for b, visit in visits if visit.image is not None]
    paths = [image.path for _, image, _ in seen]
    segments, groups = torch.from_numpy(table.segments), torch.from_numpy(table.groups)
    return Batch(
        input_ids=torch.from_numpy(table.ids),
        labels=torch.from_numpy(table.labels),
        position_ids=torch.from_numpy(table.positions),
        segment_ids=segments,
        group_ids=groups,
        loss_weight=torch.from_numpy(table.weight),
        pixel_values=model.read_pixels(images, paths) if paths else None,
        image_of=torch.tensor([b for b, _, _ in seen], dtype=torch.long),
        layout=layout_of(segments, groups),
        row_ids=[c.row_id for _, visit in visits for c in visit.conversations],
        cells=cells_of(model, [(image, regions) for _, image, regions in seen]),
    )


class _Table:
    """The arrays [B, T] of a batch while it is filled."""

    def __init__(self, shape: tuple[int, int], pad: int) -> None:
        self.ids = np.full(shape, pad, np.int64)
        self.labels = np.full(shape, NO_LOSS, np.int64)
        self.positions = np.zeros(shape, np.int64)
        self.segments = np.full(shape, -1, np.int64)
        self.groups = np.full(shape, -1, np.int64)
        self.weight = np.zeros(shape, np.float32)

    def prefix(self, b: int, start: int, number: int, ids: Sequence[int]) -> int:
        """Begin group `number` of row `b` at `start`; gives where its prefix ends."""
        end = start + len(ids)
        self.ids[b, start:end], self.positions[b, start:end] = ids, range(len(ids))
        self.segments[b, start:end], self.groups[b, start:end] = 0, number
        return end

    def conversation(
        self, b: int, where: slice, number: int, after: int, one: Conversation
    ) -> None:
        """Put conversation `number` of a group, whose prefix has `after` tokens, into row `b`."""
        self.ids[b, where], self.segments[b, where] = one.ids, number
        self.positions[b, where] = np.arange(after, after + len(one.ids))

    def weigh(self, b: int, where: slice, one: Conversation, own: float, asked: float) -> None:
        """Let the assistant's tokens count `own`, and the user's `asked`.

        The first token has no say: what stands before it in the row may be another conversation.
        """
        weight = np.where(one.own, own, asked)
        weight[0] = 0.0
        self.labels[b, where] = np.where(weight > 0, one.ids, NO_LOSS)
        self.weight[b, where] = weight


def group(
    conversations: Iterable[tuple[ImageRef | None, Conversation]],
) -> dict[ImageRef | None, list[Conversation]]:
    """Conversations by the image they are about, in order."""
    grouped: dict[ImageRef | None, list[Conversation]] = {}
    for image, one in conversations:
        grouped.setdefault(image, []).append(one)
    return grouped
