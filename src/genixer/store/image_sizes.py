"""Sizes of images that were decoded in full, on disk, for all workers of a step at once.

Keyed by the bytes of the image, so that an answer cannot be out of date: whoever asks has read and
hashed the file. It only saves decoding; what is lost or spoilt is decoded again.
"""

from __future__ import annotations

import os
import struct
import weakref
from pathlib import Path

import xxhash

__all__ = ["ImageSizes"]

_SLOT = struct.Struct("<32sIIQ")
_SLOTS_A_BUCKET = 8
_BUCKETS = 1 << 17
"""With 8 slots of 48 bytes: a million images, 48 MB at most; the file is sparse until then."""


class ImageSizes:
    """Table from the sha256 of an image file to its upright width and height in px.

    Any number of processes may use one file without locks: a slot carries a checksum, so that one
    that is torn or half written counts as empty. A full bucket loses an entry. Where the disk
    refuses to read or write, nothing is known.

    >>> import tempfile
    >>> sizes = ImageSizes(Path(tempfile.mkdtemp()) / "sizes", "any version")
    >>> sizes.get(b"0" * 32), sizes.put(b"0" * 32, (640, 480)), sizes.get(b"0" * 32)
    (None, None, (640, 480))
    """

    def __init__(self, path: Path, version: str) -> None:
        """Open or make the file; entries written under another `version` do not count."""
        self._salt = xxhash.xxh3_64_intdigest(version.encode())
        self._file: int | None = None
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            return
        weakref.finalize(self, os.close, self._file)

    def get(self, digest: bytes) -> tuple[int, int] | None:
        """Width and height of the image with this sha256, if they are known."""
        for held, width, height, check in self._bucket(digest):
            if held == digest and check == self._check(digest, width, height):
                return width, height
        return None

    def put(self, digest: bytes, size: tuple[int, int]) -> None:
        """Remember the size of an image."""
        slots = self._bucket(digest)
        free = (at for at, slot in enumerate(slots) if slot[3] != self._check(*slot[:3]))
        slot = next(free, len(slots))
        if slot == _SLOTS_A_BUCKET:
            slot = digest[8] % _SLOTS_A_BUCKET
        record = _SLOT.pack(digest, *size, self._check(digest, *size))
        if self._file is not None:
            try:
                os.pwrite(self._file, record, _place(digest) + slot * _SLOT.size)
            except OSError:  # a full disk, say: the next who asks decodes again
                return

    def _bucket(self, digest: bytes) -> list[tuple[bytes, int, int, int]]:
        """What the slots where `digest` may stand hold; fewer at the end of a young file."""
        if self._file is None:
            return []
        try:
            data = os.pread(self._file, _SLOTS_A_BUCKET * _SLOT.size, _place(digest))
        except OSError:
            return []
        whole = len(data) - len(data) % _SLOT.size
        return list(_SLOT.iter_unpack(data[:whole]))

    def _check(self, digest: bytes, width: int, height: int) -> int:
        return xxhash.xxh3_64_intdigest(digest + struct.pack("<II", width, height), self._salt)


def _place(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "little") % _BUCKETS * _SLOTS_A_BUCKET * _SLOT.size
