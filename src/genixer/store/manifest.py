"""What a step wrote, in its own words: receipts of units of work, and a manifest over them.

A unit of work (prepare, one shard, finish) is committed when its receipt exists, was made on the
same `basis` and every file it names has the size it names. The basis is a digest of everything the
unit's result depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import xxhash

from genixer.data import SCHEMA, content_id, encode_row
from genixer.errors import StoreError
from genixer.store.disk import write_atomic
from genixer.store.layout import StepFolder

__all__ = [
    "Counts",
    "FileEntry",
    "InputEntry",
    "Manifest",
    "Receipt",
    "RowsEntry",
    "ShardEntry",
    "committed",
    "encode_stored",
    "read_manifest",
    "read_receipt",
    "read_stored",
    "seal",
    "write_stored",
]

T = TypeVar("T", "Receipt", "Manifest")


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what the store writes about itself."""


class Counts(_Stored, frozen=True):
    """Ledger: `items` = `kept` + the sum of `rejected` + the sum of `quarantined`, both by reason.

    >>> Counts(3, 2, {"too_short": 1}).balanced
    True
    """

    items: int = msgspec.field(default=0, name="in")
    kept: int = 0
    rejected: dict[str, int] = {}
    quarantined: dict[str, int] = {}

    @property
    def balanced(self) -> bool:
        """Whether every item came out exactly once."""
        out = self.kept + sum(self.rejected.values()) + sum(self.quarantined.values())
        return self.items == out

    def plus(self, other: Counts) -> Counts:
        """Ledger of both together."""
        return Counts(
            self.items + other.items,
            self.kept + other.kept,
            _sum(self.rejected, other.rejected),
            _sum(self.quarantined, other.quarantined),
        )

    def as_mapping(self) -> dict[str, Any]:
        """`{"in": ..., "kept": ..., "rejected": {...}, "quarantined": {...}}`."""
        return dict(msgspec.to_builtins(self))


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {key: one.get(key, 0) + other.get(key, 0) for key in sorted({*one, *other})}


class FileEntry(_Stored, frozen=True):
    """One file below `files/`: xxh3-128 of its bytes in hex, and their number."""

    digest: str
    bytes: int


class RowsEntry(_Stored, frozen=True):
    """One file of rows: xxh3-128 of its bytes in hex, their number, the number of rows."""

    digest: str
    bytes: int
    rows: int


class Receipt(_Stored, frozen=True):
    """One committed unit of work. `first` and `items` say which work items it did."""

    schema: int
    unit: str
    basis: str
    counts: Counts = Counts()
    first: int = 0
    outputs: dict[str, RowsEntry] = {}
    """Files of rows by name; absent where there are no rows."""
    files: dict[str, FileEntry] = {}
    """Files below `files/` by path."""
    seconds: float = 0.0
    total: int = 0
    """Of `prepare` only: how many work items the step has."""
    one_to_one: bool = False
    """Of `prepare` only: whether those are exactly the rows of the role `rows`."""
    check: str = ""
    """`seal` of all the others, in the file alone."""

    @property
    def content(self) -> str:
        """Digest of everything it wrote."""
        return content_id(self.total, self.outputs, self.files)


class ShardEntry(_Stored, frozen=True):
    """One shard in a manifest: its work items and its files of rows by name."""

    unit: str
    first: int
    counts: Counts
    outputs: dict[str, RowsEntry]


class InputEntry(_Stored, frozen=True):
    """One step that another read: its fingerprint and the digest of what it wrote."""

    step: str
    fingerprint: str
    content: str


class Manifest(_Stored, frozen=True):
    """One finished step, whole. Equal for equal runs but for `seconds` and `host`."""

    schema: int
    step: str
    stage: str
    version: int
    fingerprint: str
    content: str
    """Digest of everything the step wrote; what depends on the step stays valid while this does."""
    inputs: dict[str, list[InputEntry]]
    """Steps it read, by role; `@` are those its settings refer to."""
    one_to_one: bool
    counts: Counts
    shards: list[ShardEntry]
    files: dict[str, FileEntry]
    versions: dict[str, str]
    seconds: float
    host: dict[str, str]
    check: str = ""
    """`seal` of all the others, in the file alone."""


def seal(what: msgspec.Struct) -> str:
    """Digest of a struct with an empty `check`: a changed bit in its file shows by it."""
    return xxhash.xxh3_64_hexdigest(encode_row(what))


def encode_stored(what: msgspec.Struct) -> bytes:
    """Readable JSON of a struct with an empty `check`, which it gets."""
    whole = msgspec.structs.replace(what, check=seal(what))
    return msgspec.json.format(encode_row(whole), indent=1) + b"\n"


def write_stored(path: Path, what: Receipt | Manifest) -> None:
    """Write a receipt or manifest, whole or not at all, in readable JSON."""
    write_atomic(path, encode_stored(what))


def read_stored(path: Path, kind: type[T]) -> T | None:
    """Receipt or manifest at `path`; None when absent, torn or damaged, that is, not committed.

    Raises `StoreError` for one that a newer genixer wrote.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        stored = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        check_schema(path, data)
        return None
    bare = msgspec.structs.replace(stored, check="")
    # Those of earlier versions have none.
    return bare if stored.check in ("", seal(bare)) else None


def check_schema(path: Path, data: bytes) -> None:
    """Raise `StoreError` when `data` says it has a newer schema than this version knows."""

    class Head(msgspec.Struct):
        schema: int = 0

    try:
        schema = msgspec.json.decode(data, type=Head).schema
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    if schema > SCHEMA:
        raise StoreError(
            f"{path}: schema {schema}, this version reads up to {SCHEMA}; "
            "a newer genixer wrote it: upgrade, or use another run folder"
        )


def read_receipt(folder: StepFolder, unit: str) -> Receipt | None:
    """Receipt of `unit`, if there is a readable one."""
    return _current(folder.receipt(unit), read_stored(folder.receipt(unit), Receipt))


def read_manifest(folder: StepFolder) -> Manifest | None:
    """Manifest of a step, if there is a readable one."""
    return _current(folder.manifest, read_stored(folder.manifest, Manifest))


def _current(path: Path, stored: T | None) -> T | None:
    if stored is not None and stored.schema > SCHEMA:
        check_schema(path, encode_row(stored))
    return stored


def committed(folder: StepFolder, unit: str, basis: str) -> Receipt | None:
    """Receipt of `unit` if it counts: made on `basis`, and all it names there in the right size.

    Hashes nothing.
    """
    receipt = read_receipt(folder, unit)
    if receipt is None or receipt.basis != basis:
        return None
    sizes = {folder.root / name: entry.bytes for name, entry in receipt.outputs.items()}
    sizes.update({folder.files / path: entry.bytes for path, entry in receipt.files.items()})
    return receipt if _all_there(sizes.items()) else None


def _all_there(sizes: Iterable[tuple[Path, int]]) -> bool:
    for path, size in sizes:
        try:
            if path.stat().st_size != size:
                return False
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True
