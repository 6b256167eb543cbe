"""Teaches the region model: names against names, and boxes that sit badly against all of them.

Letters: K crops, S side in px, U names; name 0 is `NOTHING`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from genixer.data import Box, ImageRef, random_for
from genixer.models.clip import NOTHING, ClipConfig, RegionClip, compatible, crop
from genixer.store.images import ImageError, open_image

__all__ = ["ClipSchedule", "Crops", "Picture", "cut", "misplaced", "train_clip", "vocabulary"]

GOOD, BAD = 0.6, 0.45
"""A box is right from the first IoU on and wrong below the second; between them nobody is taught."""
_TRIES = 30
_EXACT = 256
"""Up to so many names all compete at every step; of more, those of the batch."""


class ClipSchedule(BaseModel):
    """How long and how fast to train."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(default=1200, ge=1)
    """Optimiser steps."""
    batch: int = Field(default=128, ge=2)
    """Crops in a step."""
    lr: float = Field(default=3e-3, gt=0.0)
    """Peak learning rate; rises over a tenth of the steps, then falls as a cosine."""
    weight_decay: float = Field(default=0.05, ge=0.0)
    """Pull of the weights towards 0."""


class Picture(NamedTuple):
    """An image with its named boxes, and the boxes without a name that are known too."""

    image: ImageRef
    regions: tuple[tuple[Box, str], ...]
    others: tuple[Box, ...] = ()


class Crops(NamedTuple):
    """Crops ready to train on: `pixels` uint8 [K, 3, S, S], `labels` int64 [K] (0 = nothing there)."""

    pixels: Tensor
    labels: Tensor
    unreadable: int


