"""WebDataset: a folder of tar files, two members a sample, `000000012.jpg` and `000000012.json`.

The JSON is a `PackedRow`: the conversation as text, exact coordinates, where the sample comes from.
Equal samples give equal bytes: members in order, no times, no owners.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, ClassVar

from pydantic import Field

from genixer.data import Quarantined, Sample, encode_row
from genixer.errors import ConfigError
from genixer.formats.folders import whole_folder
from genixer.formats.packed import (
    PackedRow,
    PackedSettings,
    one_row,
    parcels,
    unpack,
)
from genixer.formats.pictures import Picture, Unpacked
from genixer.formats.sidecars import Sidecars
from genixer.formats.tally import Tally, Written
from genixer.formats.tar_samples import TarSample, end_tar, shard_paths, tar_samples, write_member
from genixer.store.entry_files import decode_entry

__all__ = ["WebDatasetFormat", "WebDatasetSettings"]

_OURS = re.compile(r"shard-[0-9]{6}\.tar")


class WebDatasetSettings(PackedSettings):
    """How coordinates stand in the text, and how large a tar file grows."""

    rows_per_shard: int = Field(10_000, ge=1)
    """Samples in one tar file, at most."""
    shard_mb: int = Field(500, ge=1)
    """Size at which a tar file is closed, in millions of bytes; one sample may exceed it."""


class WebDatasetFormat:
    """Folder of `shard-000000.tar`, images copied in; reads such a folder, or one tar file.

    Not written: `not_pairs`, `bad_score`, what `write_turn` refuses (`image_mark`,
    `box_look_alike`, ..), images that cannot be read (`missing_image`, ..), that are no longer the
    ones the sample is about (`image_changed`) or exceed 256 MiB (`image_too_large`).

    On reading, images that the image root lacks are put there.
    """

    name: ClassVar[str] = "webdataset"
    Settings: ClassVar[type[WebDatasetSettings]] = WebDatasetSettings
    endings: ClassVar[tuple[str, ...]] = ("",)
    holds_images: ClassVar[bool] = True

    def __init__(self, settings: WebDatasetSettings | None = None) -> None:
        """Keep `settings`."""
        self.settings = settings or WebDatasetSettings()
        self._counts: dict[tuple[Path, int, int], int] = {}

    def write(self, samples: Iterable[Sample], out: Path, images: Path) -> Written:
        """Write `samples` in order, images included, and the sidecars."""
        if out.suffix == ".tar":
            raise ConfigError(f"{out}: WebDataset is a folder of tar files; leave the .tar away")
        tally = Tally(self.name, self.settings.strict)
        with (
            whole_folder(out, _OURS) as folder,
            Sidecars.beside(out) as sidecars,
            _Shards(folder, self.settings) as shards,
        ):
            for sample, row, picture in parcels(samples, self.settings, images, tally):
                shards.add(encode_row(row), picture)
                sidecars.add(sample)
            return tally.settle()

    def read(self, path: Path, images: Path) -> Iterator[Sample | Quarantined]:
        """Samples in order of files and members.

        Raises `ConfigError` for a folder without tar files, and for a file that is none.
        """
        for file in shard_paths(path):
            yield from self._shard(file, images, 0, None)

    def count(self, path: Path) -> int:
        """How many samples there are, broken ones included; reads names alone."""
        return sum(map(self._count, shard_paths(path)))

    def part(
        self, path: Path, images: Path, first: int, count: int
    ) -> Iterator[Sample | Quarantined]:
        """Samples `first` to `first + count`; tar files before them are not read again."""
        for file in shard_paths(path):
            there = self._count(file)
            if first < there and count > 0:
                yield from self._shard(file, images, first, first + count)
            taken = max(0, min(there, first + count) - first)
            first, count = max(0, first - there), count - taken

    def _shard(
        self, file: Path, images: Path, first: int, last: int | None
    ) -> Iterator[Sample | Quarantined]:
        reader = _Reader(self.settings, Unpacked(images))
        for found in islice(tar_samples(file), first, last):
            if isinstance(found, Quarantined):
                yield found
            else:
                yield one_row(found.where, found.text, partial(reader.sample, found))

    def _count(self, file: Path) -> int:
        """Samples of one tar file, counted once as long as it stays as it is."""
        status = file.stat()
        key = file, status.st_mtime_ns, status.st_size
        if key not in self._counts:
            self._counts[key] = sum(1 for _ in tar_samples(file, bodies=False))
        return self._counts[key]


class _Shards:
    """Tar files of a folder, one after the other; there is always one."""

    def __init__(self, folder: Path, settings: WebDatasetSettings) -> None:
        self._folder, self._settings = folder, settings
        self._written, self._shards, self._rows = 0, 0, 0
        self._file = self._open()

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, row: bytes, picture: Picture) -> None:
        """Append one sample; its key counts through all files, so it is unique in the folder."""
        size = self._file.tell()
        if self._rows >= self._settings.rows_per_shard or size >= self._settings.shard_mb * 10**6:
            self._close()
            self._file = self._open()
        members = {picture.ending: picture.data, "json": row}
        for ending in sorted(members):
            write_member(self._file, f"{self._written:09d}.{ending}", members[ending])
        self._rows += 1
        self._written += 1

    def _open(self) -> BinaryIO:
        path = self._folder / f"shard-{self._shards:06d}.tar"
        self._rows = 0
        self._shards += 1
        return path.open("wb")

    def _close(self) -> None:
        end_tar(self._file)
        self._file.close()


class _Reader:
    """Members of a tar file to samples."""

    def __init__(self, settings: PackedSettings, unpacked: Unpacked) -> None:
        self._settings, self._unpacked = settings, unpacked

    def sample(self, found: TarSample) -> Sample:
        """Sample of one key; raises `EntryError` or `ImageError`."""
        row = decode_entry(found.text, PackedRow)
        image = self._unpacked.ref(row.image or found.image_name, found.image, row.stated)
        return unpack(row, image, self._settings, "webdataset")
