"""Boxes as COCO writes them: x, y, width, height in px of the upright image."""

from __future__ import annotations

from genixer.data import Box
from genixer.store.entries import EntryError

__all__ = ["BBox", "from_bbox", "to_bbox"]

BBox = tuple[float, float, float, float]


def to_bbox(box: Box, width: int, height: int) -> BBox:
    """`box` on an image of `width` x `height` px.

    >>> to_bbox(Box(0.25, 0.5, 0.5, 1.0), 200, 100)
    (50.0, 50.0, 50.0, 50.0)
    """
    left, top = box.x0 * width, box.y0 * height
    return left, top, box.x1 * width - left, box.y1 * height - top


def from_bbox(bbox: BBox, width: int, height: int, slack_px: float) -> Box:
    """Box of x, y, width, height; edges at most `slack_px` outside the image are moved to its edge.

    Raises `EntryError`: `box_inverted`, `box_outside`, which is also what no number gives.

    >>> from_bbox((50, 50, 50, 51), 200, 100, 1.0)
    Box(x0=0.25, y0=0.5, x1=0.5, y1=1.0)
    """
    x, y, across, down = bbox
    if across < 0 or down < 0:
        raise EntryError("box_inverted", f"x, y, width, height {bbox}")
    edges = ((x, width), (y, height), (x + across, width), (y + down, height))
    # What arithmetic costs is no step outside.
    if any(not -slack_px - 1e-6 <= at <= side + slack_px + 1e-6 for at, side in edges):
        raise EntryError("box_outside", f"x, y, width, height {bbox} in {width}x{height} px")
    return Box(*(min(1.0, max(0.0, at / side)) for at, side in edges))
