"""Coordinates in text against the frame that was declared, one by one and as a whole."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from genixer.data import Box
from genixer.doctor.findings import Finding
from genixer.frames import FRAMES, Frame, box_to_frame, describe_frame
from genixer.tasks.base import Canvas
from genixer.tasks.grammar import UnreadableError, read_turn

__all__ = ["NEED_SIZE", "FrameTally", "box_fault", "brackets", "numbers_in"]

# What the grammar takes for coordinates: two or more numbers in brackets, well written or not.
_BRACKET = re.compile(r"\[(?=[^\[\]]*[0-9])[-+0-9.eE\s]*[,;][-+0-9.eE,;\s]*\]")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
NEED_SIZE = ("pixel", "padded_square")
"""Frames that mean nothing without the size of the image."""
_FRACTIONS = ("unit", "padded_square")
_WHOLE = ("per_999", "per_1000", "loc_1024")
Four = tuple[float, float, float, float]


def brackets(text: str) -> list[str]:
    """Whatever a reader takes for a box or a point.

    >>> brackets("the cup [0.1,0.2,0.3,0.4] of [1]")
    ['[0.1,0.2,0.3,0.4]']
    """
    return _BRACKET.findall(text) if "[" in text else []


def numbers_in(bracket: str) -> list[Four] | None:
    """Boxes in a bracket, however they are spelt; None when it holds anything else.

    >>> numbers_in("[ .1, 2;3,4 ]"), numbers_in("[.1, 2, 3, 4e0]")
    (None, [(0.1, 2.0, 3.0, 4.0)])
    """
    found: list[Four] = []
    for part in bracket[1:-1].split(";"):
        words = [word.strip() for word in part.split(",")]
        if len(words) != 4 or not all(_NUMBER.fullmatch(word) for word in words):
            return None
        x0, y0, x1, y1 = (float(word) for word in words)
        if not all(map(math.isfinite, (x0, y0, x1, y1))):
            return None
        found.append((x0, y0, x1, y1))
    return found


def box_fault(bracket: str, canvas: Canvas) -> tuple[str, str] | None:
    """Finding and detail for a bracket that the reader of everything here would refuse.

    >>> box_fault("[0.500,0.1,0.9,0.9]", Canvas("unit", 3))[0]
    'bad_box'
    >>> box_fault("[120.000,40.000,300.000,80.000]", Canvas("unit", 3))[0]
    'frame_contradicted'
    """
    try:
        read_turn("user", bracket, canvas)
    except UnreadableError as error:
        boxes = numbers_in(bracket) or []
        if any(_contradicts(four, canvas) for four in boxes):
            return (
                "frame_contradicted",
                f"{bracket} in {canvas.frame}: {describe_frame(canvas.frame)}",
            )
        name = next((one for one in ("inverted", "outside") if error.reason.endswith(one)), "")
        return f"box_{name}" if name else "bad_box", error.detail or bracket
    boxes = numbers_in(bracket) or []
    if canvas.decimals and any(_contradicts(four, canvas) for four in boxes):
        return "frame_contradicted", f"{bracket} in {canvas.frame}: {describe_frame(canvas.frame)}"
    return None


def _contradicts(four: Four, canvas: Canvas) -> bool:
    """Whether no slip of the hand gives such numbers in the canvas's frame.

    Twice the frame away is another scale, and so are fractions where the frame counts.
    """
    if max(map(abs, four)) > 2 * max(edges(canvas.frame, canvas.width, canvas.height)):
        return True
    if canvas.frame in _FRACTIONS:
        return False
    return max(four) <= 1 and any(not value.is_integer() for value in four)


@lru_cache(maxsize=4096)
def edges(frame: Frame, width: int, height: int) -> Four:
    """Corners of the whole image in `frame`."""
    return box_to_frame(Box(0.0, 0.0, 1.0, 1.0), frame, width, height)


class FrameTally:
    """Which frames all boxes of a file could be in; the numbers of one box never decide that.

    Two things make the declared frame doubtful: some boxes do not fit it while all fit another; or
    all fit it, yet none uses the part of it that another frame does not have.
    """

    ENOUGH = 50
    """Boxes on images whose two frames differ by a tenth or more, before silence says anything."""
    SOME = 8
    """Boxes that do not fit, and at least one in twenty."""

    def __init__(self, declared: Frame) -> None:
        """No box was seen."""
        self._declared = declared
        self._all = 0
        self._fit: dict[Frame, int] = dict.fromkeys((*FRAMES, declared), 0)
        self._reach: dict[Frame, float] = dict.fromkeys(self._fit, 0.0)
        self._apart: dict[Frame, int] = dict.fromkeys(self._fit, 0)

    def add(self, boxes: Sequence[Four], width: int, height: int) -> None:
        """Count boxes of an image of `width` x `height` px."""
        regions = _regions(self._declared, width, height)
        for four in boxes:
            self._all += 1
            whole = all(value.is_integer() for value in four)
            for frame, (x0, y0, x1, y1), high_x, high_y, apart in regions:
                if not (x0 <= four[0] <= four[2] <= x1 and y0 <= four[1] <= four[3] <= y1):
                    continue
                if whole or frame not in _WHOLE:
                    self._fit[frame] += 1
                    self._apart[frame] += apart
                    reach = max(four[2] / high_x, four[3] / high_y)
                    if reach > self._reach[frame]:
                        self._reach[frame] = reach

    def finding(self, where: str) -> Finding | None:
        """What the boxes say against the declared frame, if anything."""
        misfits = self._all - self._fit[self._declared]
        others = [
            frame
            for frame, count in self._fit.items()
            # Fractions fit into pixels as well, in one corner of the image: that is no evidence.
            if frame != self._declared and count == self._all and self._reach[frame] >= 0.5
        ]
        if misfits >= max(self.SOME, self._all / 20) and others:
            told = f"{misfits} of {self._all} boxes do not fit; all fit {', '.join(others)}"
            return Finding("frame_doubtful", where, f"declared {self._declared}: {told}")
        others = [frame for frame in others if self._apart[frame] >= self.ENOUGH]
        if not misfits and others:
            told = f"none of {self._all} boxes leaves the part that {', '.join(others)} has"
            return Finding("frame_doubtful", where, f"declared {self._declared}: {told}")
        return None


class _Region(NamedTuple):
    """Where boxes of an image lie in one frame, a little more than that being allowed."""

    frame: Frame
    allowed: Four
    high_x: float
    high_y: float
    apart: bool
    """Whether it lacks a tenth or more of the declared frame's region."""


@lru_cache(maxsize=4096)
def _regions(declared: Frame, width: int, height: int) -> tuple[_Region, ...]:
    found = []
    for frame in dict.fromkeys((*FRAMES, declared)):
        low_x, low_y, high_x, high_y = region = edges(frame, width, height)
        slack_x, slack_y = (high_x - low_x) * 0.005, (high_y - low_y) * 0.005
        allowed = (low_x - slack_x, low_y - slack_y, high_x + slack_x, high_y + slack_y)
        apart = _smaller(region, edges(declared, width, height))
        found.append(_Region(frame, allowed, high_x, high_y, apart))
    return tuple(found)


def _smaller(region: Four, declared: Four) -> bool:
    """Whether `region` lacks a tenth or more of the declared one, along x or y."""
    for low, high in ((0, 2), (1, 3)):
        lacking = max(0.0, region[low] - declared[low]) + max(0.0, declared[high] - region[high])
        if lacking >= 0.1 * (declared[high] - declared[low]):
            return True
    return False
