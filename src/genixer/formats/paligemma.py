"""PaliGemma's fine-tuning rows: `image`, `prefix` (asked) and `suffix` (answered).

A box is four location tokens, `<loc0123>` each, top before left: the frame `loc_1024`. Boxes of one
phrase stand side by side.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec

from genixer.data import Box, ImageRef, Role, Sample, Turn
from genixer.errors import CannotEncodeError
from genixer.formats.conversation import (
    ConversationFormat,
    ConversationSettings,
    expect_image,
    image_of_list,
)
from genixer.formats.grid import Grid
from genixer.formats.marked import (
    boxes_of,
    expect_words,
    find_boxes,
    put_together,
    refuse_words,
    take_apart,
    weave,
)
from genixer.formats.tally import Tally

__all__ = ["PaliGemmaFormat", "PaliGemmaSettings"]

_TOKEN = r"<loc(\d{4})>"
_BOX = re.compile(_TOKEN * 4)
_SIGNS = re.compile(r"<(?:loc|seg)\d*>?")


class PaliGemmaSettings(ConversationSettings):
    """The frame, of which there is one."""

    frame: Literal["loc_1024"] = "loc_1024"
    """Frame of the location tokens."""


class _Row(msgspec.Struct):
    prefix: str
    suffix: str
    id: int | str | None = None
    image: str | None = None


class PaliGemmaFormat(ConversationFormat):
    """Not written: `several_pairs` (a row is one question and its answer), `points_not_supported`.

    Nor `location_mark` (its tokens as words), `image_mark`, `touching_boxes`, `group_not_adjacent`
    and `needless_groups` (`genixer.formats.marked.take_apart`).
    """

    name: ClassVar[str] = "paligemma"
    Settings: ClassVar[type[PaliGemmaSettings]] = PaliGemmaSettings
    Row: ClassVar[type[Any]] = _Row
    field: ClassVar[str] = "prefix"

    def row(self, sample: Sample, tally: Tally) -> dict[str, Any]:
        """Row of a sample."""
        if len(sample.turns) > 2:
            raise CannotEncodeError("several_pairs", f"{len(sample.turns) // 2} pairs")
        image = sample.picture
        grid = Grid.of(self.settings.frame, 0, image.width, image.height)
        prefix, suffix = (_text(turn, grid, tally) for turn in sample.turns)
        return {"id": sample.id, "image": self.path(sample), "prefix": prefix, "suffix": suffix}

    def image(self, row: _Row) -> str:
        """The one image."""
        return expect_image(image_of_list(row.image))

    def turns(self, row: _Row, image: ImageRef | None) -> Sequence[Turn]:
        """Turns of a row.

        Reasons: `bad_box` (tokens that spell no box, masks among them), `box_outside`,
        `box_inverted`, `image_mark`.
        """
        grid = Grid.over(self.settings.frame, 0, image)
        return _turn("user", row.prefix, grid), _turn("assistant", row.suffix, grid)


def _text(turn: Turn, grid: Grid, tally: Tally) -> str:
    if turn.points:
        raise CannotEncodeError("points_not_supported")
    pieces, places = take_apart(turn, touching=True)
    refuse_words(pieces, _SIGNS, "location_mark")
    tokens = ["".join(_spell(box, grid, tally) for box in boxes_of(place)) for place in places]
    return weave(pieces, tokens)


def _turn(role: Role, text: str, grid: Grid) -> Turn:
    def read(found: re.Match[str]) -> Box:
        top, left, bottom, right = map(float, found.groups())
        return grid.box_at((left, top, right, bottom))

    pieces, places = find_boxes(text, _BOX, read)
    expect_words(pieces, _SIGNS, "bad_box")
    return put_together(role, pieces, places)


def _spell(box: Box, grid: Grid, tally: Tally) -> str:
    left, top, right, bottom = grid.numbers(grid.box(box, tally))
    return "".join(f"<loc{number:04d}>" for number in (top, left, bottom, right))
