"""ms-swift's messages with `images` and `objects`: `<bbox>` in the text, numbers beside it.

The trainer writes each box the way the model at hand wants it, so one file serves them all. A point
is a `<bbox>` of two numbers. In a list of objects the names become `<ref-object>` and stand in
`ref`; elsewhere a phrase has no end that a record knows of, and stays plain words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field

from genixer.data import ImageRef, Point, Role, Sample, Turn
from genixer.formats.conversation import (
    ConversationFormat,
    ConversationSettings,
    check_pairs,
    image_of_list,
)
from genixer.formats.grid import Grid
from genixer.formats.marked import (
    Place,
    expect_words,
    names_of_list,
    put_together,
    refuse_words,
    take_apart,
    weave,
)
from genixer.formats.tally import Tally
from genixer.formats.text import marked, unmarked
from genixer.frames import Frame
from genixer.store.entries import EntryError

__all__ = ["SwiftFormat", "SwiftSettings"]

_ROLES: tuple[Role, Role] = ("user", "assistant")
_BOX = "<bbox>"
_SIGNS = re.compile(r"<bbox>|<ref-object>|<video>|<audio>|<cot-process>")
_NAMES = re.compile(r"<ref-object>(?=(<bbox>)?)")
_FRAMES: dict[str, Frame] = {"real": "pixel", "norm1": "unit"}


class SwiftSettings(ConversationSettings):
    """In which frame the numbers stand; the file says so itself, as `bbox_type`."""

    frame: Literal["pixel", "unit"] = "pixel"
    """Frame that is written: `pixel` is `real`, `unit` is `norm1`. Reading follows the row."""
    decimals: int = Field(3, ge=0, le=6)
    """Decimals of a coordinate."""


class _Message(msgspec.Struct):
    role: str
    content: str


class _Objects(msgspec.Struct):
    bbox: list[list[float]] = []
    ref: list[str] = []
    bbox_type: Literal["real", "norm1"] = "real"
    image_id: list[int] = []


class _Row(msgspec.Struct):
    messages: list[_Message]
    id: int | str | None = None
    images: list[str] | str | None = None
    objects: _Objects | None = None


class SwiftFormat(ConversationFormat):
    """Not written: `swift_mark` (its own signs as words), `image_mark`, `touching_boxes`.

    Nor `group_not_adjacent` and `needless_groups` (`genixer.formats.marked.take_apart`).
    """

    name: ClassVar[str] = "ms_swift"
    Settings: ClassVar[type[SwiftSettings]] = SwiftSettings
    Row: ClassVar[type[Any]] = _Row
    field: ClassVar[str] = "messages"

    def row(self, sample: Sample, tally: Tally) -> dict[str, Any]:
        """Row of a sample."""
        frame, decimals = self.settings.frame, self.settings.decimals
        grid = Grid.over(frame, decimals, sample.image)
        said, names, numbers = [], list[str](), list[list[float]]()
        for turn in sample.turns:
            pieces, places = take_apart(turn, touching=True)
            refuse_words(pieces, _SIGNS, "swift_mark")
            listed = names_of_list(pieces, places) if sample.task == "dense_caption" else None
            names += listed or ()
            numbers += _numbers(places, grid, tally)
            said.append({"role": turn.role, "content": _text(pieces, places, listed)})
        said[0]["content"] = marked(said[0]["content"], line=False, image=sample.image is not None)
        row: dict[str, Any] = {"id": sample.id, "images": self.paths(sample), "messages": said}
        if numbers:
            kind = "real" if frame == "pixel" else "norm1"
            row["objects"] = {"ref": names, "bbox": numbers, "bbox_type": kind}
        return row

    def image(self, row: _Row) -> str:
        """The one image, if any."""
        return image_of_list(row.images)

    def turns(self, row: _Row, image: ImageRef | None) -> Sequence[Turn]:
        """Turns of a row; names of `ref` come back as the words they are.

        Reasons: `bad_turns`, `bad_box`, `box_outside`, `box_inverted`, `missing_object` (more signs
        than numbers or names), `spare_object` (fewer), `other_image`, `image_mark`, `swift_mark`;
        with `strict` also `loose_ref` (a name outside a list: where it ends is lost).
        """
        check_pairs([message.role for message in row.messages], *_ROLES)
        objects = row.objects or _Objects()
        if any(objects.image_id):
            raise EntryError("other_image", f"image_id {objects.image_id}"[:200])
        grid = Grid.over(_FRAMES[objects.bbox_type], 0, image)
        stock = _Stock(iter(objects.ref), iter(objects.bbox), grid)
        texts = [message.content for message in row.messages]
        texts[0] = unmarked(texts[0], image is not None)
        turns = [self._turn(_ROLES[at % 2], text, stock) for at, text in enumerate(texts)]
        if next(stock.names, None) is not None or next(stock.numbers, None) is not None:
            raise EntryError("spare_object", "objects that no sign in the text stands for")
        return turns

    def _turn(self, role: Role, text: str, stock: _Stock) -> Turn:
        named, names = stock.name(text)
        words = named.split(_BOX)
        expect_words(words, _SIGNS, "swift_mark")
        pieces, places = [words[0]], list[Place]()
        for word in words[1:]:
            place = stock.place()
            last = places[-1] if places and not pieces[-1] else None
            if isinstance(last, tuple) and isinstance(place, tuple):
                places[-1] = (*last, *place)
                pieces[-1] = word
            else:
                places.append(place)
                pieces.append(word)
        if self.settings.strict and names and names != names_of_list(pieces, places):
            raise EntryError("loose_ref", f"{names}"[:200])
        return put_together(role, pieces, places)


class _Stock(msgspec.Struct):
    """Names and numbers of a row that no sign has taken yet."""

    names: Iterator[str]
    numbers: Iterator[list[float]]
    grid: Grid

    def name(self, text: str) -> tuple[str, list[str]]:
        """`text` with names for its signs, a space between name and box; and the names."""
        taken: list[str] = []

        def fill(found: re.Match[str]) -> str:
            name = next(self.names, None)
            if name is None:
                raise EntryError("missing_object", "more <ref-object> than names in ref")
            expect_words([name], _SIGNS, "swift_mark")
            taken.append(name)
            return f"{name} " if found[1] is not None else name

        return _NAMES.sub(fill, text), taken

    def place(self) -> Place:
        """The next box or point."""
        numbers = next(self.numbers, None)
        if numbers is None:
            raise EntryError("missing_object", "more <bbox> than numbers in bbox")
        if len(numbers) == 2:
            return self.grid.point_at((numbers[0], numbers[1]))
        if len(numbers) != 4:
            raise EntryError("bad_box", f"{len(numbers)} numbers, expected 4 or 2")
        return (self.grid.box_at((numbers[0], numbers[1], numbers[2], numbers[3])),)


def _text(pieces: Sequence[str], places: Sequence[Place], names: Sequence[str] | None) -> str:
    """Words and signs of one turn."""
    signs = [_BOX * len(place) if isinstance(place, tuple) else _BOX for place in places]
    if names is not None:
        pieces = ["<ref-object>", *[", <ref-object>"] * (len(names) - 1), pieces[-1]]
    return weave(pieces, signs)


def _numbers(places: Sequence[Place], grid: Grid, tally: Tally) -> Iterator[list[float]]:
    for place in places:
        if isinstance(place, Point):
            yield grid.numbers(grid.point(place, tally))
        else:
            for box in place:
                yield grid.numbers(grid.box(box, tally))
