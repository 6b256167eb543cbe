"""A dataset folder as dataset hubs keep it: `data/train-00000-of-00003.parquet` and a card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, ClassVar

from pydantic import Field

from genixer.data import Quarantined, Sample
from genixer.errors import ConfigError
from genixer.formats.folders import whole_folder
from genixer.formats.hf_card import Contents, card
from genixer.formats.packed import Parcel, parcels
from genixer.formats.parquet import ParquetSettings, RowGroups, TableReader, rows_in
from genixer.formats.parquet_columns import arrow
from genixer.formats.sidecars import Sidecars
from genixer.formats.tally import Tally, Written

__all__ = ["HfDatasetFormat", "HfDatasetSettings"]

_OURS = re.compile(r"README\.md|data/train-[0-9]{5}-of-[0-9]{5}\.parquet")


class HfDatasetSettings(ParquetSettings):
    """How coordinates stand in the text, how large files grow, and what the card says."""

    rows_per_shard: int = Field(50_000, ge=1)
    """Rows in one Parquet file, at most."""
    shard_mb: int = Field(500, ge=1)
    """Size at which a Parquet file is closed, in millions of bytes; a row group may exceed it."""
    title: str = "Instruction data made with Genixer"
    """Heading of the card."""


class HfDatasetFormat:
    """Folder of Parquet files with a dataset card; `datasets.load_dataset(folder)` opens it.

    Not written, and what happens on reading: as for the format `parquet`.
    """

    name: ClassVar[str] = "hf_dataset"
    Settings: ClassVar[type[HfDatasetSettings]] = HfDatasetSettings
    endings: ClassVar[tuple[str, ...]] = ("",)

    def __init__(self, settings: HfDatasetSettings | None = None) -> None:
        """Keep `settings`."""
        self.settings = settings or HfDatasetSettings()

    @property
    def holds_images(self) -> bool:
        """Whether images are copied into the rows."""
        return self.settings.images == "bytes"

    def write(self, samples: Iterable[Sample], out: Path, images: Path) -> Written:
        """Write `samples` in order, the card, and the sidecars."""
        arrow()  # a missing package is told before anything is made
        tally = Tally(self.name, self.settings.strict)
        copied = images if self.holds_images else None
        contents = Contents()
        with whole_folder(out, _OURS) as folder, Sidecars.beside(out) as sidecars:
            with _Shards(folder / "data", self.settings) as shards:
                for parcel in parcels(samples, self.settings, copied, tally):
                    shards.add(parcel)
                    sidecars.add(parcel.sample)
                    contents.add(parcel.sample)
            contents.bytes = shards.finish()
            text = card(contents, self.settings.title, self.settings.frame, self.settings.decimals)
            (folder / "README.md").write_text(text, encoding="utf-8")
            return tally.settle()

    def read(self, path: Path, images: Path) -> Iterator[Sample | Quarantined]:
        """Samples in order of files and rows; raises `ConfigError` for any other kind of folder."""
        reader = TableReader(self.settings, images, self.name)
        for file in _files(path):
            yield from reader.read(file)

    def count(self, path: Path) -> int:
        """How many rows there are; the footers say it."""
        return sum(map(rows_in, _files(path)))

    def part(
        self, path: Path, images: Path, first: int, count: int
    ) -> Iterator[Sample | Quarantined]:
        """Rows `first` to `first + count`; what is before and after is not read."""
        reader = TableReader(self.settings, images, self.name)
        for file in _files(path):
            there = rows_in(file)
            if first < there and count > 0:
                yield from reader.read(file, first, count)
            taken = max(0, min(there, first + count) - first)
            first, count = max(0, first - there), count - taken


def _files(folder: Path) -> list[Path]:
    found = sorted(folder.glob("data/*.parquet")) or sorted(folder.glob("*.parquet"))
    if not found:
        raise ConfigError(f"{folder}: no folder with Parquet files (data/*.parquet)")
    return found


class _Shards:
    """Parquet files of one folder; there is always one."""

    def __init__(self, folder: Path, settings: HfDatasetSettings) -> None:
        folder.mkdir()
        self._folder, self._settings, self._paths = folder, settings, list[Path]()
        self._open()

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def add(self, parcel: Parcel) -> None:
        full = self._rows >= self._settings.rows_per_shard
        if full or self._file.tell() >= self._settings.shard_mb * 10**6:
            self._close()
            self._open()
        self._groups.add(parcel)
        self._rows += 1

    def finish(self) -> int:
        """Name the files, which takes knowing how many there are; returns their bytes."""
        for number, path in enumerate(self._paths):
            name = f"train-{number:05d}-of-{len(self._paths):05d}.parquet"
            path.rename(self._folder / name)
        return sum(path.stat().st_size for path in self._folder.iterdir())

    def _open(self) -> None:
        path = self._folder / f"{len(self._paths)}.part"
        self._paths.append(path)
        self._file: BinaryIO = path.open("wb")
        self._groups = RowGroups(self._file, self._settings)
        self._rows = 0

    def _close(self) -> None:
        with self._file:
            self._groups.close()
