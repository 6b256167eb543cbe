"""Writing one unit of work so that it becomes visible at once: rows, files, last its receipt."""

from __future__ import annotations

import base64
import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import msgspec
import xxhash

from genixer.data import SCHEMA, Quarantined, Rejected, encode_row
from genixer.errors import SettingsChangedError, StoreError
from genixer.store.disk import (
    digest_file,
    full_disk,
    make_folder,
    move,
    sync_files,
    sync_folder,
    write_atomic,
)
from genixer.store.fence import Fence, commit_fenced, create_once, stage_of
from genixer.store.layout import StepFolder
from genixer.store.manifest import Counts, FileEntry, Receipt, RowsEntry, read_receipt, write_stored
from genixer.store.workspaces import take_workspace

__all__ = ["UnitWriter", "raw_bytes", "raw_text"]

_BASE64 = "base64:"
_BUFFER = 1 << 18
"""Bytes of rows that are collected before they go to the file."""
_SNAKE = re.compile(r"[a-z][a-z0-9_]*")


def raw_text(raw: str | bytes) -> str:
    r"""Raw input as text that JSON can hold: itself if it is UTF-8, else `base64:` and its code.

    >>> raw_text(b"{broken"), raw_text(b"\xff")
    ('{broken', 'base64:/w==')
    """
    data = _as_bytes(raw) if isinstance(raw, str) else raw
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = _BASE64
    if text.startswith(_BASE64):
        return _BASE64 + base64.b64encode(data).decode("ascii")
    return text


def _as_bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair that no file name made
        return text.encode("utf-8", "surrogatepass")


def raw_bytes(text: str) -> bytes:
    r"""Bytes that `raw_text` was given.

    >>> raw_bytes(raw_text(b"\xff"))
    b'\xff'
    """
    if text.startswith(_BASE64):
        return base64.b64decode(text.removeprefix(_BASE64))
    return text.encode("utf-8")


