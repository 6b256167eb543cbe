"""Images that are not where rows say: is their content, or their name, anywhere else?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from genixer.doctor.entries import EntryStream
from genixer.doctor.findings import Finding
from genixer.doctor.layouts import Layout
from genixer.doctor.named import ImageTable
from genixer.sources.unlabelled import SUFFIXES
from genixer.store.entries import EntryError

__all__ = ["image_files", "known_contents", "placed_again"]


class _Known(msgspec.Struct):
    """A line of the sidecar of our own exports."""

    id: str
    sha256: str = ""


def known_contents(
    stream: EntryStream, layout: Layout, missing: Mapping[str, object]
) -> dict[str, str]:
    """Sha256 of missing images, by path: rows of ours say it, exports of ours in their sidecar."""
    found: dict[str, str] = {}
    asked: dict[str, str] = {}
    for _, raw in stream:
        try:
            row = layout.row(raw)
        except EntryError:
            continue
        if row.image and row.image in missing and row.image not in found:
            if row.sha256:
                found[row.image] = row.sha256
            elif row.id is not None:
                asked[str(row.id)] = row.image
    for path in stream.files:
        for line in _lines(path.with_name(f"{path.name}.provenance.jsonl")):
            try:
                known = msgspec.json.decode(line, type=_Known)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if known.sha256 and known.id in asked:
                found.setdefault(asked[known.id], known.sha256)
    return found


def _lines(path: Path) -> Iterator[bytes]:
    if path.is_file():
        with path.open("rb") as file:
            yield from file


def placed_again(
    root: Path, missing: Mapping[str, str], contents: Mapping[str, str], table: ImageTable
) -> Iterator[Finding]:
    """A finding for each missing image; `missing` gives the detail by path.

    The same content under another name is proven and proposed; a file of the same name in another
    folder, which no row uses, is only spoken of.
    """
    wanted = set(contents.values())
    places: dict[str, str] = {}
    names: dict[str, list[str]] = {_name(path): [] for path in missing}
    for path in image_files(root):
        if table.slot(path) is None:
            names.get(_name(path), []).append(path)
            _note_content(root, path, wanted, places)
    for path in image_files(root) if wanted else ():
        if table.slot(path) is not None:
            _note_content(root, path, wanted, places)
    for path, detail in missing.items():
        place = places.get(contents.get(path, ""))
        if place is not None:
            yield Finding("renamed_image", path, f"{detail}; its content is {place}", place)
            continue
        same = names[_name(path)]
        if len(same) == 1:
            detail = f"{detail}; {same[0]} has the same name, and no row uses it"
        yield Finding("missing_image", path, detail)


def image_files(root: Path) -> Iterator[str]:
    """Regular files that are images by name, at any depth below `root`, relative to it, sorted.

    Links and names that are not UTF-8 are left out: no row could use them.
    """
    for parent, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if path.suffix.lower() in SUFFIXES and not path.is_symlink() and path.is_file():
                below = path.relative_to(root).as_posix()
                if below.encode("utf-8", "ignore") == os.fsencode(below):
                    yield below


def _name(path: str) -> str:
    return Path(path).stem.lower()


def _note_content(root: Path, path: str, wanted: set[str], places: dict[str, str]) -> None:
    """Put a file into `places` by its sha256, and cross that off, if it is `wanted`."""
    if not wanted:
        return
    try:
        with (root / path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return
    if digest in wanted:
        wanted.remove(digest)
        places[digest] = path
