"""Coordinates in text: one bracket for a box, a point, or the boxes of one phrase.

A box is `[0.12,0.34,0.56,0.78]` and a point `[0.34,0.56]`: numbers in the canvas's frame, all its
decimals, commas without spaces. Boxes of one phrase share a bracket, `[a,b,c,d;e,f,g,h]` (Shikra).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from genixer.data import Box, Point
from genixer.errors import DataError
from genixer.frames import axes, box_to_frame, point_to_frame
from genixer.tasks.base import Canvas

__all__ = [
    "UnreadableError",
    "brackets",
    "looks_like_box",
    "read_bracket",
    "snap",
    "snap_point",
    "write_box",
    "write_point",
]

# Two or more numbers in brackets: what a reader takes for a box or a point, well written or not.
_BRACKET = re.compile(r"\[(?=[^\[\]]*[0-9])[-+0-9.eE\s]*[,;][-+0-9.eE,;\s]*\]")


class UnreadableError(DataError):
    """Text that breaks the grammar; `reason` and `detail` become a `ParseError`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """Keep `reason` for the count and `detail` for people."""
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def looks_like_box(text: str) -> bool:
    """Whether some part of `text` is numbers in brackets, well written or not.

    >>> looks_like_box("see [0.1, 0.2]"), looks_like_box("see [1]")
    (True, False)
    """
    return _BRACKET.search(text) is not None


def brackets(text: str) -> Iterator[re.Match[str]]:
    """Every part of `text` that is numbers in brackets, in order."""
    return _BRACKET.finditer(text)


def write_box(boxes: Sequence[Box], canvas: Canvas) -> str:
    """One bracket for one box, or for the boxes of one phrase.

    >>> write_box([Box(0.0, 0.25, 0.5, 1.0)], Canvas("unit", 2))
    '[0.00,0.25,0.50,1.00]'
    """
    size = canvas.width, canvas.height
    framed = (box_to_frame(box, canvas.frame, *size) for box in boxes)
    return f"[{';'.join(_numbers(corners, canvas) for corners in framed)}]"


def write_point(point: Point, canvas: Canvas) -> str:
    """The bracket of a point.

    >>> write_point(Point(0.5, 0.25), Canvas("padded_square", 3, 200, 100))
    '[0.500,0.375]'
    """
    framed = point_to_frame(point, canvas.frame, canvas.width, canvas.height)
    return f"[{_numbers(framed, canvas)}]"


def _numbers(values: Sequence[float], canvas: Canvas) -> str:
    return _printed(canvas.decimals, len(values)) % tuple(values)


@lru_cache(maxsize=16)
def _printed(decimals: int, count: int) -> str:
    return ",".join([f"%.{decimals}f"] * count)


def snap(box: Box, canvas: Canvas) -> Box:
    """Nearest box that text on this canvas can spell; at most half a step away.

    >>> snap(Box(0.104, 0.2, 0.5, 0.996), Canvas("unit", 2))
    Box(x0=0.1, y0=0.2, x1=0.5, y1=1.0)
    """
    return _box(write_box([box], canvas)[1:-1], canvas)


def snap_point(point: Point, canvas: Canvas) -> Point:
    """Nearest point that text on this canvas can spell; at most half a step away.

    >>> snap_point(Point(0.104, 0.996), Canvas("unit", 2))
    Point(x=0.1, y=1.0)
    """
    return _point(write_point(point, canvas)[1:-1], canvas)


def read_bracket(text: str, canvas: Canvas) -> list[Box] | Point:
    """What a bracket holds: a point, or the boxes of one phrase; raises `UnreadableError`.

    >>> read_bracket("[0.5,1.0]", Canvas("unit", 1))
    Point(x=0.5, y=1.0)
    """
    parts = text[1:-1].split(";")
    if len(parts) == 1 and parts[0].count(",") == 1:
        return _point(parts[0], canvas)
    return [_box(part, canvas) for part in parts]


@lru_cache(maxsize=16)
def _row(decimals: int, count: int) -> re.Pattern[str]:
    number = "(?:0|[1-9][0-9]*)" + (rf"\.[0-9]{{{decimals}}}" if decimals else "")
    return re.compile(rf"{number}(?:,{number}){{{count - 1}}}")


def _point(text: str, canvas: Canvas) -> Point:
    if not _row(canvas.decimals, 2).fullmatch(text):
        raise UnreadableError("bad_point", f"[{text}]: expected 2 of {canvas.decimals} decimals")
    return Point(*_fractions([float(n) for n in text.split(",")], canvas, text, "point_outside"))


def _box(text: str, canvas: Canvas) -> Box:
    if not _row(canvas.decimals, 4).fullmatch(text):
        raise UnreadableError("bad_box", f"[{text}]: expected 4 of {canvas.decimals} decimals")
    corners = [float(number) for number in text.split(",")]
    if corners[0] > corners[2] or corners[1] > corners[3]:
        raise UnreadableError("box_inverted", f"[{text}]")
    return Box(*_fractions(corners, canvas, text, "box_outside"))


class _Axis(NamedTuple):
    """One axis of a canvas: framed = fraction * `scale` + `low`, which is where the image begins.

    It ends at `high`; numbers from `least` to `most` are read, those outside it as its edges.
    """

    scale: float
    low: float
    high: float
    least: float
    most: float


@lru_cache(maxsize=4096)
def _axes_of(canvas: Canvas) -> tuple[_Axis, _Axis]:
    # At most one step outside: what rounding a box at the edge may give.
    slack = canvas.step * (1 + 1e-9)
    across, down = (
        _Axis(scale, low, scale + low, low - slack, scale + low + slack)
        for scale, low in axes(canvas.frame, canvas.width, canvas.height)
    )
    return across, down


def _fractions(values: Sequence[float], canvas: Canvas, text: str, reason: str) -> list[float]:
    """Framed `values` (x, y, ..) as fractions of the image, those beyond its edges as the edges."""
    both, found = _axes_of(canvas), []
    for place, value in enumerate(values):
        scale, low, high, least, most = both[place % 2]
        if not least <= value <= most:
            raise UnreadableError(reason, f"[{text}]: the image is {low:g} to {high:g} there")
        # The edges are set exactly: through the frame and back, 0 or 1 may be missed by a rounding
        # error.
        inner = min(1.0, max(0.0, (value - low) / scale))
        found.append(0.0 if value <= low else 1.0 if value >= high else inner)
    return found
