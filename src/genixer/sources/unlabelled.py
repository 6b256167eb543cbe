"""Images without labels: a folder, whatever lies below it, in the order of the names."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["SUFFIXES", "image_paths"]

SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".mpo", ".png", ".gif", ".webp", ".bmp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"),
)
"""Endings of files that are taken for images, in lower case."""


def image_paths(folder: Path) -> list[str]:
    """Images at any depth below `folder`, relative to it, with `/`, sorted.

    Nothing is opened. Hidden files and folders are left out, links to folders not followed. A name
    that is not UTF-8 comes with its odd bytes written out: it is counted as a missing image, not
    lost.

    >>> image_paths(Path(__file__).parent)
    []
    """
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(parent).relative_to(folder)
        found += [
            (below / name).as_posix()
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    return sorted(path.encode("utf-8", "backslashreplace").decode("utf-8") for path in found)
