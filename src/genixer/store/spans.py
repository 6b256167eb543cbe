"""Where the entries of a large file lie, found in one pass whose memory does not grow with it."""

from __future__ import annotations

import codecs
import os
import re
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Spans", "SpansError", "array_spans", "line_spans"]

_CHUNK = 1 << 20
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_OPEN, _CLOSE, _COMMA, _QUOTE = 1, 2, 3, 4
_KIND = {"[": _OPEN, "{": _OPEN, "]": _CLOSE, "}": _CLOSE, ",": _COMMA, '"': _QUOTE}
_KINDS = bytes(_KIND.get(chr(byte), 0) for byte in range(256))
"""Kind of every byte, 0 for most."""
_PAIRS = {b"[": b"]", b"{": b"}"}


class SpansError(ValueError):
    """A file that does not hold what was asked for; the message says why."""


class Spans(NamedTuple):
    """Entry i lies at bytes `starts[i]` to `ends[i]`; `lines[i]` is its line, in files of lines."""

    starts: array[int]
    ends: array[int]
    lines: array[int]


def line_spans(file: BinaryIO) -> Spans:
    r"""Lines of `file` that are not blank, without their line ends.

    >>> import io
    >>> line_spans(io.BytesIO(b"one\r\n\ntwo"))
    Spans(starts=array('q', [0, 6]), ends=array('q', [3, 9]), lines=array('q', [1, 3]))
    """
    spans = Spans(array("q"), array("q"), array("q"))
    at = _after_mark(file)
    file.seek(at)
    for number, line in enumerate(file, start=1):
        words = line.rstrip(b"\r\n")
        if words.strip():
            spans.starts.append(at)
            spans.ends.append(at + len(words))
            spans.lines.append(number)
        at += len(line)
    return spans


def array_spans(file: BinaryIO, key: str = "") -> Spans:
    """Entries of the JSON array that `file` is, or of the one at `key` of the object that it is.

    Only brackets, commas and quotes are looked at: what lies between is checked when it is read,
    so that one broken entry does not cost the others. Raises `SpansError` when there is no such
    array or the file ends inside it.

    >>> import io
    >>> array_spans(io.BytesIO(b'{"a": [1, "x,]"], "b": []}'), "a").starts
    array('q', [7, 9])
    """
    finder = _Finder(file, key)
    for events in _events(file, _after_mark(file), finder.level):
        finder.take(events)
    return finder.done()


def _after_mark(file: BinaryIO) -> int:
    file.seek(0)
    return len(codecs.BOM_UTF8) if file.read(3) == codecs.BOM_UTF8 else 0


class _Events(NamedTuple):
    """Brackets and commas of one chunk that are not inside strings, outermost levels only.

    `levels` is the depth of the bracket, or of the bracket a comma stands in: 1 is the outermost.
    """

    places: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    levels: NDArray[np.int64]


def _events(file: BinaryIO, at: int, deepest: int) -> Iterator[_Events]:
    """Events down to level `deepest`; raises `SpansError` when the file ends inside something."""
    import numpy as np

    depth, inside, escaped = 0, False, False
    file.seek(at)
    while chunk := file.read(_CHUNK):
        size = len(chunk)
        if escaped:
            chunk = b"_" + chunk[1:]
        if b"\\" in chunk:
            chunk = _ESCAPE.sub(b"__", chunk)
        escaped = chunk.endswith(b"\\")
        kinds = np.frombuffer(chunk.translate(_KINDS), np.uint8)
        places = np.flatnonzero(kinds != 0)
        kinds = kinds[places]
        quotes = kinds == _QUOTE
        odd = np.logical_xor.accumulate(quotes) ^ inside
        inside = bool(odd[-1]) if len(odd) else inside
        outside = ~(odd | quotes)
        places, kinds = places[outside], kinds[outside]
        depths = depth + np.cumsum((kinds == _OPEN).astype(np.int64) - (kinds == _CLOSE))
        depth = int(depths[-1]) if len(depths) else depth
        levels = depths + (kinds == _CLOSE)
        near = levels <= deepest
        yield _Events(places[near] + at, kinds[near], levels[near])
        at += size
    if inside or depth > 0:
        raise SpansError(f"it ends inside {'a string' if inside else 'a bracket'}: cut short?")


