"""Tar files by member: where each lies, found once, then read straight from the file."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from genixer.paths import escapes
from genixer.store.archives import MemberError

__all__ = ["names", "read"]

_MOST_MEMBERS = 2_000_000
"""Members above which the rest of a tar counts as damage: their places are held in memory."""
_HEADER_ERRORS = (tarfile.TarError, OSError, ValueError, ArithmeticError, EOFError, RecursionError)
"""What tarfile is known to raise for headers it cannot read."""


class _Place(NamedTuple):
    """Where a member's bytes lie; `size` -1 for a link, device or folder."""

    offset: int
    size: int


class _Index(NamedTuple):
    places: dict[str, _Place]
    damage: str


def names(archive: Path, below: str = "") -> tuple[Iterable[str], str]:
    """Members in the folder `below`, folders left out, in order; what is wrong with the tar."""
    index = _index(archive)
    start = f"{below.rstrip('/')}/" if below else ""
    return (name for name in index.places if name.startswith(start)), index.damage


def read(archive: Path, member: str, max_bytes: int) -> bytes:
    """Bytes of a member; raises `MemberError`."""
    if escapes(member):
        raise MemberError("path_escapes", "a name that leads out of the archive")
    index = _index(archive)
    place = index.places.get(member)
    if place is None:
        if index.damage:
            raise MemberError("corrupt_archive", index.damage)
        raise MemberError("missing_image", "no such file in the archive")
    if place.size < 0:
        raise MemberError("not_an_image", "a link or device in the archive")
    if place.size == 0:
        raise MemberError("empty_image", "the file in the archive has no bytes")
    if place.size > max_bytes:
        raise MemberError("image_bomb", f"{place.size} bytes > {max_bytes} bytes")
    with archive.open("rb") as file:
        file.seek(place.offset)
        data = file.read(place.size)
    if len(data) < place.size:
        raise MemberError("corrupt_image", "the archive ends inside it")
    return data


def _index(archive: Path) -> _Index:
    status = archive.stat()
    return _indexed(archive, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _indexed(archive: Path, size: int, changed_ns: int) -> _Index:
    """Places of all members; made again when the file changes.

    Of a name that comes twice the later member counts, as when a tar is unpacked.
    """
    places: dict[str, _Place] = {}
    try:
        with _opened(archive) as tar:
            for info in _headers(tar):
                if info.isdir():
                    continue
                whole = info.isreg() and not info.issparse()
                places[_name(info.name)] = _Place(info.offset_data, info.size if whole else -1)
                if len(places) > _MOST_MEMBERS:
                    return _Index(places, f"it has more than {_MOST_MEMBERS} members")
            damage = _rest(tar)
    except _HEADER_ERRORS as error:
        damage = f"not a tar from here on: {error}" if places else f"not a tar: {error}"
    return _Index(places, damage)


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    # "r:" opens no compressed tar: its members could not be reached without unpacking all before.
    with tarfile.open(archive, "r:", encoding="utf-8", errors="surrogateescape") as tar:
        yield tar


def _headers(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Headers one by one; tarfile would keep them all."""
    before = -1
    while (info := tar.next()) is not None:
        if tar.offset <= before or info.size < 0:
            raise tarfile.ReadError("a header leads backwards")
        before = tar.offset
        tar.members.clear()  # type: ignore[attr-defined]
        yield info


def _rest(tar: tarfile.TarFile) -> str:
    """What is wrong after the last member: tarfile takes a damaged header for the end."""
    file = tar.fileobj
    if file is None:
        return ""
    file.seek(tar.offset)
    return "a damaged header" if file.read(tarfile.BLOCKSIZE).strip(b"\0") else ""


def _name(name: str) -> str:
    """A member's name as text that can be written, without the `./` that `tar cf x.tar .` puts."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return os.fsencode(name).decode("utf-8", "backslashreplace")
