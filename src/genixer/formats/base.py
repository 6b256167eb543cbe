"""What a format is: a layout of other people's, with its reader and its writer side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from genixer.data import Quarantined, Sample

__all__ = ["Divisible", "Format", "FormatSettings", "HoldsImages"]


class FormatSettings(BaseModel):
    """Settings all formats share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strict: bool = False
    """Writing: nothing when a row cannot be carried whole; else such rows are counted and left out.
    Reading: rows of which the record cannot keep everything are quarantined; else it keeps what it
    can. `export` and `import` set it unless told `--allow-loss`."""


class Format(Protocol):
    """Layout of conversations about images. A row is carried whole, or counted and left out."""

    name: ClassVar[str]
    Settings: ClassVar[type[FormatSettings]]
    endings: ClassVar[tuple[str, ...]]
    """How names of its files may end, without the dot; an empty ending is that of a folder."""

    def __init__(self, settings: FormatSettings | None = None) -> None:
        """Keep `settings`, by default the format's own."""
        ...

    def write(self, samples: Iterable[Sample], out: Path, images: Path) -> dict[str, int]:
        """Write `samples` to `out`; image paths are relative to `images`.

        Returns how many were `written`, and how many were not by reason
        (`genixer.formats.tally.Written` tells of rounding, too). Files appear whole or not at all:
        what `samples` raises goes through and leaves nothing. With the setting `strict` rows that
        cannot be written raise `LossError` instead of being left out.
        """
        ...

    def read(self, path: Path, images: Path) -> Iterator[Sample | Quarantined]:
        """Samples in file order; an entry that breaks a rule comes as `Quarantined`.

        Raises `ConfigError` when the file is not of this layout.
        """
        ...


@runtime_checkable
class Divisible(Protocol):
    """A format whose files can be read in parts, and so by several workers at once."""

    def count(self, path: Path) -> int:
        """How many rows `read` gives, broken entries included; opens no image."""
        ...

    def part(
        self, path: Path, images: Path, first: int, count: int
    ) -> Iterator[Sample | Quarantined]:
        """Rows `first` to `first + count` of those that `read` gives."""
        ...


@runtime_checkable
class HoldsImages(Protocol):
    """A format whose files can hold the images themselves; all others name them by path."""

    @property
    def holds_images(self) -> bool:
        """Whether they do, with the settings at hand."""
        ...
