"""Images inside archives: a tar or Parquet file is named like a folder, and opened like one.

`pool/00000.tar/000123.jpg` is the file `000123.jpg` in `pool/00000.tar`, and
`pool/train.parquet/image/17` is row 17 (from 0) of the column `image` of `pool/train.parquet`.
Nothing is ever unpacked to disk, so no name in an archive can write anywhere; links in a tar are
not followed, and whoever opens a member holds at most `MAX_BYTES` of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from genixer.errors import DataError

__all__ = [
    "MAX_BYTES",
    "SUFFIXES",
    "Listing",
    "MemberError",
    "list_members",
    "read_member",
    "split_archive",
]

SUFFIXES = (".tar", ".parquet")
"""Endings of the files that are taken for archives, in lower case."""
MAX_BYTES = 1 << 28
"""Bytes above which a member is no photograph."""


class MemberError(DataError):
    """A member that cannot be read; `reason` is one of those of `store.images`."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keep `reason` for the count and `detail` for people."""
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class Listing(NamedTuple):
    """What an archive holds: members in its order, and what is wrong with it, if anything."""

    members: Iterable[str]
    damage: str


def split_archive(path: str) -> tuple[str, str] | None:
    """Archive and member that a path names; None when it goes through no archive.

    >>> split_archive("pool/0.tar/a/1.jpg"), split_archive("pool/0.tar")
    (('pool/0.tar', 'a/1.jpg'), None)
    """
    if ".tar/" not in path and ".parquet/" not in path:  # the usual case, on every image opened
        return None
    ends = [path.find(f"{suffix}/") + len(suffix) for suffix in SUFFIXES if f"{suffix}/" in path]
    return path[: min(ends)], path[min(ends) + 1 :]


def read_member(archive: Path, member: str) -> bytes:
    """Bytes of a member; raises `MemberError`."""
    if archive.suffix == ".tar":
        from genixer.store import tar

        return tar.read(archive, member, MAX_BYTES)
    from genixer.store import parquet

    return parquet.read(archive, member, MAX_BYTES)


def list_members(archive: Path, below: str = "") -> Listing:
    """Members of an archive, or those in its folder or column `below`.

    Damage does not hide the members before it. A tar lists all its files; for Parquet, `below` may
    be left out when one column alone holds images, else this raises `ConfigError`.
    """
    if archive.suffix == ".tar":
        from genixer.store import tar

        return Listing(*tar.names(archive, below))
    from genixer.store import parquet

    return Listing(*parquet.names(archive, below))
