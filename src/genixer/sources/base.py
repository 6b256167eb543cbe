"""What a source is: a reader of one published annotation layout that yields samples and says what it could not read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from genixer.data import Quarantined, Sample

__all__ = ["Source", "SourceSettings"]


class SourceSettings(BaseModel):
    """Where a dataset lies on disk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Path
    """Folder that image paths are relative to."""


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

    def read(self) -> Iterator[Sample | Quarantined]:
        """Samples in file order; an entry that breaks a rule comes out as `Quarantined` with `file:line` (or its index).

        A file that is missing or not of this layout at all raises `ConfigError`: that is a wrong setting, not broken data.
        """
        ...
