"""Committing a unit of work that somebody else may have taken over in the meantime.

The unit lies finished in a folder of its own, its *stage*, named after the lease's number. One
file, made once, decides: the end of the lease. Then everything is renamed into place, the receipt
last. Each rename takes its source away, so that it does not matter who does it, how often, or how
late: the holder, or after its death anybody else. A holder that was given up before it decided
renames nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from genixer.data import encode_row
from genixer.errors import LeaseLostError
from genixer.store.disk import full_disk, make_folder, sync_files, sync_folder
from genixer.store.layout import StepFolder
from genixer.store.manifest import Receipt, read_receipt, read_stored, write_stored

__all__ = ["Fence", "commit_fenced", "create_once", "finish_commit", "stage_of"]

_RECEIPT = "receipt.json"
_ROWS = ("part", "rejected", "quarantined")


@dataclass(frozen=True)
class Fence:
    """One lease on one unit of work; small enough to be sent to a worker anywhere."""

    lease: Path
    number: int
    epoch: str

    @property
    def name(self) -> str:
        """What its stage and its workspace are called by."""
        return f"{self.epoch}.{self.number}"

    @property
    def _end(self) -> Path:
        return self.lease.with_name(f"{self.lease.name}.end")

    @property
    def ended(self) -> bool:
        """Whether it is over, one way or the other."""
        return self._end.exists() or not self.lease.exists()

    @property
    def written(self) -> bool:
        """Whether it ended with a commit."""
        try:
            return self._end.stat().st_size > 0
        except FileNotFoundError:
            return False

    def end_with(self, what: bytes) -> bool:
        """End it, with the bytes of a receipt or with none; False when it has an end already."""
        try:
            return create_once(self._end, what)
        except FileNotFoundError:  # all leases of its epoch are gone
            return False

    def check(self) -> None:
        """Raise `LeaseLostError` when it is over."""
        if self.ended:
            raise LeaseLostError(f"{self.lease.name}: another process has taken over this unit")


def create_once(path: Path, data: bytes, aside: Path | None = None) -> bool:
    """Make `path` with `data`, all at once; False when it is there already.

    It is written in the folder `aside` first, by default that of `path`. A power cut may take it
    away (`sync_folder` prevents that) but leaves no part of it. Makes no folder: one that is gone
    has been taken away from whoever comes late.
    """
    temporary = (aside or path.parent) / f".{uuid4().hex}.tmp"
    try:
        with full_disk(path, len(data)):
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                # Over NFS an answer may be lost and the call repeated: then the name is ours.
                return temporary.stat().st_nlink == 2
    finally:
        temporary.unlink(missing_ok=True)
    return True


def stage_of(folder: StepFolder, unit: str, fence: Fence) -> Path:
    """Where the holder of `fence` collects what it makes."""
    return folder.scratch / f"{unit}@{fence.name}"


def commit_fenced(folder: StepFolder, receipt: Receipt, fence: Fence) -> None:
    """Commit what lies in the stage; raises `LeaseLostError`, nothing changed, if too late."""
    stage = stage_of(folder, receipt.unit, fence)
    try:
        with full_disk(stage, sum(entry.bytes for entry in receipt.files.values())):
            sync_files(stage / "files" / path for path in receipt.files)
        write_stored(stage / _RECEIPT, receipt)
    except FileNotFoundError as error:
        raise LeaseLostError(f"{stage}: another process has removed it") from error
    if not fence.end_with(encode_row(receipt)):
        fence.check()
        raise LeaseLostError(f"{fence.lease}: the leases of this run are gone")
    finish_commit(folder, receipt.unit, fence)


def finish_commit(folder: StepFolder, unit: str, fence: Fence) -> None:
    """Put a commit that was decided in place; may be done by several at a time."""
    stage = stage_of(folder, unit, fence)
    receipt = read_stored(stage / _RECEIPT, Receipt)
    if receipt is not None:
        old = read_receipt(folder, unit)
        moves = [(stage / name, folder.root / name) for name in receipt.outputs]
        moves += [(stage / "files" / path, folder.files / path) for path in receipt.files]
        for source, target in moves:
            _move_once(source, target)
        inner = {one for _, target in moves for one in target.parents}
        for one in {folder.root} | inner - {*folder.root.parents}:
            sync_folder(one)
        _move_once(stage / _RECEIPT, folder.receipt(unit))
        sync_folder(folder.receipts)
        _drop_leftovers(folder, unit, old, receipt)
    shutil.rmtree(stage, ignore_errors=True)


def _move_once(source: Path, target: Path) -> None:
    """Rename, unless somebody did."""
    with full_disk(target, 0):
        make_folder(target.parent)
        with contextlib.suppress(FileNotFoundError):
            source.replace(target)


def _drop_leftovers(folder: StepFolder, unit: str, old: Receipt | None, new: Receipt) -> None:
    """Remove what an earlier commit of the unit made and this one does not."""
    for name in old.files if old else ():
        if name not in new.files:
            (folder.files / name).unlink(missing_ok=True)
    for kind in _ROWS:
        path = folder.output(kind, unit)
        if path.name not in new.outputs:
            path.unlink(missing_ok=True)
