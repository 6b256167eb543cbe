"""Reading what a step wrote; rows are used only after their file matched its digest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import xxhash

from genixer.data import Quarantined, Rejected
from genixer.errors import CorruptShardError, DataError, StoreError
from genixer.store.disk import digest_file
from genixer.store.layout import StepFolder
from genixer.store.manifest import (
    Counts,
    Receipt,
    RowsEntry,
    ShardEntry,
    read_manifest,
    read_receipt,
)

__all__ = ["StoredStep", "check_files", "open_step", "read_lines", "shard_entry"]

R = TypeVar("R")

_TOGETHER = 64
"""Rows decoded in one call, which takes half the time of as many calls."""


def read_lines(path: Path, entry: RowsEntry) -> list[bytes]:
    """Lines of one file of rows; `CorruptShardError` when its bytes are not those committed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise _corrupt(path, "it is missing") from error
    if len(data) != entry.bytes:
        raise _corrupt(path, f"it has {len(data)} bytes instead of {entry.bytes}")
    digest = xxhash.xxh3_128_hexdigest(data)
    if digest != entry.digest:
        raise _corrupt(path, f"its digest is {digest} instead of {entry.digest}")
    return data.split(b"\n")[:-1]


def _corrupt(path: Path, what: str) -> CorruptShardError:
    error = CorruptShardError(
        f"{path}: {what}; run the same command again to move it aside and redo this shard"
    )
    error.path = path
    return error


def check_files(folder: StepFolder, unit: str) -> None:
    """Hash the files that `unit` wrote; `CorruptShardError` for one that is not as committed."""
    receipt = read_receipt(folder, unit)
    for name, entry in receipt.files.items() if receipt else ():
        path = folder.files / name
        try:
            digest, size = digest_file(path)
        except FileNotFoundError as error:
            raise _corrupt(path, "it is missing") from error
        if (digest, size) != (entry.digest, entry.bytes):
            raise _corrupt(path, f"its digest is {digest} instead of {entry.digest}")


def shard_entry(receipt: Receipt) -> ShardEntry:
    """What a manifest says of the shard that `receipt` is about."""
    return ShardEntry(receipt.unit, receipt.first, receipt.counts, receipt.outputs)


class StoredStep:
    """A finished step, read only: the `StepOutput` that stages get. Holds one shard at a time."""

    def __init__(self, folder: StepFolder, stage: str, shards: Iterable[ShardEntry]) -> None:
        """Read `folder` as `shards` describe it."""
        self.name, self.stage, self.files = folder.name, stage, folder.files
        self._folder = folder
        self._shards = list(shards)
        self._counts = Counts()
        for shard in self._shards:
            self._counts = self._counts.plus(shard.counts)
        self._last: tuple[Path, list[bytes]] | None = None

    @property
    def rows_kept(self) -> int:
        """How many rows it kept."""
        return self._counts.kept

    @property
    def counts(self) -> Mapping[str, Any]:
        """Its ledger: `in`, `kept`, `rejected` and `quarantined` by reason."""
        return self._counts.as_mapping()

    def rows(self, kind: type[R], first: int = 0, count: int | None = None) -> Iterator[R]:
        """Kept rows `first` to `first + count`, in order, as records of type `kind`."""
        left = self.rows_kept - first if count is None else count
        for shard in self._shards:
            if left <= 0:
                return
            kept = shard.counts.kept
            if first >= kept:
                first -= kept
                continue
            yield from self._decoded(shard, "part", kind, first, left)
            left -= kept - first
            first = 0

    def rejected(self) -> Iterator[Rejected]:
        """Refused rows, in order."""
        for shard in self._shards:
            yield from self._decoded(shard, "rejected", Rejected)

    def quarantined(self) -> Iterator[Quarantined]:
        """Unreadable or failed items, in order."""
        for shard in self._shards:
            yield from self._decoded(shard, "quarantined", Quarantined)

    def _decoded(
        self, shard: ShardEntry, what: str, kind: type[R], first: int = 0, count: int | None = None
    ) -> Iterator[R]:
        path = self._folder.output(what, shard.unit)
        entry = shard.outputs.get(path.name)
        if entry is None:
            return
        decoder = msgspec.json.Decoder(kind)
        stop = entry.rows if count is None else min(entry.rows, first + count)
        lines = self._lines(path, entry)
        for start in range(first, stop, _TOGETHER):
            some = lines[start : min(stop, start + _TOGETHER)]
            try:
                rows = decoder.decode_lines(b"\n".join(some))
            except (msgspec.DecodeError, DataError) as error:
                raise _misfit(path, start, some, decoder, error) from error
            yield from rows

    def _lines(self, path: Path, entry: RowsEntry) -> list[bytes]:
        # Small shards of a reader meet the same large shard many times in a row.
        if self._last is None or self._last[0] != path:
            self._last = (path, read_lines(path, entry))
        return self._last[1]


def _misfit(
    path: Path,
    start: int,
    lines: list[bytes],
    decoder: msgspec.json.Decoder[Any],
    error: Exception,
) -> DataError:
    """What is wrong with the first of `lines` that is no row of the decoder's kind, by line."""
    name = getattr(decoder.type, "__name__", str(decoder.type))
    for number, line in enumerate(lines, start + 1):
        try:
            decoder.decode(line)
        except (msgspec.DecodeError, DataError) as found:
            return DataError(f"{path}:{number}: not a {name}: {found}")
    return DataError(f"{path}: not rows of {name}: {error}")


def open_step(folder: Path) -> StoredStep:
    """The finished step in `folder`; raises `StoreError` when it is not finished."""
    place = StepFolder(folder)
    manifest = read_manifest(place)
    if manifest is None:
        raise StoreError(f"{folder}: no finished step is here (no readable manifest.json)")
    return StoredStep(place, manifest.stage, manifest.shards)
