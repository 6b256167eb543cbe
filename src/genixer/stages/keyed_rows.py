"""Rows on disk, looked up by a key: how a stage sees other rows without keeping them in memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from genixer.errors import StoreError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["KeyedRows", "key_of", "write_keyed_rows"]

_ROWS, _INDEX = "rows.jsonl", "index.bin"
_ENTRY = [("key", "<u8"), ("offset", "<u8"), ("length", "<u8")]


def key_of(text: str) -> int:
    """Number below 2^64 that stands for `text`.

    >>> key_of("a") == key_of("a") != key_of("b")
    True
    """
    return xxhash.xxh3_64_intdigest(text.encode())


def write_keyed_rows(folder: Path, rows: Iterable[tuple[int, bytes]]) -> None:
    """Write `rows`, each a key and one line without its break; holds 24 bytes a row in memory."""
    import numpy as np

    entries = bytearray()
    offset = 0
    with (folder / _ROWS).open("wb") as file:
        for key, line in rows:
            file.write(line + b"\n")
            entries += np.array([key, offset, len(line)], dtype="<u8").tobytes()
            offset += len(line) + 1
    index = np.frombuffer(entries, dtype=_ENTRY)
    # Stable: rows of one key stay in the order they came.
    index[np.argsort(index["key"], kind="stable")].tofile(folder / _INDEX)


class KeyedRows:
    """What `write_keyed_rows` wrote. Two texts may share a key, so callers check what they get."""

    def __init__(self, folder: Path) -> None:
        """Open the index; raises `StoreError` when it is not there."""
        import numpy as np

        self._folder = folder
        try:
            self._index: np.ndarray[Any, Any] = np.fromfile(folder / _INDEX, dtype=_ENTRY)
            self._file = (folder / _ROWS).open("rb")
        except OSError as error:
            raise StoreError(
                f"{folder}: {error.strerror}; remove the step and run again"
            ) from error

    def __enter__(self) -> KeyedRows:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def get(self, key: int, most: int | None = None) -> list[bytes]:
        """Lines with `key`, in the order they were written, at most `most` of them."""
        import numpy as np

        keys, wanted = self._index["key"], np.uint64(key)
        first = int(np.searchsorted(keys, wanted, "left"))
        last = int(np.searchsorted(keys, wanted, "right"))
        found = self._index[first:last][:most]
        return [self._read(int(entry["offset"]), int(entry["length"])) for entry in found]

    def _read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        line = self._file.read(length)
        if len(line) != length:
            raise StoreError(f"{self._folder}: cut short; remove the step and run again")
        return line
