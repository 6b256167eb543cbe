"""Parquet: one row a sample, images as bytes or as paths, row groups that fit in memory.

The file says in its metadata that `image` is an image, the way Hugging Face `datasets` does it:
there it loads as a column of pictures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

import msgspec
from pydantic import Field

from genixer.data import Origin, Quarantined, Sample
from genixer.errors import ConfigError, DataError
from genixer.formats.packed import (
    PackedRow,
    PackedSettings,
    Parcel,
    one_row,
    parcels,
    unpack,
)
from genixer.formats.parquet_columns import arrow, as_columns, readable_columns, rows_of, schema
from genixer.formats.pictures import ENDINGS, Unpacked
from genixer.formats.sidecars import Sidecars, whole_file
from genixer.formats.tally import Tally, Written
from genixer.store.entries import EntryError
from genixer.store.entry_files import decode_entry
from genixer.store.images import ImageCatalog, header_of

__all__ = ["ParquetFormat", "ParquetSettings", "RowGroups", "TableReader", "rows_in"]

_GROUP_BYTES = 64 << 20
"""Bytes of images at which a row group is closed before it has all its rows."""
_BATCH_ROWS = 32
"""Rows that are in memory at once on reading."""


class ParquetSettings(PackedSettings):
    """How coordinates stand in the text, where images go, and how large a row group grows."""

    images: Literal["bytes", "paths"] = "bytes"
    """`bytes` copies image files into the rows, `paths` leaves them where they are."""
    rows_per_group: int = Field(100, ge=1)
    """Rows in one row group, at most; 64 MiB of images close it earlier."""


class ParquetFormat:
    """One Parquet file.

    Not written: `not_pairs`, `bad_score`, what `write_turn` refuses (`image_mark`,
    `box_look_alike`, ..), images that cannot be read (`missing_image`, ..), that are no longer the
    ones the sample is about (`image_changed`) or exceed 256 MiB (`image_too_large`).

    On reading, images that the image root lacks are put there if the file holds them. A row group
    that cannot be read is quarantined row by row (`damaged_rows`).
    """

    name: ClassVar[str] = "parquet"
    Settings: ClassVar[type[ParquetSettings]] = ParquetSettings
    endings: ClassVar[tuple[str, ...]] = ("parquet",)

    def __init__(self, settings: ParquetSettings | None = None) -> None:
        """Keep `settings`."""
        self.settings = settings or ParquetSettings()

    @property
    def holds_images(self) -> bool:
        """Whether images are copied into the rows."""
        return self.settings.images == "bytes"

    def write(self, samples: Iterable[Sample], out: Path, images: Path) -> Written:
        """Write `samples` in order, and the sidecars."""
        arrow()  # a missing package is told before anything is made
        tally = Tally(self.name, self.settings.strict)
        copied = images if self.holds_images else None
        with (
            whole_file(out) as file,
            Sidecars.beside(out) as sidecars,
            RowGroups(file, self.settings) as groups,
        ):
            for parcel in parcels(samples, self.settings, copied, tally):
                groups.add(parcel)
                sidecars.add(parcel.sample)
            return tally.settle()

    def read(self, path: Path, images: Path) -> Iterator[Sample | Quarantined]:
        """Samples in row order; raises `ConfigError` when the file is not such a table."""
        yield from TableReader(self.settings, images, self.name).read(path)

    def count(self, path: Path) -> int:
        """How many rows there are; the footer says it."""
        return rows_in(path)

    def part(
        self, path: Path, images: Path, first: int, count: int
    ) -> Iterator[Sample | Quarantined]:
        """Rows `first` to `first + count`; row groups before and after are not read."""
        yield from TableReader(self.settings, images, self.name).read(path, first, count)


class RowGroups:
    """A Parquet file that grows by row groups; complete when the block ends."""

    def __init__(self, file: BinaryIO, settings: ParquetSettings) -> None:
        """Write to `file`, which stays open."""
        self._schema, self._settings = schema(), settings
        self._writer = arrow().parquet.ParquetWriter(
            file, self._schema, compression="zstd", write_page_checksum=True
        )
        self._waiting: list[Parcel] = []
        self._bytes = 0

    def __enter__(self) -> RowGroups:
        """Nothing to open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the table."""
        self.close()

    def close(self) -> None:
        """Write what waits, and the footer."""
        self._flush()
        self._writer.close()

    def add(self, parcel: Parcel) -> None:
        """Append one row."""
        self._waiting.append(parcel)
        self._bytes += len(parcel.picture.data)
        if len(self._waiting) >= self._settings.rows_per_group or self._bytes >= _GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        columns = as_columns(
            [parcel.row for parcel in self._waiting],
            [parcel.picture.data for parcel in self._waiting],
        )
        batch = arrow().RecordBatch.from_pydict(columns, schema=self._schema)
        self._writer.write_batch(batch)
        self._waiting, self._bytes = [], 0


def rows_in(path: Path) -> int:
    """Rows of a Parquet file; raises `ConfigError` when it is none."""
    with _table(path) as file:
        return int(file.metadata.num_rows)


def _table(path: Path) -> Any:
    pa = arrow()
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        return pa.parquet.ParquetFile(
            path, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True
        )
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: no readable Parquet file: {error}") from error


class TableReader:
    """Rows of Parquet files to samples."""

    def __init__(self, settings: PackedSettings, images: Path, source: str) -> None:
        """Images lie, or are put, below `images`; `source` is the origin of rows that name none."""
        self._settings, self._source = settings, source
        self._unpacked, self._catalog = Unpacked(images), ImageCatalog(images)

    def read(
        self, path: Path, first: int = 0, count: int | None = None
    ) -> Iterator[Sample | Quarantined]:
        """Samples of one file, or of its rows `first` to `first + count`.

        Raises `ConfigError` when it is not a table of conversations.
        """
        with _table(path) as file:
            columns = readable_columns(path, file.schema_arrow)
            begin = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                skip = max(0, first - begin)
                last = rows if count is None else min(rows, first + count - begin)
                if skip < last:
                    found = self._group(file, group, columns, (path.name, begin, rows))
                    yield from islice(found, skip, last)
                begin += rows

    def _group(
        self, file: Any, group: int, columns: list[str], span: tuple[str, int, int]
    ) -> Iterator[Sample | Quarantined]:
        """Rows of one row group; those that cannot be read are quarantined one by one."""
        pa = arrow()
        name, first, rows = span
        done = 0
        batches = file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns)
        try:
            for batch in batches:
                for row in rows_of(batch):
                    yield self._one(f"{name}[{first + done}]", row)
                    done += 1
        except (pa.ArrowException, OSError) as error:
            for at in range(first + done, first + rows):
                yield Quarantined(f"{name}[{at}]", "damaged_rows", str(error)[:200])

    def _one(self, where: str, row: dict[str, Any] | None) -> Sample | Quarantined:
        if row is None:
            return Quarantined(where, "not_utf8", "text of this row is not UTF-8")
        shown = {name: value for name, value in row.items() if name != "image"}
        return one_row(where, json.dumps(shown, default=repr).encode(), partial(self._sample, row))

    def _sample(self, row: dict[str, Any]) -> Sample:
        data, path = _image_of(row.pop("image", None))
        if "origin" in row:
            row["origin"] = decode_entry(str(row["origin"]).encode(), Origin)
        try:
            packed = msgspec.convert({**row, "image": path}, PackedRow)
        except (msgspec.ValidationError, DataError) as error:
            raise EntryError("bad_entry", str(error)) from error
        if data is None:
            image = self._catalog.ref(path)
        else:
            image = self._unpacked.ref(path or _name_by_content(data), data, packed.stated)
        return unpack(packed, image, self._settings, self._source)


def _image_of(cell: object) -> tuple[bytes | None, str]:
    """Bytes and path in a cell of the column `image`: what `datasets` writes, or bytes alone."""
    if isinstance(cell, bytes):
        return cell, ""
    if isinstance(cell, dict):
        data, path = cell.get("bytes"), cell.get("path")
        if isinstance(data, bytes) or (data is None and path):
            return data, str(path or "")
    raise EntryError("no_image", "neither bytes nor a path in the column image")


def _name_by_content(data: bytes) -> str:
    """File name of an image that has none: equal images get the same."""
    return f"{hashlib.sha256(data).hexdigest()[:32]}.{ENDINGS[header_of('image', data)[0]]}"
