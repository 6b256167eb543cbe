"""What the doctor can read: rows of a run, and files of the registered formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import msgspec

from genixer.data import ImageRef, Sample, SftRow
from genixer.doctor.conversations import CONVERSATIONS
from genixer.doctor.row import Row, decode
from genixer.errors import ConfigError
from genixer.frames import Frame
from genixer.store.entries import EntryError

__all__ = ["LAYOUTS", "Editable", "Layout", "Placed", "RowsLayout", "layout_of"]


class Layout(Protocol):
    """How entries of one kind of file are read, as they are: nothing is refused but nonsense."""

    @property
    def name(self) -> str:
        """What `--format` calls it."""
        ...

    @property
    def marks(self) -> bool:
        """Whether `<image>` in the text stands for the image."""
        ...

    @property
    def in_text(self) -> bool:
        """Whether coordinates stand in the text, in brackets."""
        ...

    @property
    def editable(self) -> bool:
        """Whether entries can be repaired: then it is `Editable`."""
        ...

    @property
    def frame(self) -> Frame:
        """Frame of coordinates in text when nobody says otherwise."""
        ...

    @property
    def decimals(self) -> int:
        """Their decimals, likewise."""
        ...

    def row(self, raw: bytes) -> Row:
        """What an entry holds; raises `EntryError`."""
        ...

    def fits(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry can be of this layout."""
        ...


@runtime_checkable
class Editable(Layout, Protocol):
    """A layout whose entries can be repaired, where `editable` says so."""

    def edit(self, entry: Any, row: Row) -> None:
        """Put id, image and texts of `row` into the entry it was read from."""
        ...


@runtime_checkable
class Placed(Protocol):
    """A layout whose coordinates stand beside the text, or in signs of its own."""

    def misread(self, raw: bytes, image: ImageRef) -> EntryError | None:
        """Why the turns of an entry cannot be read on this image, if they cannot."""
        ...


class _Placed(msgspec.Struct):
    boxes: list[list[float]] = []


class _Path(msgspec.Struct):
    path: str


class _Loose(msgspec.Struct):
    """A sample as far as its boxes need it, whatever they are."""

    id: str
    image: _Path
    turns: list[_Placed] = []


class RowsLayout:
    """Rows of a run: `Sample` or `SftRow`, a line each."""

    name: ClassVar[str] = "rows"
    marks: ClassVar[bool] = False
    in_text: ClassVar[bool] = True
    editable: ClassVar[bool] = False
    frame: ClassVar[Frame] = "unit"
    decimals: ClassVar[int] = 3

    def row(self, raw: bytes) -> Row:
        """A row of training text says itself how coordinates are written."""
        if b'"messages":' in raw:
            sft = decode(raw, SftRow)
            turns = [(message.role, message.text) for message in sft.messages]
            image, size = sft.image, (sft.image.width, sft.image.height)
            return Row(sft.id, image.path, turns, image.sha256, (), sft.frame, sft.decimals, size)
        # Boxes first: one outside is a finding of its own, not an unreadable row.
        loose = decode(raw, _Loose)
        boxes = [box for turn in loose.turns for box in turn.boxes]
        if not all(_in_order(box) for box in boxes):
            return Row(loose.id, loose.image.path, (), boxes=boxes)
        sample = decode(raw, Sample)
        turns = [(turn.role, turn.text) for turn in sample.turns]
        return Row(sample.id, sample.image.path, turns, sample.image.sha256)

    def fits(self, entry: Mapping[str, Any]) -> bool:
        """Only what a stage writes has an image with a digest."""
        return isinstance(entry.get("image"), dict) and "sha256" in entry["image"]


def _in_order(box: Sequence[float]) -> bool:
    return len(box) == 4 and 0 <= box[0] <= box[2] <= 1 and 0 <= box[1] <= box[3] <= 1


LAYOUTS: Mapping[str, Layout] = {**CONVERSATIONS, "rows": RowsLayout()}
"""Layouts the doctor can read, by name."""


def layout_of(raw: bytes, path: object) -> Layout:
    """The one layout an entry can be of; raises `ConfigError` when it is none, or several."""
    known = ", ".join(LAYOUTS)
    try:
        entry = decode(raw, dict[str, Any])
    except EntryError as error:
        raise ConfigError(
            f"{path}: its first entry tells no format ({error.reason}); "
            f"name one with --format: {known}"
        ) from error
    found = [layout for layout in LAYOUTS.values() if layout.fits(entry)]
    if len(found) != 1:
        keys = ", ".join(list(entry)[:8]) or "no keys"
        choices = ", ".join(layout.name for layout in found)
        raise ConfigError(
            f"{path}: entries with {keys} can be of several formats ({choices}); "
            "name one with --format"
            if found
            else f"{path}: entries with {keys} are of no format that is read here; "
            f"name one with --format: {known}"
        )
    return found[0]
