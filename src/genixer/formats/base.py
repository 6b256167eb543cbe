"""What a format is: a layout of other people's, with its reader and its writer side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from genixer.data import Quarantined, Sample

__all__ = ["Format", "FormatSettings"]


class FormatSettings(BaseModel):
    """Settings all formats share: none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Format(Protocol):
    """Layout of conversations about images. What it cannot carry is counted, never bent."""

    name: ClassVar[str]
    Settings: ClassVar[type[FormatSettings]]

    def __init__(self, settings: FormatSettings | None = None) -> None:
        """Keep `settings`, by default the format's own."""
        ...

    def write(self, samples: Iterable[Sample], out: Path, images: Path) -> dict[str, int]:
        """Write `samples` to `out`; image paths are relative to `images`.

        Returns how many were `written`, and how many were not by reason. Files appear whole or not
        at all.
        """
        ...

    def read(self, path: Path, images: Path) -> Iterator[Sample | Quarantined]:
        """Samples in file order; an entry that breaks a rule comes as `Quarantined`.

        Raises `ConfigError` when the file is not of this layout.
        """
        ...
