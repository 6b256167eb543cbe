"""Wrong twins of REC and REG: another place, another name."""

from __future__ import annotations

import random
from collections.abc import Sequence

from genixer.data import Box, Sample, Turn, escape_marks
from genixer.tasks.mistakes import swapped
from genixer.tasks.shape import caption_names

__all__ = ["OTHER_PLACE", "comprehension", "corners", "generation", "moved"]

OTHER_PLACE = 0.4
"""Boxes whose IoU is below this count as different places."""

_TRIES = 60


def comprehension(
    sample: Sample, pool: Sequence[Sample], rng: random.Random
) -> tuple[Turn, ...] | None:
    """The box of another object, or one near the true box."""
    question, answer = sample.turns
    if not answer.boxes:
        return None
    true = answer.boxes[0]
    boxes = {box for _, box in _named_boxes(sample, pool)}
    elsewhere = sorted((box for box in boxes if box.iou(true) < OTHER_PLACE), key=corners)
    near = moved(true, rng)
    if elsewhere and (near is None or rng.random() < 0.5):
        near = rng.choice(elsewhere)
    return None if near is None else (question, Turn("assistant", "<box>", (near,)))


def moved(box: Box, rng: random.Random) -> Box | None:
    """A box near `box`, shifted and resized until the two are different places; None if none is."""
    width, height = box.x1 - box.x0, box.y1 - box.y0
    for _ in range(_TRIES):
        w, h = (min(1.0, side * rng.uniform(0.6, 1.6)) for side in (width, height))
        x = min(1.0 - w, max(0.0, box.x0 + rng.uniform(-1.2, 1.2) * width))
        y = min(1.0 - h, max(0.0, box.y0 + rng.uniform(-1.2, 1.2) * height))
        moved = Box(x, y, min(1.0, x + w), min(1.0, y + h))
        if moved.iou(box) < OTHER_PLACE and moved.area:
            return moved
    return None


def generation(
    sample: Sample, pool: Sequence[Sample], rng: random.Random
) -> tuple[Turn, ...] | None:
    """Another object's expression, or this one with a colour or side changed.

    One from another image shares no word with it: it would often be right.
    """
    question, answer = sample.turns
    if not question.boxes:
        return None
    true = question.boxes[0]
    named = _named_boxes(sample, pool)
    right = {name.lower() for name, box in named if box.iou(true) >= OTHER_PLACE}
    right.add(answer.text.lower())
    words = {word for name in right for word in name.split()}
    swap = swapped(answer.text, rng)
    choices = [
        {swap} if swap else set(),
        {name for name, box in named if box.iou(true) < OTHER_PLACE},
        {
            other.turns[1].text
            for other in pool
            if other.task == "reg" and words.isdisjoint(other.turns[1].text.lower().split())
        },
    ]
    first = rng.choices(range(3), (0.3, 0.5, 0.2))[0]
    for names in (choices[first], choices[1], choices[2], choices[0]):
        fitting = sorted(name for name in names if name and name.lower() not in right)
        if fitting:
            return question, Turn("assistant", rng.choice(fitting))
    return None


def _named_boxes(sample: Sample, pool: Sequence[Sample]) -> list[tuple[str, Box]]:
    """(name, box) of this image's regions in the pool; no name where only the box is known."""
    found: list[tuple[str, Box]] = []
    for other in pool:
        if other.image_sha256 != sample.image_sha256:
            continue
        question, answer = other.turns[:2]
        if other.task == "rec":
            found += [("", box) for box in answer.boxes]
        elif other.task == "reg":
            found += [(answer.text, box) for box in question.boxes]
        elif other.task == "dense_caption":
            names = [escape_marks(name) for name in caption_names(answer)]
            found += zip(names, answer.boxes, strict=len(names) == len(answer.boxes))
    return found


def corners(box: Box) -> tuple[float, float, float, float]:
    """What boxes are sorted by where their order must not depend on a set's."""
    return box.x0, box.y0, box.x1, box.y1
