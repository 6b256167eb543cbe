"""Writing files so that a crash leaves either the old file or the whole new one."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import xxhash

from genixer.errors import StoreError

__all__ = [
    "FULL_DISK",
    "digest_file",
    "free_name",
    "full_disk",
    "link",
    "make_folder",
    "move",
    "sync_files",
    "sync_folder",
    "write_atomic",
]

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Ways the system says that there is no room: full, over quota, over the size limit of a file."""
_CHUNK = 1 << 20
_SYNCERS = 8
"""Threads that wait for the disk together: it makes many files last in one turn."""


@contextmanager
def full_disk(path: Path, needed: int) -> Iterator[None]:
    """Turn "no space left" into a `StoreError` that names `path` and the `needed` bytes."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise StoreError(_full_message(path, needed, error)) from error


def _full_message(path: Path, needed: int, error: OSError) -> str:
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    return (
        f"{path}: {os.strerror(error.errno or 0)}: at least {needed} bytes are needed, "
        f"{free} are free; "
        "nothing committed is lost: make room and run the same command again"
    )


def write_atomic(path: Path, data: bytes) -> None:
    """Put `data` at `path`: temporary name, synced, renamed, folder synced."""
    temporary = path.with_name(f".{path.name}.tmp")
    with full_disk(path, len(data)):
        make_folder(path.parent)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make `folder` and those above it, so that they survive a power cut; it may exist."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make new names, renames and removals inside `folder` survive a power cut."""
    _sync(folder)


def sync_files(paths: Iterable[Path]) -> None:
    """Make the content of files survive a power cut."""
    with ThreadPoolExecutor(_SYNCERS) as pool:
        for _ in pool.map(_sync, paths):
            pass


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def free_name(path: Path) -> Path:
    """First of `x.corrupt`, `x.2.corrupt` ... that is not taken: where a damaged `x` is kept."""
    target, number = path.with_name(f"{path.name}.corrupt"), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{number}.corrupt")
    return target


def move(source: Path, target: Path) -> None:
    """Move one file, across disks if need be; the target appears whole or not at all."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        temporary = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(source, temporary)
        temporary.replace(target)
        source.unlink()


def digest_file(path: Path) -> tuple[str, int]:
    """xxh3-128 of the file's bytes in hex, and how many there are; reads in pieces."""
    digest, size = xxhash.xxh3_128(), 0
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
            size += len(piece)
    return digest.hexdigest(), size


def link(source: Path, target: Path) -> None:
    """Give the file `source` a second name, or a copy where links do not go."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    with full_disk(target, source.stat().st_size):
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno in FULL_DISK:
                raise
            shutil.copyfile(source, target)