def vocabulary(
    names: Mapping[str, int], least: int, most: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(words, names) to learn, from names with how often each came: at least `least` times, the `most` most frequent.

    >>> vocabulary({"red book": 3, "odd": 1}, least=2, most=9)
    (('book', 'red'), ('red book',))
    """
    often = sorted(
        (name for name, n in names.items() if name and n >= least), key=lambda n: (-names[n], n)
    )
    kept = tuple(sorted(often[:most]))
    return tuple(sorted({word for name in kept for word in name.split()})), kept


def nudged(box: Box, rng: random.Random) -> Box:
    """A box that still fits the object in `box`: IoU at least `GOOD`."""
    width, height = box.x1 - box.x0, box.y1 - box.y0
    for _ in range(_TRIES):
        dx = [rng.gauss(0.0, 0.09) * width for _ in range(2)]
        dy = [rng.gauss(0.0, 0.09) * height for _ in range(2)]
        moved = _box(box.x0 + dx[0], box.y0 + dy[0], box.x1 + dx[1], box.y1 + dy[1])
        if moved is not None and moved.iou(box) >= GOOD:
            return moved
    return box


def misplaced(box: Box, known: Sequence[Box], rng: random.Random) -> Box | None:
    """A box near `box` that fits nothing in `known` (IoU below `BAD`): half off, too wide, a part, or elsewhere."""
    width, height = box.x1 - box.x0, box.y1 - box.y0
    for _ in range(_TRIES):
        kind = rng.random()
        middle = [(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2]
        sides = [width * rng.uniform(0.8, 1.25), height * rng.uniform(0.8, 1.25)]
        if kind < 0.55:
            angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.35, 1.0)
            middle = [
                middle[0] + math.cos(angle) * reach * width,
                middle[1] + math.sin(angle) * reach * height,
            ]
        elif kind < 0.8:
            grow = rng.choice((rng.uniform(0.35, 0.65), rng.uniform(1.5, 2.4)))
            sides = [side * grow for side in sides]
            middle = [
                middle[0] + rng.uniform(-0.3, 0.3) * width,
                middle[1] + rng.uniform(-0.3, 0.3) * height,
            ]
        else:
            middle = [rng.random(), rng.random()]
        found = _box(
            middle[0] - sides[0] / 2,
            middle[1] - sides[1] / 2,
            middle[0] + sides[0] / 2,
            middle[1] + sides[1] / 2,
        )
        if found is not None and all(found.iou(one) < BAD for one in (box, *known)):
            return found
    return None


def _box(x0: float, y0: float, x1: float, y1: float) -> Box | None:
    """Box cut to the image; None where less than two thousandths are left of a side."""
    x0, y0, x1, y1 = (min(1.0, max(0.0, side)) for side in (x0, y0, x1, y1))
    return Box(x0, y0, x1, y1) if x1 - x0 > 0.002 and y1 - y0 > 0.002 else None


def cut(
    pictures: Sequence[Picture],
    config: ClipConfig,
    images: Path,
    seed: int,
    per_region: int,
    exact: bool = False,
) -> Crops:
    """For every named region `per_region` good crops, and as many of boxes beside it, labelled 0.

    Only names of `config` count. With `exact` the good crop is the box itself.
    """
    index = {name: i + 1 for i, name in enumerate(config.names)}
    pixels, labels, unreadable = [], [], 0
    for picture in pictures:
        try:
            image = open_image(images, picture.image.path)
        except ImageError:
            unreadable += 1
            continue
        rng = random_for(seed, "region crops", picture.image.sha256)
        known = [*(box for box, _ in picture.regions), *picture.others]
        for box, name in picture.regions:
            if name not in index:
                continue
            for _ in range(per_region):
                good = box if exact else nudged(box, rng)
                for place, label in ((good, index[name]), (misplaced(box, known, rng), 0)):
                    if place is not None:
                        pixels.append(crop(image, place, config.side_px, config.context))
                        labels.append(label)
    shape = (0, 3, config.side_px, config.side_px)
    stacked = np.stack(pixels) if pixels else np.empty(shape, np.uint8)
    return Crops(torch.from_numpy(stacked), torch.tensor(labels, dtype=torch.long), unreadable)


def train_clip(
    crops: Crops,
    config: ClipConfig,
    schedule: ClipSchedule,
    seed: int,
    log: Callable[[dict[str, Any]], None],
) -> RegionClip:
    """Model trained on `crops`. Deterministic: same arguments and thread count, same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = RegionClip(config).train().to(memory_format=torch.channels_last)
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=schedule.lr, weight_decay=schedule.weight_decay
    )
    plan = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.lr, total_steps=schedule.steps + 1, pct_start=0.1
    )
    names = [NOTHING, *config.names]
    shared = torch.tensor([[compatible(a, b) and a != b for b in names] for a in names])
    every, running = max(1, schedule.steps // 50), 0.0
    for step in range(1, schedule.steps + 1):
        chosen = torch.randint(len(crops.labels), (schedule.batch,), generator=draw)
        loss = _loss(
            model, _varied(crops.pixels[chosen], draw), crops.labels[chosen], names, shared
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        plan.step()
        value = float(loss.detach())
        running = value if step == 1 else 0.9 * running + 0.1 * value
        if step % every == 0 or step == schedule.steps:
            log({"step": step, "loss": round(running, 4)})
    return model.eval()


def _varied(pixels: Tensor, draw: torch.Generator) -> Tensor:
    """Crops as floats, mirrored half of the time, a little lighter or darker, in more or less contrast."""
    rows = len(pixels)
    mirrored = torch.rand(rows, 1, 1, 1, generator=draw) < 0.5
    values = torch.where(mirrored, pixels.flip(-1), pixels).float()
    shift = (torch.rand(rows, 1, 1, 1, generator=draw) - 0.5) * 40.0
    stretch = 1.0 + (torch.rand(rows, 1, 1, 1, generator=draw) - 0.5) * 0.3
    return ((values - 127.5) * stretch + 127.5 + shift).clamp(0.0, 255.0)


def _loss(
    model: RegionClip, pixels: Tensor, labels: Tensor, names: Sequence[str], shared: Tensor
) -> Tensor:
    """Both ways: which name fits a crop, which crops fit a name. Crops of one name are all right.

    Names that can be right together do not count against each other.
    """
    present = torch.unique(labels) if len(names) > _EXACT else torch.arange(len(names))
    place = torch.full((len(names),), -1)
    place[present] = torch.arange(len(present))
    targets = place[labels]
    texts = model.embed_names([names[int(i)] for i in present])
    logits = model.embed_crops(pixels) @ texts.T * model.scale.clamp(max=4.0).exp()
    logits = logits.masked_fill(shared[labels][:, present], -1e4)
    by_crop = nn.functional.cross_entropy(logits, targets)
    right = targets[:, None] == torch.arange(len(present))[None, :]
    asked = right.any(0)
    found = logits.masked_fill(~right, -1e4).logsumexp(0) - logits.logsumexp(0)
    return by_crop - found[asked].mean()
