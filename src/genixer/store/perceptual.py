"""Pictures by their look: a 64-bit hash that re-encoding and resizing hardly change.

The picture is brought to 32 x 32 greys and turned into frequencies (DCT-II); the hash says of each
of the 64 lowest but the constant one whether it lies above the middle one. All after the resizing
is done in whole numbers, so that equal pixels give equal bits on every machine. A mirrored, turned
or cropped picture looks different to it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genixer.store.images import MAX_PIXELS, open_thumbnail

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

__all__ = ["BITS", "picture_hash", "picture_hash_of_file"]

BITS = 64
_SIDE = 32
_SCALE = 1 << 12
"""What 1 is in the whole numbers of the cosine table."""
_NOISE = _SCALE * _SCALE * _SIDE
"""Frequencies as weak as this, an eighth of a grey level, are what coding leaves behind."""
_FEWEST = 16
"""A picture with fewer frequencies above the noise is too plain to be told from others."""


def picture_hash(image: Image) -> int | None:
    """Hash of a decoded picture, below 2^64; None for one that is too plain to have a look.

    >>> from PIL import Image
    >>> picture_hash(Image.new("RGB", (64, 64), "red")) is None
    True
    """
    import numpy as np
    from PIL.Image import Resampling

    small = image.convert("L").resize((_SIDE, _SIDE), Resampling.LANCZOS, reducing_gap=3.0)
    cosines, places = _tables()
    frequencies = (cosines @ np.asarray(small, dtype=np.int64) @ cosines.T).ravel()[places]
    if np.count_nonzero(np.abs(frequencies) > _NOISE) < _FEWEST:
        return None
    ordered = np.sort(frequencies)
    middle = int(ordered[BITS // 2 - 1] + ordered[BITS // 2]) // 2
    # A symmetric picture has no odd frequencies. Were the bar in the midst of what coding left of
    # them, their bits would be luck.
    bar = _NOISE if abs(middle) < _NOISE else middle
    return int.from_bytes(np.packbits(frequencies > bar).tobytes(), "big")


def picture_hash_of_file(root: Path, path: str, max_pixels: int = MAX_PIXELS) -> int | None:
    """Hash of the image `path` below `root`; raises `ImageError` as `open_image` does."""
    return picture_hash(open_thumbnail(root, path, _SIDE, max_pixels))


@cache
def _tables() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Cosines of 9 frequencies over 32 places, and where the 64 that count lie among 9 x 9.

    They are the 8 x 8 lowest, the constant one replaced by the next one down.
    """
    import numpy as np

    order, place = np.arange(9)[:, None], np.arange(_SIDE)
    cosines = np.rint(np.cos(np.pi * order * (2 * place + 1) / (2 * _SIDE)) * _SCALE)
    places = [9 * down + right for down in range(8) for right in range(8) if down or right]
    return cosines.astype(np.int64), np.array([*places, 9 * 8])
