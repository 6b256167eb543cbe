"""Image headers read from bytes alone: enough to tell a sound JPEG, PNG or WebP from a suspect.

A reader gives a `Header` only for a file that is as it should be in every respect looked at; for
anything else, None: the file needs a second look by a decoder. Python alone, a few microseconds.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

__all__ = ["Header", "read_header"]


class Header(NamedTuple):
    """What a header says: stored size in px, and what makes programs read the file differently."""

    width: int
    height: int
    orientation: int = 1
    cmyk: bool = False
    deep: bool = False
    damage: str = ""
    body: int = 0
    """Where the pixels of a JPEG begin, in bytes; 0 for the others."""


def read_header(data: memoryview, size: int) -> Header | None:
    """Header of a file of `size` bytes, of which `data` are the first (or all); else None.

    A JPEG may be given in part; what follows its header is not looked at here.
    """
    if bytes(data[:3]) == b"\xff\xd8\xff":
        return _jpeg(data)
    if bytes(data[:8]) == b"\x89PNG\r\n\x1a\n":
        return _png(data) if len(data) == size else None
    if bytes(data[:4]) == b"RIFF" and bytes(data[8:12]) == b"WEBP":
        return _webp(data, size)
    return None


# Start-of-frame markers of the kinds that decoders know: baseline, extended, progressive.
_FRAMES = (0xC0, 0xC1, 0xC2)
_OTHER_FRAMES = (0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_SCAN, _APP1, _APP2 = 0xDA, 0xE1, 0xE2


def _jpeg(data: memoryview) -> Header | None:
    """Walk the segments up to the first scan."""
    at, end, orientation, frame = 2, len(data) - 10, 1, None
    while at < end:
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        length = data[at + 2] << 8 | data[at + 3]
        if marker in _FRAMES:
            frame = data[at + 4 : at + 10]
        elif marker in (_APP1, _APP2):
            found = _application(data[at + 4 : at + 2 + length], marker)
            if found is None:
                return None
            orientation = found or orientation
        elif marker == _SCAN:
            return _jpeg_frame(frame, orientation, at)
        elif marker < 0xC0 or marker in _OTHER_FRAMES or 0xD0 <= marker <= 0xD9:
            return None
        at += 2 + length
    return None


def _jpeg_frame(frame: memoryview | None, orientation: int, body: int) -> Header | None:
    if frame is None or frame[0] != 8 or frame[5] not in (1, 3, 4):
        return None
    height, width = frame[1] << 8 | frame[2], frame[3] << 8 | frame[4]
    if not width or not height:
        return None
    return Header(width, height, orientation, cmyk=frame[5] == 4, body=body)


def _application(segment: memoryview, marker: int) -> int | None:
    """Orientation that a segment of metadata asks for, 0 if none; None for what is unusual."""
    if marker == _APP2:
        return None if bytes(segment[:4]) == b"MPF\0" else 0
    if bytes(segment[:6]) == b"Exif\0\0":
        return _exif_orientation(segment[6:])
    return None if b"rientation" in bytes(segment) else 0


def _exif_orientation(tiff: memoryview) -> int | None:
    """Entry 0x0112 of the first directory, 0 if it is not there; None for what is unusual."""
    orders = {b"II*\0": "little", b"MM\0*": "big"}
    order = orders.get(bytes(tiff[:4]))
    if order is None or len(tiff) < 10:
        return None

    def number(at: int, count: int) -> int:
        return int.from_bytes(tiff[at : at + count], order)  # type: ignore[arg-type]

    start = number(4, 4)
    entries = number(start, 2)
    if start + 2 + entries * 12 > len(tiff):
        return None
    for at in range(start + 2, start + 2 + entries * 12, 12):
        if number(at, 2) == 0x0112:
            value = number(at + 8, 2)
            return value if number(at + 2, 2) == 3 and 1 <= value <= 8 else None
    return 0


# Chunks of a PNG that decide nothing about how it is shown upright; any other asks for a decoder.
_PLAIN = (b"PLTE", b"IDAT", b"gAMA", b"cHRM", b"sRGB", b"sBIT", b"tRNS", b"bKGD", b"pHYs", b"tIME")
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_TURNING = (b"XML:com.adobe.xmp", b"Raw profile type")
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def _png(data: memoryview) -> Header | None:
    """Check every chunk's sum up to the end mark."""
    if len(data) < 57 or bytes(data[12:16]) != b"IHDR":
        return None
    header = _png_frame(data)
    at, size, pixels = 8, len(data), False
    while header is not None and at + 12 <= size:
        length = int.from_bytes(data[at : at + 4], "big")
        kind = bytes(data[at + 4 : at + 8])
        end = at + 8 + length
        if end + 4 > size:
            return None
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return header._replace(damage=f"a wrong checksum at byte {at}")
        if kind == b"IEND":
            return header if pixels else None
        pixels = pixels or kind == b"IDAT"
        if at > 8 and kind not in _PLAIN and not _harmless(kind, data[at + 8 : end]):
            return None
        at = end + 4
    return None


def _png_frame(data: memoryview) -> Header | None:
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    depth, colour = data[24], data[25]
    if not width or not height or depth not in _DEPTHS.get(colour, ()):
        return None
    return Header(width, height, deep=depth == 16)


def _harmless(kind: bytes, body: memoryview) -> bool:
    return kind in _TEXTS and not any(word in bytes(body[:80]) for word in _TURNING)


def _webp(data: memoryview, size: int) -> Header | None:
    """Size from the first chunk; frames, EXIF and a length that is not the file's are unusual."""
    if len(data) < 30 or int.from_bytes(data[4:8], "little") + 8 != size:
        return None
    kind = bytes(data[12:16])
    if kind == b"VP8X":
        if data[20] & 0x0E:  # EXIF, XMP or animation
            return None
        width = int.from_bytes(data[24:27], "little") + 1
        return Header(width, int.from_bytes(data[27:30], "little") + 1)
    if kind == b"VP8 " and bytes(data[23:26]) == b"\x9d\x01\x2a":
        width = int.from_bytes(data[26:28], "little") & 0x3FFF
        return Header(width, int.from_bytes(data[28:30], "little") & 0x3FFF)
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    return None
