"""Stage `dedup`: keeps the first of samples that say the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from genixer.data import Sample, encode_row
from genixer.errors import DataError
from genixer.filters.dedup import SameBy, duplicate_key
from genixer.stages.base import Estimate, FileWriter, RowWriter, Stage, StageSettings, Step

__all__ = ["DedupSettings", "DedupStage"]

FIRST = "index/first.bin"
"""For every input row the position of the first row with its key: 8 bytes, little endian."""
IDS = "index/ids.bin"
"""The id of every input row, 32 bytes."""
_ID_BYTES = 32


class DedupSettings(StageSettings):
    """When two samples are the same."""

    by: SameBy = "question"
    """`question`: same image, same questions, whatever the answers; `content`: same answers too."""


class DedupStage(Stage):
    """Keeps the first sample of each key in input order, rejects the others as `duplicate`.

    `files/duplicates/*.jsonl` names the kept one of every rejected row. The index is built in one
    pass that holds about 100 bytes a row (100 MB for a million) and lies on disk at 40 bytes a
    row; a shard reads its own part of it.
    """

    name: ClassVar[str] = "dedup"
    Settings: ClassVar[type[DedupSettings]] = DedupSettings

    def items(self, step: Step) -> int:
        """How many samples come in."""
        return step.count()

    def estimate(self, inputs: Mapping[str, list[Estimate]]) -> Estimate:
        """About 20 000 samples a second; how many are duplicates is not known before."""
        items = super().estimate(inputs).items
        return Estimate(items, None, seconds=(items or 0) / 20_000, bytes=(items or 0) * 700)

    def prepare(self, step: Step, out: FileWriter) -> None:
        """Find the first row of every key."""
        keys, ids = bytearray(), bytearray()
        for sample in step.rows(Sample):
            keys += duplicate_key(sample, self.settings.by)
            ids += sample.id.encode()[:_ID_BYTES].ljust(_ID_BYTES, b"\0")
        out.file(IDS, bytes(ids))
        out.file(FIRST, first_positions(bytes(keys)))

    def process(self, step: Step, first: int, count: int, out: RowWriter) -> None:
        """Keep or reject samples `first` to `first + count`."""
        firsts = _records(step.resolve(f"@{step.name}/{FIRST}"), 8, first, count)
        ids = step.resolve(f"@{step.name}/{IDS}")
        notes = []
        rows = zip(step.rows(Sample, first, count), firsts, strict=True)
        for at, (sample, position) in enumerate(rows, start=first):
            original = int.from_bytes(position, "little")
            if original == at:
                out.keep(sample)
                continue
            kept = _records(ids, _ID_BYTES, original, 1)[0].rstrip(b"\0").decode()
            notes.append(encode_row({"id": sample.id, "duplicate_of": kept}))
            out.reject(sample.id, "duplicate", sample, sample.origin.scores)
        if notes:
            out.file(f"duplicates/{first:09d}.jsonl", b"\n".join(notes) + b"\n")


def first_positions(keys: bytes) -> bytes:
    """For 16-byte keys joined in row order: the first position of each row's key, 8 bytes each.

    >>> first = first_positions(b"a" * 16 + b"b" * 16 + b"a" * 16)
    >>> [int.from_bytes(first[i : i + 8], "little") for i in (0, 8, 16)]
    [0, 1, 0]
    """
    import numpy as np

    table = np.frombuffer(keys, dtype=np.dtype("V16"))
    halves = np.frombuffer(keys, dtype="<u8").reshape(-1, 2)
    # Stable, so that the first row of a key stays in front of its duplicates.
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    ordered = table[order]
    new = np.ones(len(table), dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    starts = order[new][np.cumsum(new) - 1] if len(table) else order
    first = np.empty(len(table), dtype="<u8")
    first[order] = starts
    return first.tobytes()


def _records(path: Path, size: int, first: int, count: int) -> list[bytes]:
    """Records `first` to `first + count` of a file of records of `size` bytes."""
    with path.open("rb") as file:
        file.seek(first * size)
        data = file.read(count * size)
    if len(data) != count * size:
        raise DataError(f"{path}: shorter than the input it indexes; remove the step and run again")
    return [data[at : at + size] for at in range(0, len(data), size)]
