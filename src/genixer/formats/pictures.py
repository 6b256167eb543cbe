"""Image files on their way into a container and out of it again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from genixer.data import ImageRef
from genixer.errors import CannotEncodeError
from genixer.store.disk import write_atomic
from genixer.store.entries import EntryError
from genixer.store.images import ImageError, header_of, image_bytes, ref_of_bytes

__all__ = ["ENDINGS", "MAX_IMAGE_BYTES", "Picture", "PictureFolder", "Unpacked"]

MAX_IMAGE_BYTES = 256 << 20
"""Files above this are not taken into memory, and so into no container."""
ENDINGS = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "PNG": "png",
    "GIF": "gif",
    "WEBP": "webp",
    "BMP": "bmp",
    "TIFF": "tif",
    "PPM": "ppm",
    "JPEG2000": "jp2",
    "AVIF": "avif",
}
"""Usual ending of a file by the format its header shows."""


class Picture(NamedTuple):
    """Bytes of an image file as they lie on disk, and the usual ending of such a file."""

    data: bytes
    ending: str


class PictureFolder:
    """Files below an image root, to be copied; the last one is remembered.

    Samples of one image tend to follow each other.
    """

    def __init__(self, root: Path) -> None:
        """Read nothing yet."""
        self.root = root
        self._last: tuple[ImageRef, Picture] | None = None

    def picture(self, ref: ImageRef) -> Picture:
        """File of `ref`.

        Raises `CannotEncodeError`: `image_changed`, `image_too_large`, or what is wrong with it.
        """
        if self._last is None or self._last[0] != ref:
            self._last = ref, self._read(ref)
        return self._last[1]

    def _read(self, ref: ImageRef) -> Picture:
        try:
            data = image_bytes(self.root, ref.path, MAX_IMAGE_BYTES)
            if data is None:
                raise CannotEncodeError("image_too_large", ref.path)
            if hashlib.sha256(data).hexdigest() != ref.sha256:
                raise CannotEncodeError("image_changed", ref.path)
            return Picture(data, ENDINGS[header_of(ref.path, data)[0]])
        except ImageError as error:
            raise CannotEncodeError(error.reason, ref.path) from error


class Unpacked:
    """Images of a container, put below an image root where they are not there yet.

    A file that is already there is never overwritten: it is the same, or the row is refused.
    """

    def __init__(self, root: Path, keep: int = 20_000) -> None:
        """Put nothing yet; the last `keep` files are remembered."""
        self.root, self._keep = root, keep
        self._there: OrderedDict[str, ImageRef] = OrderedDict()

    def ref(self, path: str, data: bytes, stated: ImageRef | None = None) -> ImageRef:
        """Ref of the image `data`, which lies at `path` afterwards.

        Bytes that are those `stated` was made of are known to be whole, so their header suffices;
        others are decoded. Raises `ImageError` or `EntryError` (`image_differs`,
        `image_not_written`).
        """
        digest = hashlib.sha256(data).hexdigest()
        if stated is not None and stated.sha256 != digest:
            raise EntryError("image_differs", f"{path}: not the bytes the row was written about")
        known = self._there.get(path)
        if known is not None and known.sha256 == digest:
            return known
        ref = None
        if stated is not None and header_of(path, data)[1:] == (stated.width, stated.height):
            ref = ImageRef(path, stated.width, stated.height, digest)
        ref = ref or ref_of_bytes(path, data)
        self._put(path, data, digest)
        self._there[path] = ref
        if len(self._there) > self._keep:
            self._there.popitem(last=False)
        return ref

    def _put(self, path: str, data: bytes, digest: str) -> None:
        try:
            found = image_bytes(self.root, path, MAX_IMAGE_BYTES)
        except ImageError as error:
            if error.reason != "missing_image":
                raise
        else:
            if found is None or hashlib.sha256(found).hexdigest() != digest:
                raise EntryError("image_differs", f"{path}: another image lies there")
            return
        try:
            write_atomic(self.root / path, data)
        except OSError as error:
            raise EntryError("image_not_written", f"{path}: {error.strerror}") from error
