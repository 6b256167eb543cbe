"""Repairs of one row or one image, where there is only one sound way to make them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from genixer.doctor.boxes import Four, box_fault, brackets, edges, numbers_in
from genixer.store.images import open_image
from genixer.tasks.base import Canvas
from genixer.tasks.grammar import IMAGE_MARK

__all__ = ["marked_once", "reencode", "reencoded_path", "with_sound_boxes"]

SLIP = 0.02
"""How far outside, as a share of the side, a box is taken for a slip and cut to the image."""
_JPEG = (".jpg", ".jpeg", ".jfif")
_QUALITY = 95


def marked_once(texts: Sequence[str]) -> list[str]:
    r"""Turns with one mark, at the start of the first.

    >>> marked_once(["What <image> is it?", "a cup<image>"])
    ['<image>\nWhat  is it?', 'a cup']
    """
    line_first, line_last = f"{IMAGE_MARK}\n", f"\n{IMAGE_MARK}"
    bare = [
        text.replace(line_first, "").replace(line_last, "").replace(IMAGE_MARK, "")
        for text in texts
    ]
    return [f"{line_first}{bare[0]}", *bare[1:]]


def with_sound_boxes(text: str, canvas: Canvas) -> str | None:
    """Text whose boxes a reader takes: corners in order, cut to the image, spelt as declared.

    None when a box cannot be repaired: it holds no four numbers, leaves the image by more than a
    slip, or speaks for another frame.

    >>> with_sound_boxes("at [0.5, 0.1, 0.3, 1.01]", Canvas("unit", 2))
    'at [0.30,0.10,0.50,1.00]'
    """
    for bracket in brackets(text):
        fault = box_fault(bracket, canvas)
        if fault is None:
            continue
        boxes = numbers_in(bracket)
        if boxes is None or fault[0] == "frame_contradicted":
            return None
        sound = ";".join(_spelt(four, canvas) for four in boxes)
        if box_fault(f"[{sound}]", canvas) is not None:
            return None
        text = text.replace(bracket, f"[{sound}]")
    return text


def _spelt(four: Four, canvas: Canvas) -> str:
    low_x, low_y, high_x, high_y = edges(canvas.frame, canvas.width, canvas.height)
    xs = [_cut(value, low_x, high_x) for value in sorted((four[0], four[2]))]
    ys = [_cut(value, low_y, high_y) for value in sorted((four[1], four[3]))]
    return ",".join(f"{value:.{canvas.decimals}f}" for value in (xs[0], ys[0], xs[1], ys[1]))


def _cut(value: float, low: float, high: float) -> float:
    slip = SLIP * (high - low)
    return min(high, max(low, value)) if low - slip <= value <= high + slip else value


def reencoded_path(path: str) -> str:
    """Where the repaired image lies: its own path, or that and `.png` for what is moved to PNG.

    >>> reencoded_path("a/1.JPG"), reencoded_path("a/1.gif")
    ('a/1.JPG', 'a/1.gif.png')
    """
    suffix = PurePosixPath(path).suffix.lower()
    return path if suffix in (*_JPEG, ".png") else f"{path}.png"


def reencode(root: Path, path: str, out: Path) -> None:
    """Write the image as every program reads it: upright, first frame, 8-bit RGB."""
    picture = open_image(root, path)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() in _JPEG:
        picture.save(out, "JPEG", quality=_QUALITY, subsampling=0)
    else:
        picture.save(out, "PNG")
