"""Shikra's conversations: `<boxes>` and `<points>` in the text, pixels in the row's `target`.

Every `<boxes>` stands for the boxes of one phrase: entry i of that turn's `boxes_seq` lists their
indices in `target.boxes`; points likewise. It is what Shikra's datasets hand to its formatter,
which pads the image and writes the numbers out; our keys are theirs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
from pydantic import Field

from genixer.data import ImageRef, Point, Role, Sample, Turn
from genixer.formats.conversation import (
    ConversationFormat,
    ConversationSettings,
    check_pairs,
    expect_image,
    image_of_list,
)
from genixer.formats.grid import Grid
from genixer.formats.marked import (
    Place,
    expect_words,
    put_together,
    refuse_words,
    take_apart,
    weave,
)
from genixer.formats.tally import Tally
from genixer.formats.text import marked, unmarked
from genixer.store.entries import EntryError

__all__ = ["ShikraFormat", "ShikraSettings"]

_SPEAKERS: tuple[str, str] = ("human", "gpt")
_ROLES: tuple[Role, Role] = ("user", "assistant")
_SIGNS = re.compile(r"<boxes>|<points>|<ph_st>|<ph_ed>")
_PLACES = re.compile(r"(<boxes>|<points>)")


class ShikraSettings(ConversationSettings):
    """How exact the pixels are; the frame is that of the layout."""

    decimals: int = Field(2, ge=0, le=6)
    """Decimals of a coordinate, which is in pixels of the un-padded image."""


class _Target(msgspec.Struct):
    boxes: list[tuple[float, float, float, float]] = []
    points: list[tuple[float, float]] = []


class _Said(msgspec.Struct):
    speaker: str = msgspec.field(name="from")
    value: str
    boxes_seq: list[list[int]] | None = None
    points_seq: list[list[int]] | None = None


class _Row(msgspec.Struct):
    conversations: list[_Said]
    id: int | str | None = None
    image: str | None = None
    target: _Target | None = None


class ShikraFormat(ConversationFormat):
    """Not written: `shikra_mark` (its own signs as words), `image_mark`.

    Nor `group_not_adjacent` and `needless_groups` (`genixer.formats.marked.take_apart`).
    """

    name: ClassVar[str] = "shikra"
    Settings: ClassVar[type[ShikraSettings]] = ShikraSettings
    Row: ClassVar[type[Any]] = _Row
    field: ClassVar[str] = "conversations"

    def row(self, sample: Sample, tally: Tally) -> dict[str, Any]:
        """Row of a sample."""
        image = sample.picture
        grid = Grid.of("pixel", self.settings.decimals, image.width, image.height)
        boxes, points, said = list[list[float]](), list[list[float]](), []
        for speaker, turn in zip(_SPEAKERS * (len(sample.turns) // 2), sample.turns, strict=True):
            pieces, places = take_apart(turn, touching=False)
            refuse_words(pieces, _SIGNS, "shikra_mark")
            one: dict[str, Any] = {"from": speaker, "value": _text(pieces, places)}
            for place in places:
                if isinstance(place, Point):
                    one.setdefault("points_seq", []).append([len(points)])
                    points.append(grid.numbers(grid.point(place, tally)))
                else:
                    first = len(boxes)
                    boxes += [grid.numbers(grid.box(box, tally)) for box in place]
                    one.setdefault("boxes_seq", []).append([*range(first, len(boxes))])
            said.append(one)
        said[0]["value"] = marked(said[0]["value"], line=False)
        return {
            "id": sample.id,
            "image": self.path(sample),
            "width": image.width,
            "height": image.height,
            "target": {"boxes": boxes, "points": points},
            "conversations": said,
        }

    def image(self, row: _Row) -> str:
        """The one image."""
        return expect_image(image_of_list(row.image))

    def turns(self, row: _Row, image: ImageRef | None) -> Sequence[Turn]:
        """Turns of a row.

        Reasons: `bad_turns`, `missing_object` (a sign without its indices, an index without its
        numbers), `spare_object` (indices without a sign), `several_points` (of one sign),
        `box_outside`, `box_inverted`, `point_outside`, `image_mark`, `shikra_mark`.
        """
        check_pairs([said.speaker for said in row.conversations], *_SPEAKERS)
        grid = Grid.over("pixel", 0, image)
        target = row.target or _Target()
        return [
            _turn(
                _ROLES[at % 2], unmarked(said.value) if at == 0 else said.value, said, target, grid
            )
            for at, said in enumerate(row.conversations)
        ]


def _turn(role: Role, text: str, said: _Said, target: _Target, grid: Grid) -> Turn:
    tokens = _PLACES.split(text)
    expect_words(tokens[::2], _SIGNS, "shikra_mark")
    boxes, points = iter(said.boxes_seq or ()), iter(said.points_seq or ())
    places: list[Place] = []
    for token in tokens[1::2]:
        indices = next(boxes if token == "<boxes>" else points, None)
        if not indices:
            raise EntryError("missing_object", f"no indices for a {token}")
        if token == "<boxes>":
            places.append(tuple(grid.box_at(_pick(target.boxes, at)) for at in indices))
        elif len(indices) > 1:
            raise EntryError("several_points", f"{len(indices)} points of one phrase")
        else:
            places.append(grid.point_at(_pick(target.points, indices[0])))
    if next(boxes, None) is not None or next(points, None) is not None:
        raise EntryError("spare_object", "indices that no sign in the text stands for")
    return put_together(role, tokens[::2], places)


def _pick(numbers: Sequence[Any], at: int) -> Any:
    if not 0 <= at < len(numbers):
        raise EntryError("missing_object", f"index {at} of {len(numbers)}")
    return numbers[at]


def _text(pieces: Sequence[str], places: Sequence[Place]) -> str:
    signs = ["<points>" if isinstance(place, Point) else "<boxes>" for place in places]
    return weave(pieces, signs)
