"""From picture files to what a vision tower reads, the same for training and generation.

A picture is centred on a square of its longer side, the square is resized, and each of its 256
levels of a colour becomes a number. `exact` does what the reference code and its processor do, bit
for bit. `fast` decodes a JPEG at a fraction of its size, resizes before it pads, and never builds
the large square: the numbers are nearly the same (`benchmarks/pixels.py` says how near).

Letters: N images, S side of the square in px.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from genixer.store.images import open_image

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

    from genixer.models.base import Preset

__all__ = ["Pixels", "padded"]

_Square = np.ndarray[Any, np.dtype[np.uint8]]


class Pixels:
    """Reads pictures as one preset wants them."""

    def __init__(self, preset: Preset) -> None:
        """Make the table of levels."""
        self._side, self._colour = preset.image_side_px, preset.pad_colour
        self._fast = preset.pixels == "fast"
        self._filter = preset.resize
        self._levels = _levels(preset)

    def read(self, root: Path, path: str) -> _Square:
        """The picture `path` below `root` as a square [S, S, 3]; raises `ImageError`."""
        return self.square(open_image(root, path, shrink_to=self._side if self._fast else 0))

    def square(self, image: Image) -> _Square:
        """A picture (RGB, upright) as a square [S, S, 3]."""
        found = self._resized_then_padded(image) if self._fast else self._padded_then_resized(image)
        return np.asarray(found)

    def tensor(self, squares: Sequence[_Square]) -> Tensor:
        """Squares as float32 [N, 3, S, S]."""
        found = np.empty((len(squares), 3, self._side, self._side), dtype=np.float32)
        for number, square in enumerate(squares):
            for colour in range(3):
                # A level is below 256: `clip` spares looking whether it is.
                np.take(self._levels[colour], square[..., colour], 0, found[number, colour], "clip")
        return torch.from_numpy(found)

    def _padded_then_resized(self, image: Image) -> Image:
        longer, how = max(image.size), self._resampling()
        width = longer
        if image.width > image.height:
            # Pillow resizes rows first, then columns, and a row of one colour stays it: rows of
            # padding need not be resized to get the bits of the whole square.
            width = self._side
            image = image.resize((width, image.height), how)
        image = padded(image, (width, longer), self._colour)
        return image.resize((self._side, self._side), how)

    def _resized_then_padded(self, image: Image) -> Image:
        from PIL import Image as Pillow

        scale = self._side / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        if (width, height) != image.size:
            # Half the cost of a cubic filter, and shrinking as sharp as it.
            shrinks = width < image.width
            how = Pillow.Resampling.HAMMING if shrinks else self._resampling()
            image = image.resize((width, height), how)
        return padded(image, (self._side, self._side), self._colour)

    def _resampling(self) -> Resampling:
        from PIL import Image as Pillow

        filters = Pillow.Resampling
        return filters.BICUBIC if self._filter == "bicubic" else filters.BILINEAR


def padded(image: Image, size: tuple[int, int], colour: tuple[int, ...]) -> Image:
    """`image` in the middle of `size` (width, height), the rest in `colour`.

    >>> from PIL import Image
    >>> padded(Image.new("RGB", (4, 2)), (4, 4), (1, 2, 3)).getpixel((0, 0))
    (1, 2, 3)
    """
    from PIL import Image as Pillow

    if image.size == size:
        return image
    found = Pillow.new("RGB", size, colour)
    found.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
    return found


def _levels(preset: Preset) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What each level of each colour becomes, [3, 256]."""
    level = np.arange(256)
    mean, std = (
        np.array(values, dtype=np.float32)[:, None] for values in (preset.mean, preset.std)
    )
    if preset.tower == "clip":
        # In the order, and with the precision, of the processor that the towers were trained with.
        share = (level * (1 / 255)).astype(np.float32)
        return np.asarray((share - mean) / std, dtype=np.float32)
    # As our own tower was trained; the last bit differs from the above.
    whole = np.float32(255)
    return np.asarray((level.astype(np.float32) - mean * whole) / (std * whole), dtype=np.float32)
