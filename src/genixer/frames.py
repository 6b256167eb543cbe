"""Named coordinate frames: how other systems write a box, and the way there and back.

Inside the project a coordinate is a fraction of the upright, un-padded image. A frame is always
declared by a config or a preset, never guessed from the size of the numbers.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Annotated, TypeAlias

import msgspec
from pydantic import Field

from genixer.data import Box, Point
from genixer.errors import ConfigError, FrameError

__all__ = [
    "FRAMES",
    "Frame",
    "axes",
    "box_from_frame",
    "box_to_frame",
    "check_frame",
    "describe_frame",
    "point_from_frame",
    "point_to_frame",
    "resized_size",
]

FRAMES: dict[str, str] = {
    "unit": "fraction of the un-padded image, in [0, 1] (Genixer's generator)",
    "pixel": "pixels of the un-padded image, corners (not width and height)",
    "padded_square": "fraction of the image padded to a square (Shikra, LLaVA-1.5)",
    "per_999": "integers 0 to 999 of the un-padded image (Qwen-VL)",
    "per_1000": "integers 0 to 1000 of the un-padded image (Qwen2-VL, Qwen3-VL)",
    "loc_1024": "integers 0 to 1023 of the un-padded image (PaliGemma location tokens)",
}
RESIZED = "resized_F_MIN_MAX"
"""How frames of pixels after a model's own resizing are named, e.g. `resized_28_3136_12845056`."""
_RESIZED = r"resized_([1-9][0-9]*)_([1-9][0-9]*)_([1-9][0-9]*)"
_PATTERN = rf"^(?:{'|'.join(FRAMES)}|{_RESIZED.replace('(', '(?:')})$"

Frame: TypeAlias = Annotated[str, msgspec.Meta(pattern=_PATTERN), Field(pattern=_PATTERN)]
"""Name of a frame: one of `FRAMES`, or one of the form `RESIZED`."""

_SCALE = {"unit": 1.0, "per_999": 999.0, "per_1000": 1000.0, "loc_1024": 1023.0}


def check_frame(name: str) -> Frame:
    """The frame called `name`; raises `ConfigError` with the list for any other word.

    >>> check_frame("unit"), check_frame("resized_28_3136_12845056")
    ('unit', 'resized_28_3136_12845056')
    """
    if not re.match(_PATTERN, name):
        raise ConfigError(f"no frame is called {name!r}; known: {', '.join(FRAMES)}, {RESIZED}")
    return name


def describe_frame(frame: Frame) -> str:
    """What the numbers of `frame` mean, in words.

    >>> describe_frame("resized_28_3136_12845056")
    'pixels of the image resized to multiples of 28 px, 3136 to 12845056 px in all (Qwen2.5-VL)'
    """
    if frame in FRAMES:
        return FRAMES[frame]
    factor, least, most = _resizing(frame)
    return (
        f"pixels of the image resized to multiples of {factor} px, "
        f"{least} to {most} px in all (Qwen2.5-VL)"
    )


def resized_size(
    width: int, height: int, factor: int, least_px: int, most_px: int
) -> tuple[int, int]:
    """Size in px that Qwen2-VL and its kin give an image of `width` x `height` px.

    Both sides are multiples of `factor`, at least one of it; their product is about that of the
    image, brought between `least_px` and `most_px`.

    >>> resized_size(640, 480, 28, 3136, 12845056), resized_size(640, 480, 28, 3136, 100352)
    ((644, 476), (364, 252))
    """
    # round() goes to the even neighbour from the middle, as the original does.
    across, down = round(width / factor) * factor, round(height / factor) * factor
    if across * down > most_px:
        shrink = math.sqrt(width * height / most_px)
        across = max(factor, math.floor(width / shrink / factor) * factor)
        down = max(factor, math.floor(height / shrink / factor) * factor)
    elif across * down < least_px:
        grow = math.sqrt(least_px / (width * height))
        across = math.ceil(width * grow / factor) * factor
        down = math.ceil(height * grow / factor) * factor
    return across, down


