"""What goes beside every export: where each row comes from, and whom to name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from genixer.data import Origin, Sample, decode_row, encode_row
from genixer.store.disk import full_disk, sync_folder, write_atomic

__all__ = ["Provenance", "Sidecars", "read_provenance", "whole_file"]


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
        self._out, self._file = out, file
        self._sources: Counter[tuple[str, str, str]] = Counter()

    @classmethod
    @contextmanager
    def beside(cls, out: Path) -> Iterator[Sidecars]:
        """Sidecars of the export `out`; they appear when the block ends well."""
        with whole_file(provenance_path(out)) as file:
            sidecars = cls(out, file)
            yield sidecars
        write_atomic(out.with_name(f"{out.name}.attribution.txt"), sidecars._attribution())

    def add(self, sample: Sample) -> None:
        """Note one written sample."""
        row = Provenance(sample.id, sample.task, sample.origin, sample.image.sha256)
        self._file.write(encode_row(row) + b"\n")
        origin = sample.origin
        self._sources[origin.source, origin.licence, origin.generator] += 1

    def _attribution(self) -> bytes:
        lines = ["Where the rows of this file come from, and under which licence."]
        for (source, licence, generator), count in sorted(self._sources.items()):
            by = f", written by the model {generator}" if generator else ""
            lines.append(f"{count} rows from {source}{by}: {licence or 'no licence stated'}")
        return ("\n".join(lines) + "\n").encode()


def read_provenance(path: Path) -> dict[str, Provenance]:
    """Provenance by row id of the export at `path`; empty when there is no sidecar."""
    sidecar = provenance_path(path)
    if not sidecar.is_file():
        return {}
    with sidecar.open("rb") as file:
        rows = (decode_row(line, Provenance) for line in file if line.strip())
        return {row.id: row for row in rows}
