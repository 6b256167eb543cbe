"""An append-only file of rows that outlive a kill before the shard they belong to is committed.

Each row is a frame: a mark, the length of the row (u32), the xxh3-64 of length and row (u64), all
little-endian, then the row. A frame proves itself, so what is whole is used and the rest is told
of: a torn tail is cut off, a damaged stretch in the middle is moved aside.

Rows go to the system at once, so that no death of the process loses any. The disk is waited for at
most every `SYNC_ROWS` rows or `SYNC_S` seconds (group commit): a power cut loses fewer than
`SYNC_ROWS` rows, all of which came within `SYNC_S` seconds of the sync before.
"""

from __future__ import annotations

import logging
import os
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import xxhash

from genixer.store.disk import free_name, full_disk, make_folder, sync_folder, write_atomic

__all__ = ["SYNC_ROWS", "SYNC_S", "Journal"]

log = logging.getLogger(__name__)

SYNC_ROWS = 4096
"""Rows that may lie with the system, not yet on disk."""
SYNC_S = 1.0
"""Seconds that rows may arrive in without being synced."""
_MARK = b"\xf5JR\n"
_HEAD = struct.Struct("<IQ")
_START = len(_MARK) + _HEAD.size


class Journal:
    """One journal, open for appending; `rows` are those found when it was opened.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "journal"
    >>> with Journal(path) as journal:
    ...     journal.append([b"one", b"two"])
    >>> Journal(path).rows
    [b'one', b'two']
    """

    def __init__(self, path: Path) -> None:
        """Read what is there, mending what a crash left; `path` need not exist yet."""
        self.path = path
        self.rows = _recover(path)
        self._handle: int | None = None
        self._new = not path.exists()
        self._unsynced = 0
        self._synced_s = time.monotonic()

    def __enter__(self) -> Journal:
        """Nothing is opened before there is something to write."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close, without waiting for the disk: most often the shard is committed right after."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def append(self, rows: Iterable[bytes]) -> None:
        """Write `rows` as one piece; raises `StoreError` on a full disk, keeping whole frames."""
        frames = [_frame(row) for row in rows]
        data = b"".join(frames)
        with full_disk(self.path, len(data)):
            handle = self._opened()
            end = os.lseek(handle, 0, os.SEEK_END)
            try:
                _write_all(handle, data)
            except OSError:
                os.ftruncate(handle, end)  # what is half written must not stand before the next
                raise
        self._unsynced += len(frames)
        # A clock that was set back counts as time that passed.
        if self._unsynced >= SYNC_ROWS or not 0 <= time.monotonic() - self._synced_s < SYNC_S:
            self.sync()

    def sync(self) -> None:
        """Wait until everything appended is on disk."""
        if self._handle is not None and self._unsynced:
            with full_disk(self.path, 0):
                os.fsync(self._handle)
                if self._new:
                    sync_folder(self.path.parent)
                    self._new = False
        self._unsynced = 0
        self._synced_s = time.monotonic()

    def _opened(self) -> int:
        if self._handle is None:
            make_folder(self.path.parent)
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        return self._handle


def _frame(row: bytes) -> bytes:
    return b"".join((_MARK, _HEAD.pack(len(row), _digest(row)), row))


def _digest(row: bytes) -> int:
    return xxhash.xxh3_64_intdigest(row, seed=len(row))


def _write_all(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def _recover(path: Path) -> list[bytes]:
    """Rows of all whole frames; afterwards `path` holds these and nothing else."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    rows, bad = list[bytes](), list[tuple[int, int]]()
    at = 0
    for start, row in _whole_frames(data):
        if start > at:
            bad.append((at, start))
        rows.append(row)
        at = start + _START + len(row)
    if bad:
        _set_aside(path, data, bad, rows)
    if at < len(data):
        log.warning(
            "%s: its last %d bytes are no whole row (cut off by a crash) and are dropped; "
            "%d rows are whole",
            *(path, len(data) - at, len(rows)),
        )
    if bad or at < len(data):
        write_atomic(path, b"".join(map(_frame, rows)))
    return rows


def _whole_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every frame that proves itself, with its place; looks for the next one after damage."""
    at = data.find(_MARK)
    while at >= 0:
        row = _row_at(data, at)
        if row is not None:
            yield at, row
        at = data.find(_MARK, at + (1 if row is None else _START + len(row)))


def _row_at(data: bytes, at: int) -> bytes | None:
    start = at + _START
    if start > len(data):
        return None
    size, digest = _HEAD.unpack_from(data, at + len(_MARK))
    row = data[start : start + size]
    return row if len(row) == size and _digest(row) == digest else None


def _set_aside(path: Path, data: bytes, bad: list[tuple[int, int]], rows: list[bytes]) -> None:
    """Keep a copy of a journal that was damaged where no crash can have torn it."""
    aside = free_name(path)
    write_atomic(aside, data)
    log.warning(
        "%s: bytes %d to %d are damaged%s; a copy is in %s, what stood there is done again "
        "(%d rows are whole)",
        *(path, *bad[0], f", and {len(bad) - 1} more places" if bad[1:] else ""),
        *(aside.name, len(rows)),
    )
