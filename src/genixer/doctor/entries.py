"""Raw entries of files of any length, one at a time: what is broken is one entry, not the file."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from genixer.errors import ConfigError
from genixer.store.entries import EntryError

__all__ = ["EntryStream"]

_BLOCK = 1 << 20
_LONGEST = 1 << 26
"""Bytes after which an entry is taken for one that does not end."""

# A string is passed over at once; a quote alone is one whose end has not been read yet.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[]\[{},"]', re.DOTALL)


class EntryStream:
    """Entries of some files, as bytes, each with a number that says where it stands.

    Names ending in `.jsonl` hold an entry a line, others one JSON list. Iterate as often as
    needed; memory holds one block. `broken` is filled on the way: files that end too early.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """Open nothing yet."""
        self.files = files
        self.broken: dict[Path, str] = {}

    def where(self, number: int) -> str:
        """`file:line` or `file[index]`."""
        file, at = divmod(number, 1 << 40)
        path = self.files[file]
        return f"{path.name}:{at}" if path.suffix == ".jsonl" else f"{path.name}[{at}]"

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """Pairs of number and raw entry; raises `ConfigError` for what cannot be read at all."""
        for position, path in enumerate(self.files):
            split = _lines if path.suffix == ".jsonl" else _array
            try:
                with path.open("rb") as file:
                    if file.read(3) != codecs.BOM_UTF8:
                        file.seek(0)
                    for at, raw in split(file, path):
                        yield position << 40 | at, raw
            except OSError as error:
                raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
            except EntryError as error:
                self.broken[path] = error.detail


def _lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := file.readline(_LONGEST):
        number += 1
        if len(line) == _LONGEST:
            raise EntryError("truncated_file", f"line {number} does not end")
        if line.strip():
            yield number, line.rstrip(b"\r\n")


def _array(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Entries of a list: the text between the commas that stand in no bracket and no string."""
    data = file.read(_BLOCK).lstrip()
    if not data.startswith(b"["):
        kind = "empty" if not data else "no JSON list; for an entry a line, name it .jsonl"
        raise ConfigError(f"{path}: the file is {kind}")
    index = depth = 0
    start = at = 1
    while True:
        for token in _TOKEN.finditer(data, at):
            mark, at = data[token.start()], token.end()
            if mark == _QUOTE and at - token.start() == 1:
                at = token.start()  # the rest of the string comes with the next block
                break
            if depth == 0 and mark in _ENDS:
                raw = data[start : token.start()].strip()
                if raw or mark == _COMMA or index:
                    yield index, raw
                index, start = index + 1, at
                if mark == _CLOSE:
                    _expect_nothing(data[at:], file)
                    return
            else:
                # Never below zero: a bracket too many spoils its entry, not those that follow.
                depth = max(0, depth + (mark in _OPENING) - (mark in _CLOSING))
        data, start, at = data[start:], 0, max(0, at - start)
        more = file.read(_BLOCK)
        if not more or len(data) > _LONGEST:
            raise EntryError("truncated_file", f"entry {index} does not end")
        data += more


_QUOTE, _COMMA, _CLOSE = b'",]'
_ENDS = b",]"
_OPENING, _CLOSING = b"[{", b"]}"


def _expect_nothing(rest: bytes, file: BinaryIO) -> None:
    while not rest.strip():
        rest = file.read(_BLOCK)
        if not rest:
            return
    raise EntryError("truncated_file", "there is text after the list")
