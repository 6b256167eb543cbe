"""What a source is: a reader of one annotation layout that says what it could not read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from genixer.data import Origin, Quarantined, Sample
from genixer.store.entries import AnyEntries, Entries
from genixer.store.images import ImageCatalog

__all__ = ["EntrySource", "LooksAtImages", "Source", "SourceSettings"]


class SourceSettings(BaseModel):
    """Where a dataset lies on disk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Path
    """Folder that image paths are relative to."""
    licence: str = ""
    """Licence of this copy of the data; empty means the one the dataset was published under."""


class Source(Protocol):
    """Reader of one dataset layout. Streams; never holds more than one annotation file."""

    name: ClassVar[str]
    licence: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    Settings: ClassVar[type[SourceSettings]]

    def __init__(self, settings: SourceSettings) -> None:
        """Keep `settings`; open nothing yet."""
        ...

    def files(self) -> list[Path]:
        """Annotation files it will read, for the fingerprint of the step."""
        ...

    def count(self) -> int:
        """How many rows `read` gives in all, broken entries included; opens no image."""
        ...

    def read(self, first: int = 0, count: int | None = None) -> Iterator[Sample | Quarantined]:
        """Rows `first` to `first + count` in file order; what breaks a rule comes as `Quarantined`.

        Its `where` is `file:line` or `file[index]`, its `raw` the entry. A file that is missing or
        not of this layout at all raises `ConfigError`: that is a wrong setting, not broken data.
        """
        ...


@runtime_checkable
class LooksAtImages(Protocol):
    """A source whose image catalog can be shared with other workers."""

    catalog: ImageCatalog


class EntrySource(ABC):
    """A source that makes one row of each entry of one file: a subclass says which and how."""

    name: ClassVar[str]
    licence: ClassVar[str]
    key: ClassVar[str]
    """The entry's field that must not come twice; empty for the keys of a dictionary."""
    settings: Any

    def __init__(self, settings: SourceSettings) -> None:
        """Keep `settings`; open nothing yet."""
        self.settings = settings
        self.catalog = ImageCatalog(settings.images)
        self._entries = Entries(self._open, self.key, self._sample)

    @abstractmethod
    def _open(self) -> AnyEntries:
        """The file, split into entries; raises `ConfigError`."""

    @abstractmethod
    def _sample(self, index: int) -> Sample:
        """Sample of entry `index`; raises `EntryError` or `ImageError`."""

    def count(self) -> int:
        """One row an entry."""
        return len(self._entries.file)

    def read(self, first: int = 0, count: int | None = None) -> Iterator[Sample | Quarantined]:
        """Rows of entries `first` to `first + count` in file order."""
        return self._entries.read(first, count)

    def _origin(self, question_type: str = "") -> Origin:
        licence = self.settings.licence or self.licence
        return Origin(self.name, licence, question_type=question_type)
