"""Arrays of one large JSON object, element by element, without loading the file.

The file is mapped; of each element only its place is kept, 16 bytes. Elements are looked at when
they are asked for, so a broken one is found then, and the others are not touched.
"""

from __future__ import annotations

import mmap
import re
from array import array
from pathlib import Path
from typing import TypeVar

from genixer.errors import ConfigError
from genixer.store.entry_files import decode_entry

__all__ = ["Elements", "mapped_arrays"]

T = TypeVar("T")

# Possessive everywhere: no input makes these go back over what they have read.
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_SPACE = re.compile(rb"[ \t\r\n]*+")
_KEY = re.compile(_STRING, re.S)
_PLAIN = re.compile(rb'[^\[\]{}",:\s]++')
_FLAT = re.compile(rb'\{(?:[^{}"]++|' + _STRING + rb")*+\}", re.S)
"""An object without objects in it, at one go: what most elements are."""
_MARK = re.compile(_STRING + rb'|[\[\]{}"]', re.S)


class _BrokenError(Exception):
    """Where the file stops being JSON."""


class Elements:
    """Elements of one array, by position."""

    def __init__(self, data: mmap.mmap, file: str, key: str) -> None:
        """None yet; the scanner adds them."""
        self._data, self._name = data, f"{file}:{key}"
        self._bounds = array("Q")

    def add(self, start: int, end: int) -> None:
        """One element more, at bytes `start` to `end`."""
        self._bounds.append(start)
        self._bounds.append(end)

    def __len__(self) -> int:
        """How many there are, broken ones included."""
        return len(self._bounds) // 2

    def place(self, index: int) -> str:
        """`file:key[index]`, without folders."""
        return f"{self._name}[{index}]"

    def raw(self, index: int) -> bytes:
        """Bytes of an element."""
        return self._data[self._bounds[2 * index] : self._bounds[2 * index + 1]]

    def read(self, index: int, kind: type[T]) -> T:
        """Element as a `kind`; raises `EntryError` (`not_utf8`, `not_json`, `bad_entry`)."""
        return decode_entry(self.raw(index), kind)


def mapped_arrays(path: Path) -> dict[str, Elements]:
    """Arrays of the object in the file at `path`, by key; it stays mapped while one is in use.

    Raises `ConfigError` when it is no JSON object, and when it ends early.
    """
    try:
        with path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    found: dict[str, Elements] = {}
    try:
        _scan(data, path.name, found)
    except _BrokenError as error:
        raise ConfigError(f"{path}: expected one JSON object; {error}") from error
    return found


def _scan(data: mmap.mmap, name: str, found: dict[str, Elements]) -> None:
    at = _expect(data, 3 if data[:3] == b"\xef\xbb\xbf" else 0, b"{")
    if data[at : at + 1] == b"}":
        return
    while True:
        match = _KEY.match(data, at)
        if match is None:
            raise _BrokenError(f"no key at byte {at}")
        key = match[0][1:-1].decode("utf-8", "backslashreplace")
        at = _expect(data, _skip(data, match.end()), b":")
        if data[at : at + 1] == b"[":
            found[key] = Elements(data, name, key)
            at = _array(data, at, found[key])
        else:
            at = _value_end(data, at)
        at = _skip(data, at)
        if data[at : at + 1] == b"}":
            break
        at = _expect(data, at, b",")
    if _skip(data, at + 1) != len(data):
        raise _BrokenError(f"something follows it at byte {at + 1}")


def _array(data: mmap.mmap, at: int, elements: Elements) -> int:
    """Note the elements of the array that begins at byte `at`; returns where it ends."""
    at = _expect(data, at, b"[")
    if data[at : at + 1] == b"]":
        return at + 1
    while True:
        end = _value_end(data, at)
        elements.add(at, end)
        at = _skip(data, end)
        if data[at : at + 1] == b"]":
            return at + 1
        at = _expect(data, at, b",")


def _value_end(data: mmap.mmap, at: int) -> int:
    """Where the value that begins at byte `at` ends; its inside is not judged."""
    flat = _FLAT.match(data, at) or _KEY.match(data, at) or _PLAIN.match(data, at)
    if flat is not None:
        return flat.end()
    depth = 0
    for mark in _MARK.finditer(data, at):
        token = mark[0]
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
        elif token == b'"' or not depth:
            break
        if not depth:
            return mark.end()
    raise _BrokenError(f"no end of what begins at byte {at}: is the file cut off?")


def _skip(data: mmap.mmap, at: int) -> int:
    match = _SPACE.match(data, at)
    return match.end() if match else at


def _expect(data: mmap.mmap, at: int, sign: bytes) -> int:
    """Byte after `sign` and the space around it."""
    at = _skip(data, at)
    if data[at : at + 1] != sign:
        raise _BrokenError(f"expected {sign.decode()!r} at byte {at}")
    return _skip(data, at + 1)
