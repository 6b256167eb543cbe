"""What the doctor sees of an entry, whatever the layout; one class and one line add a layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import msgspec

from genixer.data import Sample, SftRow
from genixer.errors import ConfigError
from genixer.frames import Frame
from genixer.store.entries import EntryError
from genixer.store.entry_files import decode_entry

__all__ = ["LAYOUTS", "Editable", "Layout", "Row", "decode", "layout_of"]


class Row(msgspec.Struct, frozen=True):
    """An entry as the checks see it.

    `turns` are pairs of role and text, roles other than user and assistant as they stand; `boxes`
    are coordinates that are not in the text, as fractions. `frame`, `decimals` and `size` are what
    the row itself says of the coordinates in its text, where it does.
    """

    id: int | str | None
    image: str | None
    turns: Sequence[tuple[str, str]]
    sha256: str = ""
    boxes: Sequence[Sequence[float]] = ()
    frame: Frame | None = None
    decimals: int | None = None
    size: tuple[int, int] | None = None


class Layout(Protocol):
    """How entries of one kind of file are read, as they are: nothing is refused but nonsense."""

    name: ClassVar[str]
    marks: ClassVar[bool]
    """Whether `<image>` in the text stands for the image."""
    frame: ClassVar[Frame]
    decimals: ClassVar[int]
    """What coordinates in text are when nobody says otherwise."""

    def row(self, raw: bytes) -> Row:
        """What an entry holds; raises `EntryError`."""
        ...

    def fits(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry can be of this layout alone."""
        ...


@runtime_checkable
class Editable(Layout, Protocol):
    """A layout whose entries can be repaired."""

    def edit(self, entry: Any, row: Row) -> None:
        """Put id, image and texts of `row` into the entry it was read from."""
        ...


def decode(raw: bytes, kind: Any) -> Any:
    """Entry as a `kind`; raises `EntryError` (`not_utf8`, `not_json`, `bad_entry`)."""
    try:
        raw.decode("utf-8")  # of fields that `kind` does not have, too
    except UnicodeDecodeError as error:
        raise EntryError("not_utf8", str(error)) from error
    return decode_entry(raw, kind)


class _Said(msgspec.Struct):
    speaker: str = msgspec.field(name="from")
    value: str


class _Llava(msgspec.Struct):
    conversations: list[_Said]
    id: int | str | None = None
    image: str | None = None


_ROLE = {"human": "user", "gpt": "assistant"}


class LlavaLayout:
    """`id`, `image`, `conversations` of `from` and `value`."""

    name: ClassVar[str] = "llava"
    marks: ClassVar[bool] = True
    frame: ClassVar[Frame] = "padded_square"
    decimals: ClassVar[int] = 3

    def row(self, raw: bytes) -> Row:
        """Speakers become roles."""
        entry = decode(raw, _Llava)
        said = entry.conversations
        turns = [(_ROLE.get(one.speaker, one.speaker or "?"), one.value) for one in said]
        return Row(entry.id, entry.image or None, turns)

    def edit(self, entry: Any, row: Row) -> None:
        """Turns stay as they are but for their words."""
        entry["id"] = row.id
        if row.image is not None:
            entry["image"] = row.image
        for said, (_, text) in zip(entry["conversations"], row.turns, strict=True):
            said["value"] = text

    def fits(self, entry: Mapping[str, Any]) -> bool:
        """Conversations of `from` and `value`; `images` would be another layout's."""
        said = entry.get("conversations")
        return (
            isinstance(said, list)
            and all(isinstance(one, dict) and {"from", "value"} <= one.keys() for one in said)
            and "images" not in entry
        )


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


LAYOUTS: Mapping[str, Layout] = {"llava": LlavaLayout(), "rows": RowsLayout()}
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
        keys = ", ".join(list(entry)[:8])
        raise ConfigError(
            f"{path}: entries with {keys or 'no keys'} can be of "
            f"{len(found) or 'no'} formats; name one with --format: {known}"
        )
    return found[0]
