"""Places in an image, and what all records have in common."""

from __future__ import annotations

import msgspec

from genixer.errors import FrameError

__all__ = ["Box", "Point", "Record"]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all records: immutable, strict about unknown fields, no defaults in the JSON."""


class Box(Record, frozen=True, array_like=True):
    """Rectangle of the upright, un-padded image, in fractions of its width and height.

    Corners are (x0, y0) and (x1, y1), each in [0, 1], x0 <= x1, y0 <= y1. Raises `FrameError` for
    anything else, NaN included.

    >>> Box(0.1, 0.2, 0.5, 0.6).area
    0.16
    >>> Box(0.1, 0.2, 120.0, 0.6)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    genixer.errors.FrameError: box (0.1, 0.2, 120.0, 0.6) is not inside [0, 1] ...; is it in pixels?
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.x0 <= self.x1 <= 1.0 and 0.0 <= self.y0 <= self.y1 <= 1.0):
            corners = (self.x0, self.y0, self.x1, self.y1)
            raise FrameError(
                f"box {corners} is not inside [0, 1] with x0 <= x1, y0 <= y1; is it in pixels?"
            )

    @property
    def area(self) -> float:
        """Share of the image that the box covers, in [0, 1]."""
        return round((self.x1 - self.x0) * (self.y1 - self.y0), 12)

    def iou(self, other: Box) -> float:
        """Share of the union that two boxes have in common, in [0, 1]; 0 if either is empty.

        >>> Box(0.0, 0.0, 0.5, 1.0).iou(Box(0.25, 0.0, 0.75, 1.0))
        0.3333333333333333
        """
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        if width <= 0 or height <= 0:
            return 0.0
        shared = width * height
        mine = (self.x1 - self.x0) * (self.y1 - self.y0)
        theirs = (other.x1 - other.x0) * (other.y1 - other.y0)
        return shared / (mine + theirs - shared)


class Point(Record, frozen=True, array_like=True):
    """Place in the upright, un-padded image, x and y in [0, 1]; raises `FrameError` outside.

    >>> Point(0.5, 0.25)
    Point(x=0.5, y=0.25)
    """

    x: float
    y: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.x <= 1.0 and 0.0 <= self.y <= 1.0):
            raise FrameError(f"point {(self.x, self.y)} is not inside [0, 1]; is it in pixels?")
