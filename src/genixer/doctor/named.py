"""The images that rows name, each once, and what was found out about them."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import msgspec
import numpy as np

from genixer.doctor.rows import hash_of

__all__ = ["ImageTable", "Named", "spool"]

_IN_MEMORY = 1 << 23


def spool() -> tempfile.SpooledTemporaryFile[bytes]:
    """A file for lines that are read again soon; on disk from 8 MB on."""
    return tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)


class Named(NamedTuple):
    """One image: its place in the table, how many rows name it, and the number of the first."""

    slot: int
    path: str
    rows: int
    first: int


class ImageTable(AbstractContextManager["ImageTable"]):
    """Paths go to disk; memory holds their hashes and sizes.

    Add all paths, then `settle`, then look at them one by one and note what they are.
    """

    def __init__(self) -> None:
        """No path was named."""
        self._hashes = array("Q")
        self._lines = spool()

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def add(self, path: str, number: int) -> None:
        """Note that row `number` names the image `path`."""
        self._hashes.append(hash_of(path))
        self._lines.write(msgspec.json.encode((path, number)) + b"\n")

    def settle(self) -> int:
        """No more paths will come; says how many images there are."""
        hashes = np.frombuffer(self._hashes, dtype=np.uint64)
        self._unique, firsts, self._rows = np.unique(hashes, return_index=True, return_counts=True)
        self._order = np.argsort(firsts)
        self._firsts = firsts[self._order]
        self._sizes = np.zeros((len(self._unique), 2), dtype=np.uint32)
        return len(self._unique)

    def __iter__(self) -> Iterator[Named]:
        """Images in the order in which rows name them first."""
        self._lines.seek(0)
        wanted = zip(self._firsts.tolist(), self._order.tolist(), strict=True)
        line, slot = next(wanted, (None, 0))
        for position, text in enumerate(self._lines):
            if position == line:
                path, number = msgspec.json.decode(text)
                yield Named(slot, path, int(self._rows[slot]), number)
                line, slot = next(wanted, (None, 0))

    def note(self, slot: int, width: int, height: int) -> None:
        """Keep an image's upright size in px; 0 by 0 for one that cannot be used."""
        self._sizes[slot] = width, height

    def size(self, path: str) -> tuple[int, int]:
        """Upright size in px of an image that a row named; 0 by 0 when it cannot be used."""
        slot = self.slot(path)
        return (0, 0) if slot is None else (int(self._sizes[slot, 0]), int(self._sizes[slot, 1]))

    def slot(self, path: str) -> int | None:
        """Place of an image in the table; None when no row names it."""
        wanted = np.uint64(hash_of(path))
        slot = int(np.searchsorted(self._unique, wanted))
        return slot if slot < len(self._unique) and self._unique[slot] == wanted else None
