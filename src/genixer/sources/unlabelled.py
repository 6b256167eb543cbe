"""Images without labels: a folder, archives, a list, or the images that a LLaVA file speaks of."""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from genixer.data import Quarantined
from genixer.errors import ConfigError
from genixer.store import archives
from genixer.store.entries import EntryError, json_array, json_lines
from genixer.store.shards import raw_text

__all__ = ["SUFFIXES", "Pool", "find_pools", "image_paths", "pool_images"]

SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".mpo", ".png", ".gif", ".webp", ".bmp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"),
)
"""Endings of files that are taken for images, in lower case."""


def image_paths(folder: Path) -> Iterator[str]:
    """Images at any depth below `folder`, relative to it, with `/`, sorted.

    Nothing is opened, and one folder's names are held at a time. Hidden files and folders are left
    out, links to folders not followed. A name that is not UTF-8 comes with its odd bytes written
    out: it is counted as a missing image, not lost.

    >>> list(image_paths(Path(__file__).parent))
    []
    """
    waiting: list[tuple[str, Path | None]] = [("", folder)]
    while waiting:
        path, inner = waiting.pop()
        if inner is None:
            yield path
        else:
            waiting += ((path + name, below) for name, below in reversed(_entries(inner)))


def _entries(folder: Path) -> list[tuple[str, Path | None]]:
    """Names of the images (with None) and folders (with their path and a slash) in a folder."""
    found: list[tuple[str, Path | None]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    found.append((f"{_text(entry.name)}/", folder / entry.name))
                elif _is_image(entry.name):
                    found.append((_text(entry.name), None))
    except OSError as error:
        raise ConfigError(f"images: {folder} cannot be read: {error.strerror}") from error
    # With its slash a folder's name sorts among the files as its whole paths would.
    return sorted(found, key=lambda pair: pair[0])


class Pool(NamedTuple):
    """One file or folder of images, and the folder or column `within` it, if it is an archive."""

    path: Path
    within: str = ""


def find_pools(images: Path) -> list[Pool]:
    """Files and folders that `images` names, or those its `*`, `?` and `[..]` stand for, sorted.

    What follows an archive (`pool.parquet/image`) goes for each. Empty when there are none.
    """
    inside = archives.split_archive(images.as_posix())
    path, within = (Path(inside[0]), inside[1]) if inside else (images, "")
    if inside and path.is_dir():
        path, within = images, ""
    if not any(sign in path.as_posix() for sign in "*?["):
        return [Pool(path, within)] if path.exists() else []
    root = Path(path.anchor)
    return [Pool(found, within) for found in sorted(root.glob(str(path.relative_to(root))))]


def pool_images(pool: Pool, root: Path) -> Iterator[str | Quarantined]:
    """Images of a pool as paths relative to the image root, in order.

    What is broken in a pool comes as `Quarantined`. Raises `ConfigError` for a pool that is not
    inside the image root, or of no known kind.

    - a folder: every image below it
    - `*.tar`: its images, in the order of the archive; `x.tar/train` those in its folder `train`
    - `*.parquet`: every row of its column of images; `x.parquet/image` names the column
    - `*.txt`: one path a line, relative to the image root
    - `*.json`, `*.jsonl`: the field `image` of each entry, relative to the image root, each once;
      entries in words alone are passed over
    """
    path = pool.path
    if path.is_dir():
        below = _below(path, root)
        yield from (below + name for name in image_paths(path))
    elif path.suffix in archives.SUFFIXES:
        yield from _archived(pool, _below(path, root))
    elif path.suffix == ".txt":
        yield from _listed(path)
    elif path.suffix in (".json", ".jsonl"):
        yield from _spoken_of(path)
    else:
        raise ConfigError(
            f"images: {path} is neither a folder nor a *.tar, *.parquet, *.txt, *.json or *.jsonl"
        )


def _archived(pool: Pool, below: str) -> Iterator[str | Quarantined]:
    members, damage = archives.list_members(pool.path, pool.within)
    for name in members:
        # All rows of a column are images; a tar holds their captions beside them.
        if pool.path.suffix != ".tar" or _is_image(name):
            yield below + name
    if damage:
        yield Quarantined(below.rstrip("/"), "corrupt_archive", damage)


def _below(path: Path, root: Path) -> str:
    """`path` relative to the image root, with a slash at its end unless it is the root itself."""
    full, top = path.resolve(), root.resolve()
    if not full.is_relative_to(top):
        raise ConfigError(
            f"images: {path} is not inside the run's image root {root}; set the run's `images` to "
            "a folder that holds both"
        )
    below = full.relative_to(top).as_posix()
    return "" if below == "." else f"{below}/"


def _listed(path: Path) -> Iterator[str]:
    """Lines of a list that are not blank, each once."""
    seen: set[str] = set()
    with path.open("rb") as file:
        for number, line in enumerate(file):
            data = line.removeprefix(codecs.BOM_UTF8) if number == 0 else line
            name = data.decode("utf-8", "backslashreplace").strip()
            if name and name not in seen:
                seen.add(name)
                yield name


class _Conversation(msgspec.Struct):
    image: str | list[str] | None = None


def _spoken_of(path: Path) -> Iterator[str | Quarantined]:
    """Images of LLaVA entries, each once; entries that cannot be read as such."""
    file = json_lines(path) if path.suffix == ".jsonl" else json_array(path)
    seen: set[str] = set()
    for index in range(len(file)):
        try:
            image = file.read(index, _Conversation).image
        except EntryError as error:
            raw = raw_text(file.raw(index))
            yield Quarantined(file.places[index], error.reason, error.detail, raw)
            continue
        for name in [image] if isinstance(image, str) else image or ():
            if name and name not in seen:
                seen.add(name)
                yield name


def _is_image(name: str) -> bool:
    last = name.rpartition("/")[2]
    return not last.startswith(".") and Path(last).suffix.lower() in SUFFIXES


def _text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
