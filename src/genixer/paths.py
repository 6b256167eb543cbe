"""Paths that strangers wrote: whether one stays inside the folder it is relative to."""

from __future__ import annotations

__all__ = ["escapes"]


def escapes(path: str) -> bool:
    """Whether a path could leave the folder it is relative to, on any system.

    >>> escapes("train/7.jpg"), escapes("train/../../7.jpg"), escapes("C:/7.jpg")
    (False, True, True)
    """
    if not path or path[0] in "/\\" or "\0" in path:
        return True
    if ".." not in path and ":" not in path:  # the usual case, on the path of every record read
        return False
    parts = path.replace("\\", "/").split("/")
    return ".." in parts or ":" in parts[0]
