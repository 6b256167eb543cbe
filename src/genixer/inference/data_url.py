"""Images as data URLs: the file as it is where any server shows it the same, else written anew."""

from __future__ import annotations

import asyncio
import base64
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from genixer.store.images import image_bytes, open_bytes, open_image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["DataUrls", "data_url"]

_PNG = b"\x89PNG\r\n\x1a\n"
_AS_IT_IS = {"JPEG": "image/jpeg", "PNG": "image/png"}
_MOST_BYTES = 20_000_000
"""Bytes of a file that is sent as it is, or as a PNG; servers refuse larger bodies."""
_QUALITY = 95
_ORIENTATION = 0x0112
_GREY = (122, 116, 104)
"""Mean colour of CLIP's training pictures: what LLaVA's and Shikra's squares are filled with."""


def data_url(root: Path, path: str, most_px: int | None, squared: bool = False) -> str:
    """Image `path` below `root` as a data URL, upright.

    An upright RGB or grey JPEG or PNG of at most `most_px` pixels keeps its bytes, metadata too;
    another PNG becomes a PNG, so that no pixel is lost, unless that were too large to send, and all
    else a JPEG, of at most that size. `squared` lays it in the middle of a square, for models whose
    coordinates are those of one. Raises `ImageError` for a file that is not whole.
    """
    data = image_bytes(root, path, _MOST_BYTES)
    image = open_bytes(path, data) if data else open_image(root, path)
    fits = most_px is None or image.width * image.height <= most_px
    if data and fits and not squared:
        kind = _kind_if_plain(data)
        if kind:
            return _url(kind, data)
    if squared:
        image = _square(image)
    if most_px is not None and image.width * image.height > most_px:
        image = _smaller(image, most_px)
    if data and data.startswith(_PNG):
        written = BytesIO()
        image.save(written, "PNG", compress_level=1)
        if written.tell() <= _MOST_BYTES:
            return _url("image/png", written.getvalue())
    written = BytesIO()
    image.save(written, "JPEG", quality=_QUALITY, subsampling=0)
    return _url("image/jpeg", written.getvalue())


def _url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _kind_if_plain(data: bytes) -> str:
    """Media type of a file that has been decoded before, if no reader shows it otherwise."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data), formats=list(_AS_IT_IS)) as raw:
            upright = raw.getexif().get(_ORIENTATION, 1) in (0, 1)
            plain = raw.mode in ("RGB", "L") and not raw.has_transparency_data
            still = getattr(raw, "n_frames", 1) == 1
            return _AS_IT_IS.get(raw.format or "", "") if upright and plain and still else ""
    except UnidentifiedImageError:
        return ""


def _square(image: Image) -> Image:
    from PIL import Image as Pillow

    side = max(image.size)
    square = Pillow.new("RGB", (side, side), _GREY)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _smaller(image: Image, most_px: int) -> Image:
    from PIL.Image import Resampling

    scale = (most_px / (image.width * image.height)) ** 0.5
    size = (max(1, int(image.width * scale)), max(1, int(image.height * scale)))
    return image.resize(size, Resampling.LANCZOS, reducing_gap=3.0)


class DataUrls:
    """The last `keep` images as data URLs: requests about one image come one after the other."""

    def __init__(self, most_px: int | None, squared: bool, keep: int = 16) -> None:
        """Nothing is read yet. For one event loop."""
        self._most_px, self._squared, self._keep = most_px, squared, keep
        self._known: OrderedDict[tuple[Path, str], asyncio.Task[str]] = OrderedDict()
        # Reading an image quiets warnings, which two threads cannot at once. A lock, not a single
        # thread: the loop looks up the names of servers in its threads, too.
        self._one = asyncio.Lock()

    async def of(self, root: Path, path: str) -> str:
        """Data URL of an image, read in a thread beside the loop; raises `ImageError`."""
        key = root, path
        reading = self._known.get(key)
        if reading is None:
            reading = self._known[key] = asyncio.create_task(self._read(root, path))
            # Looked at here, or an image nobody waits for any more would be reported as forgotten.
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            if len(self._known) > self._keep:
                self._known.popitem(last=False)
        # One request's end must not take the image from the others.
        return await asyncio.shield(reading)

    async def _read(self, root: Path, path: str) -> str:
        async with self._one:
            return await asyncio.to_thread(data_url, root, path, self._most_px, self._squared)
