"""Damage of PNG files that Pillow's decoder passes over: it looks at no checksum of the pixels."""

from __future__ import annotations

import zlib
from typing import BinaryIO

__all__ = ["png_damage"]

_SIGNATURE_BYTES = 8
_AT_ONCE = 1 << 20


def png_damage(file: BinaryIO) -> str:
    """What is wrong with the first damaged chunk; empty where the chunks of the pixels are sound.

    Looks as far as the end mark. Of what is cut off only pixels are missed. The place in `file`
    stays what it was.

    >>> from io import BytesIO
    >>> chunk = bytes([0, 0, 0, 1]) + b"tEXt!"
    >>> png_damage(BytesIO(bytes(8) + chunk + zlib.crc32(chunk[4:]).to_bytes(4, "big")))
    ''
    >>> png_damage(BytesIO(bytes(8) + chunk + bytes(4)))
    'a wrong checksum at byte 8'
    """
    before = file.tell()
    try:
        return _first_damage(file)
    finally:
        file.seek(before)


def _first_damage(file: BinaryIO) -> str:
    at = file.seek(_SIGNATURE_BYTES)
    while len(head := file.read(8)) == 8:
        left = length = int.from_bytes(head[:4], "big")
        kind = head[4:]
        found = zlib.crc32(kind)
        while left and (piece := file.read(min(left, _AT_ONCE))):
            found = zlib.crc32(piece, found)
            left -= len(piece)
        promised = file.read(4)
        if len(promised) < 4:
            return f"pixels that are cut off at byte {at}" if kind == b"IDAT" else ""
        if found != int.from_bytes(promised, "big"):
            return f"a wrong checksum at byte {at}"
        if kind == b"IEND":
            return ""
        at += 12 + length
    return ""
