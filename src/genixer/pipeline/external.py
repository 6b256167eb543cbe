"""Digests of files outside the run, remembered so that a rerun need not read them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from genixer.data import encode_row
from genixer.store.disk import digest_file, write_atomic

__all__ = ["ExternalDigests"]


class _Known(msgspec.Struct, frozen=True):
    bytes: int
    changed_ns: int
    digest: str


class ExternalDigests:
    """Digests by path; a file is read again only when its size or time of change differ."""

    def __init__(self, run: Path) -> None:
        """Start from what an earlier look left in the run folder, if there is one."""
        self._path = run / "external.json"
        self._known: dict[str, _Known] = {}
        self._new = False
        if self._path.is_file():
            try:
                self._known = msgspec.json.decode(self._path.read_bytes(), type=dict[str, _Known])
            except msgspec.DecodeError:
                self._known = {}  # a cache: a torn one is made again

    def of(self, paths: Iterable[Path], missing: list[Path] | None = None) -> list[list[str]]:
        """Name and digest of every file, those inside folders included.

        Raises `OSError` for one that is not there, unless there is a list of the `missing` to put
        it in. `@step/...` paths are left out: the fingerprint of that step stands for them.
        """
        found = []
        for given in paths:
            if str(given).startswith("@"):
                continue
            if missing is not None and not given.exists():
                missing.append(given)
                found.append([given.name, ""])
                continue
            found += [[name, self._digest(path)] for name, path in _files(given)]
        return found

    def save(self) -> None:
        """Keep what was learned, if the run folder exists."""
        if self._new and self._path.parent.is_dir():
            write_atomic(self._path, encode_row(self._known))

    def _digest(self, path: Path) -> str:
        status = path.stat()
        known = self._known.get(str(path))
        if known and (known.bytes, known.changed_ns) == (status.st_size, status.st_mtime_ns):
            return known.digest
        digest, size = digest_file(path)
        self._known[str(path)] = _Known(size, status.st_mtime_ns, digest)
        self._new = True
        return digest


def _files(given: Path) -> Iterator[tuple[str, Path]]:
    """The file, or every file below a folder; names do not depend on where it lies."""
    if not given.is_dir():
        yield given.name, given
        return
    for path in sorted(given.rglob("*")):
        if path.is_file():
            yield f"{given.name}/{path.relative_to(given).as_posix()}", path
