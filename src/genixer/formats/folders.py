"""An export of several files: a folder that appears whole, or an older one stays."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genixer.errors import ConfigError
from genixer.store.disk import full_disk, sync_folder

__all__ = ["whole_folder"]


@contextmanager
def whole_folder(path: Path, ours: re.Pattern[str]) -> Iterator[Path]:
    """A folder to fill; it appears at `path`, synced, when the block ends well, else not at all.

    `ours` matches the files of such an export, relative to it. A folder already there is replaced
    only when all it holds is such files; else this raises `ConfigError`, since they may be
    somebody's only copy.
    """
    _check_replaceable(path, ours)
    temporary = path.with_name(f".{path.name}.tmp")
    old = path.with_name(f".{path.name}.old")
    with full_disk(path, 0):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
            _sync(temporary)
            # A folder cannot be replaced in one step: for a moment there is none.
            if path.is_dir():
                path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_folder(path.parent)


def _check_replaceable(path: Path, ours: re.Pattern[str]) -> None:
    if not path.name:
        raise ConfigError(f"{path}: this format writes a folder; give it a name of its own")
    if not path.exists():
        return
    if not path.is_dir() or path.is_symlink():
        raise ConfigError(f"{path}: this format writes a folder, and a file has that name")
    for one in sorted(path.rglob("*")):
        name = one.relative_to(path).as_posix()
        if (one.is_symlink() or not one.is_dir()) and not ours.fullmatch(name):
            raise ConfigError(
                f"{path}: holds {name}, which is no part of such an export; write to another folder"
            )


def _sync(folder: Path) -> None:
    """Make every file below `folder`, and its name, survive a power cut."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with (Path(parent) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(parent))
