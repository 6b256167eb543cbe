"""Cuts the crops a region model learns from: boxes that fit, and boxes beside them that do not.

Letters: K crops, S side in px; label 0 is `genixer.models.clip.NOTHING`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from genixer.data import Box, ImageRef, random_for
from genixer.models.clip import ClipConfig, crop
from genixer.store.images import ImageError, open_image

__all__ = ["Crops", "Picture", "cut", "misplaced", "nudged"]

GOOD, BAD = 0.6, 0.45
"""IoU from which a box is right, and below which it is wrong; boxes between them are not shown."""
_TRIES = 30


class Picture(NamedTuple):
    """An image with its boxes and their names; several names may share a box."""

    image: ImageRef
    regions: tuple[tuple[Box, str], ...]


class Crops(NamedTuple):
    """Crops to train on: `pixels` uint8 [K, 3, S, S], `labels` int64 [K] (0 = nothing there)."""

    pixels: Tensor
    labels: Tensor
    unreadable: int


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
    """A box that fits nothing in `known`: half off, a part, too wide, elsewhere (IoU < `BAD`)."""
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
        known = [box for box, _ in picture.regions]
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
