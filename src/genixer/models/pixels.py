"""From image files to the numbers a model sees: padded to a square, resized, normalised.

Letters: N images, S side of the model's square in px. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genixer.models.base import Preset
from genixer.store.images import fitted_size, open_fitted, open_image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["normalise", "read", "square", "table_of"]


def read(root: Path, path: str, preset: Preset) -> np.ndarray:
    """Image `path` below `root` as `preset` sees it: uint8 [S, S, 3].

    With `pixels: fast` a large JPEG is never decoded in full. Raises `ImageError`.
    """
    if preset.pixels == "fast":
        side = preset.image_side_px
        return _centred(open_fitted(root, path, side, _filter(preset)), preset)
    return square(open_image(root, path), preset)


def square(image: Image, preset: Preset) -> np.ndarray:
    """`image` (RGB, upright) centred on a square and resized: uint8 [S, S, 3].

    `pixels: exact` pads, then resizes, as the reference code does; `fast` resizes, then pads.
    """
    from PIL import Image as Pillow

    side, longer = preset.image_side_px, max(image.size)
    if preset.pixels == "fast":
        return _centred(image.resize(fitted_size(*image.size, side), _filter(preset)), preset)
    if image.width != image.height:
        padded = Pillow.new("RGB", (longer, longer), preset.pad_colour)
        padded.paste(image, ((longer - image.width) // 2, (longer - image.height) // 2))
        image = padded
    return np.asarray(image if longer == side else image.resize((side, side), _filter(preset)))


def normalise(squares: np.ndarray | Sequence[np.ndarray], preset: Preset) -> np.ndarray:
    """Squares, uint8 [N, S, S, 3], as float32 [N, 3, S, S], looked up in `table_of`."""
    table = table_of(preset)
    side = preset.image_side_px
    found = np.empty((len(squares), 3, side, side), np.float32)
    for image, out in zip(squares, found, strict=True):
        for channel in range(3):
            # A byte is always inside the table; `clip` only spares the check.
            table[channel].take(image[..., channel], out=out[channel], mode="clip")
    return found


@lru_cache(maxsize=8)
def _table(resize: str, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    values = np.arange(256, dtype=np.float32)[None]
    middle, spread = (np.asarray(one, np.float32)[:, None] for one in (mean, std))
    if resize == "bicubic":
        # The order of roundings of CLIP's own image processor: once after scaling, in float64.
        unit = (np.arange(256, dtype=np.float64) * (1 / 255)).astype(np.float32)[None]
        found = (unit - middle) / spread
    else:
        found = (values - middle * np.float32(255)) / (spread * np.float32(255))
    found.setflags(write=False)
    return found


def table_of(preset: Preset) -> np.ndarray:
    """What each of the 256 bytes becomes in each channel: float32 [3, 256].

    There are no more values than these, so that looking them up is computing them, to the last bit.
    """
    return _table(preset.resize, preset.mean, preset.std)


def _centred(image: Image, preset: Preset) -> np.ndarray:
    """`image`, whose longer side is the square's, in its middle: uint8 [S, S, 3]."""
    from PIL import Image as Pillow

    side = preset.image_side_px
    found = Pillow.new("RGB", (side, side), preset.pad_colour)
    found.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(found)


def _filter(preset: Preset) -> int:
    from PIL.Image import Resampling

    return {"bilinear": Resampling.BILINEAR, "bicubic": Resampling.BICUBIC}[preset.resize]