class _Finder:
    """Follows the brackets down to the wanted array and notes where its commas are."""

    def __init__(self, file: BinaryIO, key: str) -> None:
        self._file, self._key, self.level = file, key, 2 if key else 1
        self._start = _after_mark(file)
        self._size = file.seek(0, os.SEEK_END)
        self._opened: dict[int, bytes] = {}
        self._member = 0
        self._root_end = self._array_start = self._array_end = -1
        self._commas = array("q")

    def take(self, events: _Events) -> None:
        """Brackets one by one, and the commas of the wanted array all at once."""
        import numpy as np

        inner = (events.kinds == _COMMA) & (events.levels == self.level)
        steps = np.flatnonzero(~inner).tolist()
        before = 0
        for step in [*steps, len(inner)]:
            if self._array_start >= 0 > self._array_end:
                self._commas.frombytes(events.places[before:step].astype(np.int64).tobytes())
            before = step + 1
            if step < len(inner):
                self._step(
                    int(events.places[step]), int(events.kinds[step]), int(events.levels[step])
                )

    def _step(self, at: int, kind: int, level: int) -> None:
        if level < 1 or (level == 1 and self._root_end >= 0):
            raise SpansError(f"more follows its end, at byte {at}")
        if kind == _COMMA:
            self._member = at + 1
            return
        character = self._bytes(at, at + 1)
        if kind == _OPEN:
            self._opened[level] = character
            self._open(at, level, character)
        else:
            if _PAIRS[self._opened[level]] != character:
                raise SpansError(f"a bracket is closed by another kind at byte {at}")
            if level == self.level and self._array_start >= 0 > self._array_end:
                self._array_end = at
            if level == 1:
                self._root_end = at

    def _open(self, at: int, level: int, character: bytes) -> None:
        if level == 1:
            if character != (b"{" if self._key else b"[") or not self._blank(self._start, at):
                raise SpansError(f"it starts with {self._bytes(self._start, self._start + 12)!r}")
            self._member = at + 1
        if level != self.level or self._array_start >= 0:
            return
        if not self._key or self._name(at) == self._key:
            if character != b"[":
                raise SpansError(f"{self._key!r} is not an array")
            self._array_start = at + 1

    def _name(self, at: int) -> str:
        """Key of the member whose value starts at `at`, or an empty string."""
        name, colon, rest = self._bytes(self._member, at).rpartition(b":")
        try:
            return msgspec.json.decode(name, type=str) if colon and not rest.strip() else ""
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""

    def done(self) -> Spans:
        """Spans between the commas."""
        if self._root_end < 0:
            raise SpansError("it has no brackets")
        if self._array_start < 0:
            raise SpansError(f"no {self._key!r} in it: is it another file?")
        if not self._blank(self._root_end + 1, self._size):
            raise SpansError(f"more follows its end, at byte {self._root_end + 1}")
        starts, ends = array("q", [self._array_start]), array("q", self._commas)
        starts.extend(comma + 1 for comma in self._commas)
        ends.append(self._array_end)
        if len(starts) == 1 and self._blank(starts[0], ends[0]):
            return Spans(array("q"), array("q"), array("q"))
        return Spans(starts, ends, array("q"))

    def _bytes(self, start: int, end: int) -> bytes:
        """Bytes of the file, at most 4096; the place where the scan reads is not moved."""
        here = self._file.tell()
        self._file.seek(start)
        data = self._file.read(min(end - start, 4096))
        self._file.seek(here)
        return data

    def _blank(self, start: int, end: int) -> bool:
        while start < end and not (piece := self._bytes(start, end)).strip():
            start += max(1, len(piece))
        return start >= end
