"""The health of image files: most are judged by their header, the suspects by a decoder.

A file is sound when its header is as it should be and nothing is missing at its end. For all
others `store.images.open_image` decides, the reader of everything in this project: so an image
that it would refuse is a finding here. What only decoding shows (a flipped bit inside the pixels
of a JPEG) is not looked for.
"""

from __future__ import annotations

import os
import stat
import warnings
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import msgspec

from genixer.doctor.headers import Header, read_header
from genixer.paths import escapes
from genixer.store.images import MAX_PIXELS, ImageError, open_image

__all__ = ["Health", "ImageDoctor"]

_HEAD = 1 << 14
"""Bytes that hold the header of nearly every JPEG."""
_WHOLE = 1 << 28
"""Largest file that is read at once; larger ones are left to the decoder."""
_TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


class Health(msgspec.Struct, frozen=True, array_like=True):
    """What there is to say of one image: its upright size in px (0 if unknown), its faults.

    `faults` are pairs of a finding's name and its detail.
    """

    width: int
    height: int
    faults: tuple[tuple[str, str], ...] = ()


class ImageDoctor:
    """Looks at images below `root`; reuses one buffer, so it belongs to one thread.

    >>> ImageDoctor(Path(".")).look("../secret.png").faults
    (('path_escapes', 'not inside the image root'),)
    """

    def __init__(self, root: Path, max_pixels: int = MAX_PIXELS) -> None:
        """Remember where images lie; nothing is read yet."""
        self.root, self.max_pixels = root, max_pixels
        self._prefix, self._real = f"{root}/", os.path.realpath(root)
        self._buffer = bytearray(_HEAD)

    def look_at(self, paths: Iterable[str]) -> Iterator[Health]:
        """Health of each image, in order."""
        return map(self.look, paths)

    def look(self, path: str) -> Health:
        """Health of one image; a header decides where it can."""
        if escapes(path) or not _inside(self._prefix + path.rpartition("/")[0], self._real):
            return self._decoded(path)
        try:
            # A link is left to the careful way, and a pipe must not make us wait.
            handle = os.open(self._prefix + path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (OSError, ValueError):
            return self._decoded(path)
        try:
            header = self._header(handle)
        except OSError:
            header = None
        finally:
            os.close(handle)
        return self._decoded(path) if header is None else self._health(header)

    def _header(self, handle: int) -> Header | None:
        """Header of a sound file; None for a suspect."""
        status = os.fstat(handle)
        size = status.st_size
        if not stat.S_ISREG(status.st_mode) or not size:
            return None
        data = self._read(handle, min(size, _HEAD))
        header = _bomb(data, self.max_pixels)
        if header is not None:
            return header
        if len(data) < size and bytes(data[:2]) != b"\xff\xd8":
            header = read_header(self._rest(handle, size), size)
        else:
            header = read_header(data, size)
            if header is None and len(data) < size:
                header = read_header(self._rest(handle, size), size)
        if header is not None and header.body and not self._ends(handle, size, header.body):
            return None
        return header

    def _ends(self, handle: int, size: int, body: int) -> bool:
        """Whether the end mark of a JPEG comes after its pixels."""
        if os.pread(handle, 2, size - 2) == b"\xff\xd9":
            return True
        return b"\xff\xd9" in bytes(self._rest(handle, size)[body:])

    def _rest(self, handle: int, size: int) -> memoryview:
        os.lseek(handle, 0, os.SEEK_SET)
        return self._read(handle, min(size, _WHOLE))

    def _read(self, handle: int, size: int) -> memoryview:
        """The next `size` bytes, in the buffer: a fresh one would cost more than the reading."""
        if len(self._buffer) < size:
            self._buffer = bytearray(size)
        view, got = memoryview(self._buffer)[:size], 0
        while got < size and (more := os.readv(handle, [view[got:]])):
            got += more
        return view[:got]

    def _health(self, header: Header) -> Health:
        width, height = header.width, header.height
        if header.damage:
            return Health(0, 0, (("corrupt_image", header.damage),))
        if width * height > self.max_pixels:
            return Health(0, 0, (("image_bomb", _too_large(width, height, self.max_pixels)),))
        faults = []
        if header.orientation != 1:
            faults.append(("rotated_image", f"EXIF orientation {header.orientation}"))
        if header.cmyk:
            faults.append(("cmyk_image", "4 channels"))
        if header.deep:
            faults.append(("deep_image", "16 bits a channel"))
        if header.orientation in _TURNED:
            width, height = height, width
        return Health(width, height, tuple(faults))

    def _decoded(self, path: str) -> Health:
        """The careful way: contained, decoded in full, then asked what it is."""
        try:
            upright = open_image(self.root, path, self.max_pixels)
        except ImageError as error:
            return Health(0, 0, ((error.reason, _without(self._prefix, error.detail)),))
        return Health(*upright.size, tuple(_oddities(self.root / path)))


def _oddities(path: Path) -> Iterator[tuple[str, str]]:
    """What programs read differently in an image that can be decoded."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata nobody reads here
        with Image.open(path) as image:
            orientation = image.getexif().get(0x0112, 1)
            if orientation in range(2, 9):
                yield "rotated_image", f"EXIF orientation {orientation}"
            frames = getattr(image, "n_frames", 1)
            # Cameras store a small second picture in a JPEG: nothing moves.
            if frames > 1 and image.format != "MPO":
                yield "animated_image", f"{frames} frames"
            if image.mode == "CMYK":
                yield "cmyk_image", "4 channels"
            if image.mode.startswith(("I", "F")):
                yield "deep_image", f"mode {image.mode}"


def _bomb(data: memoryview, max_pixels: int) -> Header | None:
    """Header of a PNG that is too large to be read, from its first bytes, if they are sound."""
    if bytes(data[:8]) != b"\x89PNG\r\n\x1a\n" or len(data) < 33:
        return None
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if width * height <= max_pixels:
        return None
    sound = zlib.crc32(data[12:29]) == int.from_bytes(data[29:33], "big")
    return Header(width, height) if sound else None


def _too_large(width: int, height: int, max_pixels: int) -> str:
    return f"{width}x{height} px > {max_pixels} px"


def _without(prefix: str, detail: str) -> str:
    """`detail` without folders of this machine."""
    return detail.replace(prefix, "")


@lru_cache(maxsize=4096)
def _inside(folder: str, root: str) -> bool:
    """Whether a folder, links followed, lies in the image root."""
    real = os.path.realpath(folder)
    return real == root or real.startswith(f"{root}/")
