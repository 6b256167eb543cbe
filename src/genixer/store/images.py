"""Image files, read with suspicion: contained, capped from the header, fully decoded, upright, RGB.

A path may lead through a tar or Parquet file as though it were a folder (`store.archives`).
Whatever is wrong with a file comes out as an `ImageError` with a reason that can be counted.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, BinaryIO

from genixer.data import ImageRef, escapes
from genixer.errors import DataError
from genixer.store.archives import MemberError, read_member, split_archive
from genixer.store.image_sizes import ImageSizes
from genixer.store.png import png_damage

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "MAX_PIXELS",
    "REASONS",
    "ImageCatalog",
    "ImageError",
    "header_of",
    "image_bytes",
    "open_bytes",
    "open_image",
    "open_thumbnail",
    "ref_of_bytes",
]

MAX_PIXELS = 50_000_000
"""Pixels above which an image counts as a decompression bomb."""

REASONS = (
    "missing_image",
    "corrupt_image",
    "image_bomb",
    "path_escapes",
    "empty_image",
    "not_an_image",
    "corrupt_archive",
)

# Formats that hold photographs. Left out on purpose: those that run programs (EPS).
# JPEG also opens the MPO files of cameras.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*")

_ORIENTATION = 0x0112
"""Number of the EXIF tag that says how a camera was held."""
_ON_ITS_SIDE = (5, 6, 7, 8)

# Everything Pillow's decoders are known to raise for bytes they cannot read.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    AttributeError,
    struct.error,
    zlib.error,
)


class ImageError(DataError):
    """An image file that cannot be used; `reason` is the snake_case word to count (`REASONS`)."""

    def __init__(self, reason: str, path: str, detail: str = "") -> None:
        """Keep `reason` for the count, `path` and `detail` for people."""
        super().__init__(f"{path}: {reason}: {detail}" if detail else f"{path}: {reason}")
        self.reason, self.path, self.detail = reason, path, detail


def open_image(root: Path, path: str, max_pixels: int = MAX_PIXELS, shrink_to: int = 0) -> Image:
    """Image `path` below `root`: decoded in full, upright (EXIF applied), RGB, alpha laid on white.

    16-bit and float greys are scaled to 8 bits, animations give their first frame. Raises
    `ImageError`; an image of more than `max_pixels` is refused from its header, before decoding,
    and a PNG with a wrong checksum is refused before its pixels are looked at.

    With `shrink_to` a JPEG may come smaller, decoded at a half, a quarter or an eighth of its size
    as long as its longer side keeps `shrink_to` px: as good where it is to be that small anyway.

    >>> open_image(Path("."), "../secret.png")
    Traceback (most recent call last):
    ...
    genixer.store.images.ImageError: ../secret.png: path_escapes: not inside the image root
    """
    with _opened(root, path) as file:
        return _decode(file, path, max_pixels, shrink_to)


def open_thumbnail(root: Path, path: str, side_px: int, max_pixels: int = MAX_PIXELS) -> Image:
    """Image `path` below `root`, upright, squeezed to a square of `side_px` greys.

    Of a JPEG only the brightness is decoded, at up to an eighth of its size. Otherwise like
    `open_image`, to what it refuses.
    """
    with _opened(root, path) as file, _reading(file, path, max_pixels) as image:
        _refuse_damage(image, file, path)
        return _squeezed(image, side_px)


def image_bytes(root: Path, path: str, max_bytes: int) -> bytes | None:
    """Bytes of the file `path` below `root`, None when there are more than `max_bytes`.

    Not decoded. Raises `ImageError`.
    """
    with _opened(root, path) as file:
        data = file.read(max_bytes + 1)
    return data if len(data) <= max_bytes else None


def open_bytes(path: str, data: bytes, max_pixels: int = MAX_PIXELS) -> Image:
    """Image of a file held in memory, as `open_image` gives it; `path` is for its `ImageError`."""
    return _decode(BytesIO(data), path, max_pixels)


def ref_of_bytes(path: str, data: bytes, max_pixels: int = MAX_PIXELS) -> ImageRef:
    """Ref of an image file held in memory, decoded in full; raises `ImageError`."""
    if escapes(path):
        raise ImageError("path_escapes", path, "not inside the image root")
    if not data:
        raise ImageError("empty_image", path, "the file has no bytes")
    width, height = _decode(BytesIO(data), path, max_pixels).size
    return ImageRef(path, width, height, hashlib.sha256(data).hexdigest())


def header_of(path: str, data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[str, int, int]:
    """Pillow's name of an image's format, and its upright width and height in px.

    From the header alone; nothing says that what follows is whole. Raises `ImageError`.
    """
    with _reading(BytesIO(data), path, max_pixels) as image:
        width, height = image.size
        # Pillow gives the size of a TIFF upright, that of all others as it lies.
        turned = image.format != "TIFF" and image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
        return image.format or "", *((height, width) if turned else (width, height))


class ImageCatalog:
    """Refs of the images below `root`; the last `keep` answers, errors too, are remembered."""

    def __init__(self, root: Path, max_pixels: int = MAX_PIXELS, keep: int = 150_000) -> None:
        """Remember where images lie; nothing is read yet.

        An answer takes some 350 bytes, so that all images of the large question sets are looked at
        once only: their questions come in no order.
        """
        self.root, self.max_pixels, self._keep = root, max_pixels, keep
        self._known: OrderedDict[str, ImageRef | tuple[str, str]] = OrderedDict()
        self._sizes: ImageSizes | None = None

    def share(self, path: Path) -> None:
        """Share what was decoded with every process that names the same file, which may be new."""
        from PIL import __version__ as pillow

        self._sizes = ImageSizes(path, f"pillow {pillow}, {self.max_pixels} px")

    def ref(self, path: str) -> ImageRef:
        """Ref with the sha256 of the file's bytes and its upright size in px.

        Raises `ImageError` for a file that cannot be used.
        """
        known = self._known.get(path)
        if known is None:
            known = self._look(path)
            self._known[path] = known
            if len(self._known) > self._keep:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(path)
        if isinstance(known, ImageRef):
            return known
        # A fresh exception each time: raising a kept one again would grow its traceback.
        raise ImageError(known[0], path, known[1])

    def _look(self, path: str) -> ImageRef | tuple[str, str]:
        try:
            with _opened(self.root, path) as file:
                digest = hashlib.file_digest(file, "sha256")
                known = self._sizes and self._sizes.get(digest.digest())
                width, height = known or self._decoded(file, path, digest.digest())
            return ImageRef(path, width, height, digest.hexdigest())
        except ImageError as error:
            return error.reason, error.detail

    def _decoded(self, file: BinaryIO, path: str, digest: bytes) -> tuple[int, int]:
        file.seek(0)
        # Decoding in full, not the header alone, is what finds truncated files.
        size = _decode(file, path, self.max_pixels).size
        if self._sizes is not None:
            self._sizes.put(digest, size)
        return size


@contextmanager
def _opened(root: Path, path: str) -> Iterator[BufferedReader | BytesIO]:
    """The image's bytes: a file below `root`, or a member of an archive below it."""
    if escapes(path):
        raise ImageError("path_escapes", path, "not inside the image root")
    inside = split_archive(path)
    if inside is None or _is_folder(root / inside[0]):
        with _file(root, path) as file:
            yield file
        return
    with _file(root, inside[0]):
        try:
            data = read_member(root / inside[0], inside[1])
        except MemberError as error:
            raise ImageError(error.reason, path, error.detail) from error
        except OSError as error:
            raise ImageError("missing_image", path, error.strerror or str(error)) from error
    yield BytesIO(data)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # too long a name, say
        return False


