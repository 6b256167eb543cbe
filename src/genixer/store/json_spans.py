"""Where the entries of a large JSON file lie: found in one pass, without parsing or keeping them.

The pass looks at quotes, brackets and commas only, a few MB at a time, so that a file of any size
costs 8 bytes of memory an entry. Whether an entry is JSON shows when it is read.
"""

from __future__ import annotations

import codecs
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from genixer.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    _Offsets: TypeAlias = np.ndarray[Any, np.dtype[np.uint64]]

__all__ = ["find_spans", "line_spans"]

_CHUNK = 1 << 22
_BLANK = b" \t\r\n"
_LOOKED_AT = bytes(byte in b'"[]{},' for byte in range(256))
_NAMES = {b"[": "an array", b"{": "an object"}


@dataclass
class _Scan:
    """What is known at one place of the file."""

    opening: bytes
    depth: int = 0
    inside_string: int = 0
    escaping: int = 0
    """1 when the last byte was a backslash that escapes the next."""
    cuts: array[int] = field(default_factory=lambda: array("Q"))
    """Offsets of the bracket that opens, of every comma between two entries, and of the last."""
    closed: bool = False


def find_spans(path: Path, opening: bytes, start: int = 0, stop: int | None = None) -> array[int]:
    """Cuts of the array (`[`) or object (`{`) that bytes `start` to `stop` of a file hold.

    Entry i lies between cuts i and i + 1, cut bytes left out; n entries have n + 1 cuts, and none
    have one. Raises `ConfigError` when there is something else or the file ends in the middle.
    """
    found = _Scan(opening)
    with _opened(path) as file:
        size = file.seek(0, 2) if stop is None else stop
        first = _first_word(file, path, start, size)
        file.seek(first)
        if file.read(1) != opening:
            raise ConfigError(f"{path}: expected JSON, {_NAMES[opening]}; is it another file?")
        for at, chunk in _chunks(file, first, size):
            _advance(found, path, at, chunk)
    if not found.closed:
        raise ConfigError(
            f"{path}: expected JSON, {_NAMES[opening]}; it ends in the middle: fetch it again"
        )
    if len(found.cuts) == 2 and _is_blank(path, found.cuts[0] + 1, found.cuts[1]):
        found.cuts.pop()
    return found.cuts


def line_spans(path: Path) -> tuple[array[int], array[int], array[int]]:
    """Starts, stops and numbers of the lines that are not blank; numbers count from 1."""
    starts, stops, numbers = array("Q"), array("Q"), array("Q")
    at, number = 0, 1
    with _opened(path) as file:
        # A chunk ends where a line does.
        while chunk := file.read(_CHUNK) + file.readline():
            begins, ends, lines = _lines(chunk, at == 0)
            starts.frombytes((begins + at).tobytes())
            stops.frombytes((ends + at).tobytes())
            numbers.frombytes((lines + number).tobytes())
            at += len(chunk)
            number += chunk.count(b"\n")
    return starts, stops, numbers


def _lines(chunk: bytes, first: bool) -> tuple[_Offsets, _Offsets, _Offsets]:
    """Begin, end and number (from 0) of each line of whole lines that is not blank.

    `first`: whether they begin the file, perhaps with a byte order mark.
    """
    import numpy as np

    data = np.frombuffer(chunk, dtype=np.uint8)
    ends = np.flatnonzero(data == ord("\n")).astype(np.uint64)
    if not chunk.endswith(b"\n"):
        ends = np.append(ends, np.uint64(len(chunk)))
    begins = np.concatenate((np.zeros(1, np.uint64), ends[:-1] + np.uint64(1)))
    if first and chunk.startswith(codecs.BOM_UTF8):
        begins[0] = len(codecs.BOM_UTF8)
    kept = np.ones(len(ends), dtype=bool)
    # Only a line with a blank at its beginning can be blank, only one with a return be too long.
    doubtful = _blanks()[data[np.minimum(begins, len(data) - 1).astype(np.int64)]]
    doubtful |= begins == ends
    doubtful |= data[np.maximum(ends, 1).astype(np.int64) - 1] == ord("\r")
    for index in np.flatnonzero(doubtful):
        line = chunk[int(begins[index]) : int(ends[index])]
        kept[index] = bool(line.strip())
        ends[index] = begins[index] + np.uint64(len(line.rstrip(b"\r\n")))
    return begins[kept], ends[kept], np.flatnonzero(kept).astype(np.uint64)


@cache
def _blanks() -> np.ndarray[Any, Any]:
    """By byte: whether `bytes.strip` takes it away."""
    import numpy as np

    blanks = np.zeros(256, dtype=bool)
    blanks[list(b" \t\n\r\x0b\x0c")] = True
    return blanks


