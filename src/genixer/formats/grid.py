"""Coordinates as numbers on the grid of a format, and how far the grid moved them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from genixer.data import Box, ImageRef, Point
from genixer.errors import FrameError
from genixer.formats.tally import Tally
from genixer.frames import Frame, box_from_frame, box_to_frame, point_from_frame, point_to_frame
from genixer.store.entries import EntryError

__all__ = ["Grid"]


@dataclass(frozen=True)
class Grid:
    """The points of a `frame` that have `decimals`, on an image of `width` x `height` px.

    `shown` is the size in px that distances are told in, where the image was resized for the frame.
    """

    frame: Frame
    decimals: int
    width: int
    height: int
    shown: tuple[int, int] | None = None

    @staticmethod
    @lru_cache(maxsize=1024)
    def of(frame: Frame, decimals: int, width: int, height: int) -> Grid:
        """The grid of an image of that size, made once for many rows."""
        return Grid(frame, decimals, width, height)

    @classmethod
    def over(cls, frame: Frame, decimals: int, image: ImageRef | None) -> Grid:
        """The grid of `image`; some grid where there is none, for there are no coordinates then."""
        return cls.of(frame, decimals, image.width, image.height) if image else _NO_GRID

    def box(self, box: Box, tally: Tally) -> tuple[float, ...]:
        """Corners of the nearest box on the grid; how far they went goes to `tally`."""
        framed = box_to_frame(box, self.frame, self.width, self.height)
        return self._rounded(framed, tally)

    def point(self, point: Point, tally: Tally) -> tuple[float, ...]:
        """The nearest point on the grid; how far it went goes to `tally`."""
        framed = point_to_frame(point, self.frame, self.width, self.height)
        return self._rounded(framed, tally)

    def _rounded(self, framed: tuple[float, ...], tally: Tally) -> tuple[float, ...]:
        near = tuple([round(value, self.decimals) for value in framed])
        across, down = self._scale
        x = max(abs(near[0] - framed[0]), abs(near[-2] - framed[-2])) / across
        y = max(abs(near[1] - framed[1]), abs(near[-1] - framed[-1])) / down
        width, height = self.shown or (self.width, self.height)
        tally.placed(max(x * width, y * height), max(x, y))
        return near

    @cached_property
    def _scale(self) -> tuple[float, float]:
        """Width and height of the image in the frame's own unit."""
        whole = box_to_frame(Box(0.0, 0.0, 1.0, 1.0), self.frame, self.width, self.height)
        return whole[2] - whole[0], whole[3] - whole[1]

    def numbers(self, values: tuple[float, ...]) -> list[int | float]:
        """Rounded coordinates as JSON shows them: whole numbers where there are no decimals."""
        return [int(value) for value in values] if self.decimals == 0 else list(values)

    def box_at(self, corners: tuple[float, float, float, float]) -> Box:
        """Box whose corners in the frame are `corners`; raises `EntryError`.

        Reasons: `box_inverted`, `box_outside`, which is also what numbers of another frame give.
        """
        if corners[0] > corners[2] or corners[1] > corners[3]:
            raise EntryError("box_inverted", f"{corners}")
        try:
            return box_from_frame(corners, self.frame, self.width, self.height)
        except FrameError as error:
            raise EntryError("box_outside", f"{corners}: {error}") from error

    def point_at(self, xy: tuple[float, float]) -> Point:
        """Point at `xy` in the frame; raises `EntryError` (`point_outside`)."""
        try:
            return point_from_frame(xy, self.frame, self.width, self.height)
        except FrameError as error:
            raise EntryError("point_outside", f"{xy}: {error}") from error


_NO_GRID = Grid("unit", 0, 1, 1)