@contextmanager
def _file(root: Path, path: str) -> Iterator[BufferedReader]:
    """The file, once known to lie inside `root` (links followed), to be regular and not empty."""
    full = root / path
    try:
        status = _status_unlinked(root, path)
        if status is None:
            if not full.resolve().is_relative_to(root.resolve()):
                raise ImageError("path_escapes", path, "a link leads out of the image root")
            status = full.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not_an_image", path, "not a regular file")
        if status.st_size == 0:
            raise ImageError("empty_image", path, "the file has no bytes")
        file = full.open("rb")
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        detail = getattr(error, "strerror", None) or str(error)
        raise ImageError("missing_image", path, str(detail)) from error
    with file:
        yield file


def _status_unlinked(root: Path, path: str) -> os.stat_result | None:
    """Status of a file that no link below `root` leads to, None where one does.

    Following all links from `/` on, twice, takes longer than reading a small image.
    """
    here, status = os.fspath(root), None
    for part in PurePath(path).parts:
        here = f"{here}/{part}"
        status = os.lstat(here)
        if stat.S_ISLNK(status.st_mode):
            return None
    return status


def _decode(file: BinaryIO, path: str, max_pixels: int, shrink_to: int = 0) -> Image:
    with _reading(file, path, max_pixels) as image:
        _refuse_damage(image, file, path)
        if shrink_to:
            scale = shrink_to / max(image.size)
            image.draft("RGB", (int(image.width * scale) or 1, int(image.height * scale) or 1))
        return _in_full(image)