@lru_cache(maxsize=64)
def _resizing(frame: Frame) -> tuple[int, int, int]:
    """Factor, least and most pixels of a `resized_...` frame."""
    match = re.fullmatch(_RESIZED, frame)
    if match is None:
        raise ConfigError(f"no frame is called {frame!r}; known: {', '.join(FRAMES)}, {RESIZED}")
    return int(match[1]), int(match[2]), int(match[3])


@lru_cache(maxsize=4096)
def axes(frame: Frame, width: int, height: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """(scale, offset) of x and of y: framed = fraction * scale + offset.

    >>> axes("pixel", 200, 100)
    ((200.0, 0.0), (100.0, 0.0))
    """
    if frame == "pixel":
        return (float(width), 0.0), (float(height), 0.0)
    if frame == "padded_square":
        side = max(width, height)
        # Integer offset: the pixel where the pasted image really starts.
        return (width / side, (side - width) // 2 / side), (
            height / side,
            (side - height) // 2 / side,
        )
    if frame not in _SCALE:
        across, down = resized_size(width, height, *_resizing(frame))
        return (float(across), 0.0), (float(down), 0.0)
    scale = _SCALE[frame]
    return (scale, 0.0), (scale, 0.0)


def point_to_frame(point: Point, frame: Frame, width: int, height: int) -> tuple[float, float]:
    """Coordinates of `point` in `frame`, for an image of `width` x `height` px; not rounded.

    >>> point_to_frame(Point(0.5, 0.0), "padded_square", 200, 100)
    (0.5, 0.25)
    """
    (sx, ox), (sy, oy) = axes(frame, width, height)
    return point.x * sx + ox, point.y * sy + oy


def box_to_frame(
    box: Box, frame: Frame, width: int, height: int
) -> tuple[float, float, float, float]:
    """Corners of `box` in `frame`, for an image of `width` x `height` px; not rounded.

    >>> box_to_frame(Box(0.0, 0.0, 1.0, 1.0), "padded_square", 200, 100)
    (0.0, 0.25, 1.0, 0.75)
    >>> box_to_frame(Box(0.25, 0.5, 0.5, 1.0), "pixel", 200, 100)
    (50.0, 50.0, 100.0, 100.0)
    """
    (sx, ox), (sy, oy) = axes(frame, width, height)
    return box.x0 * sx + ox, box.y0 * sy + oy, box.x1 * sx + ox, box.y1 * sy + oy


def point_from_frame(
    xy: tuple[float, float], frame: Frame, width: int, height: int, slack: float = 0.0
) -> Point:
    """Point whose coordinates in `frame` are `xy`.

    `slack` is how far outside the image, in fractions, is clamped.

    Raises `FrameError` further out.

    >>> point_from_frame((0.5, 0.25), "padded_square", 200, 100)
    Point(x=0.5, y=0.0)
    """
    (sx, ox), (sy, oy) = axes(frame, width, height)
    return Point(_inside((xy[0] - ox) / sx, slack), _inside((xy[1] - oy) / sy, slack))


def box_from_frame(
    corners: tuple[float, float, float, float],
    frame: Frame,
    width: int,
    height: int,
    slack: float = 0.0,
) -> Box:
    """Box whose corners in `frame` are `corners`.

    `slack` is how far outside the image, in fractions, is clamped.

    Raises `FrameError` for corners further out, or in the wrong order.

    >>> box_from_frame((0.0, 0.25, 1.0, 0.75), "padded_square", 200, 100)
    Box(x0=0.0, y0=0.0, x1=1.0, y1=1.0)
    """
    (sx, ox), (sy, oy) = axes(frame, width, height)
    x0, y0, x1, y1 = corners
    return Box(
        _inside((x0 - ox) / sx, slack),
        _inside((y0 - oy) / sy, slack),
        _inside((x1 - ox) / sx, slack),
        _inside((y1 - oy) / sy, slack),
    )


def _inside(value: float, slack: float) -> float:
    """`value` clamped to [0, 1] when it is at most `slack` outside."""
    if not -slack <= value <= 1.0 + slack:
        raise FrameError(
            f"coordinate {value:.4f} lies more than {slack} outside [0, 1]; another frame?"
        )
    return min(1.0, max(0.0, value))