class _RowsFile:
    """One growing file of rows, digested as it is written; opened with its first rows."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows, self.bytes = path, 0, 0
        self._digest = xxhash.xxh3_128()
        self._file: BinaryIO | None = None
        self._pending: list[bytes] = []
        self._flushed = 0

    def add(self, row: object) -> None:
        line = encode_row(row)
        self._pending.append(line)
        self.rows += 1
        self.bytes += len(line) + 1
        if self.bytes - self._flushed > _BUFFER:
            self._flush()

    def _flush(self) -> None:
        self._pending.append(b"")  # so that the last line ends like the others
        data = b"\n".join(self._pending)
        self._pending = []
        self._digest.update(data)
        with full_disk(self.path, self.bytes):
            if self._file is None:
                self._file = self.path.open("wb")
            self._file.write(data)
            self._file.flush()
        self._flushed = self.bytes

    def drop(self) -> None:
        """Close without a word about what was not written."""
        self._pending = []
        if self._file is not None:
            with suppress(OSError):  # a full disk was told of already
                self._file.close()

    def close(self) -> RowsEntry:
        """Write what is left and make it last."""
        if self._pending:
            self._flush()
        if self._file is not None:
            with full_disk(self.path, self.bytes), self._file as file:
                os.fsync(file.fileno())
        return RowsEntry(self._digest.hexdigest(), self.bytes, self.rows)


class UnitWriter:
    """The `RowWriter` and `FileWriter` that a stage gets: collects aside, then `commit`s.

    A context manager: leaving it without `commit` leaves nothing behind.
    """

    def __init__(
        self,
        folder: StepFolder,
        unit: str,
        basis: str,
        label: str = "",
        *,
        deaths: int = 0,
        fence: Fence | None = None,
    ) -> None:
        """Start `unit` in `folder`; `label` names stage and step in error messages.

        With a `fence`, what is committed counts only while that lease lasts.
        """
        self.deaths = deaths
        self._folder, self._unit, self._basis = folder, unit, basis
        self._label = label or folder.name
        self._fence = fence
        self._home = stage_of(folder, unit, fence) if fence else folder.scratch / unit
        self._new_files = self._home / "files"
        self._rows = {
            kind: _RowsFile(self._home / folder.output(kind, unit).name)
            for kind in ("part", "rejected", "quarantined")
        }
        self._rejected: dict[str, int] = {}
        self._quarantined: dict[str, int] = {}
        self._files: dict[str, FileEntry] = {}
        self._scratches = 0
        self._started = time.monotonic()

    def __enter__(self) -> UnitWriter:
        """Make an empty scratch folder, clearing what a crash may have left there."""
        if self._fence:
            self._fence.check()
        shutil.rmtree(self._home, ignore_errors=True)
        with full_disk(self._home, 0):
            make_folder(self._folder.receipts)
            self._home.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Drop everything that was not committed."""
        for rows in self._rows.values():
            rows.drop()
        shutil.rmtree(self._home, ignore_errors=True)

    def keep(self, row: msgspec.Struct) -> None:
        """Write the result of one work item."""
        self._rows["part"].add(row)

    def reject(
        self, id: str, reason: str, row: Any, scores: Mapping[str, float] | None = None
    ) -> None:
        """Write one refused item, whole, under its snake_case `reason`."""
        self._count(self._rejected, reason)
        self._rows["rejected"].add(Rejected(id, reason, row, dict(scores or {})))

    def quarantine(self, where: str, reason: str, detail: str = "", raw: str | bytes = "") -> None:
        """Write one unreadable or failed item; `raw` is kept as it came (`raw_text`)."""
        self._count(self._quarantined, reason)
        self._rows["quarantined"].add(Quarantined(where, reason, detail, raw_text(raw)))

    def file(self, path: str, data: bytes) -> None:
        """Write `data` to `path` below the step's files."""
        target = self._claim(path)
        with full_disk(target, len(data)):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        self._files[path] = FileEntry(xxhash.xxh3_128_hexdigest(data), len(data))

    def adopt(self, folder: Path, path: str = "") -> None:
        """Move every file below `folder` to `path` below the step's files."""
        for source in sorted(folder.rglob("*")):
            if source.is_dir() and not source.is_symlink():
                continue
            if source.is_symlink() or not source.is_file():
                raise StoreError(f"{self._label}: {source} is not a regular file, cannot adopt it")
            name = (PurePosixPath(path) / source.relative_to(folder).as_posix()).as_posix()
            target = self._claim(name)
            digest, size = digest_file(source)
            with full_disk(target, size):
                target.parent.mkdir(parents=True, exist_ok=True)
                move(source, target)
            self._files[name] = FileEntry(digest, size)

    def scratch(self) -> Path:
        """New empty folder on the same disk, gone when the unit ends."""
        self._scratches += 1
        folder = self._home / f"scratch-{self._scratches}"
        with full_disk(folder, 0):
            folder.mkdir()
        return folder

    def workspace(self) -> Path:
        """Folder that outlives a crash, until this unit of work is done on the same basis."""
        folder = self._folder.work / f"{self._unit}-{self._basis}"
        if self._fence:
            folder = take_workspace(folder, self._fence)
        else:
            for other in self._folder.work.glob(f"{self._unit}-*"):
                if other != folder:
                    shutil.rmtree(other, ignore_errors=True)
        with full_disk(folder, 0):
            make_folder(folder)
        return folder

    def hold(self, who: str, revision: str) -> None:
        """Note the `revision` that is asked as `who`, for all units on the same basis.

        Raises `SettingsChangedError` where it is not the one that stands there.
        """
        note = self._folder.work / f"revision-{who}-{self._basis}"
        if not note.exists():
            with full_disk(note, len(revision)):
                make_folder(note.parent)
            if self._fence:
                create_once(note, revision.encode())  # somebody else's may be first
            else:
                write_atomic(note, revision.encode())
        before = note.read_text(encoding="utf-8")
        if before != revision:
            raise SettingsChangedError(
                f"{self._label}: the model asked as {who} is another one than gave the rows so "
                f"far: revision {revision} instead of {before}; serve the old one again (same "
                "name, folder and context length), or add --new-run DIR"
            )

    def commit(
        self, first: int = 0, items: int = 0, total: int = 0, one_to_one: bool = False
    ) -> Receipt:
        """Make all of it visible and return its receipt.

        Raises `StoreError` if the ledger does not add up.
        """
        outputs = {rows.path.name: rows.close() for rows in self._rows.values()}
        outputs = {name: entry for name, entry in outputs.items() if entry.rows}
        counts = Counts(
            items,
            self._rows["part"].rows,
            dict(sorted(self._rejected.items())),
            dict(sorted(self._quarantined.items())),
        )
        self._check(counts)
        receipt = Receipt(
            SCHEMA,
            self._unit,
            self._basis,
            counts,
            first,
            outputs,
            dict(sorted(self._files.items())),
            round(time.monotonic() - self._started, 3),
            total,
            one_to_one,
        )
        if self._fence:
            commit_fenced(self._folder, receipt, self._fence)
        else:
            self._publish(receipt)
        for done in self._folder.work.glob(f"{self._unit}-*"):
            shutil.rmtree(done, ignore_errors=True)
        return receipt

    def _publish(self, receipt: Receipt) -> None:
        """Move everything into place, then sync it, then write the receipt that makes it count.

        Rows were synced when they were closed; files are synced here, many in one turn of the disk.
        """
        files = [(self._new_files / path, self._folder.files / path) for path in receipt.files]
        with full_disk(self._new_files, sum(entry.bytes for entry in receipt.files.values())):
            sync_files(source for source, _ in files)
        self._retract(receipt)
        moves = [(self._home / name, self._folder.root / name) for name in receipt.outputs]
        made = set[Path]()
        for source, target in [*moves, *files]:
            with full_disk(target, source.stat().st_size):
                if target.parent not in made:
                    make_folder(target.parent)
                    made.add(target.parent)
                source.replace(target)
        root = self._folder.root
        # Another worker may have made a folder a moment ago, and not have synced its name yet.
        for folder in {root}.union(made, *(set(one.parents) - {*root.parents} for one in made)):
            sync_folder(folder)
        write_stored(self._folder.receipt(self._unit), receipt)

    def _retract(self, receipt: Receipt) -> None:
        """Take back an earlier commit of this unit, receipt first: nothing half done looks done."""
        old = read_receipt(self._folder, self._unit)
        path = self._folder.receipt(self._unit)
        if path.exists():
            path.unlink()
            sync_folder(path.parent)
        for name in old.files if old else ():
            if name not in receipt.files:
                (self._folder.files / name).unlink(missing_ok=True)
        for rows in self._rows.values():
            if rows.path.name not in receipt.outputs:
                (self._folder.root / rows.path.name).unlink(missing_ok=True)

    def _check(self, counts: Counts) -> None:
        if not counts.balanced:
            raise StoreError(
                f"{self._label}, {self._unit}: the ledger does not add up: {counts.items} items, "
                f"but {counts.kept} kept + {sum(counts.rejected.values())} rejected + "
                f"{sum(counts.quarantined.values())} quarantined; "
                "process() must call the writer exactly once for each item"
            )

    def _count(self, where: dict[str, int], reason: str) -> None:
        if not _SNAKE.fullmatch(reason):
            raise StoreError(f"{self._label}: reason {reason!r} is not a snake_case word")
        where[reason] = where.get(reason, 0) + 1

    def _claim(self, path: str) -> Path:
        """Place for a new file, after checking that it stays inside and is new."""
        parts = PurePosixPath(path).parts
        if not parts or parts[0] == "/" or ".." in parts or PurePosixPath(path).as_posix() != path:
            raise StoreError(f"{self._label}: file path {path!r} is not a plain relative path")
        if path in self._files:
            raise StoreError(f"{self._label}: file {path!r} is written twice")
        return self._new_files / path