def _refuse_damage(image: Image, file: BinaryIO, path: str) -> None:
    damage = png_damage(file) if image.format == "PNG" else ""
    if damage:
        raise ImageError("corrupt_image", path, damage)


@contextmanager
def _reading(file: BinaryIO, path: str, max_pixels: int) -> Iterator[Image]:
    """The image of a file, its header read; whatever Pillow raises for it is an `ImageError`."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    with warnings.catch_warnings():
        # Pillow warns about metadata nobody reads here, and about sizes that are checked below.
        warnings.simplefilter("ignore")
        Pillow.init()
        formats = [name for name in _FORMATS if name in Pillow.OPEN]
        try:
            with Pillow.open(file, formats=formats) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise ImageError("image_bomb", path, f"{width}x{height} px > {max_pixels} px")
                yield image
        except Pillow.DecompressionBombError as error:
            raise ImageError("image_bomb", path, str(error)) from error
        except UnidentifiedImageError as error:
            file.seek(0)
            if file.read(4).startswith(_SIGNATURES):
                raise ImageError("corrupt_image", path, "its header is damaged") from error
            raise ImageError(
                "not_an_image", path, f"none of the formats {', '.join(formats)}"
            ) from error
        except _DECODE_ERRORS as error:
            raise ImageError("corrupt_image", path, str(error)) from error


def _in_full(image: Image) -> Image:
    from PIL import ImageOps

    image.load()
    # In place: a copy of a photograph takes as long as decoding it.
    ImageOps.exif_transpose(image, in_place=True)
    return _to_rgb(image)


def _squeezed(image: Image, side_px: int) -> Image:
    """A square of greys of an opened file."""
    from PIL import ImageOps
    from PIL.Image import Resampling

    # Half as much again as the square can show, so that the decoder's rough shrinking does no harm.
    enough_px = side_px * 3 // 2
    draft = image.draft("L", (enough_px, enough_px))
    if draft is None:
        whole, box = _in_full(image), None
    else:
        image.load()
        # Where the scale does not divide a side, part of the last row or column is made up.
        whole, box = image.convert("RGB") if image.mode == "CMYK" else image, draft[1]
    small = whole.convert("L").resize((side_px, side_px), Resampling.LANCZOS, box, reducing_gap=3.0)
    return small if draft is None else ImageOps.exif_transpose(small)


def _to_rgb(image: Image) -> Image:
    """`image` as 8-bit RGB: deep greys scaled, alpha laid on white."""
    from PIL import Image as Pillow

    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith(("I", "F")):
        return _to_grey(image).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Pillow.new("RGBA", image.size, (255, 255, 255, 255))
        return Pillow.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _to_grey(image: Image) -> Image:
    """8-bit grey of a deep image; `convert` alone would clip everything above 255 to white."""
    import numpy as np
    from PIL import Image as Pillow

    values = np.asarray(image, dtype=np.float64)
    if image.mode.startswith("I;16"):
        values = values / 257.0
    elif image.mode == "F" and values.max(initial=0.0) <= 1.0:
        values = values * 255.0
    elif values.max(initial=0.0) > 255.0:
        values = values / 257.0
    return Pillow.fromarray(np.clip(np.rint(np.nan_to_num(values)), 0, 255).astype(np.uint8))
