"""Sources whose entries give any number of rows: counted once, found again by number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from genixer.data import Origin, Quarantined, Sample
from genixer.errors import ConfigError
from genixer.sources.base import SourceSettings
from genixer.store.entries import AnyEntries, EntryError, read_part
from genixer.store.images import ImageCatalog

__all__ = ["PlannedSource", "read_ids"]


class PlannedSource(ABC):
    """A source that makes rows of each entry of one file: a subclass says how many and which.

    The plan is 8 bytes an entry. An entry that cannot be read, or repeats an id, is one row.
    """

    name: ClassVar[str]
    licence: ClassVar[str]
    key: ClassVar[str] = ""
    """The entry's field that must not come twice; empty where the layout has none."""
    settings: Any

    def __init__(self, settings: SourceSettings) -> None:
        """Keep `settings`; open nothing yet."""
        self.settings = settings
        self.catalog = ImageCatalog(settings.images)

    @abstractmethod
    def _open(self) -> AnyEntries:
        """The file, split into entries; raises `ConfigError`."""

    @abstractmethod
    def _rows(self, index: int) -> int:
        """Rows of entry `index`; an `EntryError` makes it one row, which `_sample` refuses."""

    @abstractmethod
    def _sample(self, index: int, row: int) -> Sample:
        """Sample of row `row` of entry `index`; raises `EntryError` or `ImageError`."""

    def _part(self, index: int, row: int) -> tuple[str, bytes]:
        """Where a row stands and its bytes, for one that cannot be read."""
        return self._file.places[index], self._file.raw(index)

    def count(self) -> int:
        """Rows of all entries; opens no image."""
        return self._ends[-1] if self._ends else 0

    def read(self, first: int = 0, count: int | None = None) -> Iterator[Sample | Quarantined]:
        """Rows `first` to `first + count` in file order."""
        last = self.count() if count is None else min(first + count, self.count())
        for number in range(first, last):
            entry = bisect_right(self._ends, number)
            row = number - (self._ends[entry - 1] if entry else 0)
            yield self._row(entry, row)

    def _row(self, index: int, row: int) -> Sample | Quarantined:
        def make() -> Sample:
            if index in self._repeated:
                raise EntryError("duplicate_id", "an earlier entry has the same id")
            return self._sample(index, row)

        return read_part(make, lambda: self._part(index, row))

    @cached_property
    def _file(self) -> AnyEntries:
        return self._open()

    @cached_property
    def _repeated(self) -> frozenset[int]:
        return self._file.repeated(self.key) if self.key else frozenset()

    @cached_property
    def _ends(self) -> array[int]:
        """For each entry how many rows it and those before it have."""
        ends, total = array("q"), 0
        for index in range(len(self._file)):
            try:
                total += 1 if index in self._repeated else self._rows(index)
            except EntryError:
                total += 1
            ends.append(total)
        return ends

    def _origin(self, question_type: str = "") -> Origin:
        licence = self.settings.licence or self.licence
        return Origin(self.name, licence, question_type=question_type)


def read_ids(path: Path | None) -> tuple[str, ...] | None:
    """Ids of a text file, one a line, each once; None without a file. Raises `ConfigError`."""
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot be read: {reason}") from error
    ids = tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not ids:
        raise ConfigError(f"{path}: no id in it: expected one a line")
    return ids
