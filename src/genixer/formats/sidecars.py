"""What goes beside every export: where each row comes from, and whom to name."""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import msgspec
import xxhash

from genixer.data import Origin, Sample
from genixer.formats.rows_file import Rows
from genixer.store.disk import full_disk, sync_folder, write_atomic
from genixer.store.entries import EntryError, EntryFile, json_lines

__all__ = ["Provenance", "ProvenanceFile", "Sidecars", "provenance_path", "whole_file"]


class Provenance(msgspec.Struct, frozen=True):
    """Where one exported row comes from; `id` is the sample's and the row's.

    `sha256` is the image's, so that it is found again under another name.
    """

    id: str
    task: str
    origin: Origin
    sha256: str = ""


def provenance_path(out: Path) -> Path:
    """The sidecar `<out>.provenance.jsonl`."""
    return out.with_name(f"{out.name}.provenance.jsonl")


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write; it appears at `path`, synced, when the block ends well, else not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    with full_disk(path, 0):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


class Sidecars:
    """Writes `<out>.provenance.jsonl` row by row, and `<out>.attribution.txt` at the end."""

    def __init__(self, out: Path, file: BinaryIO) -> None:
        """`file` takes the provenance."""
        self._out, self._rows = out, Rows(file)
        self._sources: dict[tuple[str, str, str], int] = {}

    @classmethod
    @contextmanager
    def beside(cls, out: Path) -> Iterator[Sidecars]:
        """Sidecars of the export `out`; they appear when the block ends well."""
        with whole_file(provenance_path(out)) as file:
            sidecars = cls(out, file)
            yield sidecars
            sidecars._rows.close()
        write_atomic(out.with_name(f"{out.name}.attribution.txt"), sidecars._attribution())

    def add(self, sample: Sample) -> None:
        """Note one written sample."""
        origin = sample.origin
        self._rows.add(Provenance(sample.id, sample.task, origin, sample.image_sha256))
        key = origin.source, origin.licence, origin.generator
        self._sources[key] = self._sources.get(key, 0) + 1

    def _attribution(self) -> bytes:
        lines = ["Where the rows of this file come from, and under which licence."]
        for (source, licence, generator), count in sorted(self._sources.items()):
            by = f", written by the model {generator}" if generator else ""
            lines.append(f"{count} rows from {source}{by}: {licence or 'no licence stated'}")
        return ("\n".join(lines) + "\n").encode()


class ProvenanceFile:
    """Sidecar of an export, looked up by row id.

    Rows of file and sidecar usually stand in the same order, so the same line is tried first. Where
    it is another row's (rows were shuffled, or taken out), an index of 16 bytes a row is made.
    """

    @classmethod
    def of(cls, path: Path) -> ProvenanceFile | None:
        """That of the export at `path`, if there is one; raises `ConfigError` when unreadable."""
        sidecar = provenance_path(path)
        some = sidecar.is_file() and sidecar.stat().st_size > 0
        return cls(json_lines(sidecar)) if some else None

    def __init__(self, file: EntryFile) -> None:
        """Look things up in `file`."""
        self._file = file
        self._sorted: tuple[Sequence[int], Sequence[int]] | None = None

    def get(self, index: int, id: str) -> Provenance | None:
        """What the sidecar says of the row `id`, which is entry `index` of the export.

        Raises `EntryError` (`bad_provenance`) when it may be a line that cannot be read.
        """
        tried, problem = [index] if index < len(self._file) else [], ""
        for at in chain(tried, self._lines(self._file, id)):
            try:
                found = self._file.read(at, Provenance)
            except EntryError as error:
                problem = f"{self._file.places[at]}: {error}"
                continue
            if found.id == id:
                return found
        if problem:
            raise EntryError("bad_provenance", problem)
        return None

    def _lines(self, file: EntryFile, id: str) -> Iterator[int]:
        """Lines that may be about the row `id`."""
        hashes, lines = self._index(file)
        wanted = xxhash.xxh3_64_intdigest(id.encode())
        at = bisect_left(hashes, wanted)
        while at < len(hashes) and hashes[at] == wanted:
            yield lines[at]
            at += 1

    def _index(self, file: EntryFile) -> tuple[Sequence[int], Sequence[int]]:
        """Hashes of the ids, sorted, and the lines they stand in."""
        if self._sorted is None:
            import numpy as np

            found, lines = array("Q"), array("Q")
            for at in range(len(file)):
                with suppress(EntryError):  # told of when its row is asked for
                    found.append(xxhash.xxh3_64_intdigest(file.read(at, _WithId).id.encode()))
                    lines.append(at)
            order = np.argsort(np.array(found, dtype=np.uint64), kind="stable")
            self._sorted = (
                array("Q", (found[at] for at in order)),
                array("Q", (lines[at] for at in order)),
            )
        return self._sorted


class _WithId(msgspec.Struct):
    id: str
