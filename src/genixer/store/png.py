"""Checksums of PNG files: Pillow's decoder passes over those of the pixels."""

from __future__ import annotations

import zlib
from typing import BinaryIO

__all__ = ["wrong_checksum"]

_SIGNATURE_BYTES = 8
_AT_ONCE = 1 << 20


def wrong_checksum(file: BinaryIO) -> int | None:
    """Byte at which the first chunk with a wrong checksum begins; None where all are right.

    Looks as far as the end mark, or as the chunks are whole: what is cut off is the decoder's to
    say. The place in `file` stays what it was.

    >>> from io import BytesIO
    >>> chunk = bytes([0, 0, 0, 1]) + b"tEXt!"
    >>> wrong_checksum(BytesIO(bytes(8) + chunk + zlib.crc32(chunk[4:]).to_bytes(4, "big")))
    >>> wrong_checksum(BytesIO(bytes(8) + chunk + bytes(4)))
    8
    """
    before = file.tell()
    try:
        return _first_wrong(file)
    finally:
        file.seek(before)


def _first_wrong(file: BinaryIO) -> int | None:
    at = file.seek(_SIGNATURE_BYTES)
    while len(head := file.read(8)) == 8:
        left = length = int.from_bytes(head[:4], "big")
        found = zlib.crc32(head[4:])
        while left and (piece := file.read(min(left, _AT_ONCE))):
            found = zlib.crc32(piece, found)
            left -= len(piece)
        promised = file.read(4)
        if left or len(promised) < 4:
            return None
        if found != int.from_bytes(promised, "big"):
            return at
        if head[4:] == b"IEND":
            return None
        at += 12 + length
    return None