def _opened(path: Path) -> BinaryIO:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not file.read(1):
        file.close()
        raise ConfigError(f"{path}: the file is empty")
    file.seek(0)
    return file


def _first_word(file: BinaryIO, path: Path, start: int, stop: int) -> int:
    """Offset of the first byte that is neither blank nor a byte order mark."""
    file.seek(start)
    if start == 0 and file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8:
        start = len(codecs.BOM_UTF8)
    for at, chunk in _chunks(file, start, stop):
        words = chunk.lstrip(_BLANK)
        if words:
            return at + len(chunk) - len(words)
    raise ConfigError(f"{path}: the file is empty")


def _is_blank(path: Path, start: int, stop: int) -> bool:
    with path.open("rb") as file:
        return not any(chunk.strip(_BLANK) for _, chunk in _chunks(file, start, stop))


def _chunks(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    file.seek(start)
    while start < stop and (chunk := file.read(min(_CHUNK, stop - start))):
        yield start, chunk
        start += len(chunk)


def _advance(scan: _Scan, path: Path, at: int, chunk: bytes) -> None:
    """Take the chunk at offset `at` into account."""
    if scan.closed:
        _expect_blank(path, at, chunk)
        return
    import numpy as np

    places, marks = _marks(scan, chunk)
    steps = _steps()[marks]
    depths = scan.depth + np.cumsum(steps, dtype=np.int64)
    ends = np.flatnonzero((steps < 0) & (depths == 0))
    last = int(ends[0]) if len(ends) else len(marks)
    # The first bracket comes to depth 1 from 0; inner ones come back to it from below.
    opens = (depths == 1) & (steps > 0)
    commas = (depths == 1) & (marks == ord(","))
    wanted = (opens | commas)[:last]
    scan.cuts.frombytes((places[:last][wanted].astype(np.uint64) + np.uint64(at)).tobytes())
    if len(ends):
        end = int(places[last])
        if chunk[end : end + 1] != (b"]" if scan.opening == b"[" else b"}"):
            raise ConfigError(f"{path}: byte {at + end} closes what was not opened: {chunk[end]!r}")
        scan.cuts.append(at + end)
        scan.closed = True
        _expect_blank(path, at + end + 1, chunk[end + 1 :])
    elif len(depths):
        scan.depth = int(depths[-1])


def _expect_blank(path: Path, at: int, rest: bytes) -> None:
    if rest.strip(_BLANK):
        raise ConfigError(f"{path}: goes on after its end, near byte {at}: are these JSON lines?")


@cache
def _steps() -> np.ndarray[Any, Any]:
    """By byte: 1 for a bracket that opens, -1 for one that closes."""
    import numpy as np

    steps = np.zeros(256, dtype=np.int8)
    steps[list(b"[{")], steps[list(b"]}")] = 1, -1
    return steps


def _marks(scan: _Scan, chunk: bytes) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Offsets in the chunk of the brackets and commas outside strings, and these bytes."""
    import numpy as np

    data = np.frombuffer(chunk, dtype=np.uint8)
    hits = np.frombuffer(bytearray(chunk.translate(_LOOKED_AT)), dtype=bool)
    if scan.escaping:
        hits[0] = False
    scan.escaping = _drop_escaped(hits, chunk, data, scan.escaping)
    places = np.flatnonzero(hits)
    marks = data[places]
    quotes = marks == ord('"')
    parity = (np.cumsum(quotes, dtype=np.int64) + scan.inside_string) & 1
    if len(parity):
        scan.inside_string = int(parity[-1])
    outside = (parity == 0) & ~quotes
    return places[outside], marks[outside]


def _drop_escaped(
    hits: np.ndarray[Any, Any], chunk: bytes, data: np.ndarray[Any, Any], escaping: int
) -> int:
    """Clear the hits that a backslash escapes; 1 if the chunk's last byte escapes the next."""
    import numpy as np

    if b"\\" not in chunk:
        return 0
    slashes = np.flatnonzero(data == ord("\\"))
    breaks = np.flatnonzero(np.diff(slashes) != 1)
    firsts = slashes[np.concatenate(([0], breaks + 1))]
    lasts = slashes[np.concatenate((breaks, [len(slashes) - 1]))]
    lengths = lasts - firsts + 1
    if escaping and firsts[0] == 0:
        lengths[0] += 1  # its first backslash is escaped itself
    escaped = lasts[lengths % 2 == 1] + 1
    ends_inside = len(escaped) and escaped[-1] == len(chunk)
    hits[escaped[:-1] if ends_inside else escaped] = False
    return int(bool(ends_inside))
